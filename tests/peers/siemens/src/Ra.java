import com.siemens.pki.cmpracomponent.configuration.CkgContext;
import com.siemens.pki.cmpracomponent.configuration.CmpMessageInterface;
import com.siemens.pki.cmpracomponent.configuration.Configuration;
import com.siemens.pki.cmpracomponent.configuration.CredentialContext;
import com.siemens.pki.cmpracomponent.configuration.GetCaCertificatesHandler;
import com.siemens.pki.cmpracomponent.configuration.InventoryInterface;
import com.siemens.pki.cmpracomponent.configuration.NestedEndpointContext;
import com.siemens.pki.cmpracomponent.configuration.SharedSecretCredentialContext;
import com.siemens.pki.cmpracomponent.configuration.SupportMessageHandlerInterface;
import com.siemens.pki.cmpracomponent.configuration.VerificationContext;
import com.siemens.pki.cmpracomponent.main.CmpRaComponent;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.bouncycastle.asn1.cmp.CMPObjectIdentifiers;
import org.bouncycastle.asn1.cmp.PKIBody;
import org.bouncycastle.asn1.cmp.PKIMessage;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;

/**
 * CmpRaComponent in front of the issuing CA: one instance for MAC-protected clients, one for others.
 *
 * <p>They do one thing at a time: the component loses a late answer of the CA that meets another
 * message of the same transaction.
 */
final class Ra {
  private static final String PBMAC1 = "1.2.840.113549.1.5.14";

  private final Options options;
  private final IssuingCa ca;
  private final Identity signer;
  private final List<X509Certificate> root;
  private final List<X509Certificate> issuing;
  private final List<X509Certificate> clients = new ArrayList<>();
  private final byte[] secret;
  private final ScheduledExecutorService later = Executors.newScheduledThreadPool(2);
  private final CmpRaComponent.CmpRaInterface forMac;
  private final CmpRaComponent.CmpRaInterface forSignature;

  Ra(Path folder, Options options) throws Exception {
    this.options = options;
    this.signer = Identity.read(folder, "ra");
    this.root = Identity.certificates(folder, "root");
    this.issuing = Identity.certificates(folder, "issuing");
    this.clients.addAll(root);
    this.clients.addAll(Identity.certificates(folder, "vendor"));
    this.secret = options.text("--secret", "").getBytes(StandardCharsets.UTF_8);
    this.ca =
        new IssuingCa(
            Identity.read(folder, "issuing"),
            Identity.read(folder, "upstream"),
            options.has("--implicit"));
    this.forMac =
        instance(
            new Interface(new Trust(secret, clients, issuing), macCredentials()),
            answer -> forMac().gotResponseAtUpstream(answer));
    this.forSignature =
        instance(
            new Interface(new Trust(null, clients, issuing), signer),
            answer -> forSignature().gotResponseAtUpstream(answer));
  }

  byte[] answer(byte[] request) throws Exception {
    AlgorithmIdentifier protection = PKIMessage.getInstance(request).getHeader().getProtectionAlg();
    boolean mac =
        protection != null
            && (protection.getAlgorithm().equals(CMPObjectIdentifiers.passwordBasedMac)
                || protection.getAlgorithm().getId().equals(PBMAC1));
    synchronized (this) {
      return (mac ? forMac : forSignature).processRequest(request);
    }
  }

  private CmpRaComponent.CmpRaInterface forMac() {
    return forMac;
  }

  private CmpRaComponent.CmpRaInterface forSignature() {
    return forSignature;
  }

  private CredentialContext macCredentials() {
    return options.has("--sig-out") ? signer : new Mac(secret, options.has("--pbmac1"));
  }

  private CmpRaComponent.CmpRaInterface instance(Interface downstream, Late late) throws Exception {
    int delay = options.number("--delay", 0);
    Interface upstream = new Interface(new Trust(null, root, null), signer);
    return CmpRaComponent.instantiateCmpRaComponent(
        new Setup(downstream, upstream),
        (request, profile, type) -> {
          int body = PKIMessage.getInstance(request).getBody().getType();
          if (delay == 0 || body == PKIBody.TYPE_CERT_CONFIRM) {
            return ca.answer(request);
          }
          later.schedule(() -> deliver(request, late), delay, TimeUnit.SECONDS);
          return null; // the client is told to poll
        });
  }

