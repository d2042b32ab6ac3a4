"""What a bulk migration does to a certificate: its errand to another issuer, and the way back.

Rows only. What merely waited at the source is parked in the errand that takes its place, and opened
again when that one ends without a certificate. Issuer, expiry and secret stay as they are until the
new certificate is written: `deliver` switches them.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from certificates.domain import errands
from certificates.models import Certificate, Enrollment
from issuers.models import Issuer

Kind, Phase = Enrollment.Kind, Enrollment.Phase

PARKED = "parked"  # in `request`: the errand to be opened again at the source
ASKING = (Phase.NEW, Phase.EXCHANGE)
GIVEN_UP = "MIGRATION_STOPPED"


def in_the_way(*, now: datetime) -> QuerySet[Enrollment]:
    """Match what a migration waits for: open transactions and unwritten keys.

    What the operator stopped before a certificate was held is in nobody's way: it is parked.
    """
    stopped = Q(due_at=None, issued_fingerprint="") & (
        Q(leased_until=None) | Q(leased_until__lte=now)
    )
    return Enrollment.objects.under_way(now=now).exclude(stopped)


def begin(
    certificates: Iterable[Certificate], *, destination: Issuer, reason: str, now: datetime
) -> dict[int, Enrollment]:
    """Open the errands of these certificates to another issuer, in place of what merely waits.

    Return them by certificate; those for which something is under way are left out. The caller
    holds the certificates' rows locked.
    """
    rows = list(certificates)
    found = Enrollment.objects.open().filter(certificate__in=rows).order_by("pk")
    waiting = list(found.select_related("certificate").select_for_update(of=("self",)))
    busy = set(
        in_the_way(now=now).filter(certificate__in=rows).values_list("certificate", flat=True)
    )
    parked = {one.certificate_id: one for one in waiting if one.certificate_id not in busy}
    for one in parked.values():
        errands.supersede(one, reason=reason, now=now)
    opened = []
    for row in rows:
        if row.pk in busy:
            continue
        source, row.issuer = row.issuer, destination  # the row's own is switched at the end
        errand = errands.new(row, Kind.MIGRATE, reason, now)
        row.issuer = source
        if row.pk in parked:
            errand.request[PARKED] = _remembered(parked[row.pk])
        opened.append(errand)
    return {one.certificate_id: one for one in errands.open_all(opened)}


def unissued() -> QuerySet[Enrollment]:
    """Match the open errands of migrations that hold no certificate yet."""
    return Enrollment.objects.open().filter(kind=Kind.MIGRATE, issued_fingerprint="")


def unasked() -> QuerySet[Enrollment]:
    """Match those of them that have sent nothing and failed at nothing yet."""
    return unissued().filter(state="", sent_at=None, tries=0, due_at__isnull=False)


def give_up_if_spent(enrollment: Enrollment, *, now: datetime) -> None:
    """Let the errand of a migration fail for good after so many tries. Raises LeaseLost.

    Called under the enrollment's lease, or with its row locked and nobody at it.
    """
    attempts: int = settings.OCCM_MIGRATION_MAX_ATTEMPTS
    asking = enrollment.kind == Kind.MIGRATE and enrollment.phase in ASKING
    if asking and not enrollment.issued_fingerprint and enrollment.tries >= attempts:
        _end(enrollment, Phase.FAILED, now=now)


def sweep(*, now: datetime, limit: int) -> int:
    """Let those fail whose tries were counted by somebody else than a worker; return how many."""
    spent = unissued().filter(tries__gte=settings.OCCM_MIGRATION_MAX_ATTEMPTS)
    return sum(1 for one in _free(spent, now=now)[:limit] if _end_locked(one, Phase.FAILED, now))


def give_up(pks: Iterable[int], *, now: datetime, reason: str) -> int:
    """Take back the errands that hold no certificate and that nobody is at; return how many."""
    told: dict[str, Any] = {"error": reason, "error_code": GIVEN_UP}
    rows = _free(unissued().filter(pk__in=pks), now=now)
    return sum(1 for one in rows if _end_locked(one, Phase.ABANDONED, now, **told))


def hand_back(pks: Iterable[int], *, now: datetime, reason: str) -> list[int]:
    """Take back, as if they had never been, the errands that are unasked still; return which."""
    told: dict[str, Any] = {
        "among": unasked(),
        "error": f"superseded: {reason}",
        "error_code": errands.SUPERSEDED,
    }
    rows = _free(unasked().filter(pk__in=pks), now=now)
    return [one.pk for one in rows if _end_locked(one, Phase.ABANDONED, now, **told)]


def _free(rows: QuerySet[Enrollment], *, now: datetime) -> QuerySet[Enrollment]:
    idle = Q(leased_until=None) | Q(leased_until__lte=now)
    return rows.filter(idle).order_by("pk")


def _end_locked(
    found: Enrollment,
    phase: Enrollment.Phase,
    now: datetime,
    *,
    among: QuerySet[Enrollment] | None = None,
    **told: Any,
) -> bool:
    """End one that nobody is at, if that and being `among` these still holds once it is locked."""
    rows = unissued() if among is None else among
    with transaction.atomic():
        Certificate.objects.select_for_update().filter(pk=found.certificate_id).first()
        locked = _free(rows.filter(pk=found.pk), now=now).select_for_update(of=("self",))
        one = locked.select_related("certificate").first()
        if one is None:
            return False
        _end(one, phase, now=now, **told)
    return True


@transaction.atomic
def _end(enrollment: Enrollment, phase: Enrollment.Phase, *, now: datetime, **told: Any) -> None:
    """Close an errand without a certificate, and take up again at the source what it had parked."""
    row = Certificate.objects.select_for_update().get(pk=enrollment.certificate_id)
    parked = enrollment.request.get(PARKED)
    errands.note_maybe_issued(enrollment, reason="its migration ended before the answer came")
    enrollment.move(
        phase, **errands.emptied() | errands.closed(now=now) | {"waiting_for": ""} | told
    )
    if parked and not row.deleting:
        again = errands.open_one(
            row,
            kind=Kind(parked["kind"]),
            reason=parked["reason"],
            now=now,
            priority=parked["priority"],
        )
        if parked["stopped"]:
            Enrollment.objects.filter(pk=again.pk).update(due_at=None)


def _remembered(errand: Enrollment) -> dict[str, Any]:
    return {
        "kind": errand.kind,
        "reason": errand.reason,
        "priority": errand.priority,
        "stopped": errand.due_at is None,
    }
