"""What a worker shows of itself: signs of life in the database, and its metrics by HTTP."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.conf import LazySettings
from django.utils import timezone

from certificates import tasks
from occm_project import exporter, heartbeats, workers
from occm_project.heartbeats import Pulse, Runs
from occm_project.models import Heartbeat
from tests.peers.process import free_port

TOKEN = {"Authorization": "Bearer scrape"}


@pytest.fixture
def url(settings: LazySettings) -> Iterator[str]:
    settings.OCCM_METRICS_TOKEN = "scrape"
    port = free_port()
    server = exporter.start("127.0.0.1", port)
    assert server is not None
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()


def test_the_bearer_of_the_token_gets_what_the_worker_counts(url: str) -> None:
    answer = requests.get(f"{url}/metrics", headers=TOKEN, timeout=10)

    assert answer.status_code == 200
    assert "# TYPE occm_failures_total counter" in answer.text
    assert "occm_certificate_readiness" not in answer.text  # the web server's


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer wrong", "Basic scrape"])
def test_nobody_else_gets_anything(url: str, token: str) -> None:
    answer = requests.get(f"{url}/metrics", headers={"Authorization": token}, timeout=10)

    assert (answer.status_code, answer.text) == (401, "")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_there_is_nothing_else_to_get(url: str) -> None:
    assert requests.get(f"{url}/", headers=TOKEN, timeout=10).status_code == 404
    assert requests.post(f"{url}/metrics", headers=TOKEN, timeout=10).status_code == 405


def test_a_worker_whose_port_is_taken_says_so_and_goes_on(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(url.rpartition(":")[2])

    assert exporter.start("127.0.0.1", port) is None

    assert f"no metrics at 127.0.0.1 port {port} (OCCM_METRICS_PORT): " in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_pulse_is_there_from_start_to_stop() -> None:
    pulse = Pulse("work@host", ["enroll", "deliver"])
    pulse.start()
    deadline = time.monotonic() + 20
    while not (alive := heartbeats.workers(now=timezone.now())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [(one.name, one.queues) for one in alive] == [("work@host", ["deliver", "enroll"])]
    long_gone = timezone.now() - timedelta(days=2)
    Heartbeat.objects.create(kind=Heartbeat.Kind.WORKER, name="work@pod", seen_at=long_gone)

    pulse.stop()

    assert not Heartbeat.objects.exists()


@pytest.mark.django_db
def test_a_worker_that_is_silent_counts_as_gone() -> None:
    heartbeats.note(Heartbeat.Kind.WORKER, "work@host", ["enroll"])
    now = timezone.now()

    assert len(heartbeats.workers(now=now)) == 1
    assert heartbeats.workers(now=now + timedelta(minutes=1)) == []


@pytest.mark.django_db
def test_a_run_is_noted_once_in_a_while_and_the_row_stays_one(
    django_assert_num_queries: Any,
) -> None:
    runs = Runs()
    with django_assert_num_queries(1):
        for _ in range(5):
            runs.ran("certificates.dispatch")
    first = heartbeats.last_runs()["certificates.dispatch"]

    Runs().ran("certificates.dispatch")

    assert list(heartbeats.last_runs()) == ["certificates.dispatch"]
    assert heartbeats.last_runs()["certificates.dispatch"] >= first


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("task", "state", "noted"),
    [
        (tasks.scan_secrets, "SUCCESS", True),
        (tasks.scan_expiring, "FAILURE", False),
        (tasks.enroll, "SUCCESS", False),
    ],
)
def test_scheduled_tasks_that_succeed_are_noted(task: Any, state: str, noted: bool) -> None:
    workers.note_run(task=task, state=state)

    assert (task.name in heartbeats.last_runs()) is noted
