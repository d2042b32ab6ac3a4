"""Key pairs, made as an enrollment asks for them, and the template of the certificate for one."""

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certificates.fields import Sealed
from cmp import CertTemplate
from secretstore import PrivateKey

CURVES: Mapping[str, ec.EllipticCurve] = {"SECP256r1": ec.SECP256R1(), "SECP384r1": ec.SECP384R1()}
KEY_SIZES = {"KEYSIZE_2048": 2048, "KEYSIZE_4096": 4096}
SUBJECT = (
    (NameOID.COUNTRY_NAME, "country"),
    (NameOID.STATE_OR_PROVINCE_NAME, "state"),
    (NameOID.LOCALITY_NAME, "location"),
    (NameOID.ORGANIZATION_NAME, "organization"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "organization_unit"),
    (NameOID.COMMON_NAME, "common_name"),
)
EXTENDED_KEY_USAGES = {
    "CLIENT_AUTH": ExtendedKeyUsageOID.CLIENT_AUTH,
    "SERVER_AUTH": ExtendedKeyUsageOID.SERVER_AUTH,
}


def generate(request: Mapping[str, Any]) -> PrivateKey:
    """Make a new key pair of the kind an enrollment's frozen request names."""
    if request["key_algorithm"] == "RSA":
        return rsa.generate_private_key(65537, KEY_SIZES[request["key_size"]])
    return ec.generate_private_key(CURVES[request["elliptic_curve"]])


def made(request: Mapping[str, Any]) -> dict[str, Any]:
    """Make a new key pair, and return the changes that an enrollment keeps it by."""
    key = generate(request)
    return {"private_key": Sealed(to_der(key)), "public_key_sha256": public_key_sha256(key)}


def to_der(key: PrivateKey) -> bytes:
    """Return PKCS#8, not encrypted: where it is kept, the column is."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def from_der(der: bytes) -> PrivateKey:
    """Return a key that was made here: it needs no test, which takes long with RSA."""
    key = load_der_private_key(der, password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, PrivateKey):
        raise TypeError(f"a {type(key).__name__} was never generated here")
    return key


def public_key_sha256(key: PrivateKey) -> str:
    """Return the hexadecimal SHA-256 of the SubjectPublicKeyInfo."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def template(
    request: Mapping[str, Any], key: PrivateKey, *, issuer: x509.Name | None, at: datetime
) -> CertTemplate:
    """Return what the certificate is to say, valid from `at` on for the days asked for."""
    return CertTemplate(
        subject=_subject(request),
        public_key=key.public_key(),
        issuer=issuer,
        not_before=at.replace(microsecond=0),
        not_after=at.replace(microsecond=0) + timedelta(days=request["requested_validity_days"]),
        extensions=tuple(_extensions(request)),
    )


def _subject(request: Mapping[str, Any]) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(oid, request[field]) for oid, field in SUBJECT if request[field]]
    )


def _extensions(request: Mapping[str, Any]) -> Iterator[x509.Extension[x509.ExtensionType]]:
    def extension(value: x509.ExtensionType, *, critical: bool) -> x509.Extension[Any]:
        return x509.Extension(value.oid, critical, value)

    yield extension(_key_usage(request["key_usage"]), critical=True)
    if purposes := [EXTENDED_KEY_USAGES[name] for name in request["extended_key_usage"]]:
        yield extension(x509.ExtendedKeyUsage(purposes), critical=False)
    yield extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if names := list(_alternative_names(request)):
        yield extension(x509.SubjectAlternativeName(names), critical=False)


def _key_usage(names: list[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="DIGITAL_SIGNATURE" in names,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(request: Mapping[str, Any]) -> Iterator[x509.GeneralName]:
    yield from map(x509.DNSName, request["dns_names"])
    for address in request["ip_addresses"]:
        yield x509.IPAddress(ipaddress.ip_address(address))
    for uri in (*request["uri_api_roots"], *request["uri_urns"]):
        yield x509.UniformResourceIdentifier(uri)
