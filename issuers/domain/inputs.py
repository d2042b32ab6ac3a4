"""The secrets that an issuer names: which, what for, and how their content is read.

Content is parsed anew only when it changed: to check an RSA key takes longer than an enrolment.
Nothing of a secret's content shows in an error.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from cryptography import x509

import secretstore
from issuers.models import Issuer
from secretstore import PrivateKey, Secret, SecretKeyRef

SOURCES = ("file:", "env:", "fd:", "stdin")  # openssl-passphrase-options(1), but for pass:


class ConfigurationError(Exception):
    """What was configured cannot work, although every secret and key is there."""

    code: ClassVar[str] = "CONFIGURATION"


@dataclass(frozen=True, slots=True)
class Input:
    """A key of a secret that an operator is to provide."""

    purpose: str
    ref: SecretKeyRef
    read: Callable[[Secret, SecretKeyRef], Any]
    pair: SecretKeyRef | None = None  # of a certificate: where its private key lies


def provided(issuer: Issuer, *, with_identity: bool) -> Iterator[Input]:
    """Yield what has to be there for the issuer to work, as its fields say.

    The OCCM identity is among it only where it is provided, and not created by us.
    """
    if issuer.initial_auth_type == Issuer.InitialAuthType.MAC:
        mac = ("MAC authentication input", issuer.mac_namespace, issuer.mac_secret)
        yield from _each(*mac, [issuer.mac_password_key], password)
        yield from _each(*mac, [issuer.mac_reference_key], secretstore.text)
    if issuer.initial_auth_type == Issuer.InitialAuthType.SIGNATURE:
        signature = (
            "Signature authentication input",
            issuer.initial_signature_namespace,
            issuer.initial_signature_secret,
        )
        yield from _pair(*signature, issuer.initial_signature_key, issuer.initial_signature_cert)
        yield from _each(*signature, issuer.initial_signature_extra_certs, certificates)
    if with_identity:
        identity = (
            "OCCM certificate",
            issuer.other_signature_namespace,
            issuer.other_signature_secret,
        )
        yield from _pair(*identity, issuer.other_signature_key, issuer.other_signature_cert)
    yield from trust_store(issuer)
    if issuer.tls_enabled:
        tls = ("TLS trust store", issuer.tls_namespace, issuer.tls_secret)
        yield from _each(*tls, issuer.tls_trusted_certs, certificates)


def trust_store(issuer: Issuer) -> Iterator[Input]:
    """Yield what the trust store of the issuer is to hold."""
    trust = ("OCCM trust store", issuer.trust_store_namespace, issuer.trust_store_secret)
    pinned = [issuer.trust_store_server_cert] if issuer.trust_store_server_cert else []
    cas = [*issuer.trust_store_root_ca_certs, *issuer.trust_store_intermediate_ca_certs]
    yield from _each(*trust, [*cas, *pinned], certificates)


def _each(
    purpose: str,
    namespace: str,
    secret: str,
    keys: Sequence[str],
    read: Callable[[Secret, SecretKeyRef], Any],
) -> Iterator[Input]:
    for key in keys:
        yield Input(purpose, SecretKeyRef(namespace, secret, key), read)


def _pair(purpose: str, namespace: str, secret: str, key: str, cert: str) -> Iterator[Input]:
    ref = SecretKeyRef(namespace, secret, key)
    yield Input(purpose, ref, private_key)
    yield Input(purpose, SecretKeyRef(namespace, secret, cert), certificates, pair=ref)


def password(secret: Secret, ref: SecretKeyRef) -> str:
    """Return a password written `VALUE` or `pass:VALUE`, as for OpenSSL.

    Raises ConfigurationError for its other sources: they lead to this process, not to a secret.
    """
    value = secretstore.text(secret, ref)
    if value == SOURCES[-1] or value.startswith(SOURCES[:-1]):
        raise ConfigurationError(
            f"{ref} names another source of a password (file:, env:, fd: or stdin):"
            " put the password itself there, as pass:VALUE"
        )
    value = value.removeprefix("pass:")
    if not value:
        raise ConfigurationError(f"{ref} holds an empty password: write it behind pass:")
    return value


def certificates(secret: Secret, ref: SecretKeyRef) -> tuple[x509.Certificate, ...]:
    """Return the certificates under a key, at least one; as `secretstore.certificates`."""
    content = secret.data.get(ref.key)
    if content is None:  # raises, and names what is there instead
        return secretstore.certificates(secret, ref)
    return _certificates(content, ref)


def private_key(secret: Secret, ref: SecretKeyRef) -> PrivateKey:
    """Return the private key under a key; as `secretstore.private_key`."""
    content = secret.data.get(ref.key)
    if content is None:
        return secretstore.private_key(secret, ref)
    return _private_key(content, ref)


@lru_cache(maxsize=2048)
def _certificates(content: bytes, ref: SecretKeyRef) -> tuple[x509.Certificate, ...]:
    return secretstore.certificates(Secret({ref.key: content}, None), ref)


@lru_cache(maxsize=512)
def _private_key(content: bytes, ref: SecretKeyRef) -> PrivateKey:
    return secretstore.private_key(Secret({ref.key: content}, None), ref)
