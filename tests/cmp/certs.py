"""Certificates for tests, right by default, and wrong in whatever way a test asks for."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cmp.asn1 import sequence_of, wrap

DER = Encoding.DER
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
CA_USAGE = ("key_cert_sign", "crl_sign")
SIGNER_USAGE = ("digital_signature",)


@dataclass(frozen=True)
class Holder:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey


def an_ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def an_rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    """Return always the same key for a number: making one takes long."""
    return rsa.generate_private_key(65537, 2048)


def a_name(common_name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*names: str, critical: bool = True) -> x509.Extension[x509.KeyUsage]:
    value = x509.KeyUsage(**{usage: usage in names for usage in USAGES})
    return x509.Extension(value.oid, critical, value)


def constraints(
    *, ca: bool = True, path_length: int | None = None, critical: bool = True
) -> x509.Extension[x509.BasicConstraints]:
    value = x509.BasicConstraints(ca, path_length)
    return x509.Extension(value.oid, critical, value)


def purposes(*oids: x509.ObjectIdentifier) -> x509.Extension[x509.ExtendedKeyUsage]:
    value = x509.ExtendedKeyUsage(oids)
    return x509.Extension(value.oid, False, value)


def hosts(*names: str) -> x509.Extension[x509.SubjectAlternativeName]:
    def general(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    value = x509.SubjectAlternativeName([general(name) for name in names])
    return x509.Extension(value.oid, False, value)


def unknown_extension() -> x509.Extension[x509.UnrecognizedExtension]:
    value = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    return x509.Extension(value.oid, True, value)


CA_EXTENSIONS = (constraints(), key_usage(*CA_USAGE))
SIGNER_EXTENSIONS = (key_usage(*SIGNER_USAGE),)


def a_certificate(  # noqa: PLR0913 - what a certificate may differ in
    subject: str | x509.Name,
    issuer: Holder | None = None,
    *,
    extensions: Iterable[x509.Extension[x509.ExtensionType]] = (),
    key: PrivateKey | None = None,
    starts: datetime = NOW - YEAR,
    ends: datetime = NOW + YEAR,
    key_ids: bool = True,
) -> Holder:
    """Issue a certificate, self-signed without an issuer. `key_ids` are its SKI and AKI."""
    key = key or an_ec_key()
    name = a_name(subject) if isinstance(subject, str) else subject
    signing = issuer.key if issuer else key
    above = issuer.certificate.subject if issuer else name
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
    )
    for extension in extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    if key_ids:
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
        builder = builder.add_extension(identifier, False).add_extension(authority, False)
    return Holder(builder.sign(signing, hashes.SHA256()), key)


def renumbered(certificate: x509.Certificate, number: int, key: Any) -> x509.Certificate:
    """Return it with another serial number, also one that `cryptography` gives to none."""
    der, before = certificate.public_bytes(DER), certificate.tbs_certificate_bytes
    content = before[4:].replace(_integer(certificate.serial_number), _integer(number), 1)
    tbs = sequence_of(content)
    rest = der[4 + len(before) :]
    algorithm = rest[: 2 + rest[1]]
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return x509.load_der_x509_certificate(sequence_of(tbs + algorithm + wrap(3, b"\0" + signature)))


def _integer(number: int) -> bytes:
    return wrap(2, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def a_root(name: str = "Root", **fields: Any) -> Holder:
    return a_certificate(name, **{"extensions": CA_EXTENSIONS} | fields)


def a_sub_ca(name: str, issuer: Holder, **fields: Any) -> Holder:
    return a_certificate(name, issuer, **{"extensions": CA_EXTENSIONS} | fields)


def a_signer(issuer: Holder, name: str = "CMP signer", **fields: Any) -> Holder:
    return a_certificate(name, issuer, **{"extensions": SIGNER_EXTENSIONS} | fields)


def a_tls_server(issuer: Holder, *names: str, **fields: Any) -> Holder:
    extensions = (hosts(*names), purposes(ExtendedKeyUsageOID.SERVER_AUTH), *SIGNER_EXTENSIONS)
    return a_certificate("TLS server", issuer, **{"extensions": extensions} | fields)


def base64(data: bytes) -> str:
    return b64encode(data).decode()
