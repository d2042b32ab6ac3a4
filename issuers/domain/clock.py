"""What time it is: the database's word, so that all workers agree and none can be wrong alone."""

from datetime import UTC, datetime, timedelta
from time import monotonic

from django.db import connection

NOW = {
    "postgresql": "SELECT clock_timestamp()",
    "sqlite": "SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')",
}


class DatabaseClock:
    """Asks the database once and goes on from there by this machine's monotonic clock."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(NOW[connection.vendor])
            (found,) = cursor.fetchone()
        self._read_at = monotonic()
        moment: datetime = datetime.fromisoformat(found) if isinstance(found, str) else found
        self._moment = moment.astimezone(UTC)

    def __call__(self) -> datetime:
        return self._moment + timedelta(seconds=monotonic() - self._read_at)


def database_time() -> datetime:
    """Return what time it is, for who begins something and waits for nothing."""
    return DatabaseClock()()
