"""The time is the database's word: no host's clock makes anything happen sooner or later."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from certificates.models import Enrollment
from issuers.domain import trial
from issuers.domain.clock import database_time
from issuers.models import IssuerHealth
from issuers.tasks import call_tests, look_at_inputs
from tests.certificates.test_views import CERTIFICATES, at, spec
from tests.factories import a_certificate, an_issuer
from tests.project.clients import an_administrator

ROOT = Path(__file__).parents[2]
WORKERS = [*ROOT.glob("*/tasks.py"), *ROOT.glob("*/domain/*.py")]
WALL_CLOCK = re.compile(r"timezone\.now|datetime\.now|\btime\.time\b|utcnow|localtime")


@pytest.mark.parametrize("file", WORKERS, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_step_of_a_worker_reads_its_hosts_clock(file: Path) -> None:
    assert WALL_CLOCK.search(file.read_text()) is None


@pytest.mark.django_db
def test_a_web_server_that_is_fast_puts_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    now, api, certificate = timezone.now, an_administrator(), a_certificate()
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(minutes=2))

    asked = api.post(CERTIFICATES, spec(name="new"))
    tried = api.post(at(certificate, "retry"))

    assert (asked.status_code, tried.status_code) == (201, 202)
    assert Enrollment.objects.due(now=database_time()).count() == 2


@pytest.mark.django_db
def test_nor_does_it_put_off_what_is_asked_of_an_issuer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, api, issuer = timezone.now, an_administrator(), an_issuer()
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(minutes=2))

    tried = api.post(f"/api/v1/issuers/{issuer.name}/test-connection/")
    edited = api.patch(f"/api/v1/issuers/{issuer.name}/", {"total_timeout_s": 60})

    assert (tried.status_code, edited.status_code) == (202, 200)
    soon = database_time() + timedelta(seconds=1)
    assert IssuerHealth.objects.get(pk=issuer.pk).look_due_at < soon
    assert trial.take(now=soon) == [issuer.pk]


@pytest.mark.django_db
def test_a_worker_that_is_fast_looks_at_no_secret_too_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, issuer = timezone.now, an_issuer()
    due_at = now() + timedelta(minutes=1)
    IssuerHealth.objects.filter(pk=issuer.pk).update(look_due_at=due_at, test_due_at=due_at)
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(minutes=2))

    look_at_inputs()
    call_tests()

    health = IssuerHealth.objects.get(pk=issuer.pk)
    assert (health.look_due_at, health.test_due_at) == (due_at, due_at)