  private void deliver(byte[] request, Late late) {
    try {
      byte[] answer = ca.answer(request);
      synchronized (this) {
        late.take(answer);
      }
    } catch (Exception error) {
      error.printStackTrace();
    }
  }

  /** Where an answer of the CA goes that comes after the client has been told to wait. */
  private interface Late {
    void take(byte[] answer) throws Exception;
  }

  private record Mac(byte[] secret, boolean pbmac1) implements SharedSecretCredentialContext {
    @Override
    public byte[] getSharedSecret() {
      return secret;
    }

    @Override
    public byte[] getSenderKID() {
      return "ra-kid".getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public String getPasswordBasedMacAlgorithm() {
      return pbmac1 ? "PBMAC1" : "PASSWORDBASEDMAC";
    }
  }

  private record Trust(
      byte[] secret, Collection<X509Certificate> anchors, Collection<X509Certificate> helpers)
      implements VerificationContext {
    @Override
    public byte[] getSharedSecret(byte[] senderKid) {
      return secret;
    }

    @Override
    public Collection<X509Certificate> getTrustedCertificates() {
      return anchors;
    }

    @Override
    public Collection<X509Certificate> getAdditionalCerts() {
      return helpers == null ? List.of() : helpers;
    }
  }

  private final class Interface implements CmpMessageInterface {
    private final VerificationContext input;
    private final CredentialContext output;

    Interface(VerificationContext input, CredentialContext output) {
      this.input = input;
      this.output = output;
    }

    @Override
    public VerificationContext getInputVerification() {
      return input;
    }

    @Override
    public CredentialContext getOutputCredentials() {
      return output;
    }

    @Override
    public NestedEndpointContext getNestedEndpointContext() {
      return null;
    }

    @Override
    public ReprotectMode getReprotectMode() {
      return ReprotectMode.reprotect;
    }

    @Override
    public boolean getSuppressRedundantExtraCerts() {
      return options.has("--suppress");
    }

    @Override
    public boolean isCacheExtraCerts() {
      return options.has("--suppress") || options.has("--cache");
    }

    @Override
    public boolean isMessageTimeDeviationAllowed(long seconds) {
      return Math.abs(seconds) < 300;
    }
  }

  private final class Setup implements Configuration {
    private final CmpMessageInterface downstream;
    private final CmpMessageInterface upstream;

    Setup(CmpMessageInterface downstream, CmpMessageInterface upstream) {
      this.downstream = downstream;
      this.upstream = upstream;
    }

    @Override
    public CmpMessageInterface getDownstreamConfiguration(String profile, int type) {
      return downstream;
    }

    @Override
    public CmpMessageInterface getUpstreamConfiguration(String profile, int type) {
      return upstream;
    }

    @Override
    public VerificationContext getEnrollmentTrust(String profile, int type) {
      return new Trust(null, root, issuing);
    }

    @Override
    public SupportMessageHandlerInterface getSupportMessageHandler(String profile, String oid) {
      boolean caCerts = CMPObjectIdentifiers.id_it_caCerts.getId().equals(oid);
      return caCerts ? (GetCaCertificatesHandler) () -> issuing : null;
    }

    @Override
    public int getRetryAfterTimeInSeconds(String profile, int type) {
      return options.number("--retry-after", 1);
    }

    @Override
    public int getDownstreamTimeout(String profile, int type) {
      return 3600;
    }

    @Override
    public boolean getForceRaVerifyOnUpstream(String profile, int type) {
      return false;
    }

    @Override
    public boolean isRaVerifiedAcceptable(String profile, int type) {
      return false;
    }

    @Override
    public CkgContext getCkgConfiguration(String profile, int type) {
      return null;
    }

    @Override
    public InventoryInterface getInventory(String profile, int type) {
      return null;
    }
  }
}
