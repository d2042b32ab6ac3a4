"""What a transaction is run with: who signs, whom to believe, and the checks before the first byte.

All of it is read from the secrets at every step, so a change in the cluster takes effect; only the
signer of an open transaction is pinned, for the CA would not know another, and a certificate signs
its own renewal only while it lies where it was delivered.
"""

import base64
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

import secretstore
from certificates.domain import identity, keys
from certificates.domain.places import outputs
from certificates.models import Certificate, Enrollment
from cmp import Credentials, Profile, SignatureCredentials, TrustStore, format_name
from issuers.domain import channel
from issuers.domain.channel import ConfigurationError
from secretstore import (
    ABSENT,
    Conflict,
    KeyMissing,
    SecretKeyRef,
    SecretMissing,
    SecretStore,
    Unreadable,
)

Signer = Enrollment.Signer

GONE = (SecretMissing, KeyMissing, Unreadable, ConfigurationError)  # not: the store is away


class SignerReplaced(Exception):
    """The pair an open transaction was begun with is gone: it cannot go on."""


class NotInPlace(Exception):
    """What is to sign its own renewal does not lie in its secret: only an ir can replace it."""


@dataclass(frozen=True, slots=True)
class Means:
    credentials: Credentials
    trust: TrustStore
    profile: Profile

    @property
    def signer_fingerprint(self) -> str:
        return _whose(self.credentials)


def gather(enrollment: Enrollment, secrets: SecretStore) -> Means:
    """Read what the enrollment's transaction needs.

    Raises SecretStoreError and ConfigurationError; SignerReplaced for an open transaction whose
    signer is no longer to be had, and NotInPlace for a renewal that nothing can sign.
    """
    issuer = enrollment.ca
    trust = channel.trust_store(issuer, secrets=secrets)
    trust = replace(trust, intermediates=(*trust.intermediates, *_bundle(enrollment, secrets)))
    return Means(_credentials(enrollment, secrets), trust, channel.profile(issuer))


def check(enrollment: Enrollment, means: Means, secrets: SecretStore, *, now: datetime) -> None:
    """Raise what would only show after the CA has issued: ConfigurationError, SecretStoreError."""
    require_own_places(enrollment)
    trust = means.trust
    anchors = (trust.server_cert,) if trust.server_cert else trust.roots
    if not any(_valid(anchor, now) for anchor in anchors):
        raise ConfigurationError(
            f"no CA certificate in the trust store of issuer {enrollment.issuer_name} is valid now:"
            f" {', '.join(map(_described, anchors)) or 'it is empty'}"
        )
    if not trust.can_anchor_issued(now):
        place = f"{enrollment.ca.trust_store_namespace}/{enrollment.ca.trust_store_secret}"
        raise ConfigurationError(
            f"what issuer {enrollment.issuer_name} issues could not be accepted: neither its trust"
            f" store, secret {place}, nor a CA bundle holds the certificate of a CA that is valid"
            " now: add it to the intermediate CA certs"
        )
    if isinstance(means.credentials, SignatureCredentials):
        signer = means.credentials.certificate
        if not _valid(signer, now):
            raise ConfigurationError(f"the request would be signed with {_described(signer)}")
    for namespace, secret in sorted({(ref.namespace, ref.secret) for ref in places(enrollment)}):
        if not _present(secrets, namespace, secret).exists:  # so that a missing namespace shows now
            with suppress(Conflict):  # somebody has created it meanwhile
                secrets.write(namespace, secret, {"tls.crt": b""}, version=None, dry_run=True)


def old_certificate(enrollment: Enrollment, means: Means) -> x509.Certificate:
    """Return the certificate that is renewed: its issuer and serial number go into a kur."""
    if enrollment.signer == Signer.ITSELF and isinstance(means.credentials, SignatureCredentials):
        return means.credentials.certificate
    delivered = bytes(enrollment.certificate.certificate_der)
    if not delivered:
        raise ConfigurationError(f"{enrollment.certificate} has no certificate to renew")
    return x509.load_der_x509_certificate(delivered)


def places(enrollment: Enrollment) -> tuple[SecretKeyRef, ...]:
    """Return where the private key, the certificate and, if anywhere, the chain go."""
    request = enrollment.request
    found = (place(request, name) for name in ("private_key", "certificate", "chain"))
    return tuple(ref for ref in found if ref is not None)


def require_own_places(enrollment: Enrollment) -> None:
    """Raise ConfigurationError if it was to be written where its certificate no longer is.

    What lies there now may be another certificate's.
    """
    own = outputs(enrollment.certificate)
    for ref in places(enrollment):
        if ref not in own:
            raise ConfigurationError(
                f"{ref} is no output of {enrollment.certificate} any more: stop this procedure and"
                " renew or recreate the certificate"
            )


