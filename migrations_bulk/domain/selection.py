"""Which certificates a migration takes along, which it skips, and why. Reads only.

A preview looks at the same selection and tells what would stand in its way.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from django.db.models import CharField, OuterRef, Subquery

from certificates.domain import budgets, identity, migrating
from certificates.models import Certificate, Enrollment, Readiness
from issuers.models import Issuer, IssuerHealth
from migrations_bulk.models import BulkMigration

MOST: Final = 15  # records, running or ended
FULL: Final = (
    f"There are {MOST} bulk migrations, as many as there may be: delete one that has ended."
)
RECENT: Final = 20  # enrollments from which the time of one is guessed
GUESS: Final = timedelta(seconds=1)  # of one, at a CA that has issued nothing for us yet


@dataclass(frozen=True, slots=True)
class Choice:
    """A certificate of the source: initiated, or skipped for a reason."""

    certificate: int
    name: str
    skipped: str = ""
    parks: str = ""  # the kind of the errand that waits, and gives way


@dataclass(frozen=True, slots=True)
class Preview:
    """What a migration would do, and what stands in its way now."""

    choices: tuple[Choice, ...]
    blocked: tuple[str, ...]  # why it would be refused
    warnings: tuple[str, ...]  # what may make it fail
    estimated_s: int

    @property
    def initiated(self) -> list[Choice]:
        return [one for one in self.choices if not one.skipped]

    @property
    def skipped(self) -> list[Choice]:
        return [one for one in self.choices if one.skipped]


def select(
    source: Issuer, *, now: datetime, only: Collection[int] | None = None
) -> tuple[Choice, ...]:
    """Look at the source's certificates of network functions, or only at some, by name."""
    found = Certificate.objects.with_readiness(now=now).filter(
        issuer=source, cert_type=Certificate.CertType.OTHER
    )
    if only is not None:
        found = found.filter(pk__in=only)
    mine = Enrollment.objects.open().filter(certificate=OuterRef("pk"))
    busy = migrating.in_the_way(now=now).filter(certificate=OuterRef("pk"))
    rows = found.annotate(
        waits=Subquery(mine.values("kind")[:1], output_field=CharField()),
        busy=Subquery(busy.values("kind")[:1], output_field=CharField()),
    ).order_by("name")
    columns = ("pk", "name", "deleting", "readiness", "attention", "waits", "busy")
    return tuple(
        Choice(pk, name, why, "" if why else waits or "")
        for pk, name, deleting, readiness, attention, waits, busy in rows.values_list(*columns)
        for why in (_why_not(deleting, readiness, attention, busy),)
    )


def preview(source: Issuer, destination: Issuer, *, now: datetime) -> Preview:
    """Tell what a migration would do if it were started now."""
    choices = select(source, now=now)
    blocked = [
        obstacle
        for obstacle in (
            _same(source, destination),
            running(),
            full(),
            not_ready(destination, now=now),
            nothing(source, choices),
        )
        if obstacle
    ]
    count = sum(not one.skipped for one in choices)
    estimated = math.ceil(_estimate(destination, count).total_seconds())
    return Preview(choices, tuple(blocked), tuple(_doubts(source, destination)), estimated)


# What stands in the way, in a sentence; empty when it does not


def running() -> str:
    found = BulkMigration.objects.running().first()
    return f"Another one is running: {found}. Wait for it or stop it first." if found else ""


def full() -> str:
    return FULL if BulkMigration.objects.count() >= MOST else ""


def not_ready(destination: Issuer, *, now: datetime) -> str:
    found = identity.obstacles([destination.pk], now=now).get(destination.pk)
    return f"Requests to issuer {destination} cannot be signed: {found}." if found else ""


def nothing(source: Issuer, choices: Collection[Choice]) -> str:
    return "" if choices else f"Issuer {source} has no certificate of type OTHER to migrate."


def _same(source: Issuer, destination: Issuer) -> str:
    return "Source and destination are the same issuer." if source == destination else ""


def _why_not(deleting: bool, readiness: str, attention: str, busy: str | None) -> str:
    if deleting:
        return "It is being deleted."
    if busy:
        return f"A procedure is under way: {busy}."
    if readiness == Readiness.NOT_READY:
        return f"It is NOT_READY. {attention}".strip()
    return ""


def _doubts(source: Issuer, destination: Issuer) -> list[str]:
    found: list[str] = []
    health = IssuerHealth.objects.filter(issuer=destination).first()
    if health is not None:
        found += health.warnings
        if health.failing_since:
            found.append(
                f"The CA of issuer {destination} fails since "
                f"{health.failing_since:%Y-%m-%d %H:%M} UTC: {health.error}"
            )
    if source.tls_enabled and not destination.tls_enabled:
        found.append(
            f"Issuer {source} is spoken to by HTTPS, issuer {destination} by HTTP: what is sent "
            "can be read on the way."
        )
    return found


def _estimate(destination: Issuer, count: int) -> timedelta:
    """Guess how long it takes, from the last enrollments there and the issuer's budget."""
    done = Enrollment.objects.filter(
        issuer=destination, phase=Enrollment.Phase.DELIVERED, sent_at__isnull=False
    )
    moments = done.order_by("-pk").values_list("sent_at", "closed_at")[:RECENT]
    took = [(closed - sent).total_seconds() for sent, closed in moments if sent and closed]
    at_a_time, a_second = budgets.for_bulk()
    each = timedelta(seconds=median(took)) if took else GUESS
    return max(each * (count / at_a_time), timedelta(seconds=count / a_second))
