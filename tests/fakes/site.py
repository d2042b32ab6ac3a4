"""An OCCM installation in the test process: database, secrets in memory, and demo CAs at the other
end of lines that can be cut. Everything of the product is real; the test owns clock and faults.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import secretstore
from certificates.domain import dispatch, enroll, looks, revoke
from certificates.domain.dispatch import Call
from certificates.domain.world import World
from certificates.models import Certificate, Enrollment
from cmp import BadHttp, CertTemplate, NoAnswer, Unreachable, format_name
from cmp.testing import DemoCA, Pki
from cmp.testing.behaviour import Mishap
from issuers.models import Issuer
from secretstore import MemorySecretStore, Secret, SecretKeyRef, SecretMissing, SecretStore
from tests.factories import NOW, an_issuer

SECRET, REFERENCE = b"a shared secret", b"reference"


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass
class Line:
    """A `Transport` to a demo CA that acts out what befalls an answer on its way."""

    ca: DemoCA
    clock: Clock
    timeout: timedelta
    cut: bool = False
    http_version: str | None = "1.0"

    def post(self, der: bytes) -> bytes:
        if self.cut:
            raise Unreachable("connection refused")
        reply = self.ca.respond(der, now=self.clock())
        match reply.mishap:
            case Mishap.HTML_503:
                raise BadHttp("busy", status=503, retry_after=self.ca.retry_after)
            case Mishap.GARBAGE:
                return b"<html>no PKIMessage</html>"
            case Mishap.STALL | Mishap.DRIP:
                self.clock.now += self.timeout
                raise NoAnswer("no answer within the message timeout")
            case Mishap.DROP | Mishap.TRUNCATION:
                raise NoAnswer("the connection was closed")
        return reply.der

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class Site:
    clock: Clock = field(default_factory=Clock)
    secrets: Any = field(default_factory=MemorySecretStore)  # a SecretStore
    cas: dict[int, DemoCA] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)  # issuers that cannot be reached

    def add_ca(self, ca: DemoCA | None = None, **fields: Any) -> Issuer:
        """Put a CA into operation, with the inputs an operator would prepare for it."""
        if ca is None:
            ca = DemoCA(
                pki=Pki.generate("Test CA", now=self.clock() - timedelta(days=1)),
                secrets={REFERENCE: SECRET},
            )
        recipient = format_name(ca.pki.signer.certificate.subject)
        issuer = an_issuer(**{"recipient_dn": recipient} | fields)
        self.cas[issuer.pk] = ca
        self.put(issuer.mac_namespace, issuer.mac_secret, {"pwd": SECRET, "ref": REFERENCE})
        root = ca.pki.root.public_bytes(Encoding.PEM)
        self.put(issuer.trust_store_namespace, issuer.trust_store_secret, {"root.pem": root})
        return issuer

    def put(self, namespace: str, secret: str, values: Mapping[str, bytes]) -> None:
        """Write a secret as an operator does, whatever is there."""
        if not secret:
            return
        version = self.present(namespace, secret).version
        self.secrets.write(namespace, secret, values, version=version)

    def present(self, namespace: str, secret: str) -> Secret:
        """Return what a secret holds now, ABSENT if there is none."""
        try:
            found: Secret = self.secrets.read(namespace, secret)
        except SecretMissing:
            return secretstore.ABSENT
        return found

    def connect(self, issuer: Issuer, *, secrets: SecretStore, http_version: str, url: str) -> Line:
        timeout = timedelta(seconds=issuer.message_timeout_s)
        return Line(self.cas[issuer.pk], self.clock, timeout, issuer.pk in self.cut)

    @property
    def world(self) -> World:
        return World(self.clock, self.secrets, self.connect, pause=self.pause)

    def pause(self, seconds: float) -> None:
        self.clock.forward(seconds=seconds)

    def run(self) -> None:
        """Do what dispatcher and workers do, until nothing is due."""
        while calls := dispatch.tick(now=self.clock()):
            for call in calls:
                self.work(call)

    def work(self, call: Call) -> None:
        mine = enroll.claim(pk=call.enrollment, fence=call.fence, now=self.clock())
        if mine is not None and call.queue == "keys":
            enroll.make_key(mine)
        elif mine is not None:
            enroll.advance(mine, self.world)

    def revoke(self) -> None:
        """Have the revocations that are due taken up by workers."""
        while taken := revoke.take(now=self.clock()):
            for pk, fence in taken:
                revoke.run(pk, fence, self.world)

    def look(self) -> None:
        """Look at the secrets of certificates that are due for it."""
        while looks.look(secrets=self.secrets, now=self.clock()):
            pass

    def provide(
        self,
        issuer: Issuer,
        secret: str,
        *,
        days: int = 100,
        key: str = "tls.key",
        cert: str = "tls.crt",
    ) -> None:
        """Put a new pair, certified by the issuer's CA, into a secret, as an operator does."""
        now, private_key = self.clock(), ec.generate_private_key(ec.SECP256R1())
        template = CertTemplate(
            subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provided")]),
            public_key=private_key.public_key(),
            not_after=now + timedelta(days=days),
        )
        pki = self.cas[issuer.pk].pki
        leaf = pki.issuing.issue(template, now=now, validity=timedelta(days=days))
        values = {
            key: secretstore.encode_private_key(private_key, "PEM"),
            cert: secretstore.encode_chain([leaf, *pki.chain]),
        }
        self.put("ns1", secret, values)

    def run_until(self, done: Callable[[], bool], *, at_most: timedelta, step: float = 1) -> None:
        """Let time pass, in steps of seconds."""
        end = self.clock() + at_most
        while not done():
            assert self.clock() < end, "it takes too long"
            self.run()
            self.clock.forward(seconds=step)

    def value(self, certificate: Certificate, output: str) -> bytes:
        """Return what lies at one of a certificate's outputs now."""
        ref = self.ref(certificate, output)
        return self.present(ref.namespace, ref.secret).data[ref.key]

    def ref(self, certificate: Certificate, output: str) -> SecretKeyRef:
        return SecretKeyRef(
            getattr(certificate, f"{output}_output_namespace"),
            getattr(certificate, f"{output}_output_secret"),
            getattr(certificate, f"{output}_output_key"),
        )

    def leaf(self, certificate: Certificate) -> x509.Certificate:
        """Return the certificate that lies in the secret, proven to match the key beside it."""
        leaf_ref, key_ref = (
            self.ref(certificate, "certificate"),
            self.ref(certificate, "private_key"),
        )
        leaf_secret = self.secrets.read(leaf_ref.namespace, leaf_ref.secret)
        key_secret = self.secrets.read(key_ref.namespace, key_ref.secret)
        leaf = secretstore.certificates(leaf_secret, leaf_ref)[0]
        assert secretstore.is_pair(secretstore.private_key(key_secret, key_ref), leaf)
        return leaf

    def is_written(self, certificate: Certificate) -> bool:
        ref = self.ref(certificate, "private_key")
        return self.present(ref.namespace, ref.secret).exists

    def readiness(self, certificate: Certificate) -> str:
        rows = Certificate.objects.with_readiness(now=self.clock())
        return str(rows.get(pk=certificate.pk).readiness)

    def errand(self, certificate: Certificate) -> Enrollment:
        """Return the certificate's latest enrollment."""
        return certificate.enrollments.order_by("-pk").select_related("certificate")[0]
