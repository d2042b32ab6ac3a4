"""Asking a CA as the worker does: real transport, real clock, one transaction from end to end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from cmp import (
    BadHttp,
    CertTemplate,
    Credentials,
    MacCredentials,
    Profile,
    Request,
    SignatureCredentials,
    State,
    Transaction,
    TrustStore,
    algorithms,
    codec,
    parse_name,
)
from cmp.http import HttpTransport, TlsTrust
from cmp.testing.keys import Identity
from tests.peers.openssl import OpenSslMock
from tests.peers.siemens import SiemensRa

Peer = OpenSslMock | SiemensRa

PROTECTIONS = {
    None: "nothing",
    algorithms.PASSWORD_BASED_MAC: "PBM",
    algorithms.PBMAC1: "PBMAC1",
}


@dataclass
class Asking:
    """One issuer's way to ask `peer`; `asked` and `answers` name the bodies that went by.

    `protections` says what protected the answers, `turned_away` counts the pages with 503 in their
    place: as those say that nothing was processed, the same message goes out again.
    """

    peer: Peer
    trust: TrustStore | None = None
    profile: dict[str, Any] = field(default_factory=dict)
    tls: TlsTrust | None = None
    http_version: Any = None
    asked: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    protections: list[str] = field(default_factory=list)
    turned_away: int = 0

    def __post_init__(self) -> None:
        pki = self.peer.peer.pki
        self.trust = self.trust or TrustStore(roots=(pki.root,), intermediates=pki.chain)

    @property
    def mac(self) -> MacCredentials:
        return MacCredentials(secret=self.peer.secret, reference=self.peer.reference)

    @property
    def device(self) -> SignatureCredentials:
        return signer(self.peer.peer.device)

    def __call__(
        self,
        request: Request,
        credentials: Credentials,
        *,
        between: Callable[[Transaction], None] = lambda _: None,
    ) -> Transaction:
        """Run the transaction to its end; raises what ends it."""
        assert self.trust is not None
        patience = timedelta(seconds=60)
        profile = Profile(
            **{"recipient": parse_name("/"), "total_timeout": patience, **self.profile}
        )
        tx = Transaction.begin(
            request, credentials=credentials, trust=self.trust, profile=profile, now=now()
        )
        timeout = timedelta(seconds=20)
        with HttpTransport(
            self.peer.url, tls=self.tls, message_timeout=timeout, http_version=self.http_version
        ) as ca:
            while tx.state is not State.DONE:
                between(tx)
                message = tx.outgoing(now=now())
                if message is None:
                    time.sleep(0.05)
                    continue
                self.asked.append(type(codec.decode(message).body).__name__)
                answer = self._answer(ca, tx, message)
                self.http_version = ca.http_version
                tx.receive(answer, now=now())
        return tx

    def _answer(self, ca: HttpTransport, tx: Transaction, message: bytes) -> bytes:
        try:
            der = ca.post(message)
        except BadHttp as error:
            if error.status != 503:
                raise
            self.turned_away += 1
            der = ca.post(tx.resend(now=now()))
        answer = codec.decode(der)
        algorithm = answer.header.protection_alg
        self.answers.append(type(answer.body).__name__)
        oid = None if algorithm is None else algorithm.algorithm
        self.protections.append(PROTECTIONS.get(oid, "signature"))
        return der


def now() -> datetime:
    return datetime.now(UTC)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def template(subject: str = "/CN=nf1.example") -> CertTemplate:
    names = x509.SubjectAlternativeName([x509.DNSName("nf1.example")])
    extension: x509.Extension[x509.ExtensionType] = x509.Extension(names.oid, False, names)
    return CertTemplate(subject=parse_name(subject), extensions=(extension,))


def a_csr(key: Any, subject: str = "/CN=nf1.example") -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(parse_name(subject))
    return builder.sign(key, hashes.SHA256())


def signer(identity: Identity, **fields: Any) -> SignatureCredentials:
    return SignatureCredentials(identity.key, identity.certificate, **fields)


def held(tx: Transaction, key: PrivateKeyTypes) -> SignatureCredentials:
    """What signs with the certificate that a transaction ended with."""
    assert tx.issued is not None
    return SignatureCredentials(key, tx.issued.certificate, tx.issued.chain)
