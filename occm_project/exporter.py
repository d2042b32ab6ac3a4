"""A worker's own metrics by HTTP: it serves nothing else, and has no other door."""

import logging
import socket
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from occm_project import metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)


def start(address: str, port: int) -> WSGIServer | None:
    """Serve in a thread of its own; a worker whose port is taken says so and works on."""
    server_class = _ServerV6 if ":" in address else _Server
    try:
        server = make_server(
            address, port, application, server_class=server_class, handler_class=_Quiet
        )
    except OSError as error:
        log.error("no metrics at %s port %d (OCCM_METRICS_PORT): %s", address, port, error)  # noqa: TRY400 - says it all
        return None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer GET /metrics as the web server does."""
    if environ["PATH_INFO"] != "/metrics":
        start_response("404 Not Found", [])
        return []
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        start_response("405 Method Not Allowed", [("Allow", "GET, HEAD")])
        return []
    offered = environ.get("HTTP_AUTHORIZATION", "")
    if not metrics.is_bearer(offered):
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
        return []
    start_response("200 OK", [("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)])
    return [metrics.counted()] if environ["REQUEST_METHOD"] == "GET" else []


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds for a request to come in

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass
