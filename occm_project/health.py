"""Probes for the kubelet: /live says that the process answers, /ready that it can serve.

They are answered before anything else looks at the request: a probe comes by address, over plain
HTTP and without a login, and learns nothing but what is missing. The broker is not asked for: pages
and API write rows, and a web server without a broker serves as well as one with.
"""

from collections.abc import Callable

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse


class Probes:
    """Middleware: answer probes, pass the rest on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.migrated = False  # once it is, it is no longer asked: that takes a while

    def __call__(self, request: HttpRequest) -> HttpResponse:
        match request.path:
            case "/live":
                return HttpResponse("live\n", content_type="text/plain")
            case "/ready":
                missing = self._missing()
                text, status = (f"not ready: {missing}\n", 503) if missing else ("ready\n", 200)
                return HttpResponse(text, status=status, content_type="text/plain")
            case _:
                return self.get_response(request)

    def _missing(self) -> str:
        """Say what this server cannot do without, and lacks."""
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            waiting = 0 if self.migrated else migrations_to_come()
        except Error:
            return "the database cannot be reached, or does not answer"
        self.migrated = waiting == 0
        return f"{waiting} migrations of the database are to be run" if waiting else ""


def migrations_to_come() -> int:
    """Count what this release's code expects of the database, and the database has not."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
