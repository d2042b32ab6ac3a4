"""Pause and stop: what the destination has not been asked for yet stays with the source."""

from datetime import timedelta

import pytest

from certificates.domain import dispatch, lifecycle
from certificates.models import Certificate, Enrollment
from issuers.models import Issuer
from migrations_bulk.domain import migrate, progress
from migrations_bulk.models import BulkMigration
from tests.fakes.faults import cut, recover, refusing
from tests.fakes.site import Site
from tests.migrations_bulk.moving import finish, item, standing, start, states, turn

pytestmark = pytest.mark.django_db

Kind, Phase = Enrollment.Kind, Enrollment.Phase


@pytest.fixture
def begun(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> BulkMigration:
    """A migration that has begun with all of its certificates, and asked for none."""
    migration = start(site, source, destination)
    progress.tick(now=site.clock())
    assert states(migration) == {"BEGUN": 3}
    return migration


def asked(site: Site, destination: Issuer) -> int:
    """Return for how many certificates of network functions the destination was asked."""
    return site.cas[destination.pk].count("ir") - 1  # the identity's


def test_a_pause_takes_back_what_was_begun_and_not_asked_for(
    site: Site, destination: Issuer, begun: BulkMigration, three: list[Certificate]
) -> None:
    before = [standing(site, one) for one in three]
    calls = dispatch.tick(now=site.clock())  # already on their way to workers
    migrate.pause(begun, now=site.clock())

    turn(site)
    for call in calls:
        site.work(call)

    assert (asked(site, destination), states(begun)) == (0, {"PENDING": 3})
    assert not Enrollment.objects.open().exists()
    assert [standing(site, one) for one in three] == before
    one = item(begun, three[0])
    assert (one.begun_at, one.settled_at, one.old_serial_number) == (None, None, "")
    assert (one.attempts, one.reason, one.error_code) == (0, "", "")


def test_what_was_taken_back_goes_on_after_the_pause(
    site: Site, begun: BulkMigration, three: list[Certificate]
) -> None:
    migrate.pause(begun, now=site.clock())
    turn(site)
    site.clock.forward(hours=1)
    migrate.resume(begun, now=site.clock())

    finish(site, begun)

    assert states(begun) == {"DONE": 3}
    one = item(begun, three[0])
    assert (one.attempts, one.begun_at) == (1, site.clock())


def test_what_was_asked_for_or_has_failed_before_goes_on_in_a_pause(
    site: Site, destination: Issuer, begun: BulkMigration, three: list[Certificate]
) -> None:
    ca = site.cas[destination.pk]
    calls = {call.enrollment: call for call in dispatch.tick(now=site.clock())}
    waits, failed, _ = (calls[site.errand(one).pk] for one in three)
    ca.polls, ca.check_after = 2, timedelta(minutes=1)
    site.work(waits)
    ca.polls = 0
    refusing(site, destination)
    site.work(failed)
    ca.refuse = None

    migrate.pause(begun, now=site.clock())
    turn(site)
    assert states(begun) == {"BEGUN": 2, "PENDING": 1}
    for _ in range(3):
        site.clock.forward(seconds=30)
        turn(site)

    assert states(begun) == {"DONE": 2, "PENDING": 1}


def test_a_renewal_that_gave_way_goes_on_at_the_source_in_a_pause(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    cut(site, source)
    lifecycle.renew(three[0], now=site.clock())
    site.run()
    migration = start(site, source, destination)
    progress.tick(now=site.clock())
    recover(site, source)

    migrate.pause(migration, now=site.clock())
    turn(site)

    assert (site.errand(three[0]).kind, site.errand(three[0]).phase) == (
        Kind.RENEW,
        Phase.DELIVERED,
    )
    migrate.resume(migration, now=site.clock())
    finish(site, migration)
    assert states(migration) == {"DONE": 3}


def test_a_pause_that_takes_back_much_goes_on_at_once(
    site: Site, begun: BulkMigration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "BATCH", 2)
    migrate.pause(begun, now=site.clock())

    assert progress.tick(now=site.clock())
    assert states(begun) == {"PENDING": 2, "BEGUN": 1}
    assert not progress.tick(now=site.clock())
    assert states(begun) == {"PENDING": 3}


def test_a_stop_begins_with_what_was_not_asked_for(
    site: Site,
    destination: Issuer,
    begun: BulkMigration,
    three: list[Certificate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "BATCH", 2)
    site.cas[destination.pk].polls = 9
    site.work(dispatch.tick(now=site.clock())[0])
    waits = Enrollment.objects.get(state="waiting")
    migrate.stop(begun, now=site.clock())

    assert progress.tick(now=site.clock())  # and at once again

    assert set(Enrollment.objects.open()) == {waits}
    assert not progress.tick(now=site.clock())
    assert not Enrollment.objects.open().exists()
    turn(site)
    assert (asked(site, destination), states(begun)) == (1, {"STOPPED": 3})
