"""The names that operators choose from, their OIDs, and what signs and hashes under them.

RFC 9481 is the profile. Nothing weaker than SHA-256 is ever sent; a MAC over SHA-1 is still read,
because servers choose the parameters of their own password-based MAC.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.asn1 import TLV, decode_der
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from cmp import asn1
from cmp.errors import LocalError, Unprotected
from cmp.messages import AlgorithmIdentifier

NULL = b"\x05\x00"
OID = x509.ObjectIdentifier

DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}
DIGEST_OIDS = {
    "SHA256": OID("2.16.840.1.101.3.4.2.1"),
    "SHA384": OID("2.16.840.1.101.3.4.2.2"),
    "SHA512": OID("2.16.840.1.101.3.4.2.3"),
}
MAC_OIDS = {  # RFC 8018: hmacWithSHA…
    "HMACSHA256": OID("1.2.840.113549.2.9"),
    "HMACSHA384": OID("1.2.840.113549.2.10"),
    "HMACSHA512": OID("1.2.840.113549.2.11"),
}
PASSWORD_BASED_MAC = OID("1.2.840.113533.7.66.13")
PBMAC1 = OID("1.2.840.113549.1.5.14")
PBKDF2 = OID("1.2.840.113549.1.5.12")

# What is read in answers: hashlib names, by OID.
READ_DIGESTS = {oid: name.lower() for name, oid in DIGEST_OIDS.items()} | {
    OID("1.3.14.3.2.26"): "sha1"
}
READ_MACS = {oid: name.removeprefix("HMAC").lower() for name, oid in MAC_OIDS.items()} | {
    OID("1.3.6.1.5.5.8.1.2"): "sha1",  # HMAC-SHA1, what OpenSSL's server answers with
    OID("1.2.840.113549.2.7"): "sha1",
}

_RSA_PSS = OID("1.2.840.113549.1.1.10")
_MGF1 = OID("1.2.840.113549.1.1.8")
_LONGEST_SALT = 512  # bytes, and more than fits into a key of 4096 bits
_RSA = {
    OID("1.2.840.113549.1.1.11"): "SHA256",
    OID("1.2.840.113549.1.1.12"): "SHA384",
    OID("1.2.840.113549.1.1.13"): "SHA512",
}
_ECDSA = {
    OID("1.2.840.10045.4.3.2"): "SHA256",
    OID("1.2.840.10045.4.3.3"): "SHA384",
    OID("1.2.840.10045.4.3.4"): "SHA512",
}
_ED25519, _ED448 = OID("1.3.101.112"), OID("1.3.101.113")
_ML_DSA: dict[type, OID] = {  # FIPS 204; RFC 9881 for the certificates
    mldsa.MLDSA44PublicKey: OID("2.16.840.1.101.3.4.3.17"),
    mldsa.MLDSA65PublicKey: OID("2.16.840.1.101.3.4.3.18"),
    mldsa.MLDSA87PublicKey: OID("2.16.840.1.101.3.4.3.19"),
}
_MlDsaPublic = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey
_RSA_OID = {name: oid for oid, name in _RSA.items()}
_ECDSA_OID = {name: oid for oid, name in _ECDSA.items()}


@dataclass(frozen=True, slots=True)
class Signer:
    """A signature algorithm bound to a key: the identifier to announce, and the act."""

    algorithm: AlgorithmIdentifier
    sign: Callable[[bytes], bytes] = field(repr=False)


def signer(key: PrivateKeyTypes, digest: str) -> Signer:
    """Return how `key` signs with `digest` (SHA256, SHA384, SHA512; EdDSA has its own).

    Raises LocalError for a key that CMP peers cannot be expected to verify.
    """
    if digest not in DIGESTS:
        raise LocalError(f"{digest} is not a digest algorithm; use one of {', '.join(DIGESTS)}")
    algorithm = DIGESTS[digest]
    match key:  # parameters: RFC 9481, 3
        case rsa.RSAPrivateKey():
            scheme = padding.PKCS1v15()
            identifier = AlgorithmIdentifier(_RSA_OID[digest], NULL)
            return Signer(identifier, lambda data: key.sign(data, scheme, algorithm))
        case ec.EllipticCurvePrivateKey():
            ecdsa = ec.ECDSA(algorithm)
            return Signer(
                AlgorithmIdentifier(_ECDSA_OID[digest]), lambda data: key.sign(data, ecdsa)
            )
        case ed25519.Ed25519PrivateKey():
            return Signer(AlgorithmIdentifier(_ED25519), key.sign)
        case ed448.Ed448PrivateKey():
            return Signer(AlgorithmIdentifier(_ED448), key.sign)
        case mldsa.MLDSA44PrivateKey() | mldsa.MLDSA65PrivateKey() | mldsa.MLDSA87PrivateKey():
            return Signer(AlgorithmIdentifier(_ml_dsa_oid(key.public_key())), key.sign)
    raise LocalError(f"a {type(key).__name__} cannot sign CMP messages; use RSA or EC")


def verify(
    key: PublicKeyTypes, algorithm: AlgorithmIdentifier, signature: bytes, data: bytes
) -> None:
    """Check a signature by the algorithm that the message names. Raises Unprotected."""
    oid = algorithm.algorithm
    try:
        match key:
            case rsa.RSAPublicKey() if oid in _RSA:
                key.verify(signature, data, padding.PKCS1v15(), DIGESTS[_RSA[oid]])
            case rsa.RSAPublicKey() if oid == _RSA_PSS:
                scheme, digest = _pss(algorithm.parameters)
                key.verify(signature, data, scheme, digest)
            case ec.EllipticCurvePublicKey() if oid in _ECDSA:
                key.verify(signature, data, ec.ECDSA(DIGESTS[_ECDSA[oid]]))
            case ed25519.Ed25519PublicKey() if oid == _ED25519:
                key.verify(signature, data)
            case ed448.Ed448PublicKey() if oid == _ED448:
                key.verify(signature, data)
            case mldsa.MLDSA44PublicKey() | mldsa.MLDSA65PublicKey() | mldsa.MLDSA87PublicKey() if (
                oid == _ml_dsa_oid(key)
            ):
                key.verify(signature, data)
            case _:
                raise Unprotected(
                    f"the signature algorithm {oid.dotted_string} is not accepted with the "
                    f"signer's {type(key).__name__.removeprefix('_')}"
                )
    except InvalidSignature:
        raise Unprotected("the signature does not verify with the signer's key") from None
    except (ValueError, UnsupportedAlgorithm) as error:  # a key too small for its digest, …
        raise Unprotected(f"the signature cannot be checked: {error}") from None


def certificate_hash(certificate: x509.Certificate) -> tuple[bytes, AlgorithmIdentifier | None]:
    """Return certHash for a certConf, and hashAlg where the RFC wants it named.

    RFC 9810, 5.3.18: the hash of the certificate's own signature algorithm; RFC 9481, 3.3: SHA-512
    for Ed25519, SHAKE256 with 512 bits for Ed448. Other algorithms without a hash of their own
    (ML-DSA) or unknown to us: SHA-256, named in hashAlg (which needs pvno 3).
    """
    oid = certificate.signature_algorithm_oid
    if oid == _ED25519:
        return certificate.fingerprint(hashes.SHA512()), None
    if oid == _ED448:
        return certificate.fingerprint(hashes.SHAKE256(64)), None
    try:
        own = certificate.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError, TypeError):  # it must be named, to be refused
        own = None
    if own is not None:
        return certificate.fingerprint(own), None
    return certificate.fingerprint(hashes.SHA256()), AlgorithmIdentifier(DIGEST_OIDS["SHA256"])


def _ml_dsa_oid(key: _MlDsaPublic) -> OID:
    return next(oid for kind, oid in _ML_DSA.items() if isinstance(key, kind))


def _pss(parameters: bytes | None) -> tuple[padding.PSS, hashes.HashAlgorithm]:
    """Read RSASSA-PSS parameters (RFC 4055, 3.1); SHA-1, their default, is refused."""
    try:
        found = decode_der(asn1.RSASSAPSSParams, parameters or b"")
        digest = _digest(found.hash_algorithm)
        mgf_digest = _mgf1_digest(found.mask_gen_algorithm)
    except (ValueError, TypeError, KeyError) as error:
        raise Unprotected("the RSASSA-PSS parameters do not decode") from error
    if digest is None or mgf_digest is None:
        raise Unprotected("RSASSA-PSS is accepted with SHA-256, SHA-384 and SHA-512 only")
    salt = 20 if found.salt_length is None else found.salt_length
    if not 0 <= salt <= _LONGEST_SALT or found.trailer_field not in (None, 1):
        raise Unprotected("the RSASSA-PSS parameters are out of bounds")
    return padding.PSS(padding.MGF1(mgf_digest), salt), digest


def _mgf1_digest(algorithm: list[TLV] | None) -> hashes.HashAlgorithm | None:
    """Return the digest of MGF1, the only mask generation function there is."""
    if not algorithm or len(algorithm) != 2 or algorithm[0].parse(OID) != _MGF1:
        return None
    return _digest(asn1.elements(asn1.bytes_of(algorithm[1])))


def _digest(algorithm: list[TLV] | None) -> hashes.HashAlgorithm | None:
    """Return the digest of an AlgorithmIdentifier, None for one that is not accepted."""
    if not algorithm:
        return None
    oid = algorithm[0].parse(OID)
    return next((DIGESTS[name] for name, known in DIGEST_OIDS.items() if known == oid), None)
