"""The time is the database's word: no host's clock makes anything happen sooner or later."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from certificates.domain.clock import database_time
from certificates.models import Enrollment
from tests.certificates.test_views import CERTIFICATES, at, spec
from tests.factories import a_certificate
from tests.project.clients import an_administrator

ROOT = Path(__file__).parents[2]
WORKERS = [
    ROOT / "certificates" / "tasks.py",
    ROOT / "migrations_bulk" / "tasks.py",
    *ROOT.glob("*/domain/*.py"),
]
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
