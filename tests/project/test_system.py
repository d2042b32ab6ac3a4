"""The system page: what works, what does not, and what to look at."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.core.management import get_commands
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone

from issuers.models import IssuerHealth, SecretStoreHealth
from occm_project import heartbeats, system
from occm_project.collector import QUEUES
from occm_project.models import Heartbeat
from tests.certificates.standings import failing, ready
from tests.factories import a_certificate, an_issuer
from tests.pages import logged_in
from tests.project.clients import a_user

PAGE = "/admin/system/"
TASKS = [entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()]

pytestmark = pytest.mark.django_db


def all_alive() -> None:
    heartbeats.note(Heartbeat.Kind.WORKER, "work@host", QUEUES)
    for task in TASKS:
        heartbeats.note(Heartbeat.Kind.TASK, task)


def found(part: str, *, now: datetime | None = None) -> system.Finding:
    moment = now or timezone.now()
    return {it.part: it for it in system.findings(now=moment)}[part]


def test_all_is_good_when_every_part_gave_a_sign_of_life() -> None:
    all_alive()

    assert {it.level for it in system.findings(now=timezone.now())} == {"good"}


def test_a_queue_that_no_worker_takes_from_is_named() -> None:
    heartbeats.note(Heartbeat.Kind.WORKER, "work@host", ["enroll", "deliver", "suspect"])

    it = found("Workers")

    assert (it.level, it.word) == ("bad", "missing")
    assert "dispatch" in it.says
    assert "enroll" not in it.says


def test_a_worker_that_fell_silent_counts_no_longer() -> None:
    all_alive()

    assert found("Workers", now=timezone.now() + timedelta(minutes=2)).level == "bad"


def test_a_silent_scheduler_is_told_with_the_time_of_its_last_run() -> None:
    all_alive()
    last = heartbeats.last_runs()["certificates.dispatch"]

    it = found("Scheduler and broker", now=last + timedelta(minutes=2))

    assert it.level == "bad"
    assert f"certificates.dispatch (last at {last:%H:%M:%S} UTC)" in it.says


def test_a_task_that_never_ran_is_told() -> None:
    assert "certificates.dispatch (never)" in found("Scheduler and broker").says


def test_what_is_due_for_long_is_told() -> None:
    now = timezone.now()
    a_certificate(now=now - timedelta(seconds=90))

    it = found("Queue", now=now)

    assert it.level == "warn"
    assert "1 due, the oldest for 90 s" in it.says


def test_a_secret_store_that_refuses_is_told() -> None:
    ready()
    assert found("Secret store").level == "good"

    failing(error_code="SECRET_FORBIDDEN", error="secret ns1/nrf: we may not patch it")

    assert found("Secret store").word == "refuses"


def test_a_secret_store_that_is_away_is_told_with_the_time_of_the_next_probe() -> None:
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    away = SecretStoreHealth.objects.create(failing_since=since, error="the API is away")

    it = found("Secret store")
    assert (it.word, it.says) == ("fails", "Since 2026-01-02 03:04:05 UTC: the API is away")

    away.probe_at = since + timedelta(seconds=30)
    away.save()
    assert found("Secret store").says.endswith("is away (next probe at 03:04:35 UTC)")


def test_an_issuer_that_fails_is_named() -> None:
    issuer = an_issuer(name="ca-edge")
    IssuerHealth.objects.filter(pk=issuer.pk).update(failing_since=timezone.now())

    assert "ca-edge" in found("Issuers").says


def test_the_page_names_the_database_and_the_workers() -> None:
    all_alive()
    admin: Client = logged_in()

    page = admin.get(PAGE).text

    assert connection.display_name in page
    assert "work@host" in page
    assert "<html" in page
    assert "<html" not in admin.get(PAGE, headers={"X-Occm-Live": "1"}).text


def test_the_page_is_for_those_who_may_view_certificates() -> None:
    nobody = logged_in(a_user("view_issuer", is_staff=True))

    assert nobody.get(PAGE).status_code == 403
    assert Client().get(PAGE).status_code == 302


def test_a_database_of_an_earlier_release_is_told_with_the_command_that_mends_it() -> None:
    removed, _ = MigrationRecorder.Migration.objects.filter(app="occm_project").delete()

    it = found("Database")

    assert (it.level, it.word) == ("bad", "out of date")
    assert f"lacks {removed} migrations" in it.says
    (command,) = re.findall(r"python manage.py (\w+)", it.says)
    assert command in get_commands()
