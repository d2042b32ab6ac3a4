"""What a worker counts while it works, in its own memory: `occm_project.exporter` shows it.

Labels are issuers, procedures and codes, never certificates: how many series there are does not
depend on how many certificates are kept. What can be read from the database is not counted here;
see `occm_project.collector`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from time import perf_counter

from prometheus_client import Counter, Histogram

from certificates.models import Enrollment, Revocation
from secretstore import SecretStoreError

WAITED = Histogram(
    "occm_worker_wait_seconds",
    "Time from when an errand was due until a worker took it up.",
    ["issuer"],
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)
PHASES = Histogram(
    "occm_phase_seconds",
    "Time that errands which ended well spent: waiting to send the request that was granted, "
    "talking to the CA, writing secrets.",
    ["issuer", "procedure", "phase"],
    buckets=(0.1, 0.5, 1, 5, 30, 60, 300, 1800, 3600, 21600, 86400),
)
DELIVERED = Counter(
    "occm_delivered", "Certificates that were issued and written.", ["issuer", "procedure"]
)
FAILED = Counter(
    "occm_failures",
    "Tries that failed, by where to look for the cause.",
    ["issuer", "procedure", "class", "code"],
)
SECRET_STORE = Histogram(
    "occm_secret_store_seconds",
    "Time that calls of the secret store took, by outcome: ok, or the code of the error.",
    ["call", "outcome"],
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
)


def taken_up(enrollment: Enrollment, *, now: datetime) -> None:
    """Count how long an errand that was just claimed has been due."""
    if enrollment.due_at is not None:
        waited = (now - enrollment.due_at).total_seconds()
        WAITED.labels(enrollment.issuer_name).observe(max(waited, 0))


def delivered(enrollment: Enrollment, *, now: datetime) -> None:
    """Count an errand that ended well, and how long its phases took."""
    issuer, procedure = enrollment.issuer_name, enrollment.kind
    DELIVERED.labels(issuer, procedure).inc()
    sent_at, issued_at = enrollment.sent_at, enrollment.issued_at
    if sent_at is None or issued_at is None:  # of a release that did not note the time
        return
    spent = {
        "NEW": sent_at - enrollment.created_at,
        "EXCHANGE": issued_at - sent_at,
        "DELIVERING": now - issued_at,
    }
    for phase, duration in spent.items():
        PHASES.labels(issuer, procedure, phase).observe(max(duration.total_seconds(), 0))


def failed(errand: Enrollment | Revocation, *, failure_class: str, code: str) -> None:
    """Count a try that failed."""
    FAILED.labels(errand.issuer_name, errand.kind, failure_class, code).inc()


@contextmanager
def secret_store(call: str) -> Iterator[None]:
    """Time a call of the secret store, and count how it ended."""
    began, outcome = perf_counter(), "ok"
    try:
        yield
    except SecretStoreError as error:
        outcome = error.code
        raise
    finally:
        SECRET_STORE.labels(call, outcome).observe(perf_counter() - began)
