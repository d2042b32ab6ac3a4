"""A CA's hand: writes whatever answer a test wants to a client's message, right or wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.asn1 import decode_der
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from cmp import asn1, codec
from cmp.messages import (
    CertRepMessage,
    CertReqMessages,
    CertResponse,
    CertTemplate,
    InfoTypeAndValue,
    Ip,
    P10cr,
    PKIHeader,
    PKIStatus,
    PKIStatusInfo,
)
from cmp.protection import Credentials, MacCredentials, SignatureCredentials
from cmp.trust import TrustStore
from tests.cmp.certs import NOW, YEAR, Holder, a_root, a_signer, a_sub_ca

GRANT_IMPLICITLY = InfoTypeAndValue(x509.ObjectIdentifier("1.3.6.1.5.5.7.4.13"), b"\x05\x00")
SECRET = b"a pre-shared secret"
REFERENCE = b"4711"


@dataclass
class Hand:
    """`root` anchors everything; `issuing` issues; `signer` signs answers."""

    root: Holder = field(default_factory=a_root)
    issuing: Holder = field(init=False)
    signer: Holder = field(init=False)

    def __post_init__(self) -> None:
        self.issuing = a_sub_ca("Issuing CA", self.root)
        self.signer = a_signer(self.issuing)

    @property
    def trust(self) -> TrustStore:
        return TrustStore(roots=(self.root.certificate,))

    @property
    def by_signature(self) -> SignatureCredentials:
        return SignatureCredentials(
            self.signer.key, self.signer.certificate, (self.issuing.certificate,)
        )

    @property
    def by_mac(self) -> MacCredentials:
        return MacCredentials(SECRET, REFERENCE)

    def identity(self, name: str = "occm", **fields: Any) -> SignatureCredentials:
        holder = a_signer(self.issuing, name, **fields)
        return SignatureCredentials(holder.key, holder.certificate, (self.issuing.certificate,))

    def issue(
        self,
        question: bytes,
        *,
        key: PublicKeyTypes | None = None,
        by: Holder | None = None,
        template: CertTemplate | None = None,
        digest: hashes.SHA256 | hashes.SHA384 | None = None,
        **changes: Any,
    ) -> x509.Certificate:
        """Issue what the message asks for, but for the `changes` to its template."""
        wanted = replace(template or requested(question), **changes)
        by = by or self.issuing
        public_key = key or wanted.public_key
        assert wanted.subject is not None
        builder = (
            x509.CertificateBuilder()
            .subject_name(wanted.subject)
            .issuer_name(by.certificate.subject)
            .public_key(public_key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(wanted.not_before or NOW)
            .not_valid_after(wanted.not_after or NOW + YEAR / 2)
        )
        for extension in wanted.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(by.key, digest or hashes.SHA256())

    def grants(  # noqa: PLR0913 - what a CA may get wrong
        self,
        question: bytes,
        certificate: x509.Certificate | None = None,
        *,
        body: type[CertRepMessage] = Ip,
        status: PKIStatus = PKIStatus.accepted,
        cert_req_id: int = 0,
        ca_pubs: Iterable[x509.Certificate] = (),
    ) -> CertRepMessage:
        """Return the body that grants a certificate."""
        certificate = certificate or self.issue(question)
        response = CertResponse(cert_req_id, PKIStatusInfo(status), certificate)
        return body((response,), tuple(ca_pubs))

    def answer(  # noqa: PLR0913 - what a CA may get wrong
        self,
        question: bytes,
        body: Any,
        *,
        by: Credentials | None = None,
        protected: bool = True,
        extra_certs: Iterable[x509.Certificate] | None = None,
        patch: tuple[bytes, bytes] | None = None,
        **header: Any,
    ) -> bytes:
        """Answer a message. `header` overrides fields, `patch` bytes before they are protected."""
        asked = codec.decode(question).header
        by = by or self.by_signature
        seal = by.seal()
        fields: dict[str, Any] = {
            "sender": by.sender,
            "recipient": asked.sender,
            "transaction_id": asked.transaction_id,
            "sender_nonce": os.urandom(16),
            "recip_nonce": asked.sender_nonce,
            "message_time": NOW,
            "sender_kid": by.sender_kid,
            "protection_alg": seal.algorithm if protected else None,
        }
        bare = codec.encode(PKIHeader(**fields | header), body, protect=None)
        if patch:
            assert bare.count(patch[0]) == 1
            bare = bare.replace(*patch)
        envelope = decode_der(asn1.Envelope, bare)
        inside = asn1.bytes_of(envelope.header) + asn1.bytes_of(envelope.body)
        message = inside
        if protected:
            protection = seal.protect(asn1.sequence_of(inside))
            message += asn1.wrap(0xA0, asn1.wrap(0x03, b"\0" + protection))
        brought = by.sent_certs if extra_certs is None else tuple(extra_certs)
        if brought:
            ders = b"".join(one.public_bytes(Encoding.DER) for one in brought)
            message += asn1.wrap(0xA1, asn1.sequence_of(ders))
        return asn1.sequence_of(message)


def requested(question: bytes) -> CertTemplate:
    """Return the certificate template of a request."""
    match codec.decode(question).body:
        case CertReqMessages(requests=(request,)):
            return request.cert_req.template
        case P10cr(csr):
            parsed = x509.load_der_x509_csr(csr)
            return CertTemplate(parsed.subject, parsed.public_key())
        case body:
            raise AssertionError(f"{body} asks for no certificate")
