"""What lies in secrets and how it is written there: certificates, private keys, text.

Whatever does not parse raises Unreadable, which names the place and says what is expected there,
and never repeats any of the content.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from secretstore.base import KeyMissing, Secret, SecretKeyRef, SecretMissing, Unreadable

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey
EncodingName = Literal["PEM", "DER"]

_ENCODINGS: Final = {"PEM": Encoding.PEM, "DER": Encoding.DER}
_PEM: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----")
_PEM_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_LINE_END: Final = re.compile(r"\r?\n\Z")
_CERTIFICATES_EXPECTED: Final = "put one or more certificates there, PEM or DER"
_KEY_EXPECTED: Final = "put one RSA or EC private key there, PKCS#8 or traditional, PEM or DER"


def value(secret: Secret, ref: SecretKeyRef) -> bytes:
    """Return the bytes under a key. Raises SecretMissing, KeyMissing, or Unreadable if empty."""
    if not secret.exists:
        raise SecretMissing(
            f"secret {ref.namespace}/{ref.secret}, which is to hold key {ref.key!r},"
            " does not exist: create it, or correct the name"
        )
    try:
        found = secret.data[ref.key]
    except KeyError:
        others = ", ".join(sorted(secret.data)[:10]) or "nothing"
        raise KeyMissing(
            f"secret {ref.namespace}/{ref.secret} has no key {ref.key!r}, only {others}:"
            " add it, or correct the key's name"
        ) from None
    if not found:
        raise Unreadable(f"{ref} is empty: put the value there")
    return found


def certificates(secret: Secret, ref: SecretKeyRef) -> tuple[x509.Certificate, ...]:
    """Return the certificates under a key, in their order: PEM, text around it allowed, or DER."""
    found = value(secret, ref)
    blocks = len(_PEM_CERTIFICATE.findall(found))
    try:
        if blocks:
            loaded = tuple(x509.load_pem_x509_certificates(found))
        else:
            loaded = tuple(map(x509.load_der_x509_certificate, _elements(found)))
    except (ValueError, x509.InvalidVersion):
        raise _unreadable(ref, found, _CERTIFICATES_EXPECTED) from None
    if len(loaded) < blocks:  # the parser passes over a block that has no end
        raise _unreadable(ref, found, f"only {len(loaded)} of {blocks} PEM certificates are whole")
    return loaded


def private_key(secret: Secret, ref: SecretKeyRef) -> PrivateKey:
    """Return the private key under a key: PKCS#8 or traditional, PEM or DER, not encrypted."""
    found = value(secret, ref)
    load = load_pem_private_key if _PEM.search(found) else load_der_private_key
    try:
        loaded = load(found, password=None)
    except TypeError:  # how cryptography says that it needs a password
        raise Unreadable(
            f"{ref} is an encrypted private key: put it there without a passphrase"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _unreadable(ref, found, _KEY_EXPECTED) from None
    if not isinstance(loaded, PrivateKey):
        raise Unreadable(f"{ref} is a private key of another kind: {_KEY_EXPECTED}")
    return loaded


def text(secret: Secret, ref: SecretKeyRef) -> str:
    """Return the text under a key without the line end that editors and `echo` leave behind."""
    try:
        found = value(secret, ref).decode()
    except UnicodeDecodeError:
        raise Unreadable(f"{ref} is not text: put UTF-8 there") from None
    line = _LINE_END.sub("", found)
    if not line:
        raise Unreadable(f"{ref} is empty: put the value there")
    return line


def is_pair(key: PrivateKey, certificate: x509.Certificate) -> bool:
    """Say whether the certificate was issued for this key."""
    try:
        return certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):  # the certificate's key is of a kind unknown here
        return False


def encode_private_key(key: PrivateKey, encoding: EncodingName) -> bytes:
    """Encode as PKCS#8, not encrypted: a Secret is where it is kept."""
    return key.private_bytes(_ENCODINGS[encoding], PrivateFormat.PKCS8, NoEncryption())


def encode_certificate(certificate: x509.Certificate, encoding: EncodingName) -> bytes:
    return certificate.public_bytes(_ENCODINGS[encoding])


def encode_chain(chain: Iterable[x509.Certificate]) -> bytes:
    """Encode certificates as PEM, one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def _elements(der: bytes) -> Iterator[bytes]:
    """Split concatenated DER elements; what does not divide stays whole, for a parser to refuse."""
    while der:
        size = _element_size(der)
        yield der[:size]
        der = der[size:]


def _element_size(der: bytes) -> int:
    first = der[1] if len(der) > 1 else 0
    if first < 0x80:
        return 2 + first
    octets = first & 0x7F  # X.690, 8.1.3.5: that many octets of length follow
    return 2 + octets + int.from_bytes(der[2 : 2 + octets])


def _unreadable(ref: SecretKeyRef, found: bytes, expected: str) -> Unreadable:
    try:
        decoded = base64.b64decode(b"".join(found.split()), validate=True)
    except binascii.Error:
        decoded = b""
    if decoded and (_PEM.search(decoded) or decoded.startswith(b"\x30\x82")):
        return Unreadable(f"{ref} is base64 of what is to be there: put it there decoded")
    return Unreadable(f"{ref} cannot be read: {expected}")
