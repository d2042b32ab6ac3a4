"""Every request that may change something leaves a line that says who sent it, and from where."""

import json
import logging
from typing import Any

import pytest
from django.test import Client

from certificates.models import Certificate
from occm_project.logs import as_json
from tests.factories import a_certificate
from tests.project.clients import JsonClient, a_client, a_user, an_administrator

pytestmark = pytest.mark.django_db

FIELDS = ("user", "address", "method", "path", "status")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the audit wrote, as a log collector gets it."""
    lines: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    handler, log = Kept(), logging.getLogger("occm_project.audit")
    handler.setFormatter(as_json())
    monkeypatch.setattr(log, "handlers", [handler])
    monkeypatch.setattr(log, "level", logging.INFO)
    return lines


@pytest.fixture
def certificate() -> Certificate:
    return a_certificate(name="amf")


def fields(told: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(line[name] for name in FIELDS) for line in told]


def test_an_action_by_api_is_told_with_the_user_of_its_token(
    told: list[dict[str, Any]], certificate: Certificate
) -> None:
    path = "/api/v1/certificates/amf/stop/"

    an_administrator().post(path)

    assert fields(told) == [("admin", "127.0.0.1", "POST", path, 202)]
    assert told[0]["event"] == f"POST {path} by admin from 127.0.0.1: 202"


def test_an_action_by_page_is_told_with_the_user_of_its_session(
    told: list[dict[str, Any]], certificate: Certificate
) -> None:
    user = a_user("view_certificate", "change_certificate", is_staff=True)
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.force_login(user)
    path = f"/admin/certificates/certificate/{certificate.pk}/stop/"

    client.post(path)
    client.post("/admin/logout/")

    assert fields(told) == [
        ("operator", "192.0.2.7", "POST", path, 302),
        ("operator", "192.0.2.7", "POST", "/admin/logout/", 200),
    ]


def test_what_was_refused_is_told_too(told: list[dict[str, Any]], certificate: Certificate) -> None:
    path = "/api/v1/certificates/amf/"

    a_client(a_user("view_certificate")).delete(path)
    JsonClient().delete(path)

    assert fields(told) == [
        ("operator", "127.0.0.1", "DELETE", path, 403),
        ("", "127.0.0.1", "DELETE", path, 401),
    ]


def test_a_log_in_is_told_with_the_user_and_one_that_failed_without_what_was_typed(
    told: list[dict[str, Any]],
) -> None:
    a_user()
    credentials = {"username": "operator", "password": "correct horse"}

    JsonClient().post("/api/v1/login/", credentials)
    JsonClient().post("/api/v1/login/", {"username": "correct horse", "password": "x"})

    assert [(line["user"], line["status"]) for line in told] == [("operator", 200), ("", 401)]
    assert "horse" not in json.dumps(told)


def test_reading_is_not_told(told: list[dict[str, Any]], certificate: Certificate) -> None:
    an_administrator().get("/api/v1/certificates/amf/")

    assert told == []
