"""What has happened to a certificate, told from the rows: procedures, failures, what was lost.

By name, for what a CA may hold outlives the certificate's row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from certificates.domain.failures import failure_class
from certificates.models import Certificate, Enrollment, MaybeIssued, Revocation

Phase = Enrollment.Phase


@dataclass(frozen=True, slots=True)
class Event:
    at: datetime
    about: str  # a procedure
    text: str


def events(name: str) -> list[Event]:
    """Return all that is known, in the order in which it happened."""
    errands = Enrollment.objects.filter(certificate__name=name).order_by("created_at", "pk")
    found = [event for errand in errands.defer("exchange", "request") for event in _of(errand)]
    for lost in MaybeIssued.objects.filter(certificate_name=name):
        found += _of_lost(lost)
    for revocation in Revocation.objects.filter(certificate_name=name):
        found += _of_revocation(revocation)
    return sorted(found, key=lambda event: event.at)


def standing(row: Certificate, *, now: datetime) -> Iterator[str]:
    """Say how a certificate stands now, in lines."""
    ready = Certificate.objects.with_readiness(now=now).get(pk=row.pk).readiness
    yield f"{row}: {row.cert_type}, {row.network_function}, {row.purpose}; issuer {row.issuer}"
    if row.not_after is None:
        yield f"{ready}: no certificate yet"
    else:
        yield f"{ready}: valid until {_at(row.not_after)}, serial number {row.serial_number}"
    if row.renew_at is not None:
        yield f"to be renewed from {_at(row.renew_at)}"
    yield from row.attention.splitlines()
    yield from row.renewal_warning.splitlines()
    if row.deleting:
        yield "being deleted"


def under_way(row: Certificate) -> Iterator[str]:
    """Say what is open for a certificate, in lines."""
    for errand in row.enrollments.open():
        state = f", {errand.state}" if errand.state else ""
        yield f"{errand.kind} at {errand.issuer_name}: {errand.get_phase_display()}{state}"
        if errand.waiting_for:
            yield f"waits for {errand.waiting_for}"
        if errand.due_at is None:
            yield "stopped by the operator"
        else:
            yield f"attempt {errand.tries + 1}, next step at {_at(errand.due_at)}"


def _of(errand: Enrollment) -> Iterator[Event]:
    about = f"{errand.kind} at {errand.issuer_name}"
    yield Event(errand.created_at, about, f"opened: {errand.reason}")
    for one in errand.setbacks:
        often = f" ({one['count']} times)" if one["count"] > 1 else ""
        text = f"failed{often}: {one['code']}, {failure_class(one['code'])}: {one['error']}"
        yield Event(datetime.fromisoformat(one["first_at"]), about, text)
        if one["count"] > 1:
            last_at = datetime.fromisoformat(one["last_at"])
            yield Event(last_at, about, f"failed so for the last time: {one['code']}")
    if errand.sent_at is not None:
        signer = Enrollment.Signer(errand.signer).label
        text = f"asked the CA in transaction {errand.transaction_id}, signed by {signer}"
        yield Event(errand.sent_at, about, text)
    if errand.issued_at is not None:
        yield Event(errand.issued_at, about, f"issued, SHA-256 {errand.issued_fingerprint}")
    if errand.closed_at is not None:
        why = f": {errand.error}" if errand.error else ""
        yield Event(errand.closed_at, about, f"{errand.get_phase_display()}{why}")


def _of_lost(lost: MaybeIssued) -> Iterator[Event]:
    about = f"maybe issued by {lost.issuer_name}"
    serial = f", serial number {lost.serial_number}" if lost.serial_number else ""
    often = f" ({lost.refusals} times, this the last)" if lost.refusals > 1 else ""
    text = f"transaction {lost.transaction_id}{serial}: {lost.reason}{often}"
    yield Event(lost.sent_at, about, text)
    if lost.resolved_at is not None:
        yield Event(lost.resolved_at, about, f"dealt with: {lost.resolution}")


def _of_revocation(revocation: Revocation) -> Iterator[Event]:
    about = f"REVOKE at {revocation.issuer_name}"
    opened = f"opened for serial number {revocation.serial_number}: {revocation.why}"
    yield Event(revocation.created_at, about, opened)
    if revocation.error and revocation.last_failed_at is not None:
        text = f"failed: {revocation.error_code}: {revocation.error}"
        yield Event(revocation.last_failed_at, about, text)
    if revocation.closed_at is not None:
        text = f"{revocation.get_state_display()}: {revocation.outcome}"
        yield Event(revocation.closed_at, about, text)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
