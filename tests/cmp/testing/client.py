"""A client that can be made to say anything: one transaction, message by message.

It checks nothing of its own accord, so that a test sees what the demo CA really answers.
"""

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cmp import algorithms, codec
from cmp.messages import (
    Body,
    CertConf,
    CertId,
    CertRepMessage,
    CertReqMsg,
    CertRequest,
    CertStatus,
    CertTemplate,
    Control,
    ErrorMsg,
    Ir,
    Kur,
    PKIHeader,
    PKIMessage,
    PKIStatusInfo,
    ProofOfPossession,
    RevDetails,
    Rp,
    Rr,
)
from cmp.names import parse_name
from cmp.protection import Credentials, MacCredentials, SignatureCredentials
from cmp.request import OLD_CERT_ID
from cmp.testing import DemoCA
from cmp.testing.keys import Identity, PrivateKey, generate_key

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SECRET = MacCredentials(b"nobody knows it", b"nf1")
PURPOSES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])


class Client:
    """`ask` sends one body and returns the decoded answer. Header fields can be overridden.

    `certs` are its extraCerts; a message can go without protection or with a spoiled one.
    """

    def __init__(self, ca: DemoCA, credentials: Credentials | Identity, *, now: datetime) -> None:
        if isinstance(credentials, Identity):
            credentials = SignatureCredentials(credentials.key, credentials.certificate)
        self.ca = ca
        self.credentials = credentials
        self.now = now
        self.id = os.urandom(16)
        self.nonce = b""
        self.their_nonce: bytes | None = None
        self.certs = credentials.sent_certs
        self.protection: Literal["right", "spoiled", "none"] = "right"

    def ask(self, body: Body, **header: Any) -> PKIMessage:
        answer = codec.decode(self.ca.answer(self.write(body, **header), now=self.now))
        self.their_nonce = answer.header.sender_nonce
        return answer

    def write(self, body: Body, **header: Any) -> bytes:
        self.nonce = os.urandom(16)
        seal = self.credentials.seal()
        plain = PKIHeader(
            sender=self.credentials.sender,
            recipient=x509.DirectoryName(self.ca.pki.issuing.certificate.subject),
            transaction_id=self.id,
            sender_nonce=self.nonce,
            recip_nonce=self.their_nonce,
            message_time=self.now,
            sender_kid=self.credentials.sender_kid,
            protection_alg=seal.algorithm,
        )
        protect = {
            "right": seal.protect,
            "spoiled": lambda part: seal.protect(part + b"!"),
            "none": None,
        }[self.protection]
        whole = replace(plain, **header)
        return codec.encode(whole, body, protect=protect, extra_certs=self.certs)

    def enroll(self, body: Ir | Kur) -> x509.Certificate:
        """Go all the way to the pkiConf."""
        certificate = granted(self.ask(body))
        self.ask(confirmation(certificate))
        return certificate


def by_mac(ca: DemoCA, *, now: datetime) -> Client:
    reference, secret = next(iter(ca.secrets.items()))
    return Client(ca, MacCredentials(secret, reference), now=now)


def an_identity(ca: DemoCA, *, now: datetime, subject: str = "/CN=occm") -> Identity:
    """A certificate the CA issued and saw confirmed."""
    key = generate_key()
    return Identity(key, by_mac(ca, now=now).enroll(ir(key, subject=subject)))


def request(
    key: PrivateKey,
    *,
    subject: str = "/CN=nrf.5gc.example",
    prove_by: PrivateKey | None = None,
    controls: tuple[Control, ...] = (),
    **template: Any,
) -> CertReqMsg:
    """Ask for a certificate for `key`; another key can be made to prove its possession."""
    extensions = (x509.Extension(PURPOSES.oid, False, PURPOSES),)
    asked = CertTemplate(
        subject=parse_name(subject), public_key=key.public_key(), extensions=extensions
    )
    cert_req = CertRequest(0, replace(asked, **template), controls)
    signer = algorithms.signer(prove_by or key, "SHA256")
    proof = signer.sign(codec.encode_cert_request(cert_req))
    return CertReqMsg(cert_req, ProofOfPossession(signer.algorithm, proof))


def a_csr(common_name: str = "nrf") -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return csr.public_bytes(Encoding.DER)


def ir(key: PrivateKey, **options: Any) -> Ir:
    return Ir((request(key, **options),))


def kur(
    key: PrivateKey, *, old: x509.Certificate, issuer: x509.Name | None = None, **options: Any
) -> Kur:
    """Ask to update `old`, naming its issuer or another one."""
    cert_id = CertId(x509.DirectoryName(issuer or old.issuer), old.serial_number)
    control = Control(OLD_CERT_ID, codec.encode_cert_id(cert_id))
    return Kur((request(key, controls=(control,), **options),))


def rr(certificate: x509.Certificate) -> Rr:
    template = CertTemplate(issuer=certificate.issuer, serial_number=certificate.serial_number)
    return Rr((RevDetails(template),))


def confirmation(
    certificate: x509.Certificate, *, cert_req_id: int = 0, status: PKIStatusInfo | None = None
) -> CertConf:
    cert_hash, named = algorithms.certificate_hash(certificate)
    return CertConf((CertStatus(cert_hash, cert_req_id, status, named),))


def granted(answer: PKIMessage) -> x509.Certificate:
    assert isinstance(answer.body, CertRepMessage), answer.body
    certificate = answer.body.responses[0].certificate
    assert certificate is not None, answer.body
    return certificate


def status(answer: PKIMessage) -> PKIStatusInfo:
    """The PKIStatusInfo of whatever came, error bodies included."""
    match answer.body:
        case CertRepMessage():
            return answer.body.responses[0].status
        case Rp():
            return answer.body.statuses[0]
        case ErrorMsg():
            return answer.body.status
    raise AssertionError(f"{answer.body} carries no status")


def failure(answer: PKIMessage) -> str:
    """The one failInfo bit of a refusal."""
    (bit,) = status(answer).fail_info
    return bit
