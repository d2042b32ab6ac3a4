import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.Security;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLContext;
import org.bouncycastle.asn1.cmp.PKIMessage;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/**
 * Siemens' CmpRaComponent as a CMP server over HTTP(S) on loopback, with a CA of its own behind it.
 *
 * <pre>
 * usage: Server PORT FOLDER [OPTION]…     says READY PORT when it listens; port 0 is a free one
 *   FOLDER holds root.pem vendor.pem and issuing, ra, upstream, tls (.key and .pem each)
 *   --secret TEXT       what MAC-protected requests are protected with
 *   --implicit          grant implicit confirmation to who asks for it
 *   --delay S           answer after S seconds: the client has to poll
 *   --retry-after S     and is told to do so every S seconds
 *   --sig-out           sign answers to MAC-protected requests, as EJBCA does
 *   --pbmac1            protect them by PBMAC1
 *   --cache --suppress  remember, and leave out, extraCerts the client has sent or got before
 *   --https             serve TLS
 *   --http11-only       refuse HTTP/1.0 with 505
 *   --chunked           send answers in chunks
 *   --html503 N         answer each Nth request with 503 and a page
 *   --threads N         serve so many requests at a time
 * </pre>
 */
public final class Server {
  private static final int NO_BODY = -1;

  private final Options options;
  private final Ra ra;
  private final AtomicInteger requests = new AtomicInteger();

  private Server(Path folder, Options options) throws Exception {
    this.options = options;
    this.ra = new Ra(folder, options);
  }

  public static void main(String[] arguments) throws Exception {
    Security.addProvider(new BouncyCastleProvider());
    Path folder = Path.of(arguments[1]);
    Options options = Options.parse(arguments, 2);
    Server server = new Server(folder, options);
    InetSocketAddress address =
        new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0]));
    HttpServer http = options.has("--https") ? tls(address, folder) : HttpServer.create(address, 64);
    http.setExecutor(Executors.newFixedThreadPool(options.number("--threads", 8)));
    http.createContext("/", server::serve);
    http.start();
    System.out.println("READY " + http.getAddress().getPort());
  }

  private static HttpServer tls(InetSocketAddress address, Path folder) throws Exception {
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(Identity.read(folder, "tls").keyManagers(), null, null);
    HttpsServer https = HttpsServer.create(address, 64);
    https.setHttpsConfigurator(new HttpsConfigurator(context));
    return https;
  }

  private void serve(HttpExchange exchange) throws IOException {
    try (exchange) {
      respond(exchange, exchange.getRequestBody().readAllBytes());
    } catch (Exception error) {
      error.printStackTrace();
    }
  }

  private void respond(HttpExchange exchange, byte[] request) throws Exception {
    int every = options.number("--html503", 0);
    if (options.has("--http11-only") && exchange.getProtocol().equals("HTTP/1.0")) {
      exchange.sendResponseHeaders(505, NO_BODY);
    } else if (every > 0 && requests.incrementAndGet() % every == 0) {
      byte[] page = "<html><body>too many requests</body></html>".getBytes(StandardCharsets.UTF_8);
      send(exchange, 503, "text/html", page);
    } else if (!exchange.getRequestMethod().equals("POST")) {
      exchange.sendResponseHeaders(405, NO_BODY);
    } else if (!isCmp(request)) {
      exchange.sendResponseHeaders(400, NO_BODY);
    } else {
      byte[] answer = answer(exchange, request);
      log(exchange, request, answer);
      send(exchange, 200, "application/pkixcmp", answer);
    }
  }

  private byte[] answer(HttpExchange exchange, byte[] request) throws Exception {
    try {
      return ra.answer(request);
    } catch (Exception error) {
      exchange.sendResponseHeaders(500, NO_BODY);
      throw error;
    }
  }

  private void send(HttpExchange exchange, int status, String type, byte[] body)
      throws IOException {
    exchange.getResponseHeaders().set("Content-Type", type);
    exchange.sendResponseHeaders(status, options.has("--chunked") ? 0 : body.length);
    exchange.getResponseBody().write(body);
  }

  private static boolean isCmp(byte[] request) {
    try {
      return PKIMessage.getInstance(request).getHeader() != null;
    } catch (RuntimeException error) {
      return false;
    }
  }

  private static void log(HttpExchange exchange, byte[] request, byte[] answer) {
    System.out.printf(
        "%s %s %s: body %d -> %d%n",
        exchange.getProtocol(),
        exchange.getRequestURI(),
        exchange.getRequestHeaders().getFirst("Content-Type"),
        PKIMessage.getInstance(request).getBody().getType(),
        PKIMessage.getInstance(answer).getBody().getType());
  }
}
