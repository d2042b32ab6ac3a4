"""Metrics for Prometheus, to whoever bears OCCM_METRICS_TOKEN: nothing is readable without.

Two kinds. What a process counts itself (requests, tries, times) is its own, so each is to be
scraped: the web server here, a worker at its `exporter`. What the database holds is read at each
scrape (`collector`), and any web server says the same.
"""

import hmac
import os
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from occm_project import collector

# Twice as many series, and no dashboard asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Scrapes:
    """Middleware: answer scrapes, pass the rest on.

    Like probes they come to the address of one pod, a host that ALLOWED_HOSTS does not name.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return _page(request) if request.path == "/metrics" else self.get_response(request)


def _page(request: HttpRequest) -> HttpResponse:
    """Return the metrics, or 401; without a token in the settings nobody gets them."""
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if not is_bearer(request.headers.get("Authorization", "")):
        return HttpResponse("", status=401, headers={"WWW-Authenticate": "Bearer"})
    page = counted() + generate_latest(collector.REGISTRY)
    return HttpResponse(page, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def is_bearer(authorization: str) -> bool:
    """Tell whether this header shows the token that metrics are given for."""
    token: str = settings.OCCM_METRICS_TOKEN
    expected = f"Bearer {token}".encode()
    return bool(token) and hmac.compare_digest(authorization.encode(), expected)


def counted() -> bytes:
    """Return what this process has counted; where several share a folder, all of them."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
