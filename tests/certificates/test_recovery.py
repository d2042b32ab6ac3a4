"""What failed last and is needed by no errand is tried now and then: its recovery is seen."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from certificates.domain import lifecycle, recovery, revoke
from certificates.models import Certificate, Enrollment
from cmp.testing import serve
from issuers.domain import health, trial
from issuers.models import Issuer, IssuerHealth
from secretstore import Forbidden, SecretStoreError, Throttled, Unavailable
from tests.factories import NOW, a_certificate
from tests.fakes.faults import cut
from tests.fakes.site import Clock, Site

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
Phase = Enrollment.Phase


@pytest.fixture
def silent(site: Site, issuer: Issuer) -> Issuer:
    """An issuer that is left alone, and of which nobody wants anything any longer."""
    cut(site, issuer)
    for _ in range(health.FAILURES):
        a_certificate(issuer=issuer)
    site.run()
    assert IssuerHealth.objects.get(pk=issuer.pk).is_open
    for errand in Enrollment.objects.open().select_related("certificate"):
        lifecycle.stop(errand.certificate, now=NOW)
    return issuer


def due_tests(now: datetime = NOW) -> list[int]:
    recovery.test_connections(now=now)
    return trial.take(now=now)


def known(issuer: Issuer) -> IssuerHealth:
    return IssuerHealth.objects.get(pk=issuer.pk)


def test_the_connection_is_tested_once_a_minute_until_it_passes(site: Site, silent: Issuer) -> None:
    ca = site.cas[silent.pk]
    Issuer.objects.filter(pk=silent.pk).update(server_url="http://127.0.0.1:9/")  # refused

    for now in (NOW, NOW + 60 * SECOND):
        assert due_tests(now) == [silent.pk]
        trial.run(silent.pk, secrets=site.secrets, clock=Clock(now))
        assert due_tests(now + 59 * SECOND) == []
        assert known(silent).is_open

    later = NOW + 120 * SECOND
    with serve(ca, clock=lambda: later) as server:
        Issuer.objects.filter(pk=silent.pk).update(server_url=server.url)
        assert due_tests(later) == [silent.pk]
        trial.run(silent.pk, secrets=site.secrets, clock=lambda: later)

    assert known(silent).failing_since is None
    assert not known(silent).is_open
    assert due_tests(later + 3600 * SECOND) == []


def test_a_ca_that_takes_connections_is_no_longer_left_alone_where_nothing_can_be_asked(
    site: Site,
) -> None:
    issuer = site.add_ca()  # without an OCCM certificate
    for _ in range(health.FAILURES):
        health.failed(issuer, now=NOW, error="connection refused")
    with serve(site.cas[issuer.pk], clock=lambda: NOW) as server:
        Issuer.objects.filter(pk=issuer.pk).update(server_url=server.url)
        assert due_tests() == [issuer.pk]
        trial.run(issuer.pk, secrets=site.secrets, clock=lambda: NOW)

    row = known(issuer)
    assert (row.is_open, row.failing_since, row.answered_at) == (False, None, None)


@pytest.mark.parametrize(
    ("errand", "tested"),
    [
        ({}, False),
        ({"due_at": NOW + 50 * SECOND}, False),
        ({"due_at": NOW + 3600 * SECOND}, True),
        ({"due_at": None}, True),
        ({"waiting_for": "the OCCM certificate"}, True),
        ({"phase": Phase.DELIVERING}, True),
        ({"error_code": "CONFIGURATION"}, True),
        ({"error_code": "CMP_UNREACHABLE"}, False),
        ({"phase": Phase.ABANDONED}, True),
    ],
    ids=str,
)
def test_what_an_errand_will_find_out_is_not_tested(
    silent: Issuer, errand: dict[str, Any], tested: bool
) -> None:
    row = a_certificate(issuer=silent).enrollments.get()
    Enrollment.objects.filter(pk=row.pk).update(**errand)

    assert due_tests() == ([silent.pk] if tested else [])


def test_what_a_revocation_will_find_out_is_not_tested(silent: Issuer) -> None:
    asked: dict[str, Any] = {"serial_number": "17", "due_at": NOW, "now": NOW}
    row = revoke.open_one(issuer=silent, certificate_name="nrf", why="test", **asked)
    assert due_tests() == []

    revoke.withdraw(row, now=NOW)

    assert due_tests() == [silent.pk]


def test_an_issuer_that_answers_is_not_tested(issuer: Issuer) -> None:
    assert due_tests() == []


AWAY = Unavailable("the API server is down")


def looked_at(site: Site, issuer: Issuer) -> IssuerHealth:
    IssuerHealth.objects.filter(pk=issuer.pk).update(look_due_at=NOW)
    health.look(secrets=site.secrets, now=NOW)
    return known(issuer)


@pytest.mark.parametrize("outage", [AWAY, Throttled("slowly")], ids=repr)
def test_a_secret_store_that_is_away_is_noticed_without_errands_and_blames_no_issuer(
    site: Site, issuer: Issuer, outage: SecretStoreError
) -> None:
    site.secrets.outage = outage

    row = looked_at(site, issuer)

    assert row.warnings == []
    store = health.secret_store()
    assert (store.failing_since, store.error) == (NOW, str(outage))


@pytest.mark.parametrize("answer", [None, Forbidden("not you")], ids=repr)
def test_any_answer_of_the_secret_store_ends_its_failing(
    site: Site, issuer: Issuer, answer: SecretStoreError | None
) -> None:
    site.secrets.outage = AWAY
    looked_at(site, issuer)
    recovery.try_secret_store(secrets=site.secrets, now=NOW)
    assert health.secret_store().failing_since == NOW

    site.secrets.outage = answer
    recovery.try_secret_store(secrets=site.secrets, now=NOW)

    assert health.secret_store().failing_since is None


def test_what_is_due_finds_out_about_the_secret_store_itself(site: Site, issuer: Issuer) -> None:
    site.secrets.outage = AWAY
    looked_at(site, issuer)
    site.secrets.outage = None
    certificate: Certificate = a_certificate(issuer=issuer)

    recovery.try_secret_store(secrets=site.secrets, now=NOW)
    assert health.secret_store().failing_since == NOW
    site.run()

    assert health.secret_store().failing_since is None
    assert site.readiness(certificate) == "READY"
