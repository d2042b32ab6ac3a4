import com.siemens.pki.cmpracomponent.msggeneration.HeaderProvider;
import com.siemens.pki.cmpracomponent.msggeneration.PkiMessageGenerator;
import com.siemens.pki.cmpracomponent.protection.ProtectionProvider;
import com.siemens.pki.cmpracomponent.protection.SignatureBasedProtection;
import java.math.BigInteger;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.time.Instant;
import java.util.Date;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.ASN1OctetString;
import org.bouncycastle.asn1.cmp.CMPCertificate;
import org.bouncycastle.asn1.cmp.CMPObjectIdentifiers;
import org.bouncycastle.asn1.cmp.InfoTypeAndValue;
import org.bouncycastle.asn1.cmp.PKIBody;
import org.bouncycastle.asn1.cmp.PKIFailureInfo;
import org.bouncycastle.asn1.cmp.PKIFreeText;
import org.bouncycastle.asn1.cmp.PKIMessage;
import org.bouncycastle.asn1.cmp.PKIStatus;
import org.bouncycastle.asn1.cmp.PKIStatusInfo;
import org.bouncycastle.asn1.cmp.RevRepContentBuilder;
import org.bouncycastle.asn1.cmp.RevReqContent;
import org.bouncycastle.asn1.crmf.CertReqMessages;
import org.bouncycastle.asn1.crmf.CertTemplate;
import org.bouncycastle.asn1.pkcs.CertificationRequest;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.BasicConstraints;
import org.bouncycastle.asn1.x509.Certificate;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.Extensions;
import org.bouncycastle.asn1.x509.GeneralName;
import org.bouncycastle.asn1.x509.KeyUsage;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cert.X509v3CertificateBuilder;
import org.bouncycastle.cert.jcajce.JcaX509ExtensionUtils;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequest;

/**
 * The CA behind the RA: grants every request, except for a subject with REJECT in it (rejected) or
 * with ERRORBODY (answered with an error message). Revokes once what it has issued.
 */
final class IssuingCa {
  private static final Duration VALIDITY = Duration.ofDays(90);
  private static final Set<ASN1ObjectIdentifier> OURS =
      Set.of(
          Extension.basicConstraints,
          Extension.subjectKeyIdentifier,
          Extension.authorityKeyIdentifier);

  private final Identity issuer;
  private final ProtectionProvider protection;
  private final boolean grantsImplicitConfirm;
  private final SecureRandom random = new SecureRandom();
  private final Set<BigInteger> issued = ConcurrentHashMap.newKeySet();
  private final Set<BigInteger> revoked = ConcurrentHashMap.newKeySet();

  IssuingCa(Identity issuer, Identity signer, boolean grantsImplicitConfirm) throws Exception {
    this.issuer = issuer;
    this.protection = new SignatureBasedProtection(signer, "issuing CA");
    this.grantsImplicitConfirm = grantsImplicitConfirm;
  }

  byte[] answer(byte[] der) throws Exception {
    PKIMessage request = PKIMessage.getInstance(der);
    PKIBody asked = request.getBody();
    List<CMPCertificate> extraCerts = null;
    PKIBody body;
    switch (asked.getType()) {
      case PKIBody.TYPE_INIT_REQ,
          PKIBody.TYPE_CERT_REQ,
          PKIBody.TYPE_KEY_UPDATE_REQ,
          PKIBody.TYPE_P10_CERT_REQ -> {
        body = enroll(asked);
        extraCerts = List.of(new CMPCertificate(structure(issuer.certificate())));
      }
      case PKIBody.TYPE_CERT_CONFIRM -> body = PkiMessageGenerator.generatePkiConfirmBody();
      case PKIBody.TYPE_REVOCATION_REQ -> body = revoke((RevReqContent) asked.getContent());
      default ->
          body =
              PkiMessageGenerator.generateErrorBody(
                  PKIFailureInfo.badRequest, "unsupported body " + asked.getType());
    }
    HeaderProvider header = PkiMessageGenerator.buildRespondingHeaderProvider(request);
    if (!(grantsImplicitConfirm && asksForImplicitConfirm(request))) {
      header = new WithoutGeneralInfo(header);
    }
    return PkiMessageGenerator.generateAndProtectMessage(header, protection, null, body, extraCerts)
        .getEncoded();
  }

  private PKIBody enroll(PKIBody asked) throws Exception {
    Wish wish = Wish.of(asked);
    int answerType =
        asked.getType() == PKIBody.TYPE_P10_CERT_REQ
            ? PKIBody.TYPE_CERT_REP
            : asked.getType() + 1;
    String subject = String.valueOf(wish.subject);
    if (subject.contains("REJECT")) {
      return PkiMessageGenerator.generateIpCpKupErrorBody(
          answerType, PKIFailureInfo.badCertTemplate, "subject refused by the issuing CA");
    }
    if (subject.contains("ERRORBODY")) {
      return PkiMessageGenerator.generateErrorBody(
          PKIFailureInfo.systemFailure, "the issuing CA is down");
    }
    return PkiMessageGenerator.generateIpCpKupBody(answerType, issue(wish));
  }

