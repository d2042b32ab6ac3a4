"""The certificates a demo CA lives on: root → intermediate CAs → CMP signer, TLS server.

For demos and tests only: saved keys lie unencrypted beside the certificates (0600 in 0700) and
nobody audits them.
"""

import ipaddress
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cmp.messages import CertTemplate
from cmp.testing.authority import Authority
from cmp.testing.keys import Digest, Identity, KeyKind, PrivateKey, generate_key, like

ROOT_LIFETIME = timedelta(days=3650)
SERVICE_LIFETIME = timedelta(days=1825)  # intermediate CAs, CMP signer, TLS server
CMC_CA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.27")  # id-kp-cmcCA, RFC 6402, 2.10
DIGESTS: dict[str, type[Digest]] = {
    each.name: each for each in (hashes.SHA256, hashes.SHA384, hashes.SHA512)
}


@dataclass(frozen=True, slots=True)
class Design:
    """How a PKI is built. `intermediates` are the CAs below the root, the last of which issues."""

    key: KeyKind = "EC"
    digest: Digest = field(default_factory=hashes.SHA256)  # signs certificates; Ed25519 has its own
    intermediates: int = 1
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    root_lifetime: timedelta = ROOT_LIFETIME
    signer_usages: tuple[x509.ObjectIdentifier, ...] = (CMC_CA,)


DEMO = Design()


@dataclass(frozen=True, slots=True)
class RootUpdate:
    """A root's successor and the two links between old and new (RFC 9810, 5.3.19.15)."""

    root: Authority
    new_with_old: x509.Certificate
    old_with_new: x509.Certificate


@dataclass(frozen=True, slots=True)
class Pki:
    """`authorities` runs from the root down to the issuing CA, which issues everything below it."""

    authorities: tuple[Authority, ...]
    signer: Identity
    tls: Identity

    @classmethod
    def generate(cls, name: str, *, now: datetime, design: Design = DEMO) -> Self:
        """Make all keys and certificates anew, in memory."""
        authority = Authority.self_signed(
            _name(f"{name} Root"),
            generate_key(design.key),
            digest=design.digest,
            now=now,
            ends=now + design.root_lifetime,
        )
        authorities = [authority]
        for n in range(design.intermediates, 0, -1):
            subject = _name(f"{name} Issuing CA" if n == 1 else f"{name} Intermediate CA {n - 1}")
            ends = now + SERVICE_LIFETIME
            key = generate_key(design.key)
            authority = authority.subordinate(subject, key, now=now, ends=ends)
            authorities.append(authority)

        usages = design.signer_usages
        signing = [x509.ExtendedKeyUsage(usages)] if usages else []
        serving = [
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            x509.SubjectAlternativeName([_host(host) for host in design.hosts]),
        ]
        tls_key: KeyKind = "EC" if design.key == "ED25519" else design.key  # few take Ed25519
        return cls(
            tuple(authorities),
            _service(authority, f"{name} CMP signer", generate_key(design.key), signing, now=now),
            _service(authority, f"{name} TLS server", generate_key(tls_key), serving, now=now),
        )

    @property
    def root(self) -> x509.Certificate:
        return self.authorities[0].certificate

    @property
    def issuing(self) -> Authority:
        return self.authorities[-1]

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What stands between a leaf and the root: issuing CA first, root left out."""
        return tuple(each.certificate for each in reversed(self.authorities[1:]))

    def successor(self, *, now: datetime) -> RootUpdate:
        """Make the next root, with the links that let holders of the old one follow."""
        old = self.authorities[0]
        name = old.certificate.subject
        ends = old.certificate.not_valid_after_utc
        new = Authority.self_signed(
            name, like(old.key), digest=old.digest, now=now, ends=now + ROOT_LIFETIME
        )
        return RootUpdate(
            new,
            new_with_old=old.subordinate(name, new.key, now=now, ends=ends).certificate,
            old_with_new=new.subordinate(name, old.key, now=now, ends=ends).certificate,
        )

    def save(self, folder: Path) -> None:
        """Write keys and certificates as PEM files; `load` finds the same PKI there again."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stem, identity in self._files():
            (folder / f"{stem}.pem").write_bytes(pem(identity.certificate))
            _write_private(folder / f"{stem}.key", identity.key)
        (folder / "digest").write_text(self.issuing.digest.name)  # last: now it is complete

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises OSError or ValueError when it is not all there."""
        digest = DIGESTS[(folder / "digest").read_text().strip()]()
        authorities = [_read(folder, path.stem) for path in sorted(folder.glob("ca-*.pem"))]
        return cls(
            tuple(Authority(each.key, each.certificate, digest) for each in authorities),
            _read(folder, "signer"),
            _read(folder, "tls"),
        )

    @classmethod
    def open(cls, folder: Path, name: str, *, now: datetime, design: Design = DEMO) -> Self:
        """Load the PKI kept in `folder`; on the first visit make one and save it there."""
        if not (folder / "digest").exists():
            cls.generate(name, now=now, design=design).save(folder)
        return cls.load(folder)

    def _files(self) -> Iterator[tuple[str, Identity]]:
        for n, authority in enumerate(self.authorities):
            yield f"ca-{n:02}", authority
        yield "signer", self.signer
        yield "tls", self.tls


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _service(
    issuing: Authority,
    name: str,
    key: PrivateKey,
    extensions: Iterable[x509.ExtensionType],
    *,
    now: datetime,
) -> Identity:
    template = CertTemplate(
        subject=_name(name),
        public_key=key.public_key(),
        extensions=tuple(x509.Extension(each.oid, False, each) for each in extensions),
    )
    return Identity(key, issuing.issue(template, now=now, validity=SERVICE_LIFETIME))


def _name(common_name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "OCCM demo")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_private(path: Path, key: PrivateKey) -> None:
    path.unlink(missing_ok=True)  # so that the mode given next is the one it gets
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private_pem(key))


def _read(folder: Path, stem: str) -> Identity:
    key = serialization.load_pem_private_key((folder / f"{stem}.key").read_bytes(), password=None)
    certificate = x509.load_pem_x509_certificate((folder / f"{stem}.pem").read_bytes())
    return Identity(cast("PrivateKey", key), certificate)
