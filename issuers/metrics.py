"""What a worker counts about CAs, in its own memory: `occm_project.exporter` shows it.

What can be read from the database is not counted here; see `occm_project.collector`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Histogram

CA_RESPONSE = Histogram(
    "occm_ca_response_seconds",
    "Time from sending a message to a CA to having its answer, by what was sent.",
    ["issuer", "message"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600),
)


@contextmanager
def round_trip(issuer: str, *, message: str) -> Iterator[None]:
    """Time one message and its answer; what was never answered is counted as a failure."""
    began = perf_counter()
    yield
    CA_RESPONSE.labels(issuer, message).observe(perf_counter() - began)
