"""What time it is: the database's word, so that all workers agree and none can be wrong alone."""

import time
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from django.db import connection

NOW = {
    "postgresql": "SELECT clock_timestamp()",
    "sqlite": "SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')",
}
ASKED_AGAIN_S = 5.0


class DatabaseClock:
    """Asks the database once and goes on from there by a clock of this machine that nobody sets.

    What it was told serves all clocks of a process for some seconds: every task has one.
    """

    _last: ClassVar[tuple[datetime, float]] = datetime.min.replace(tzinfo=UTC), -ASKED_AGAIN_S

    def __init__(self) -> None:
        if _steady() - self._last[1] >= ASKED_AGAIN_S:
            DatabaseClock._last = _ask()
        self._moment, self._told_at = self._last

    def __call__(self) -> datetime:
        return self._moment + timedelta(seconds=_steady() - self._told_at)


def _ask() -> tuple[datetime, float]:
    """Return what time the database says it is, and when it said so by our own steady clock."""
    with connection.cursor() as cursor:
        cursor.execute(NOW[connection.vendor])
        (found,) = cursor.fetchone()
    moment: datetime = datetime.fromisoformat(found) if isinstance(found, str) else found
    return moment.astimezone(UTC), _steady()


def _steady() -> float:
    """Return seconds that pass, those included in which the machine was suspended, if it can."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def database_time() -> datetime:
    """Return what time it is, for who begins something and waits for nothing."""
    return DatabaseClock()()
