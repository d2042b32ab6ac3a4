"""Signs of life: written by workers, read by metrics and pages, which thus need no broker.

Time is the database's. A worker writes every few seconds from a thread of its own, so that tasks
which take long do not make it look dead.
"""

import logging
import threading
from collections.abc import Collection
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from django.db import DatabaseError, connection
from django.db.models.functions import Now

from occm_project.models import Heartbeat

EVERY: Final = timedelta(seconds=5)
ALIVE: Final = 6 * EVERY  # a worker that was silent for longer counts as gone
FORGOTTEN: Final = timedelta(days=1)  # pods come and go, each under its own name

log = logging.getLogger(__name__)


def note(kind: Heartbeat.Kind, name: str, queues: Collection[str] = ()) -> None:
    """Write down that this one is alive, or was run."""
    row = Heartbeat(kind=kind, name=name, queues=sorted(queues), seen_at=Now())
    Heartbeat.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["kind", "name"],
        update_fields=["queues", "seen_at"],
    )


def last_runs() -> dict[str, datetime]:
    """Return when each scheduled task last ran to its end; what never did is not there."""
    rows = Heartbeat.objects.filter(kind=Heartbeat.Kind.TASK)
    return dict(rows.values_list("name", "seen_at"))


def workers(*, now: datetime) -> list[Heartbeat]:
    """Return the workers that are alive."""
    return list(Heartbeat.objects.filter(kind=Heartbeat.Kind.WORKER, seen_at__gt=now - ALIVE))


class Runs:
    """Notes the runs of scheduled tasks, each at most once in EVERY."""

    def __init__(self) -> None:
        self._noted: dict[str, float] = {}

    def ran(self, task: str) -> None:
        last = self._noted.get(task)
        if last is None or monotonic() - last >= EVERY.total_seconds():
            self._noted[task] = monotonic()
            note(Heartbeat.Kind.TASK, task)


class Pulse(threading.Thread):
    """Notes that a worker is alive until it is stopped."""

    def __init__(self, worker: str, queues: Collection[str]) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.worker, self.queues = worker, queues
        self._ended = threading.Event()

    def run(self) -> None:
        while True:
            try:
                note(Heartbeat.Kind.WORKER, self.worker, self.queues)
            except DatabaseError as error:  # workers have their own words for it: not ours, again
                log.debug("no heartbeat: %s", error)
            finally:
                connection.close()
            if self._ended.wait(EVERY.total_seconds()):
                return

    def stop(self) -> None:
        """Say that the worker is gone, and forget those that are gone for long."""
        self._ended.set()
        self.join(timeout=EVERY.total_seconds())
        gone = Heartbeat.objects.filter(kind=Heartbeat.Kind.WORKER)
        gone.filter(name=self.worker).delete()
        gone.filter(seen_at__lt=Now() - FORGOTTEN).delete()
