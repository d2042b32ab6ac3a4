"""What a CA may have issued although no answer reached us, and what operators do about it.

Entries are made by `errands.note_maybe_issued`. Here they are dealt with: revoked, where the serial
number is known or was looked up at the CA, or marked as resolved.
"""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from certificates.domain import revoke as revoking
from certificates.domain.conflicts import IssuerGone, Settled
from certificates.models import MaybeIssued, Revocation
from issuers.models import Issuer


@transaction.atomic
def revoke(
    entry: MaybeIssued,
    *,
    now: datetime,
    serial_number: str = "",
    issuer_dn: str = "",
    reason: str = Revocation.Reason.UNSPECIFIED,
) -> Revocation:
    """Have the certificate revoked; the serial number is needed where none is known.

    Raises ValidationError by field, and a Conflict.
    """
    row = _locked(entry)
    issuer = Issuer.objects.filter(name=row.issuer_name).first()
    if issuer is None:
        raise IssuerGone(
            f"Issuer {row.issuer_name} is no longer configured: add it again, or revoke the "
            "certificate at the CA and mark this entry as resolved."
        )
    known, given = row.serial_number, as_written(serial_number)
    if known and given not in {"", known}:
        raise ValidationError({"serial_number": f"The CA has told it: {known}."})
    if not (known or given):
        raise ValidationError(
            {
                "serial_number": "It is not known here: look the certificate up at the CA, by its "
                f"subject, its public key or transaction {row.transaction_id}, and give its number."
            }
        )
    row.revocation = revoking.open_one(
        issuer=issuer,
        certificate_name=row.certificate_name,
        why=f"maybe issued in transaction {row.transaction_id}",
        due_at=now,
        now=now,
        certificate_der=bytes(row.certificate_der),
        serial_number=known or given,
        issuer_dn="" if row.certificate_der else issuer_dn,
        reason=reason,
    )
    row.serial_number = row.revocation.serial_number
    row.save(update_fields=("revocation", "serial_number"))
    return row.revocation


@transaction.atomic
def resolve(entry: MaybeIssued, *, now: datetime, note: str = "") -> MaybeIssued:
    """Mark an entry as dealt with: it was looked up at the CA, say, and is not there."""
    row = _locked(entry)
    if row.revocation is not None and row.revocation.closed_at is None:
        raise Settled(f"{row}: its revocation is under way; withdraw that first.")
    row.resolved_at, row.resolution = now, note.strip() or "by the operator"
    row.clean_fields(exclude=("revocation", "certificate_der"))
    row.save(update_fields=("resolved_at", "resolution"))
    return row


def as_written(serial_number: str) -> str:
    """Return a serial number as OCCM writes them, from 0x1F, 1F:0A or 00 1f, as CAs show them."""
    plain = serial_number.strip().lower().removeprefix("0x")
    plain = plain.replace(":", "").replace(" ", "")
    return plain.lstrip("0") or plain[:1]


def _locked(entry: MaybeIssued) -> MaybeIssued:
    row = MaybeIssued.objects.select_for_update().get(pk=entry.pk)
    if row.resolved_at is not None:
        raise Settled(f"{row}: it is resolved already ({row.resolution}).")
    return row
