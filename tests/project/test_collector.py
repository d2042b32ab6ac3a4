"""Metrics of the database's state: right, bounded, cheap, and of the same moment as the API."""

from datetime import timedelta
from time import process_time
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from prometheus_client import REGISTRY as DEFAULT
from prometheus_client import generate_latest

from certificates.domain import lifecycle
from certificates.models import Certificate, Enrollment, Revocation
from issuers.models import Issuer, IssuerHealth, SecretStoreHealth
from occm_project import __version__, collector, heartbeats
from occm_project.models import Heartbeat
from tests.certificates.standings import failing, ready
from tests.factories import a_certificate, an_identity, an_issuer, certificate_spec
from tests.project.clients import a_client, a_user
from tests.project.metrics import Page

pytestmark = pytest.mark.django_db

MANY, FEW = 10_000, 100


def scrape() -> Page:
    return Page(generate_latest(collector.REGISTRY).decode())


def test_a_certificate_has_its_expiry_and_readiness_with_the_labels_of_the_panels() -> None:
    row = ready(name="amf", issuer=an_issuer(name="ca"), network_function="AMF", purpose="N2")

    page = scrape()

    expected = {
        "certificate": "amf",
        "issuer": "ca",
        "network_function": "AMF",
        "purpose": "N2",
        "type": "OTHER",
    }
    for name, value in (
        ("occm_certificate_not_after_timestamp_seconds", row.not_after),
        ("occm_certificate_renew_timestamp_seconds", row.renew_at),
    ):
        assert value is not None
        assert page.labels(name) == expected
        assert page.value(name) == value.timestamp()
    assert page.labels("occm_certificate_readiness") == expected


def test_readiness_is_told_as_a_number() -> None:
    issuer = an_issuer()
    ready(name="ready", issuer=issuer)
    ready(name="expired", issuer=issuer, days=-1)
    a_certificate(name="none", issuer=issuer)

    page = scrape()

    found = page.by("occm_certificate_readiness", "certificate")
    assert found == {"ready": 1, "expired": -1, "none": 0}
    expiry = page.by("occm_certificate_not_after_timestamp_seconds", "certificate")
    assert set(expiry) == {"ready", "expired"}


def test_a_failure_is_told_while_it_lasts_with_class_and_fail_info_and_120_characters() -> None:
    row = failing(error="x" * 119 + "é\n" + "y" * 50, fail_info="badRequest, systemFailure")
    name = "occm_certificate_failing_since_timestamp_seconds"

    labels = scrape().labels(name)

    assert labels["certificate"] == row.name
    assert (labels["class"], labels["code"]) == ("REFUSED", "CMP_REJECTED")
    assert labels["fail_info"] == "badRequest, systemFailure"
    assert labels["error"] == "x" * 119 + "é"
    assert labels["procedure"] == "CREATE"
    first = row.enrollments.get().first_failed_at
    assert first is not None
    assert scrape().value(name) == first.timestamp()
    assert scrape().value("occm_certificate_attempts", certificate=row.name) == 4

    row.enrollments.update(error_code="", error="", first_failed_at=None)

    assert scrape().values(name) == []


def test_when_the_next_try_is_does_not_make_another_series_of_each_try() -> None:
    failing(error="busy (not tried before 2026-01-01 00:00:00 UTC, as it asked)")

    labels = scrape().labels("occm_certificate_failing_since_timestamp_seconds")

    assert labels["error"] == "busy"


def test_failures_are_counted_by_issuer_and_class() -> None:
    one, other = an_issuer(name="one"), an_issuer(name="other")
    for issuer, code in ((one, "CMP_REJECTED"), (one, "CMP_HTTP"), (one, "CMP_NO_ANSWER")):
        failing(a_certificate(issuer=issuer), error_code=code)
    failing(a_certificate(issuer=other), error_code="SECRET_FORBIDDEN")

    assert scrape().by("occm_errands_failing", "issuer", "class") == {
        ("one", "REFUSED"): 1,
        ("one", "TRANSPORT"): 2,
        ("other", "SECRET_STORE"): 1,
    }


