import com.siemens.pki.cmpracomponent.configuration.SignatureCredentialContext;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;

/** An EC key and its certificate chain, leaf first, from the files NAME.key and NAME.pem. */
record Identity(PrivateKey key, List<X509Certificate> chain) implements SignatureCredentialContext {

  static Identity read(Path folder, String name) throws IOException, GeneralSecurityException {
    String pem = Files.readString(folder.resolve(name + ".key"));
    byte[] der = Base64.getMimeDecoder().decode(pem.replaceAll("-----[^-]*-----", ""));
    PrivateKey key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(der));
    return new Identity(key, certificates(folder, name));
  }

  static List<X509Certificate> certificates(Path folder, String name)
      throws IOException, GeneralSecurityException {
    try (InputStream in = Files.newInputStream(folder.resolve(name + ".pem"))) {
      return CertificateFactory.getInstance("X.509").generateCertificates(in).stream()
          .map(X509Certificate.class::cast)
          .toList();
    }
  }

  X509Certificate certificate() {
    return chain.get(0);
  }

  KeyManager[] keyManagers() throws IOException, GeneralSecurityException {
    char[] none = new char[0];
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, none);
    store.setKeyEntry("tls", key, none, chain.toArray(X509Certificate[]::new));
    KeyManagerFactory factory = KeyManagerFactory.getInstance("SunX509");
    factory.init(store, none);
    return factory.getKeyManagers();
  }

  @Override
  public List<X509Certificate> getCertificateChain() {
    return new ArrayList<>(chain); // the component changes what it gets
  }

  @Override
  public PrivateKey getPrivateKey() {
    return key;
  }
}
