"""What peers live on: the demo CA's kind of PKI, and a vendor's for certificate initial trust."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from cmp.messages import CertTemplate
from cmp.testing.authority import Authority
from cmp.testing.keys import Identity, KeyKind, generate_key
from cmp.testing.pki import Design, Pki, pem, private_pem

LIFETIME = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class PeerPki:
    """`pki` is the operator's; `device` is what a vendor put into a network function."""

    pki: Pki
    vendor: Authority
    device: Identity

    @classmethod
    def generate(cls, name: str, design: Design | None = None) -> Self:
        now = datetime.now(UTC)
        pki = Pki.generate(name, now=now, design=design or Design())
        vendor = Authority.self_signed(
            named("Vendor Root"),
            generate_key("EC"),
            digest=hashes.SHA256(),
            now=now,
            ends=now + LIFETIME,
        )
        return cls(pki, vendor, leaf(vendor, "NF-device-001"))


def leaf(
    issuer: Authority,
    common_name: str,
    *,
    kind: KeyKind = "EC",
    usages: Iterable[x509.ObjectIdentifier] = (),
) -> Identity:
    """Issue an end entity certificate with a key of its own."""
    key = generate_key(kind)
    usage = x509.ExtendedKeyUsage(usages)
    template = CertTemplate(
        subject=named(common_name),
        public_key=key.public_key(),
        extensions=(x509.Extension(usage.oid, False, usage),) if list(usage) else (),
    )
    return Identity(key, issuer.issue(template, now=datetime.now(UTC), validity=LIFETIME))


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def write(
    folder: Path, stem: str, identity: Identity, chain: Iterable[x509.Certificate] = ()
) -> None:
    """Write STEM.key and STEM.pem, the chain after the certificate."""
    (folder / f"{stem}.key").write_bytes(private_pem(identity.key))
    write_certificates(folder, stem, [identity.certificate, *chain])


def write_certificates(folder: Path, stem: str, certificates: Iterable[x509.Certificate]) -> None:
    (folder / f"{stem}.pem").write_bytes(b"".join(map(pem, certificates)))
