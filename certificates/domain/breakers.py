"""Who is left alone because it does not answer, and the one row at a time that is sent to see.

`issuers.domain.health` opens and closes a breaker by what is noted here. While it is open, its rows
stay as they are: no try is counted and nothing is put off. A probe is a row like any other, called
when the breaker's time has come and no other probe is out.
"""

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.db.models import Case, F, IntegerField, Value, When
from django.db.models.functions import Coalesce

from certificates.domain import errands, failures
from certificates.models import Enrollment, EnrollmentQuerySet
from cmp import TransportError
from issuers.domain import health
from issuers.models import Breaker, IssuerHealth, SecretStoreHealth
from secretstore import SecretStoreError, Throttled, Unavailable

Phase = Enrollment.Phase
WRITING = (Phase.ISSUED, Phase.DELIVERING)  # waits for the secret store, and for no CA
Breakers = dict[int | None, Breaker]  # by issuer; None stands for the secret store


def hold(issuers: Iterable[int]) -> Breakers:
    """Lock those of these issuers, and that of the secret store; what others hold is left out."""
    rows = IssuerHealth.objects.select_for_update(skip_locked=True).filter(pk__in=issuers)
    held: Breakers = {row.pk: row for row in rows}
    store = SecretStoreHealth.objects.select_for_update(skip_locked=True)
    if (free := store.first() or (health.secret_store() and store.first())) is not None:
        held[None] = free
    return held


def askable(held: Breakers, *, now: datetime) -> Breakers:
    """Return those whose rows may be called to: closed, or open and it is time for a probe.

    Everything reads secrets: none may while that breaker is open and it is not.
    """
    timely = [it for it in held.values() if it.probe_at is not None and it.probe_at <= now]
    out: set[int] = set()
    if timely:
        probes = Enrollment.objects.in_flight(now=now).filter(pk__in=[it.probe for it in timely])
        out = set(probes.order_by().values_list("pk", flat=True))
    found = {
        whose: it
        for whose, it in held.items()
        if not it.is_open or (it in timely and it.probe not in out)
    }
    store = held.get(None) or health.secret_store()
    return {} if store.is_open and None not in found else found


def in_turn(breaker: Breaker, rows: EnrollmentQuerySet) -> EnrollmentQuerySet:
    """Order the rows a probe may be: what the operator wants tried, then as long as they wait.

    So one that fails for a reason of its own is not the probe again before all others were.
    """
    asked_for = When(pk=breaker.probe or 0, due_at__lte=breaker.probe_at, then=Value(0))
    turn = Case(asked_for, default=Value(1), output_field=IntegerField())
    return rows.order_by(turn, "due_at", "pk")


def note_sent(asked: Breakers, sent: Iterable[tuple[int | None, int]], *, now: datetime) -> None:
    """Note which rows were called as probes; if nothing is heard of one, the next comes later."""
    for whose, row in sent:
        for breaker in {asked.get(whose), asked.get(None)}:
            if breaker is not None and breaker.is_open:
                breaker.probe, breaker.probe_at = row, now + settings.OCCM_RETRY_INTERVAL
                breaker.save(update_fields=["probe", "probe_at"])


def ask_for(rows: EnrollmentQuerySet, *, now: datetime) -> None:
    """Have the next tick send one of these as a probe, where its breakers are open."""
    for row in rows.only("issuer", "phase"):
        wanted = {"probe": row.pk, "probe_at": now}
        if row.phase not in WRITING:
            IssuerHealth.objects.filter(pk=row.issuer_id, probe_at__isnull=False).update(**wanted)
        SecretStoreHealth.objects.filter(probe_at__isnull=False).update(**wanted)


def ca_failed(
    enrollment: Enrollment, error: TransportError, *, now: datetime, http_version: str | None
) -> None:
    """Note that a CA gave no answer; of a probe, so do the migrations that wait behind it."""
    patience = failures.patience(error)
    health.failed(
        enrollment.ca,
        now=now,
        error=str(error),
        http_version=http_version,
        patience=patience,
        probe=enrollment.pk,
    )
    if enrollment.ca.health.probe == enrollment.pk:
        _count_for_migrations(enrollment, error, now=now)


def not_probed(enrollment: Enrollment, *, now: datetime) -> None:
    """Have the next tick send another probe if this was one: it has come to ask nothing."""
    sent = IssuerHealth.objects.filter(pk=enrollment.ca.pk, probe=enrollment.pk)
    sent.filter(probe_at__isnull=False).update(probe_at=now)


def note_store(enrollment: Enrollment, error: Exception | None, *, now: datetime) -> None:
    """Note how the secret store did while an enrollment was worked on.

    Once it fails, only those count that were claimed knowing it, whether they fail or succeed.
    """
    if isinstance(error, Unavailable | Throttled):
        health.store_failed(
            now=now,
            error=str(error),
            patience=failures.patience(error),
            probe=enrollment.pk,
            first=not enrollment.store_fails,
        )
        return
    nothing_read = bool(enrollment.waiting_for)
    if enrollment.store_fails and isinstance(error, SecretStoreError | None) and not nothing_read:
        health.store_answered(now=now)


def _count_for_migrations(probe: Enrollment, error: TransportError, *, now: datetime) -> None:
    """What is under way to this issuer in a migration has failed with its probe.

    Not so what the CA has asked patience for: it may be about to grant it.
    """
    begun = Enrollment.objects.due(now=now).filter(
        issuer=probe.issuer,
        kind=Enrollment.Kind.MIGRATE,
        phase__in=(Phase.NEW, Phase.EXCHANGE),
        waiting_for="",
    )
    begun.exclude(state__in=errands.POLLING).exclude(pk=probe.pk).update(
        tries=F("tries") + 1,
        error_code=error.code,
        error=str(error),
        first_failed_at=Coalesce(F("first_failed_at"), now),
        last_failed_at=now,
    )
