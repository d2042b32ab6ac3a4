"""Drift: somebody else changed what was delivered into an AUTOMATIC certificate's secrets.

It is judged only while no errand is open, on two looks a minute apart; what cannot be read has not
changed. Then, in this order:

    a valid newer pair of the issuer lies there    it is adopted
    it was repaired within the last day            contested: left alone, until an operator acts
    the key is intact                              certificate and chain are written again
    else                                           a new certificate is asked for, after all others

With `repair_drift` off it is only told.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509
from django.conf import settings
from django.db import transaction

import secretstore
from certificates.domain import contents, errands, identity, keys, watch
from certificates.domain.contents import Parcel
from certificates.domain.means import place
from certificates.fields import Sealed, Undecryptable
from certificates.models import Certificate, Enrollment
from cmp import CmpError, require_serial_number
from issuers.domain import channel
from issuers.domain.channel import ConfigurationError
from secretstore import (
    ABSENT,
    PrivateKey,
    Secret,
    SecretKeyRef,
    SecretMissing,
    SecretStore,
    SecretStoreError,
)

CONFIRMED_AFTER: Final = timedelta(seconds=60)  # by a second look
AGAIN: Final = timedelta(hours=24)  # changed within this time of a repair, it is contested

Kind, Phase = Enrollment.Kind, Enrollment.Phase


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found. `differs` says what is not as it was delivered; empty: all is."""

    differs: str
    versions: watch.Versions
    in_place: bool = False  # our key and certificate are there
    key: PrivateKey | None = None  # ours, if it is there
    newer: x509.Certificate | None = None  # of a pair that may be adopted


def look(row: Certificate, *, secrets: SecretStore, now: datetime) -> None:
    """Look at the outputs of an AUTOMATIC certificate that was claimed, and act on it."""
    if row.enrollments.open().exists() or not row.fingerprint:
        _note(row, None, now=now)
        return
    try:
        seen = _see(row, secrets, now)
    except watch.AWAY:  # unreadable is not changed
        seen = None
    _note(row, seen, now=now)


def _see(row: Certificate, secrets: SecretStore, now: datetime) -> Seen:
    """Compare what lies in the outputs with what was delivered. Raises what AWAY names."""
    request = errands.frozen(row, row.issuer)
    held, versions = _read(request, secrets)
    ours = x509.load_der_x509_certificate(bytes(row.certificate_der))
    key_ref, leaf_ref = place(request, "private_key"), place(request, "certificate")
    if key_ref is None or leaf_ref is None:
        raise ValueError(f"{row} has no outputs")
    try:
        key = secretstore.private_key(held[key_ref.namespace, key_ref.secret], key_ref)
    except SecretStoreError as error:
        return Seen(str(error), versions)
    if secretstore.is_pair(key, ours):
        differs = _difference(row, request, held, key, ours)
        in_place = ours in _certificates(held, leaf_ref)[:1]
        return Seen(differs, versions, in_place, key)
    differs = f"{key_ref} holds another private key than OCCM put there"
    theirs = _certificates(held, leaf_ref)
    if not theirs or not secretstore.is_pair(key, theirs[0]):
        return Seen(differs, versions)
    try:
        _require_fit(theirs, ours, row, secrets, now)
    except _Unfit as why:
        return Seen(f"{differs}, with a certificate that is not adopted: {why}", versions)
    return Seen(f"{differs}, with its certificate", versions, newer=theirs[0])


def _read(
    request: Mapping[str, Any], secrets: SecretStore
) -> tuple[dict[tuple[str, str], Secret], watch.Versions]:
    refs = (place(request, name) for name in ("private_key", "certificate", "chain"))
    held: dict[tuple[str, str], Secret] = {}
    for where in sorted({(ref.namespace, ref.secret) for ref in refs if ref is not None}):
        try:
            held[where] = secrets.read(*where)
        except SecretMissing:
            held[where] = ABSENT
    return held, {where: secret.version for where, secret in held.items()}


def _difference(
    row: Certificate,
    request: Mapping[str, Any],
    held: Mapping[tuple[str, str], Secret],
    key: PrivateKey,
    ours: x509.Certificate,
) -> str:
    """Name what is not as a delivery would write it now; what only looks different is the same."""
    chain = [x509.load_der_x509_certificate(base64.b64decode(der)) for der in row.chain_der or ()]
    chain_is_ours = settings.OCCM_EXTRACT_CERT_CHAIN_FROM_CMP_RESPONSE and row.chain_der is not None
    parcel = Parcel(request, key, ours, chain, chain_is_ours)
    for namespace, secret in parcel.secrets:
        present = held[namespace, secret]
        for name, wanted in contents.changes(parcel, namespace, secret, present=present).items():
            ref = SecretKeyRef(namespace, secret, name)
            first_only = row.chain_der is None  # what is to follow is not known
            is_key = ref == place(request, "private_key")
            if not is_key and not _same(present, ref, wanted, first_only=first_only):
                return f"{ref} was changed or removed"
    return ""


def _same(present: Secret, ref: SecretKeyRef, wanted: bytes, *, first_only: bool) -> bool:
    if present.data.get(ref.key, b"") == wanted:
        return True
    expected = Secret({ref.key: wanted}, None)
    try:
        found, meant = (secretstore.certificates(one, ref) for one in (present, expected))
    except SecretStoreError:
        return False
    return found[:1] == meant[:1] if first_only else found == meant


