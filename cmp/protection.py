"""How messages are authenticated: by a shared secret or by a signature (RFC 9810, 5.1.3).

Primitives for both sides. Which kind of protection is acceptable for an answer, and whether its
signer is trusted, is decided in `transaction` and `trust`. Secrets and keys never show in a repr.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.asn1 import TLV, decode_der, encode_der
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cmp import algorithms, asn1, codec
from cmp.algorithms import NULL, OID
from cmp.errors import LocalError, Unprotected
from cmp.messages import AlgorithmIdentifier, PKIHeader, PKIMessage

# Bounds on what a peer may make us hash, checked before hashing. Ours are in the middle.
PBM_ITERATIONS = range(100, 100_001)
PBKDF2_ITERATIONS = range(1, 1_000_001)
PBKDF2_ROUNDS = 700_000  # iterations by blocks of key: half a second
# Octets. RFC 9579: a MAC under a shorter key can be forged without the secret, by guessing the key.
KEY_LENGTHS = range(20, 513)
OUR_ITERATIONS = 1000

# What a certificate raises, late, whose extensions are not what they should be.
_DO_NOT_PARSE = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Seal:
    """What one transaction's messages are protected with; a MAC key is derived once, here."""

    algorithm: AlgorithmIdentifier
    protect: Callable[[bytes], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class MacCredentials:
    """A pre-shared secret and its reference (RFC 9483, 4.1.5); `pbmac1` as RFC 9481, 6.1.2."""

    secret: bytes = field(repr=False)
    reference: bytes
    digest: str = "SHA256"
    mac: str = "HMACSHA256"
    pbmac1: bool = False

    def __post_init__(self) -> None:
        if self.digest not in algorithms.DIGESTS or self.mac not in algorithms.MAC_OIDS:
            raise LocalError(f"no password-based MAC with {self.digest} and {self.mac}")
        if not self.secret or not self.reference:
            raise LocalError("the MAC secret and its reference must not be empty")

    @property
    def sender(self) -> x509.DirectoryName:
        """The reference as common name: strict servers compare it with senderKID."""
        try:
            text = self.reference.decode()
            name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        except ValueError:  # no text, or longer than a common name may be: the NULL-DN
            name = x509.Name([])
        return x509.DirectoryName(name)

    @property
    def sender_kid(self) -> bytes:
        return self.reference

    @property
    def sent_certs(self) -> tuple[x509.Certificate, ...]:
        return ()

    def seal(self) -> Seal:
        """Return a new seal with a salt of its own."""
        if self.pbmac1:
            return _pbmac1_seal(self)
        salt = os.urandom(16)
        parameters = asn1.PBMParameter(
            salt=salt,
            owf=_identifier(algorithms.DIGEST_OIDS[self.digest]),
            iteration_count=OUR_ITERATIONS,
            mac=_identifier(algorithms.MAC_OIDS[self.mac], NULL),
        )
        algorithm = AlgorithmIdentifier(algorithms.PASSWORD_BASED_MAC, encode_der(parameters))
        key = _pbm_key(self.secret, salt, self.digest.lower(), OUR_ITERATIONS)
        return Seal(algorithm, _hmac(key, self.mac))


@dataclass(frozen=True, slots=True)
class SignatureCredentials:
    """A key and its certificate, which goes first into extraCerts (RFC 9483, 3.3)."""

    private_key: PrivateKeyTypes = field(repr=False)
    certificate: x509.Certificate
    extra_certs: tuple[x509.Certificate, ...] = ()
    digest: str = "SHA256"

    def __post_init__(self) -> None:
        try:
            ours, named = (
                key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                for key in (self.private_key.public_key(), self.certificate.public_key())
            )
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise LocalError(f"the signer's certificate has no usable key: {error}") from None
        if ours != named:
            raise LocalError("the private key does not belong to the signer's certificate")

    @property
    def sender(self) -> x509.DirectoryName:
        """The subject of the protection certificate (RFC 9483, 3.1)."""
        return x509.DirectoryName(self.certificate.subject)

    @property
    def sender_kid(self) -> bytes | None:
        """The certificate's subject key identifier; None when it has none."""
        return subject_key_identifier(self.certificate)

    @property
    def sent_certs(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *self.extra_certs)

    def seal(self) -> Seal:
        signer = algorithms.signer(self.private_key, self.digest)
        return Seal(signer.algorithm, signer.sign)


Credentials = MacCredentials | SignatureCredentials


def subject_key_identifier(certificate: x509.Certificate) -> bytes | None:
    """Return the SKI extension's value, or None when there is none or it does not parse."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, *_DO_NOT_PARSE):
        return None
    return found.value.digest


def is_mac(header: PKIHeader) -> bool:
    """Tell whether the header announces a MAC by a shared secret."""
    algorithm = header.protection_alg
    return algorithm is not None and algorithm.algorithm in (
        algorithms.PASSWORD_BASED_MAC,
        algorithms.PBMAC1,
    )


def verify_mac(message: PKIMessage, secret: bytes) -> None:
    """Check a password-based MAC by the parameters the peer chose. Raises Unprotected."""
    algorithm, protection = _protected(message)
    try:
        if algorithm.algorithm == algorithms.PASSWORD_BASED_MAC:
            expected = _pbm(algorithm, secret, message.protected_part)
        elif algorithm.algorithm == algorithms.PBMAC1:
            expected = _pbmac1(algorithm, secret, message.protected_part)
        else:
            raise Unprotected("the message is not protected by a MAC")
        right = any(hmac.compare_digest(value, protection) for value in expected)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise Unprotected("the parameters of the password-based MAC do not decode") from error
    if not right:
        raise Unprotected("the MAC does not verify: is the secret the same on both sides?")


def verify_signature(message: PKIMessage, certificate: x509.Certificate) -> None:
    """Check the signature with the certificate's key. Raises Unprotected.

    Whether that certificate may sign for the CA is another question, see `trust`.
    """
    algorithm, protection = _protected(message)
    try:
        key = certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Unprotected("the signer's public key cannot be read") from error
    algorithms.verify(key, algorithm, protection, message.protected_part)


def _protected(message: PKIMessage) -> tuple[AlgorithmIdentifier, bytes]:
    algorithm, protection = message.header.protection_alg, message.protection
    if algorithm is None or not protection:
        raise Unprotected("the message is not protected")
    return algorithm, protection


# --- password-based MAC, RFC 9810, 5.1.3.1


def _pbm(algorithm: AlgorithmIdentifier, secret: bytes, data: bytes) -> Iterator[bytes]:
    parameters = decode_der(asn1.PBMParameter, algorithm.parameters or b"")
    _check(parameters.iteration_count, PBM_ITERATIONS)
    owf = _known(algorithms.READ_DIGESTS, parameters.owf[0].parse(OID), "one-way function")
    mac = _known(algorithms.READ_MACS, parameters.mac[0].parse(OID), "MAC")
    key = _pbm_key(secret, parameters.salt, owf, parameters.iteration_count)
    yield hmac.digest(key, data, mac)


def _pbm_key(secret: bytes, salt: bytes, owf: str, iterations: int) -> bytes:
    key = secret + salt
    for _ in range(iterations):
        key = hashlib.new(owf, key).digest()
    return key


# --- PBMAC1, RFC 8018, 7.1 as RFC 9481, 6.1.2 profiles it


def _pbmac1(algorithm: AlgorithmIdentifier, secret: bytes, data: bytes) -> Iterator[bytes]:
    """Yield the MACs that would be right: Bouncy Castle counts keyLength in bits, not octets."""
    parameters = decode_der(asn1.PBMAC1Params, algorithm.parameters or b"")
    derivation, scheme = parameters.key_derivation_func, parameters.message_auth_scheme
    if derivation[0].parse(OID) != algorithms.PBKDF2 or len(derivation) != 2:
        raise Unprotected("PBMAC1 is accepted with PBKDF2 only")
    pbkdf2 = derivation[1].parse(asn1.PBKDF2Params)
    _check(pbkdf2.iteration_count, PBKDF2_ITERATIONS)
    prf = "sha1"
    if pbkdf2.prf:
        prf = _known(algorithms.READ_MACS, pbkdf2.prf[0].parse(OID), "pseudorandom function")
    mac = _known(algorithms.READ_MACS, scheme[0].parse(OID), "MAC")
    length = hashlib.new(mac).digest_size if pbkdf2.key_length is None else pbkdf2.key_length
    for octets in _key_lengths(length, pbkdf2.iteration_count, hashlib.new(prf).digest_size):
        key = hashlib.pbkdf2_hmac(prf, secret, pbkdf2.salt, pbkdf2.iteration_count, octets)
        yield hmac.digest(key, data, mac)


def _key_lengths(length: int, iterations: int, block: int) -> list[int]:
    """Return what keyLength may mean in octets, if that is safe and can be afforded."""
    meant = (length, length // 8) if length % 8 == 0 else (length,)
    safe = [octets for octets in meant if octets in KEY_LENGTHS]
    if not safe:
        raise Unprotected(
            f"the MAC asks for a key of {length} octets; "
            f"{KEY_LENGTHS.start} to {KEY_LENGTHS.stop - 1} are accepted"
        )
    affordable = [octets for octets in safe if -(-octets // block) * iterations <= PBKDF2_ROUNDS]
    if not affordable:
        raise Unprotected(f"a key of {length} octets by {iterations} iterations costs too much")
    return affordable


def _pbmac1_seal(credentials: MacCredentials) -> Seal:
    salt, iterations = os.urandom(16), OUR_ITERATIONS * 10
    prf = algorithms.MAC_OIDS["HMAC" + credentials.digest]
    length = hashlib.new(credentials.mac.removeprefix("HMAC").lower()).digest_size
    derivation = asn1.PBKDF2Params(
        salt=salt, iteration_count=iterations, key_length=length, prf=_identifier(prf, NULL)
    )
    parameters = asn1.PBMAC1Params(
        key_derivation_func=_identifier(algorithms.PBKDF2, encode_der(derivation)),
        message_auth_scheme=_identifier(algorithms.MAC_OIDS[credentials.mac], NULL),
    )
    key = hashlib.pbkdf2_hmac(
        credentials.digest.lower(), credentials.secret, salt, iterations, length
    )
    algorithm = AlgorithmIdentifier(algorithms.PBMAC1, encode_der(parameters))
    return Seal(algorithm, _hmac(key, credentials.mac))


def _hmac(key: bytes, mac: str) -> Callable[[bytes], bytes]:
    name = mac.removeprefix("HMAC").lower()
    return lambda data: hmac.digest(key, data, name)


def _identifier(oid: OID, parameters: bytes | None = None) -> list[TLV]:
    der = codec.encode_algorithm(AlgorithmIdentifier(oid, parameters))
    return asn1.elements(der)


def _check(iterations: int, allowed: range) -> None:
    if iterations not in allowed:
        raise Unprotected(
            f"the MAC asks for {iterations} iterations; "
            f"{allowed.start} to {allowed.stop - 1} are accepted"
        )


def _known(table: dict[OID, str], oid: OID, what: str) -> str:
    try:
        return table[oid]
    except KeyError:
        raise Unprotected(f"the MAC's {what} {oid.dotted_string} is not accepted") from None
