"""Asking a CA as the worker does: real transport, real clock, one transaction from end to end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from cmp import (
    CertTemplate,
    Credentials,
    MacCredentials,
    Profile,
    Request,
    SignatureCredentials,
    State,
    Transaction,
    TrustStore,
    codec,
    parse_name,
)
from cmp.http import HttpTransport, TlsTrust
from cmp.testing.keys import Identity
from tests.peers.openssl import OpenSslMock
from tests.peers.siemens import SiemensRa

Peer = OpenSslMock | SiemensRa


@dataclass
class Asking:
    """One issuer's way to ask `peer`; `asked` and `answers` name the bodies that went by."""

    peer: Peer
    trust: TrustStore | None = None
    profile: dict[str, Any] = field(default_factory=dict)
    tls: TlsTrust | None = None
    http_version: Any = None
    asked: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

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
        profile = Profile(recipient=parse_name("/"), **self.profile)
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
                self.asked.append(_body(message))
                answer = ca.post(message)
                self.answers.append(_body(answer))
                tx.receive(answer, now=now())
        self.http_version = ca.http_version
        return tx


def now() -> datetime:
    return datetime.now(UTC)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def template(subject: str = "/CN=nf1.example") -> CertTemplate:
    names = x509.SubjectAlternativeName([x509.DNSName("nf1.example")])
    extension: x509.Extension[x509.ExtensionType] = x509.Extension(names.oid, False, names)
    return CertTemplate(subject=parse_name(subject), extensions=(extension,))


def signer(identity: Identity, **fields: Any) -> SignatureCredentials:
    return SignatureCredentials(identity.key, identity.certificate, **fields)


def held(tx: Transaction, key: PrivateKeyTypes) -> SignatureCredentials:
    """What signs with the certificate that a transaction ended with."""
    assert tx.issued is not None
    return SignatureCredentials(key, tx.issued.certificate, tx.issued.chain)


def _body(der: bytes) -> str:
    return type(codec.decode(der).body).__name__