def _certificates(
    held: Mapping[tuple[str, str], Secret], ref: SecretKeyRef
) -> tuple[x509.Certificate, ...]:
    try:
        return secretstore.certificates(held[ref.namespace, ref.secret], ref)
    except SecretStoreError:
        return ()


class _Unfit(Exception):
    """Why a pair that somebody put there is not adopted."""


def _require_fit(
    theirs: tuple[x509.Certificate, ...],
    ours: x509.Certificate,
    row: Certificate,
    secrets: SecretStore,
    now: datetime,
) -> None:
    """Raise _Unfit unless it is valid, newer than ours and of the same issuer's CA."""
    leaf, *above = theirs
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise _Unfit("it is not valid now")
    if leaf.not_valid_before_utc <= ours.not_valid_before_utc:
        raise _Unfit("it is not newer than the one delivered")
    try:
        require_serial_number(leaf)
        channel.trust_store(row.issuer, secrets=secrets).check_issued(leaf, above, now)
    except watch.AWAY:
        raise
    except (CmpError, SecretStoreError, ConfigurationError) as error:
        raise _Unfit(str(error)) from None


@transaction.atomic
def _note(claimed: Certificate, seen: Seen | None, *, now: datetime) -> None:
    """Write down what was seen, unless something was delivered or begun since."""
    row = watch.locked(claimed)
    if row is None:
        return
    same = row.fingerprint == claimed.fingerprint and row.delivered_at == claimed.delivered_at
    if seen is None or not same or row.enrollments.open().exists():
        watch.look_again(row, claimed, now + watch.LOOK_LATER)
    elif not seen.differs:
        row.looked_at, row.in_place = now, True
        row.drift, row.drifted_at, row.contested = "", None, False
        watch.look_again(row, claimed, now + settings.OCCM_LOOK_INTERVAL)
        watch.note_versions(row, seen.versions)
    else:
        row.looked_at = now
        _differs(row, claimed, seen, now)
    row.save()


def _differs(row: Certificate, claimed: Certificate, seen: Seen, now: datetime) -> None:
    if row.drifted_at is None:
        row.drifted_at = now
    if now < row.drifted_at + CONFIRMED_AFTER:
        watch.look_again(row, claimed, row.drifted_at + CONFIRMED_AFTER)
        return
    if not row.drift:  # it is found to last for the first time
        row.drift_count += 1
    row.in_place = seen.in_place
    watch.look_again(row, claimed, now + watch.LOOK_LATER)
    _act(row, seen, now)


def _act(row: Certificate, seen: Seen, now: datetime) -> None:
    """Do what the list at the top says."""
    told = f"Changed by somebody else: {seen.differs}."
    if not row.repair_drift:
        row.drift = f"{told} Repair is switched off."
    elif seen.newer is not None:
        watch.adopt(row, seen.newer)
        row.chain_der, row.in_place = None, True
        row.drift, row.drifted_at, row.contested = "", None, False
        row.attention = (
            "A newer key and certificate were put there by somebody else, and adopted at"
            f" {now:%Y-%m-%d %H:%M} UTC."
        )
        watch.note_versions(row, seen.versions)
    elif row.contested or (row.repaired_at is not None and now < row.repaired_at + AGAIN):
        row.contested = True
        row.drift = (
            f"{told} It was repaired at {row.repaired_at:%Y-%m-%d %H:%M} UTC and changed again: it"
            " is contested, and OCCM leaves it alone. Find who else writes there, then recreate or"
            " retry it."
        )
    else:
        row.drift = f"{told} {_repair(row, seen, now)}"


def _repair(row: Certificate, seen: Seen, now: datetime) -> str:
    """Open the errand that puts it right, and say which it is."""
    key = seen.key or _kept_key(row)
    if key is not None and _chain_is_known(row):
        row.repaired_at = now
        _write_again(row, key, now)
        return "Key, certificate and chain are written again."
    is_identity = row.cert_type == Certificate.CertType.OCCM
    if is_identity and not row.issuer.initial_auth_type:
        return (
            f"Issuer {row.issuer} has no initial authentication to ask for a new one with: put a"
            " key and certificate there."
        )
    row.repaired_at = now
    reason = f"drift: {seen.differs}"
    priority = None if is_identity else Enrollment.Priority.BULK  # others wait for an identity
    errands.open_one(row, kind=Kind.RECREATE, reason=reason, now=now, priority=priority)
    return "A new certificate is asked for."


def _chain_is_known(row: Certificate) -> bool:
    """Say whether what is written again would be all of it: not so after an adoption."""
    ours = settings.OCCM_EXTRACT_CERT_CHAIN_FROM_CMP_RESPONSE and bool(row.chain_output_key)
    return row.chain_der is not None or not ours


def _kept_key(row: Certificate) -> PrivateKey | None:
    """Return the key of an OCCM certificate, which OCCM keeps."""
    if row.cert_type != Certificate.CertType.OCCM:
        return None
    kept = identity.kept(row.issuer_id, row.fingerprint)
    try:
        return keys.from_der(kept.private_key.reveal()) if kept else None
    except Undecryptable:
        return None


def _write_again(row: Certificate, key: PrivateKey, now: datetime) -> None:
    """Open an errand that holds already what is to be written."""
    errands.open_one(
        row,
        kind=Kind.REPAIR,
        reason="drift: written again",
        now=now,
        phase=Phase.ISSUED,
        issued_fingerprint=row.fingerprint,
        private_key=Sealed(keys.to_der(key)),
        public_key_sha256=keys.public_key_sha256(key),
        certificate_der=bytes(row.certificate_der),
        chain_der=row.chain_der or [],
        modifications=row.modifications,
    )
