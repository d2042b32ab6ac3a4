"""What metrics tell of every certificate, errand and queue, as the rows have it at one moment.

Read only, one query each, and plain tuples: a scrape of ten thousand certificates makes no objects
of models.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import Count, F, Min

from certificates.domain.failures import failure_class, in_short
from certificates.models import Certificate, Enrollment, Revocation


class Labels(NamedTuple):
    """What a series of one certificate is told apart by."""

    certificate: str
    issuer: str
    network_function: str
    purpose: str
    type: str


class Standing(NamedTuple):
    labels: Labels
    readiness: str
    not_after: datetime | None
    renew_at: datetime | None


class Drifted(NamedTuple):
    """A certificate whose secrets somebody else has changed."""

    labels: Labels
    contested: bool
    since: datetime


class Attempt(NamedTuple):
    """An errand to be tried. While it is failing, `since` when and how; else `since` is None."""

    labels: Labels
    procedure: str
    attempt: int
    since: datetime | None
    failure_class: str
    code: str
    fail_info: str
    error: str


@dataclass(frozen=True, slots=True)
class Queue:
    """The errands of one issuer that wait for a worker."""

    issuer: str
    due: int
    oldest: datetime | None


LABELS = ("name", "issuer__name", "network_function", "purpose", "cert_type")


def standings(*, now: datetime) -> Iterator[Standing]:
    """Yield every certificate: how it stands, until when it is valid, when it is renewed."""
    rows = Certificate.objects.with_readiness(now=now).order_by()
    columns = rows.values_list(*LABELS, "readiness", "not_after", "renew_at")
    for *labels, readiness, not_after, renew_at in columns.iterator():
        yield Standing(Labels(*labels), readiness, not_after, renew_at)


def attempts() -> Iterator[Attempt]:
    """Yield every open errand that is not stopped, with the failure it is to overcome."""
    labels = [f"certificate__{name}" for name in LABELS]
    columns = ("kind", "tries", "first_failed_at", "error_code", "fail_info", "error")
    tried = Enrollment.objects.open().filter(due_at__isnull=False).order_by()
    rows = tried.values_list(*labels, *columns)
    for row in rows.iterator():
        kind, tries, since, code, fail_info, error = row[len(LABELS) :]
        yield Attempt(
            labels=Labels(*row[: len(LABELS)]),
            procedure=kind,
            attempt=tries + 1,
            since=since if code else None,
            failure_class=failure_class(code) or "",
            code=code,
            fail_info=fail_info,
            error=in_short(error),
        )


def queues(*, now: datetime) -> list[Queue]:
    """Return how much is due at each issuer for which something is, and since when."""
    rows = Enrollment.objects.due(now=now).order_by().values(issuer_label=F("issuer_name"))
    counted = rows.annotate(due=Count("pk"), oldest=Min("due_at"))
    return [Queue(row["issuer_label"], row["due"], row["oldest"]) for row in counted]


def open_errands() -> dict[tuple[str, str, str], int]:
    """Count the open errands by issuer, procedure and phase."""
    rows = Enrollment.objects.open().order_by().values_list("issuer_name", "kind", "phase")
    return {(issuer, kind, phase): n for issuer, kind, phase, n in rows.annotate(n=Count("pk"))}


def stopped() -> dict[str, int]:
    """Count the open errands that operators stopped, by issuer."""
    rows = Enrollment.objects.open().filter(due_at=None).order_by().values_list("issuer_name")
    return dict(rows.annotate(n=Count("pk")))


def failing() -> dict[tuple[str, str], int]:
    """Count the errands that fail and are tried again, by issuer and class of the failure."""
    tried = Enrollment.objects.open().filter(due_at__isnull=False)
    rows = tried.exclude(error_code="").order_by()
    counts: Counter[tuple[str, str]] = Counter()
    for issuer, code, n in rows.values_list("issuer_name", "error_code").annotate(n=Count("pk")):
        counts[issuer, failure_class(code) or ""] += n
    return dict(counts)


def revocations() -> dict[tuple[str, str], int]:
    """Count the revocations by issuer and state."""
    rows = Revocation.objects.order_by().values_list("issuer_name", "state")
    return {(issuer, state): n for issuer, state, n in rows.annotate(n=Count("pk"))}


def in_flight(*, now: datetime) -> dict[str, int]:
    """Count the errands that a worker has or is called to, by issuer."""
    rows = Enrollment.objects.in_flight(now=now).order_by().values_list("issuer_name")
    return dict(rows.annotate(n=Count("pk")))


def drifted() -> Iterator[Drifted]:
    """Yield the certificates whose secrets are not as they were delivered."""
    rows = Certificate.objects.filter(deleting=False).exclude(drift="").order_by("pk")
    for *labels, contested, since in rows.values_list(*LABELS, "contested", "drifted_at"):
        yield Drifted(Labels(*labels), contested, since)
