"""What a client may ask of a CA, and the body that asks for it.

A request is a value: the key pair it is about, what the certificate is to say, which certificate it
concerns. Building its body signs the proof of possession; nothing else here is secret.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from cmp import algorithms, codec
from cmp.errors import LocalError
from cmp.messages import (
    Body,
    CertId,
    CertReqMsg,
    CertRequest,
    CertTemplate,
    Control,
    Cp,
    Cr,
    GenM,
    GenP,
    InfoTypeAndValue,
    Ip,
    Ir,
    Kup,
    Kur,
    P10cr,
    ProofOfPossession,
    RevDetails,
    Rp,
    Rr,
)

CERT_REQ_ID = 0  # RFC 9483, 4.1.1: there is one request in a message, and its number is 0
NO_CERT_REQ_ID = -1  # RFC 9483, 4.1.4: where the request has no number
OLD_CERT_ID = x509.ObjectIdentifier("1.3.6.1.5.5.7.5.1.5")  # regCtrl-oldCertID, RFC 4211, 6.5


@dataclass(frozen=True, slots=True)
class _ForKey:
    """A request for a certificate of a key pair at hand; the template's own key is filled in."""

    template: CertTemplate
    private_key: PrivateKeyTypes = field(repr=False)

    answer_ids: ClassVar[frozenset[int]] = frozenset({CERT_REQ_ID})

    def __post_init__(self) -> None:
        if self.template.subject is None:  # else the proof needs poposkInput: RFC 4211, 4.1
            raise LocalError("a certificate template needs a subject")
        if self.template.public_key not in (None, self.public_key):
            raise LocalError("the template's public key is not that of the private key")

    @property
    def public_key(self) -> PublicKeyTypes:
        return self.private_key.public_key()

    @property
    def wanted(self) -> CertTemplate:
        return self.template

    def _message(self, digest: str, *controls: Control) -> CertReqMsg:
        """Prove possession by a signature over the CertRequest: RFC 4211, 4.1."""
        template = replace(self.template, public_key=self.public_key)
        request = CertRequest(CERT_REQ_ID, template, controls)
        der = codec.encode_cert_request(request)
        signer = algorithms.signer(self.private_key, digest)
        proof = ProofOfPossession(signer.algorithm, signer.sign(der))
        return CertReqMsg(request, proof, cert_req_der=der)


@dataclass(frozen=True, slots=True)
class Enroll(_ForKey):
    """ir: the first certificate of an entity here (RFC 9483, 4.1.1)."""

    answered_by: ClassVar[type[Body]] = Ip

    def body(self, digest: str) -> Ir:
        return Ir((self._message(digest),))


@dataclass(frozen=True, slots=True)
class Certify(_ForKey):
    """cr: another certificate for an entity that has one (RFC 9483, 4.1.2)."""

    answered_by: ClassVar[type[Body]] = Cp

    def body(self, digest: str) -> Cr:
        return Cr((self._message(digest),))


@dataclass(frozen=True, slots=True)
class Update(_ForKey):
    """kur: a new certificate, of a new key, in place of `old_certificate` (RFC 9483, 4.1.3)."""

    old_certificate: x509.Certificate

    answered_by: ClassVar[type[Body]] = Kup

    def body(self, digest: str) -> Kur:
        old = self.old_certificate
        cert_id = CertId(x509.DirectoryName(old.issuer), old.serial_number)
        control = Control(OLD_CERT_ID, codec.encode_cert_id(cert_id))
        return Kur((self._message(digest, control),))


@dataclass(frozen=True, slots=True)
class SignCsr:
    """p10cr: a certificate for a PKCS #10 request, signed by whoever holds the key."""

    csr: x509.CertificateSigningRequest

    answered_by: ClassVar[type[Body]] = Cp
    answer_ids: ClassVar[frozenset[int]] = frozenset({NO_CERT_REQ_ID, CERT_REQ_ID})  # NCM, EJBCA: 0

    def __post_init__(self) -> None:
        try:
            valid = self.csr.is_signature_valid
        except (ValueError, UnsupportedAlgorithm) as error:
            raise LocalError(f"the PKCS #10 request cannot be checked: {error}") from None
        if not valid:
            raise LocalError("the signature of the PKCS #10 request does not verify")

    @property
    def public_key(self) -> PublicKeyTypes:
        return self.csr.public_key()

    @property
    def wanted(self) -> CertTemplate:
        return CertTemplate(self.csr.subject, extensions=tuple(self.csr.extensions))

    def body(self, _: str) -> P10cr:
        return P10cr(self.csr.public_bytes(Encoding.DER))


@dataclass(frozen=True, slots=True)
class Revoke:
    """rr (RFC 9483, 4.2). A reason has to be there, if only to say that none is told."""

    issuer: x509.Name
    serial_number: int
    reason: x509.ReasonFlags = x509.ReasonFlags.unspecified

    answered_by: ClassVar[type[Body]] = Rp

    @classmethod
    def of(
        cls,
        certificate: x509.Certificate,
        reason: x509.ReasonFlags = x509.ReasonFlags.unspecified,
    ) -> Self:
        """Return the request to revoke a certificate that is at hand."""
        return cls(certificate.issuer, certificate.serial_number, reason)

    def body(self, _: str) -> Rr:
        template = CertTemplate(issuer=self.issuer, serial_number=self.serial_number)
        reason = x509.CRLReason(self.reason)
        return Rr((RevDetails(template, (x509.Extension(reason.oid, False, reason),)),))


@dataclass(frozen=True, slots=True)
class Ask:
    """genm: general questions (RFC 9483, 4.3)."""

    items: tuple[InfoTypeAndValue, ...]

    answered_by: ClassVar[type[Body]] = GenP

    def body(self, _: str) -> GenM:
        return GenM(self.items)


CertificateRequest = Enroll | Certify | Update | SignCsr
Request = CertificateRequest | Revoke | Ask
