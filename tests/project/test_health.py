"""What the kubelet is told, and an operator who asks why a web server gets no requests."""

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from occm_project.health import Probes

pytestmark = pytest.mark.django_db


@pytest.fixture
def probes() -> Probes:
    return Probes(lambda _: HttpResponse("a page"))


def asked(probes: Probes, path: str = "/ready") -> tuple[int, str]:
    request: HttpRequest = RequestFactory().get(path)
    answer = probes(request)
    return answer.status_code, answer.content.decode()


def away(*_: Any) -> Any:
    raise OperationalError("could not connect to server at 10.0.0.7")


def test_a_server_with_its_database_is_ready(probes: Probes) -> None:
    assert asked(probes) == (200, "ready\n")
    assert asked(probes, "/admin/") == (200, "a page")


def test_without_its_database_it_lives_and_is_not_ready(probes: Probes) -> None:
    with connection.execute_wrapper(away):
        status, said = asked(probes)
        assert asked(probes, "/live") == (200, "live\n")

    assert status == 503
    assert said == "not ready: the database cannot be reached, or does not answer\n"


def test_it_is_not_ready_before_the_database_is_of_its_release(probes: Probes) -> None:
    applied = MigrationRecorder.Migration.objects.filter(app="occm_project")
    rows = list(applied)
    applied.delete()

    to_run = f"{len(rows)} migrations of the database are to be run"
    assert asked(probes) == (503, f"not ready: {to_run}\n")

    MigrationRecorder.Migration.objects.bulk_create(rows)

    assert asked(probes) == (200, "ready\n")


def test_migrations_are_counted_until_there_are_none(
    probes: Probes, django_assert_num_queries: Any
) -> None:
    asked(probes)

    with django_assert_num_queries(1):
        asked(probes)