  private CMPCertificate issue(Wish wish) throws Exception {
    JcaX509ExtensionUtils utils = new JcaX509ExtensionUtils();
    X509Certificate authority = issuer.certificate();
    BigInteger serial = new BigInteger(120, random).setBit(100);
    Instant now = Instant.now();
    X509v3CertificateBuilder builder =
        new X509v3CertificateBuilder(
            X500Name.getInstance(authority.getSubjectX500Principal().getEncoded()),
            serial,
            Date.from(now.minusSeconds(60)),
            Date.from(now.plus(VALIDITY)),
            wish.subject,
            wish.publicKey);
    boolean usage = false;
    if (wish.extensions != null) {
      for (ASN1ObjectIdentifier oid : wish.extensions.getExtensionOIDs()) {
        if (!OURS.contains(oid)) {
          builder.addExtension(wish.extensions.getExtension(oid));
          usage |= oid.equals(Extension.keyUsage);
        }
      }
    }
    if (!usage) {
      builder.addExtension(Extension.keyUsage, true, new KeyUsage(KeyUsage.digitalSignature));
    }
    builder.addExtension(Extension.basicConstraints, true, new BasicConstraints(false));
    builder.addExtension(
        Extension.subjectKeyIdentifier, false, utils.createSubjectKeyIdentifier(wish.publicKey));
    builder.addExtension(
        Extension.authorityKeyIdentifier, false, utils.createAuthorityKeyIdentifier(authority));
    issued.add(serial);
    return new CMPCertificate(
        builder
            .build(new JcaContentSignerBuilder("SHA256withECDSA").build(issuer.key()))
            .toASN1Structure());
  }

  private PKIBody revoke(RevReqContent content) {
    BigInteger serial =
        content.toRevDetailsArray()[0].getCertDetails().getSerialNumber().getValue();
    PKIStatusInfo status;
    if (!issued.contains(serial)) {
      status = rejection("unknown serial number", PKIFailureInfo.badCertId);
    } else if (!revoked.add(serial)) {
      status = rejection("revoked already", PKIFailureInfo.certRevoked);
    } else {
      status = new PKIStatusInfo(PKIStatus.granted);
    }
    return new PKIBody(
        PKIBody.TYPE_REVOCATION_REP, new RevRepContentBuilder().add(status).build());
  }

  private static PKIStatusInfo rejection(String reason, int failure) {
    return new PKIStatusInfo(
        PKIStatus.rejection, new PKIFreeText(reason), new PKIFailureInfo(failure));
  }

  private static boolean asksForImplicitConfirm(PKIMessage request) {
    InfoTypeAndValue[] info = request.getHeader().getGeneralInfo();
    return info != null
        && Stream.of(info)
            .anyMatch(it -> it.getInfoType().equals(CMPObjectIdentifiers.it_implicitConfirm));
  }

  private static Certificate structure(X509Certificate certificate) throws Exception {
    return Certificate.getInstance(certificate.getEncoded());
  }

  /** What a request asks for, whichever way it says it. */
  private record Wish(X500Name subject, SubjectPublicKeyInfo publicKey, Extensions extensions) {

    static Wish of(PKIBody asked) {
      if (asked.getType() == PKIBody.TYPE_P10_CERT_REQ) {
        PKCS10CertificationRequest request =
            new PKCS10CertificationRequest(CertificationRequest.getInstance(asked.getContent()));
        return new Wish(
            request.getSubject(),
            request.getSubjectPublicKeyInfo(),
            request.getRequestedExtensions());
      }
      CertTemplate template =
          ((CertReqMessages) asked.getContent())
              .toCertReqMsgArray()[0]
              .getCertReq()
              .getCertTemplate();
      return new Wish(template.getSubject(), template.getPublicKey(), template.getExtensions());
    }
  }

  /** A response's header without generalInfo, where implicit confirmation would be granted. */
  private record WithoutGeneralInfo(HeaderProvider header) implements HeaderProvider {
    @Override
    public InfoTypeAndValue[] getGeneralInfo() {
      return null;
    }

    @Override
    public int getPvno() {
      return header.getPvno();
    }

    @Override
    public GeneralName getRecipient() {
      return header.getRecipient();
    }

    @Override
    public ASN1OctetString getRecipNonce() {
      return header.getRecipNonce();
    }

    @Override
    public GeneralName getSender() {
      return header.getSender();
    }

    @Override
    public ASN1OctetString getSenderNonce() {
      return header.getSenderNonce();
    }

    @Override
    public ASN1OctetString getTransactionID() {
      return header.getTransactionID();
    }
  }
}
