import java.util.HashMap;
import java.util.Map;

/** Command line options: `--name value` and `--flag`. */
record Options(Map<String, String> values) {

  static Options parse(String[] words, int from) {
    Map<String, String> values = new HashMap<>();
    for (int i = from; i < words.length; i++) {
      boolean flag = i + 1 == words.length || words[i + 1].startsWith("--");
      values.put(words[i], flag ? "" : words[++i]);
    }
    return new Options(values);
  }

  boolean has(String name) {
    return values.containsKey(name);
  }

  int number(String name, int otherwise) {
    return Integer.parseInt(values.getOrDefault(name, String.valueOf(otherwise)));
  }

  String text(String name, String otherwise) {
    return values.getOrDefault(name, otherwise);
  }
}
