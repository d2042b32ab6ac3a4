"""Beat's scheduler: keeps nothing on disk, and piles up no ticks for a worker that is away.

Celery's `expires` would do the latter by comparing the clock of the host that sends a tick with
that of the host that works: a worker two minutes ahead would drop them all. How many of them wait
in a queue tells the same, and no clock is asked.
"""

from typing import Any

from celery import beat
from kombu import Producer

from occm_project.workers import touch_file

ENOUGH = 20  # in one queue: more than ticks that a busy worker leaves waiting


class Scheduler(beat.Scheduler):
    """Celery's own, in memory: every entry comes round within seconds."""

    _counting: Any = None  # a channel apart: the producer's is closed when it loses the broker

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
        super().close()
        if self._counting is not None:
            self._counting.connection.client.release()

    def _waiting(self, entry: beat.ScheduleEntry) -> int:
        queue = self.app.amqp.router.route(dict(entry.options or {}), str(entry.task))["queue"]
        if self._counting is None:
            self._counting = self.app.connection_for_write().channel()
        return int(self._counting.queue_declare(queue=queue.name).message_count)
