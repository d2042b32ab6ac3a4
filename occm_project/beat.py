"""Beat's scheduler: keeps nothing on disk, and piles up no ticks for a worker that is away.

Celery's `expires` would do the latter by comparing the clock of the host that sends a tick with
that of the host that works: a worker two minutes ahead would drop them all. How many of them wait
in a queue tells the same, and no clock is asked. When ticks are due is a matter of the monotonic
clock, so that setting the other one stops nothing.
"""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from celery import beat
from kombu import Producer

from occm_project.workers import touch_file

ENOUGH = 20  # in one queue: more than ticks that a busy worker leaves waiting

_BEGAN = datetime.now(UTC) - timedelta(seconds=monotonic())  # noqa: TID251 - read this once


def steady() -> datetime:
    """Return the time as it was when the process began, and what has passed since."""
    return _BEGAN + timedelta(seconds=monotonic())


class Scheduler(beat.Scheduler):
    """Celery's own, in memory: every entry comes round within seconds."""

    _counting: Any = None  # a channel apart: the producer's is closed when it loses the broker

    def setup_schedule(self) -> None:
        super().setup_schedule()
        for entry in self.schedule.values():
            schedule: Any = entry.schedule
            schedule.nowfun = steady

    def apply_async(
        self,
        entry: beat.ScheduleEntry,
        producer: Producer | None = None,
        advance: bool = True,
        **options: Any,
    ) -> Any:
        """Send an entry's task, unless nobody has taken up those sent before."""
        if self._waiting(entry) >= ENOUGH:
            touch_file()  # alive, and the broker is there
            return None
        return super().apply_async(entry, producer=producer, advance=advance, **options)

    def close(self) -> None:
        """Celery calls it twice: in the signal's handler, and at the end."""
        super().close()
        if self._counting is not None:
            self._counting.connection.client.release()
            self._counting = None

    def _waiting(self, entry: beat.ScheduleEntry) -> int:
        queue = self.app.amqp.router.route(dict(entry.options or {}), str(entry.task))["queue"]
        if self._counting is None:
            self._counting = self.app.connection_for_write().channel()
        return int(self._counting.queue_declare(queue=queue.name).message_count)
