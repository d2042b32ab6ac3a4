"""A destination that lets certificates wait, as for an approval by hand: polls are no attempts."""

from datetime import timedelta

import pytest

from certificates.models import Certificate, Enrollment, MaybeIssued
from issuers.models import Issuer
from migrations_bulk.domain import progress
from migrations_bulk.models import BulkMigration
from tests.fakes.faults import Refusing, cut
from tests.fakes.site import Site
from tests.migrations_bulk.moving import RETRY, finish, item, start, states, turn

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture
def patient(destination: Issuer) -> Issuer:
    """The destination, with a day for each transaction."""
    Issuer.objects.filter(pk=destination.pk).update(total_timeout_s=86_400)
    return destination


def waiting(site: Site, source: Issuer, destination: Issuer) -> BulkMigration:
    """Return a migration whose certificates the CA has asked to wait: granted at the tenth poll."""
    site.cas[destination.pk].polls = 10
    site.cas[destination.pk].check_after = MINUTE
    migration = start(site, source, destination)
    turn(site)
    assert set(Enrollment.objects.open().values_list("state", flat=True)) == {"waiting"}
    return migration


def let_pass(site: Site, time: timedelta) -> None:
    until = site.clock() + time
    while site.clock() < until:
        site.clock.forward(seconds=RETRY.total_seconds())
        turn(site)


def test_polls_that_get_no_answer_now_and_then_are_no_attempts(
    site: Site, source: Issuer, patient: Issuer, three: list[Certificate]
) -> None:
    migration = waiting(site, source, patient)
    for _ in range(4):
        cut(site, patient)
        let_pass(site, MINUTE)
        assert site.errand(three[0]).error_code == "CMP_UNREACHABLE"
        site.cut.clear()
        let_pass(site, MINUTE)

    finish(site, migration)

    assert states(migration) == {"DONE": 3}
    assert item(migration, three[0]).attempts == 1
    assert not MaybeIssued.objects.exists()


def test_an_outage_of_the_ca_leaves_alone_what_it_may_have_approved(
    site: Site, source: Issuer, patient: Issuer, three: list[Certificate]
) -> None:
    migration = waiting(site, source, patient)
    cut(site, patient)
    let_pass(site, 30 * MINUTE)
    assert states(migration) == {"BEGUN": 3}

    site.cut.clear()
    finish(site, migration)

    assert states(migration) == {"DONE": 3}
    assert not MaybeIssued.objects.exists()


def test_a_secret_that_cannot_be_read_meanwhile_ends_nothing(
    site: Site, source: Issuer, patient: Issuer, three: list[Certificate]
) -> None:
    migration = waiting(site, source, patient)
    real, site.secrets = site.secrets, Refusing(site.secrets, patient.trust_store_secret)
    let_pass(site, 5 * MINUTE)
    assert site.errand(three[0]).error_code == "SECRET_FORBIDDEN"
    assert states(migration) == {"BEGUN": 3}

    site.secrets = real
    finish(site, migration)

    assert states(migration) == {"DONE": 3}


def test_the_total_timeout_ends_an_attempt(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    migration = waiting(site, source, destination)

    let_pass(site, 20 * MINUTE)

    assert states(migration) == {"FAILED": 3}
    assert item(migration, three[0]).attempts == 3
    assert "did not finish within 0:05:00" in item(migration, three[0]).reason


def test_an_outage_past_the_total_timeout_ends_all_of_them(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    migration = waiting(site, source, destination)
    cut(site, destination)

    let_pass(site, 10 * MINUTE)

    assert states(migration) == {"FAILED": 3}
    assert MaybeIssued.objects.count() == 3


def test_a_secret_that_cannot_be_read_past_the_total_timeout_ends_them(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    migration = waiting(site, source, destination)
    site.secrets = Refusing(site.secrets, destination.trust_store_secret)

    let_pass(site, 10 * MINUTE)

    assert states(migration) == {"FAILED": 3}


def test_what_waits_takes_nobodys_turn(
    site: Site,
    source: Issuer,
    destination: Issuer,
    three: list[Certificate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "AHEAD", 0.1)  # of 20 places

    migration = waiting(site, source, destination)

    assert states(migration) == {"BEGUN": 3}
