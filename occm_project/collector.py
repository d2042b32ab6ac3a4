"""Metrics of the state that the database holds: read at each scrape, the same in every process.

They have a registry of their own. In the default one they would be asked for by everything that
shows metrics, Flower too, which cannot wait for a database.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from django.db import Error
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from certificates.domain import figures, series
from certificates.models import Readiness
from issuers.domain.clock import DatabaseClock
from migrations_bulk.domain import series as migrations
from occm_project import __version__, heartbeats

READINESS: Final = {Readiness.READY: 1, Readiness.NOT_READY: 0, Readiness.EXPIRED: -1}
QUEUES: Final = ("enroll", "deliver", "suspect", "keys", "dispatch", "scan")
NO_LABELS: Final[Mapping[str, str]] = {}
CERTIFICATE: Final = series.Labels._fields


class State(Collector):
    """Reads everything anew whenever it is asked."""

    def collect(self) -> Iterator[Metric]:
        yield gauge("build_info", "What runs here.", labels=BUILD)
        try:
            now = DatabaseClock()()
            # All of it before the first is told: what breaks half-way is told as missing.
            found = [
                *_certificates(now),
                *_attempts(),
                *_errands(now),
                *_issuers(now),
                *_migrations(),
                *_processes(now),
            ]
        except Error:
            yield gauge("database_up", "Whether the database could be read.", 0)
            return
        yield gauge("database_up", "Whether the database could be read.", 1)
        yield from found


BUILD: Final = {"version": __version__, "python": platform.python_version()}
REGISTRY: Final = CollectorRegistry(auto_describe=False)
REGISTRY.register(State())


def gauge(
    name: str, text: str, value: float = 1, *, labels: Mapping[str, str] = NO_LABELS
) -> Metric:
    """Return a metric with one series."""
    family = _family(name, text, labels)
    family.add_metric(list(labels.values()), value)
    return family


def _family(name: str, text: str, labels: Iterable[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"occm_{name}", text, labels=tuple(labels))


def _counts(
    name: str, text: str, labels: tuple[str, ...], counts: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    family = _family(name, text, labels)
    for values, count in counts:
        family.add_metric(values, count)
    return family


def _certificates(now: datetime) -> Iterator[Metric]:
    readiness = _family(
        "certificate_readiness", "1 READY, 0 NOT_READY, -1 EXPIRED.", labels=CERTIFICATE
    )
    expiry = _family(
        "certificate_not_after_timestamp_seconds",
        "When the certificate in place expires.",
        labels=CERTIFICATE,
    )
    renewal = _family(
        "certificate_renew_timestamp_seconds",
        "When its renewal is to begin, or was.",
        labels=CERTIFICATE,
    )
    for row in series.standings(now=now):
        readiness.add_metric(row.labels, READINESS[Readiness(row.readiness)])
        if row.not_after is not None:
            expiry.add_metric(row.labels, row.not_after.timestamp())
        if row.renew_at is not None:
            renewal.add_metric(row.labels, row.renew_at.timestamp())
    yield from (readiness, expiry, renewal)
    drift = _family(
        "certificate_drifted_timestamp_seconds",
        "When it was seen that somebody else had changed its secrets, while they are so; contested:"
        " they were changed again after a repair, and are left alone.",
        labels=(*CERTIFICATE, "contested"),
    )
    for found in series.drifted():
        contested = str(found.contested).lower()
        drift.add_metric((*found.labels, contested), found.since.timestamp())
    yield drift
    yield gauge(
        "maybe_issued",
        "Certificates a CA may have issued although its answer was lost.",
        figures.maybe_issued(),
    )


def _attempts() -> Iterator[Metric]:
    attempt = _family(
        "certificate_attempts",
        "Which attempt is made now or next, while a procedure is open.",
        labels=(*CERTIFICATE, "procedure"),
    )
    since = _family(
        "certificate_failing_since_timestamp_seconds",
        "When the first of the tries failed that have not succeeded since, and how the last did.",
        labels=(*CERTIFICATE, "procedure", "class", "code", "fail_info", "error"),
    )
    for row in series.attempts():
        attempt.add_metric((*row.labels, row.procedure), row.attempt)
        if row.since is not None:
            how = (row.failure_class, row.code, row.fail_info, row.error)
            since.add_metric((*row.labels, row.procedure, *how), row.since.timestamp())
    yield from (attempt, since)


def _errands(now: datetime) -> Iterator[Metric]:
    yield _counts(
        "errands",
        "Open procedures.",
        ("issuer", "procedure", "phase"),
        series.open_errands().items(),
    )
    yield _counts(
        "errands_failing",
        "Open procedures whose last try failed, by where to look for the cause.",
        ("issuer", "class"),
        series.failing().items(),
    )
    yield _counts(
        "revocations",
        "Certificates that a CA was asked to revoke, by what became of it.",
        ("issuer", "state"),
        series.revocations().items(),
    )


def _issuers(now: datetime) -> Iterator[Metric]:
    """Every issuer has its series, zeros too: a graph without gaps, an alert that resolves."""
    up = _family("issuer_up", "0 while the CA does not answer as it should.", ["issuer"])
    alone = _family(
        "issuer_left_alone",
        "1 while only probes go to the CA, for it did not answer; what is due waits.",
        ["issuer"],
    )
    failing = _family(
        "issuer_failing_since_timestamp_seconds",
        "When the CA first failed since its last good answer.",
        ["issuer"],
    )
    answered = _family(
        "issuer_answered_timestamp_seconds",
        "When the CA last answered, to within 10 s.",
        ["issuer"],
    )
    warnings = _family(
        "issuer_warnings", "Things that are wrong with the secrets of the issuer.", ["issuer"]
    )
    certificates = _family("issuer_certificates", "Certificates of the issuer.", ["issuer"])
    due = _family("queue_due", "Procedures that are due and wait for a worker.", ["issuer"])
    oldest = _family(
        "queue_oldest_due_seconds", "How long the one that waits longest has been due.", ["issuer"]
    )
    flying = _family("errands_in_flight", "Procedures a worker has or is called to.", ["issuer"])
    halted = _family("errands_stopped", "Procedures that operators stopped.", ["issuer"])
    queues = {queue.issuer: queue for queue in series.queues(now=now)}
    in_flight, stopped = series.in_flight(now=now), series.stopped()
    for row in figures.issuers(now=now):
        name = [row.name]
        up.add_metric(name, row.health.failing_since is None)
        alone.add_metric(name, row.health.is_open)
        if row.health.failing_since is not None:
            failing.add_metric(name, row.health.failing_since.timestamp())
        if row.health.answered_at is not None:
            answered.add_metric(name, row.health.answered_at.timestamp())
        warnings.add_metric(name, len(row.health.warnings))
        certificates.add_metric(name, row.certificate_count)
        queue = queues.get(row.name)
        due.add_metric(name, queue.due if queue else 0)
        late = now - queue.oldest if queue and queue.oldest else None
        oldest.add_metric(name, late.total_seconds() if late else 0)
        flying.add_metric(name, in_flight.get(row.name, 0))
        halted.add_metric(name, stopped.get(row.name, 0))
    yield from (up, alone, failing, answered, warnings)
    yield from (certificates, due, oldest, flying, halted)
    store = figures.failing_store()
    yield gauge("secret_store_up", "0 while secrets cannot be read or written.", store is None)


def _migrations() -> Iterator[Metric]:
    """Here `issuer` is the destination, as in the guide's panel."""
    items = _family(
        "migration_items",
        "Certificates of a bulk migration by what became of them.",
        labels=("migration", "issuer", "source", "state"),
    )
    failed = _family(
        "migration_failed_timestamp_seconds",
        "When a certificate could not be moved, and why; the latest thousand.",
        labels=(*migrations.Failure._fields[:4], "class", "code", "fail_info", "error"),
    )
    whose = migrations.LeftBehind._fields[:3]
    behind = _family(
        "migration_left_behind",
        "Certificates that could not be moved and are at the source still; none, no series.",
        labels=whose,
    )
    latest = _family(
        "migration_last_failure_timestamp_seconds",
        "When the latest of those left behind could not be moved.",
        labels=whose,
    )
    for *labels, number in migrations.items():
        items.add_metric(labels, number)
    for *labels, number, failed_at in migrations.left_behind():
        behind.add_metric(labels, number)
        latest.add_metric(labels, failed_at.timestamp())
    for *values, at in migrations.failures():
        if at is not None:
            failed.add_metric(values, at.timestamp())
    yield from (items, behind, latest, failed)


def _processes(now: datetime) -> Iterator[Metric]:
    alive = heartbeats.workers(now=now)
    yield _counts(
        "workers",
        "Workers that are alive and take tasks from the queue.",
        ("queue",),
        (((queue,), sum(queue in one.queues for one in alive)) for queue in QUEUES),
    )
    yield _counts(
        "task_last_run_timestamp_seconds",
        "When the scheduled task last ran to its end, to within 5 s.",
        ("task",),
        (((task,), at.timestamp()) for task, at in heartbeats.last_runs().items()),
    )