def place(request: Mapping[str, Any], name: str) -> SecretKeyRef | None:
    """Return one output of a frozen request; None where it is left out."""
    key = request[f"{name}_output_key"]
    if not key:
        return None
    return SecretKeyRef(request[f"{name}_output_namespace"], request[f"{name}_output_secret"], key)


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _credentials(enrollment: Enrollment, secrets: SecretStore) -> Credentials:
    """Return what signs, as it lies in its secret.

    Where that has to be one certain pair, and another lies there or none, the key that OCCM keeps
    of an identity stands in.
    """
    certificate, pinned = enrollment.certificate, enrollment.signer_fingerprint
    itself = enrollment.signer == Signer.ITSELF
    manual = itself and certificate.creation_mode == Certificate.CreationMode.MANUAL
    wanted = pinned or (certificate.fingerprint if itself else "")
    lost: Exception | None = None
    try:
        found = _as_they_lie(enrollment, secrets)
    except GONE as error:
        if not wanted:
            raise
        lost = error
    else:
        if wanted in {"", _whose(found)}:
            return found
    kept = None if manual else _kept(enrollment, wanted)
    if kept is not None:
        return kept
    if lost is not None and (manual or not itself):  # it is the operator's to put there again
        raise lost
    if pinned:
        raise SignerReplaced(f"the certificate that signed for {enrollment} was replaced")
    if manual:
        raise ConfigurationError(
            f"another certificate lies in the secret of {certificate} than was last seen there: it"
            " is looked at first, and renewed if its own time for that has come"
        )
    raise NotInPlace(str(lost or "its secret holds another certificate than OCCM put there"))


def _as_they_lie(enrollment: Enrollment, secrets: SecretStore) -> Credentials:
    issuer = enrollment.ca
    if enrollment.signer == Signer.INITIAL:
        return channel.initial_credentials(issuer, secrets=secrets)
    own = enrollment.certificate.cert_type == Certificate.CertType.OCCM
    if enrollment.signer == Signer.IDENTITY or own:
        return channel.identity_credentials(issuer, secrets=secrets)
    return _itself(enrollment, secrets, digest=issuer.other_auth_digest)


def _whose(credentials: Credentials) -> str:
    """Return the SHA-256 of the signer's certificate; where a MAC protects, of its reference."""
    if isinstance(credentials, SignatureCredentials):
        return fingerprint(credentials.certificate)
    return hashlib.sha256(credentials.reference).hexdigest()


def _itself(enrollment: Enrollment, secrets: SecretStore, *, digest: str) -> SignatureCredentials:
    """Return the NF certificate that is to be renewed, as it lies in its outputs."""
    key_ref, leaf_ref, *chain_refs = places(enrollment)
    key_secret = secrets.read(key_ref.namespace, key_ref.secret)
    leaf_secret = secrets.read(leaf_ref.namespace, leaf_ref.secret)
    key = secretstore.private_key(key_secret, key_ref)
    leaf, *above = secretstore.certificates(leaf_secret, leaf_ref)
    if not secretstore.is_pair(key, leaf):
        raise ConfigurationError(f"{key_ref} is not the private key of {leaf_ref}: recreate it")
    for ref in chain_refs:
        chain_secret = _present(secrets, ref.namespace, ref.secret)
        if ref != leaf_ref and chain_secret.data.get(ref.key):
            with suppress(Unreadable):  # its own pair says whether it is in place, not the chain
                above += secretstore.certificates(chain_secret, ref)
    extra_certs = tuple(one for one in dict.fromkeys(above) if one != leaf)
    return SignatureCredentials(
        private_key=key, certificate=leaf, extra_certs=extra_certs, digest=digest
    )


def _kept(enrollment: Enrollment, wanted: str) -> SignatureCredentials | None:
    """Return an identity of this fingerprint that was superseded or lost, if its key is kept."""
    kept = identity.kept(enrollment.issuer_id, wanted)
    if kept is None:
        return None
    return SignatureCredentials(
        private_key=keys.from_der(kept.private_key.reveal()),
        certificate=x509.load_der_x509_certificate(bytes(kept.certificate_der)),
        extra_certs=tuple(
            x509.load_der_x509_certificate(base64.b64decode(der)) for der in kept.chain_der
        ),
        digest=enrollment.ca.other_auth_digest,
    )


def _bundle(enrollment: Enrollment, secrets: SecretStore) -> tuple[x509.Certificate, ...]:
    """What the operator gives to complete paths with."""
    certificate = enrollment.certificate
    if not certificate.ca_bundle_key:
        return ()
    ref = SecretKeyRef(
        certificate.ca_bundle_namespace, certificate.ca_bundle_secret, certificate.ca_bundle_key
    )
    return secretstore.certificates(secrets.read(ref.namespace, ref.secret), ref)


def _present(secrets: SecretStore, namespace: str, secret: str) -> secretstore.Secret:
    try:
        return secrets.read(namespace, secret)
    except SecretMissing:
        return ABSENT


def _valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _described(certificate: x509.Certificate) -> str:
    return (
        f"{format_name(certificate.subject)}, valid from"
        f" {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to"
        f" {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    )
