"""The system page: which part of OCCM does its work, and what to look at where one does not.

It asks nobody but the database: workers leave their signs of life there, so the page answers when
broker, workers or CAs do not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from certificates.domain import figures, series
from certificates.domain.failures import FailureClass
from certificates.models import Certificate
from issuers.admin.pages import LIVE
from issuers.domain.clock import DatabaseClock
from issuers.models import SecretStoreHealth
from occm_project import __version__, heartbeats
from occm_project.collector import QUEUES
from occm_project.health import migrations_to_come

LATE: Final = timedelta(seconds=30)  # a scheduled task this far behind its time is missed
WAITING: Final = timedelta(seconds=30)  # what has been due for longer finds no worker
GOOD, WARN, BAD = "good", "warn", "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one part does: the badge's level and word, and a sentence that says what to do."""

    part: str
    level: str
    word: str
    says: str


def page(request: HttpRequest) -> HttpResponse:
    """Show the page, or its live part alone. Raises PermissionDenied."""
    if not request.user.has_perm("certificates.view_certificate"):
        raise PermissionDenied
    now = DatabaseClock()()
    context: dict[str, Any] = {
        "findings": list(findings(now=now)),
        "workers": heartbeats.workers(now=now),
        "tasks": sorted(heartbeats.last_runs().items()),
        "version": __version__,
    }
    if LIVE in request.headers:
        return TemplateResponse(request, "occm/system_live.html", context)
    context |= admin.site.each_context(request) | {"title": "System"}
    return TemplateResponse(request, "occm/system.html", context)


def findings(*, now: datetime) -> Iterator[Finding]:
    """Yield how each part does, the one that others depend on first."""
    yield _database()
    yield _workers(now)
    yield _scheduler(now)
    yield _queue(now)
    yield _secret_store()
    yield _issuers(now)


def _database() -> Finding:
    missing = migrations_to_come()
    server = f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"
    if missing:
        says = (
            f"{server} lacks {missing} migrations: run ./occm manage prepare, or in a container "
            "python manage.py prepare."
        )
        return Finding("Database", BAD, "out of date", says)
    return Finding("Database", GOOD, "answers", f"{server}, all migrations applied.")


def _workers(now: datetime) -> Finding:
    alive = heartbeats.workers(now=now)
    served = {queue for one in alive for queue in one.queues}
    missing = [queue for queue in QUEUES if queue not in served]
    if missing:
        says = f"No worker takes from {', '.join(missing)}: start one, and look at its log."
        return Finding("Workers", BAD, "missing", says)
    return Finding("Workers", GOOD, f"{len(alive)} alive", "Every queue is served.")


def _scheduler(now: datetime) -> Finding:
    """Beat, the broker between it and the workers, and the workers' turn: seen by their fruits."""
    runs, late, never = heartbeats.last_runs(), [], []
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        task, every = entry["task"], timedelta(seconds=entry["schedule"])
        if task not in runs:
            never.append(task)
        elif now - runs[task] > every + LATE:
            late.append(f"{task} (last at {runs[task]:%H:%M:%S} UTC)")
    if late or never:
        what = [*late, *(f"{task} (never)" for task in never)]
        says = f"Not run: {', '.join(what)}. Look at beat, the broker and the dispatch worker."
        return Finding("Scheduler and broker", BAD, "silent", says)
    return Finding("Scheduler and broker", GOOD, "on time", "Scheduled tasks run as they should.")


def _queue(now: datetime) -> Finding:
    queues = series.queues(now=now)
    due = sum(queue.due for queue in queues)
    oldest = min((queue.oldest for queue in queues if queue.oldest), default=None)
    if oldest is not None and now - oldest > WAITING:
        says = (
            f"{due} due, the oldest for {(now - oldest).total_seconds():.0f} s: too few worker "
            "slots, or an issuer at its budget."
        )
        return Finding("Queue", WARN, "behind", says)
    return Finding("Queue", GOOD, "empty" if not due else f"{due} due", "Nothing waits for long.")


def _secret_store() -> Finding:
    store = SecretStoreHealth.objects.filter(failing_since__isnull=False).first()
    if store is not None:
        says = f"Since {store.failing_since:%Y-%m-%d %H:%M:%S} UTC: {store.error}"
        if store.probe_at is not None:
            says += f" (next probe at {store.probe_at:%H:%M:%S} UTC)"
        return Finding("Secret store", BAD, "fails", says)
    failing = sum(
        count
        for (_, failure_class), count in series.failing().items()
        if failure_class == FailureClass.SECRET_STORE
    )
    if failing:
        says = f"{failing} procedures fail at it: their pages name namespace, secret and key."
        return Finding("Secret store", BAD, "refuses", says)
    last = Certificate.objects.filter(delivered_at__isnull=False).order_by("-delivered_at").first()
    if last is None or last.delivered_at is None:
        return Finding("Secret store", GOOD, "not used yet", "Nothing was delivered yet.")
    says = f"Last delivery at {last.delivered_at:%Y-%m-%d %H:%M:%S} UTC: {last}."
    return Finding("Secret store", GOOD, "works", says)


def _issuers(now: datetime) -> Finding:
    rows = list(figures.issuers(now=now))
    failing = [row.name for row in rows if row.health.failing_since]
    if failing:
        says = f"{', '.join(failing)}: see the page of each for its last error."
        return Finding("Issuers", BAD, f"{len(failing)} of {len(rows)} failing", says)
    return Finding("Issuers", GOOD, f"{len(rows)} without failure", "No CA fails to answer.")
