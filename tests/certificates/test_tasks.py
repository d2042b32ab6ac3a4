"""The tasks as workers run them: real clock, real HTTP to a CA, a real folder of secrets.

Celery runs them at once and here; what a broker adds is tested in tests/flows.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.management import call_command
from pytest_django import Settings

from certificates import tasks
from certificates.domain import enroll, lifecycle, looks
from certificates.models import Certificate, Enrollment, LeaseLost
from cmp import format_name
from cmp.testing import DemoCA, Pki, serve
from cmp.testing.server import Server
from issuers.domain import channel
from issuers.domain.clock import DatabaseClock
from issuers.models import Issuer
from tests.factories import a_certificate, an_enrollment, an_identity, an_issuer

pytestmark = pytest.mark.django_db

REFERENCE, SECRET = b"demo", b"a shared secret"


@pytest.fixture(autouse=True)
def eager(settings: Settings, tmp_path: Path) -> Iterator[None]:
    settings.OCCM_SECRET_STORE = f"folder:{tmp_path / 'secrets'}"
    before, current_app.conf.task_always_eager = current_app.conf.task_always_eager, True
    yield
    current_app.conf.task_always_eager = before


@pytest.fixture
def ca() -> DemoCA:
    pki = Pki.generate("Test CA", now=datetime.now(UTC))
    return DemoCA(pki=pki, secrets={REFERENCE: SECRET})


@pytest.fixture
def server(ca: DemoCA) -> Iterator[Server]:
    with serve(ca) as server:
        yield server


@pytest.fixture
def issuer(ca: DemoCA, server: Server) -> Issuer:
    secrets = channel.secret_store()
    issuer = an_issuer(
        server_url=server.url, recipient_dn=format_name(ca.pki.signer.certificate.subject)
    )
    secrets.write("ns1", issuer.mac_secret, {"pwd": SECRET, "ref": REFERENCE}, version=None)
    root = ca.pki.root.public_bytes(Encoding.PEM)
    secrets.write("ns1", issuer.trust_store_secret, {"root.pem": root}, version=None)
    return issuer


def now() -> datetime:
    return DatabaseClock()()


def ready() -> set[str]:
    rows = Certificate.objects.ready(now=now())
    return set(rows.values_list("name", flat=True))


def test_one_tick_brings_an_identity_and_what_waits_for_it_to_their_secrets(
    issuer: Issuer, server: Server
) -> None:
    certificate = a_certificate(issuer=issuer, now=now())
    identity = an_identity(issuer=issuer, now=now())

    tasks.dispatch()

    assert ready() == {certificate.name, identity.name}
    assert {visit.version for visit in server.visits} == {"1.0"}  # A3


def test_a_renewal_that_is_due_is_made(issuer: Issuer, ca: DemoCA) -> None:
    ca.validity = timedelta(seconds=2)
    identity = an_identity(issuer=issuer, now=now())
    tasks.dispatch()
    ca.validity = timedelta(days=365)
    Certificate.objects.update(renew_at=now())

    tasks.scan_expiring()
    tasks.dispatch()

    assert identity.enrollments.filter(phase="DELIVERED").count() == 2
    assert ca.count("kur") + ca.count("ir") == 2


def test_a_manual_certificate_is_looked_at(issuer: Issuer) -> None:
    certificate = a_certificate(issuer=issuer, creation_mode="MANUAL", now=now())

    tasks.scan_secrets()

    certificate.refresh_from_db()
    assert "does not exist" in certificate.attention


def test_one_look_that_fails_keeps_no_other_certificate_from_being_looked_at(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (
        a_certificate(issuer=issuer, creation_mode="MANUAL", now=now()) for _ in range(2)
    )
    real = looks.look_at

    def surprised(row: Certificate, **given: Any) -> None:
        if row == first:
            raise ZeroDivisionError("nobody thought of it")
        real(row, **given)

    monkeypatch.setattr(looks, "look_at", surprised)
    tasks.scan_secrets()

    seen = Certificate.objects.filter(pk__in=(first.pk, second.pk), attention__contains="exist")
    assert seen.get() == second
    assert "ZeroDivisionError" in caplog.text


def test_deletions_are_finished_by_the_tick() -> None:
    row = an_enrollment(leased_until=now() + timedelta(seconds=0.2))
    assert not lifecycle.delete(row.certificate, now=now()).finished
    Enrollment.objects.update(leased_until=None)

    tasks.dispatch()

    assert not Certificate.objects.exists()


class TestTheBoundary:
    @pytest.fixture
    def row(self, monkeypatch: pytest.MonkeyPatch) -> Enrollment:
        def surprise(*_: object) -> None:
            raise ZeroDivisionError("nobody thought of it")

        monkeypatch.setattr(enroll, "advance", surprise)
        return an_enrollment()

    def test_records_what_nobody_anticipated(self, row: Enrollment) -> None:
        tasks.enroll(row.pk, row.fence)

        row.refresh_from_db()
        assert (row.error_code, row.error) == ("UNEXPECTED", "nobody thought of it")
        assert row.due_at is not None
        assert timedelta(seconds=29) < row.due_at - now() <= timedelta(seconds=30)

    def test_leaves_a_row_alone_that_was_taken_over(
        self, row: Enrollment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def taken(*_: object, **__: object) -> None:
            raise LeaseLost

        monkeypatch.setattr(enroll, "record_unexpected", taken)

        tasks.enroll(row.pk, row.fence)

        row.refresh_from_db()
        assert row.error_code == ""

    def test_does_nothing_for_a_call_that_comes_too_late(self, row: Enrollment) -> None:
        tasks.renew(row.pk, row.fence + 1)

        row.refresh_from_db()
        assert (row.error_code, row.leased_until) == ("", None)


def test_the_databases_clock_goes_on_by_itself() -> None:
    clock = DatabaseClock()

    first, second = clock(), clock()

    assert first < second
    assert abs(first - datetime.now(UTC)) < timedelta(seconds=5)


class TestDemo:
    @pytest.fixture
    def running(self, tmp_path: Path) -> Iterator[dict[str, list[str]]]:
        folders = [tmp_path / "ca1", tmp_path / "ca2"]
        cas = []
        for number, folder in enumerate(folders, start=1):
            pki = Pki.open(folder, f"Demo CA {number}", now=datetime.now(UTC))
            (folder / "mac-secret").write_bytes(SECRET + b"\n")
            cas.append(DemoCA(pki=pki, secrets={REFERENCE: SECRET}))
        with serve(cas[0]) as first, serve(cas[1]) as second:
            yield {
                "ca_folders": [str(folder) for folder in folders],
                "ca_urls": [first.url, second.url],
            }

    def test_brings_a_small_core_to_ready(self, running: dict[str, list[str]]) -> None:
        call_command("demo", **running)
        for _ in range(3):
            tasks.dispatch()

        rows = Certificate.objects.all()
        assert ready() == {row.name for row in rows}
        assert {row.network_function for row in rows} >= {"OCCM", "AMF", "SMF", "UPF", "NRF"}
        assert not any(row.attention or row.modifications for row in rows)
        assert rows.filter(cert_type="OCCM").count() == Issuer.objects.count() == 2

    def test_a_second_start_adds_nothing_and_revives_nothing(
        self, running: dict[str, list[str]]
    ) -> None:
        call_command("demo", **running)
        deleted = Certificate.objects.get(name="amf1")
        lifecycle.delete(deleted, now=now())
        before = set(Certificate.objects.values_list("name", flat=True))

        call_command("demo", **running)

        assert set(Certificate.objects.values_list("name", flat=True)) == before