def test_what_an_operator_stopped_counts_as_stopped_and_not_as_failing() -> None:
    row = failing(a_certificate(issuer=an_issuer(name="ca")))

    lifecycle.stop(row, now=timezone.now())

    page = scrape()
    for name in (
        "occm_certificate_failing_since_timestamp_seconds",
        "occm_certificate_attempts",
        "occm_errands_failing",
    ):
        assert page.values(name) == [], name
    assert page.value("occm_errands_stopped", issuer="ca") == 1


def test_the_queue_is_told_by_issuer_and_zero_where_nothing_waits() -> None:
    now = timezone.now()
    busy, idle = an_issuer(name="busy"), an_issuer(name="idle")
    a_certificate(issuer=busy, now=now - timedelta(seconds=90))
    a_certificate(issuer=busy, now=now - timedelta(seconds=30))
    a_certificate(issuer=busy).enrollments.update(due_at=None)
    ready(issuer=idle)

    page = scrape()

    assert page.by("occm_queue_due", "issuer") == {"busy": 2, "idle": 0}
    assert page.value("occm_queue_oldest_due_seconds", issuer="busy") == pytest.approx(90, abs=20)
    assert page.value("occm_queue_oldest_due_seconds", issuer="idle") == 0
    assert page.by("occm_errands_stopped", "issuer") == {"busy": 1, "idle": 0}
    assert page.by("occm_errands", "issuer", "procedure", "phase") == {("busy", "CREATE", "NEW"): 3}


def test_revocations_are_counted_by_what_became_of_them() -> None:
    issuer, now = an_issuer(name="ca"), timezone.now()
    for n, state in enumerate(("OPEN", "OPEN", "REFUSED")):
        Revocation.objects.create(
            certificate_name="amf",
            issuer=issuer,
            issuer_name="ca",
            serial_number=f"{n:x}",
            why="superseded",
            state=state,
            created_at=now,
            closed_at=None if state == "OPEN" else now,
        )

    found = scrape().by("occm_revocations", "issuer", "state")

    assert found == {("ca", "OPEN"): 2, ("ca", "REFUSED"): 1}


def test_an_issuer_tells_how_its_ca_does() -> None:
    issuer, since = an_issuer(name="ca"), timezone.now()
    an_identity(issuer=issuer)
    assert scrape().value("occm_issuer_up", issuer="ca") == 1
    assert scrape().value("occm_issuer_left_alone", issuer="ca") == 0
    IssuerHealth.objects.filter(pk=issuer.pk).update(
        failing_since=since, warnings=["a", "b"], probe_at=since
    )

    page = scrape()

    assert page.value("occm_issuer_up", issuer="ca") == 0
    failing_since = page.value("occm_issuer_failing_since_timestamp_seconds", issuer="ca")
    assert failing_since == since.timestamp()
    assert page.value("occm_issuer_left_alone", issuer="ca") == 1
    assert page.value("occm_issuer_warnings", issuer="ca") == 2
    assert page.value("occm_issuer_certificates", issuer="ca") == 1


def test_the_secret_store_tells_how_it_does() -> None:
    assert scrape().value("occm_secret_store_up") == 1
    SecretStoreHealth.objects.create(pk=SecretStoreHealth.ONLY, failing_since=timezone.now())

    assert scrape().value("occm_secret_store_up") == 0


def test_workers_and_scheduled_tasks_are_told_from_their_signs_of_life() -> None:
    heartbeats.note(Heartbeat.Kind.WORKER, "work@a", ["enroll", "deliver"])
    heartbeats.note(Heartbeat.Kind.WORKER, "work@b", ["enroll"])
    heartbeats.note(Heartbeat.Kind.WORKER, "work@gone", ["scan"])
    heartbeats.note(Heartbeat.Kind.TASK, "certificates.dispatch")
    long_ago = timezone.now() - timedelta(minutes=2)
    Heartbeat.objects.filter(name="work@gone").update(seen_at=long_ago)

    page = scrape()

    alive = {"enroll": 2, "deliver": 1, "suspect": 0, "keys": 0, "dispatch": 0, "scan": 0}
    assert page.by("occm_workers", "queue") == alive
    ran = page.value("occm_task_last_run_timestamp_seconds", task="certificates.dispatch")
    assert ran == pytest.approx(timezone.now().timestamp(), abs=20)


