"""The environment that a benchmark's processes run in: OCCM's settings, on parts of its own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.peers.postgresql import PostgreSQL
from tests.peers.valkey import Valkey

ROOT = Path(__file__).parents[1]


def environment(database_url: str, **more: str) -> dict[str, str]:
    """Return the environment of a process of OCCM on this database; `more` names other parts."""
    ours = {
        "DJANGO_SETTINGS_MODULE": "occm_project.settings",
        "DATABASE_URL": database_url,
        "REDIS_URL": "memory://",
        "OCCM_SECRET_STORE": "folder:/nonexistent/occm-benchmark",
        "OCCM_FIELD_KEYS": "A" * 43 + "=",
        "OCCM_SERVED_BY_HTTPS": "false",
        "SECRET_KEY": "for benchmarks only, and therefore no secret at all",
        "ALLOWED_HOSTS": "localhost",
        "PYTHONPATH": str(ROOT),
    }
    return dict(os.environ) | ours | more


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """Run PostgreSQL and Valkey, and say where in OCCM's settings."""
    with PostgreSQL() as postgresql, Valkey(folder) as valkey:
        yield {"DATABASE_URL": postgresql.database("bench"), "REDIS_URL": valkey.url}
