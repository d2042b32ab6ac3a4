"""What lies in the outputs is looked at again: when its time comes, or a change is noticed.

What lies in those of MANUAL certificates is taken over as it is; for AUTOMATIC ones see `drift`. A
look reads, and then writes only if nothing was delivered meanwhile. A store that cannot be read
changes nothing but the note that says so: unreadable is not changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction

import secretstore
from certificates.domain import errands, identity, policy
from certificates.domain.means import fingerprint
from certificates.models import Certificate, Enrollment, Output
from cmp import Unacceptable, require_serial_number
from issuers import statements
from secretstore import (
    Forbidden,
    SecretKeyRef,
    SecretStore,
    SecretStoreError,
    Throttled,
    Unavailable,
)

LOOK_LATER: Final = timedelta(seconds=60)
LOOK_SOON: Final = timedelta(seconds=10)  # while something is missing
LEASE: Final = timedelta(seconds=60)  # longer than a look may take
AWAY = (Unavailable, Throttled, Forbidden)

Versions = Mapping[tuple[str, str], str | None]  # by namespace and secret


@dataclass(frozen=True, slots=True)
class Found:
    """A certificate that lies in place with its key; else why there is none."""

    certificate: x509.Certificate | None
    trouble: str = ""
    readable: bool = True


def claim(*, now: datetime) -> Certificate | None:
    """Take the certificate that waits longest for a look; None when none is due."""
    due = Certificate.objects.filter(look_due_at__lte=now, deleting=False).select_related("issuer")
    for row in due.order_by("look_due_at")[:5]:
        same = Certificate.objects.filter(pk=row.pk, look_due_at=row.look_due_at)
        if same.update(look_due_at=now + LEASE):
            row.look_due_at = now + LEASE
            return row
    return None


def look_again(row: Certificate, claimed: Certificate, at: datetime) -> None:
    """Plan the next look, unless a change was noticed during this one."""
    if row.look_due_at == claimed.look_due_at:
        row.look_due_at = at


def note_versions(row: Certificate, versions: Versions) -> None:
    """Remember the secrets as they were written or seen: that they are so is no news."""
    for (namespace, secret), version in versions.items():
        statements.update(
            Output,
            {"version": version or ""},
            where="certificate_id = %s AND namespace = %s AND secret = %s",
            matching=(row.pk, namespace, secret),
        )


def look_at_manual(row: Certificate, *, secrets: SecretStore, now: datetime) -> None:
    """Take over what lies in the outputs of a MANUAL certificate that was claimed."""
    _note(row, _find(row, secrets), now=now)


def _find(row: Certificate, secrets: SecretStore) -> Found:
    key_ref = SecretKeyRef(
        row.private_key_output_namespace, row.private_key_output_secret, row.private_key_output_key
    )
    leaf_ref = SecretKeyRef(
        row.certificate_output_namespace, row.certificate_output_secret, row.certificate_output_key
    )
    try:
        leaf_secret = secrets.read(leaf_ref.namespace, leaf_ref.secret)
        key_secret = leaf_secret
        if (key_ref.namespace, key_ref.secret) != (leaf_ref.namespace, leaf_ref.secret):
            key_secret = secrets.read(key_ref.namespace, key_ref.secret)
        leaf = secretstore.certificates(leaf_secret, leaf_ref)[0]
        key = secretstore.private_key(key_secret, key_ref)
    except AWAY as error:
        return Found(None, f"could not be looked at: {error}", readable=False)
    except SecretStoreError as error:
        return Found(None, str(error))
    if not secretstore.is_pair(key, leaf):
        return Found(None, f"{key_ref} is not the private key of {leaf_ref}: put a pair there")
    try:
        require_serial_number(leaf)
    except Unacceptable as error:
        return Found(None, f"{leaf_ref}: {error}")
    return Found(leaf)


@transaction.atomic
def _note(seen: Certificate, found: Found, *, now: datetime) -> None:
    """Write down what was found, unless something was delivered since the row was read."""
    row = locked(seen)
    if row is None:
        return
    later = LOOK_LATER if found.certificate is not None else LOOK_SOON
    look_again(row, seen, now + later)
    writing = row.enrollments.filter(phase=Enrollment.Phase.DELIVERING)
    if row.delivered_at == seen.delivered_at and not writing.exists():
        row.looked_at = now
        _take_over(row, found, now=now)
    row.save()
    ready = row.in_place and not (seen.in_place and seen.fingerprint == row.fingerprint)
    if ready and row.cert_type == Certificate.CertType.OCCM:
        identity.wake_waiting(row.issuer_id, now=now)


def locked(claimed: Certificate) -> Certificate | None:
    """Lock the row of a certificate that was looked at; None if it is being deleted."""
    return Certificate.objects.select_for_update().filter(pk=claimed.pk, deleting=False).first()


def _take_over(row: Certificate, found: Found, *, now: datetime) -> None:
    row.attention = found.trouble
    if not found.readable:
        return
    row.in_place = found.certificate is not None
    if found.certificate is None or fingerprint(found.certificate) == row.fingerprint:
        return
    adopt(row, found.certificate)
    _supersede_renewals(row, now=now)


def _supersede_renewals(row: Certificate, *, now: datetime) -> None:
    """Let a renewal of what lay there before give way to what lies there now, unless that is due.

    However far it has come: it would overwrite what somebody has put there, and what its CA may
    have issued is noted. Whoever is at it loses its lease before writing.
    """
    if row.renew_at is None or row.renew_at <= now:
        return
    renewals = row.enrollments.open().filter(kind=Enrollment.Kind.RENEW)
    for one in renewals.select_for_update():
        errands.supersede(one, reason="a new key and certificate were put in place", now=now)


def adopt(row: Certificate, leaf: x509.Certificate) -> None:
    """Have a certificate that somebody put there be this one from now on."""
    renewal = policy.renewal(
        name=row.name,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        renew_before=timedelta(days=row.renew_before_expiration_days),
    )
    row.certificate_der = leaf.public_bytes(Encoding.DER)
    row.serial_number = f"{leaf.serial_number:x}"
    row.fingerprint = fingerprint(leaf)
    row.not_before, row.not_after = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    row.renew_at, row.renewal_warning = renewal.at, renewal.warning
    row.attention, row.modifications = "", []