def test_what_runs_is_told_whether_or_not_there_is_a_database() -> None:
    ready()
    assert scrape().labels("occm_build_info")["version"] == __version__
    assert scrape().value("occm_database_up") == 1

    with connection.execute_wrapper(_gone_half_way):
        page = scrape()

    assert page.value("occm_database_up") == 0
    assert [one.name for one in page.samples] == ["occm_build_info", "occm_database_up"]


def _gone_half_way(execute: Any, sql: str, *rest: Any) -> Any:
    if "occm_project_heartbeat" in sql:
        raise OperationalError("the database is away")
    return execute(sql, *rest)


def test_the_default_registry_asks_no_database() -> None:
    """Flower shows it from within its event loop."""
    with connection.execute_wrapper(_forbidden):
        assert b"occm_certificate_readiness" not in generate_latest(DEFAULT)


def _forbidden(*_: Any) -> None:
    raise AssertionError("the database was asked")


def test_numbers_agree_with_the_api_after_creates_failures_and_a_deletion() -> None:
    issuer = an_issuer(name="ca")
    ready(an_identity(issuer=issuer))
    kept = [ready(issuer=issuer, days=days) for days in (-3, 5, 300)]
    for _ in range(3):
        failing(a_certificate(issuer=issuer))
    lifecycle.delete(kept.pop(), now=timezone.now())
    client = a_client(a_user("view_certificate", "view_issuer"))

    shown = client.get("/api/v1/certificates/?page_size=1000").json()["results"]
    page = scrape()

    assert len(shown) == 6
    numbers = {"READY": 1, "NOT_READY": 0, "EXPIRED": -1}
    assert page.by("occm_certificate_readiness", "certificate") == {
        it["name"]: numbers[it["status"]["readiness"]] for it in shown
    }
    troubled = {it["name"] for it in shown if (it["status"]["under_way"] or {}).get("error_code")}
    since = page.by("occm_certificate_failing_since_timestamp_seconds", "certificate")
    assert set(since) == troubled
    assert len(troubled) == 3
    assert page.value("occm_issuer_certificates", issuer="ca") == len(shown)
    assert page.by("occm_certificate_attempts", "certificate") == {
        it["name"]: it["status"]["under_way"]["attempt"]
        for it in shown
        if it["status"]["under_way"]
    }


def test_ten_thousand_certificates_make_so_many_series_in_so_much_time() -> None:
    many(an_issuer())

    began = process_time()
    text = generate_latest(collector.REGISTRY).decode()
    took = process_time() - began

    lines = [line for line in text.splitlines() if not line.startswith("#")]
    of_one = sum(line.startswith("occm_certificate_") for line in lines)
    assert of_one == 3 * MANY + 2 * FEW
    assert len(lines) - of_one < 50
    assert took < 5, "a scrape is made every few seconds"


def many(issuer: Issuer) -> None:
    """Keep MANY valid certificates, FEW of which fail to be renewed."""
    now = timezone.now()
    spec = certificate_spec(issuer=issuer)
    rows = Certificate.objects.bulk_create(
        [
            Certificate(
                **spec | {"name": f"nf{n}"},
                in_place=True,
                not_before=now,
                not_after=now + timedelta(days=n % 365),
                renew_at=now,
            )
            for n in range(MANY)
        ]
    )
    Enrollment.objects.bulk_create(
        Enrollment(
            certificate=row,
            issuer=issuer,
            issuer_name=issuer.name,
            kind="RENEW",
            signer="IDENTITY",
            request={},
            due_at=now,
            created_at=now,
            tries=n,
            error_code="CMP_REJECTED",
            error=f"no, and for the {n}th time",
            first_failed_at=now,
        )
        for n, row in enumerate(rows[:FEW])
    )
