"""Key pairs of the kinds tests need, and the certificate that goes with each."""

from dataclasses import dataclass
from typing import Literal, assert_never

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
Digest = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
KeyKind = Literal["EC", "EC384", "RSA", "RSA4096", "ED25519"]


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A private key and the certificate that goes with it."""

    key: PrivateKey
    certificate: x509.Certificate

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.certificate.subject.rfc4514_string()})"


def generate_key(kind: KeyKind = "EC") -> PrivateKey:
    match kind:
        case "EC":
            return ec.generate_private_key(ec.SECP256R1())
        case "EC384":
            return ec.generate_private_key(ec.SECP384R1())
        case "RSA":
            return rsa.generate_private_key(65537, 2048)
        case "RSA4096":
            return rsa.generate_private_key(65537, 4096)
        case "ED25519":
            return ed25519.Ed25519PrivateKey.generate()
    assert_never(kind)


def like(key: PrivateKey) -> PrivateKey:
    """Generate another key of the same kind and size."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ec.generate_private_key(key.curve)
    if isinstance(key, rsa.RSAPrivateKey):
        return rsa.generate_private_key(65537, key.key_size)
    return ed25519.Ed25519PrivateKey.generate()


def digest_for(key: PrivateKey, digest: Digest) -> Digest | None:
    """Return the digest to sign with; Ed25519 brings its own and takes none."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else digest
