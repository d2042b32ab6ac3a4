"""A migration that goes about it carefully: the first few, waves, an end at so many failures."""

from datetime import timedelta

import pytest

from certificates.models import Certificate, Enrollment
from issuers.models import Issuer
from migrations_bulk.domain import figures, migrate, progress
from migrations_bulk.models import BulkMigration
from tests.factories import a_certificate
from tests.fakes.faults import recover, refusing
from tests.fakes.site import Site
from tests.migrations_bulk.moving import finish, start, states, turn

pytestmark = pytest.mark.django_db

State = BulkMigration.State


@pytest.fixture
def five(site: Site, source: Issuer) -> list[Certificate]:
    made = [a_certificate(issuer=source, name=f"nf{n}") for n in range(5)]
    site.run()
    return made


def moved(destination: Issuer) -> list[str]:
    found = destination.certificates.filter(cert_type="OTHER").order_by("name")
    return list(found.values_list("name", flat=True))


class TestTheFirst:
    def test_wait_for_a_word(
        self, site: Site, source: Issuer, destination: Issuer, five: list[Certificate]
    ) -> None:
        migration = start(site, source, destination, canary=2)
        turn(site)
        site.clock.forward(hours=9)
        turn(site)
        migration.refresh_from_db()
        assert (migration.state, moved(destination)) == (State.WAITING, ["nf0", "nf1"])

        migrate.go_on(migration, now=site.clock())
        finish(site, migration)

        assert states(migration) == {"DONE": 5}

    def test_are_followed_after_a_time_in_which_they_are_ready(
        self, site: Site, source: Issuer, destination: Issuer, five: list[Certificate]
    ) -> None:
        migration = start(site, source, destination, canary=1, canary_wait_s=600)
        turn(site)
        turn(site)
        migration.refresh_from_db()
        assert migration.go_on_at == site.clock() + timedelta(seconds=600)

        site.clock.forward(seconds=599)
        turn(site)
        assert moved(destination) == ["nf0"]
        site.clock.forward(seconds=1)
        finish(site, migration)

        assert states(migration) == {"DONE": 5}

    @pytest.mark.parametrize("ready_again", [True, False])
    def test_hold_the_others_back_while_they_are_not_ready(
        self,
        site: Site,
        source: Issuer,
        destination: Issuer,
        five: list[Certificate],
        ready_again: bool,
    ) -> None:
        migration = start(site, source, destination, canary=1, canary_wait_s=600)
        turn(site)
        turn(site)
        Certificate.objects.filter(name="nf0").update(in_place=False)
        site.clock.forward(seconds=700)
        turn(site)
        migration.refresh_from_db()
        assert (migration.state, migration.go_on_at) == (State.WAITING, None)

        Certificate.objects.filter(name="nf0").update(in_place=ready_again)
        turn(site)
        site.clock.forward(seconds=700)
        turn(site)

        migration.refresh_from_db()
        assert (migration.state == State.ENDED) == ready_again

    def test_that_fail_are_never_followed_by_themselves(
        self, site: Site, source: Issuer, destination: Issuer, five: list[Certificate]
    ) -> None:
        refusing(site, destination)
        migration = start(site, source, destination, canary=1, canary_wait_s=1)
        for _ in range(5):
            turn(site)
            site.clock.forward(seconds=60)
        migration.refresh_from_db()
        assert (migration.state, states(migration)) == (State.WAITING, {"FAILED": 1, "PENDING": 4})

    def test_may_be_all(
        self, site: Site, source: Issuer, destination: Issuer, five: list[Certificate]
    ) -> None:
        migration = start(site, source, destination, canary=9)
        turn(site)
        migration.refresh_from_db()
        assert (migration.state, states(migration)) == (State.ENDED, {"DONE": 5})

    def test_are_waited_for_again_after_a_pause(
        self, site: Site, source: Issuer, destination: Issuer, five: list[Certificate]
    ) -> None:
        migration = start(site, source, destination, canary=1)
        turn(site)
        migrate.pause(migration, now=site.clock())
        migrate.resume(migration, now=site.clock())
        turn(site)
        migration.refresh_from_db()
        assert migration.state == State.WAITING


def test_a_wave_begins_when_the_one_before_is_done(
    site: Site, source: Issuer, destination: Issuer, five: list[Certificate]
) -> None:
    migration = start(site, source, destination, canary=1, wave_size=2)
    waves = migration.items.order_by("certificate_name").values_list("wave", flat=True)
    assert list(waves) == [0, 1, 1, 2, 2]
    turn(site)
    migrate.go_on(migration, now=site.clock())
    progress.tick(now=site.clock())
    assert set(Enrollment.objects.open().values_list("certificate__name", flat=True)) == {
        "nf1",
        "nf2",
    }

    site.run()
    progress.tick(now=site.clock())
    progress.tick(now=site.clock())

    assert set(Enrollment.objects.open().values_list("certificate__name", flat=True)) == {
        "nf3",
        "nf4",
    }
    finish(site, migration)
    assert states(migration) == {"DONE": 5}


def test_it_stops_at_so_many_failures(
    site: Site, source: Issuer, destination: Issuer, five: list[Certificate]
) -> None:
    refusing(site, destination)
    migration = start(site, source, destination, wave_size=2, max_failures=2)

    finish(site, migration)

    assert states(migration) == {"FAILED": 2, "STOPPED": 3}
    assert migration.reason == "Stopped: 2 failed, and it was to stop at 2."
    recover(site, destination)
    finish(site, migrate.retry_failed(migration, now=site.clock()))
    assert moved(destination) == ["nf0", "nf1"]


def test_no_more_is_begun_than_workers_soon_take_up(
    site: Site,
    source: Issuer,
    destination: Issuer,
    five: list[Certificate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "AHEAD", 0.1)  # of 20 places
    migration = start(site, source, destination)

    progress.tick(now=site.clock())
    progress.tick(now=site.clock())

    assert states(migration) == {"BEGUN": 2, "PENDING": 3}
    Enrollment.objects.open().update(tries=1)  # what has failed waits; others may try
    progress.tick(now=site.clock())
    assert states(migration) == {"BEGUN": 4, "PENDING": 1}


def test_progress_has_a_rate_and_a_time_left(
    site: Site, source: Issuer, destination: Issuer, five: list[Certificate]
) -> None:
    migration = start(site, source, destination, wave_size=2)
    assert figures.progress(migration, now=site.clock()).left_s is None
    site.clock.forward(seconds=10)
    progress.tick(now=site.clock())
    site.run()
    progress.settle(now=site.clock())

    found = figures.progress(migration, now=site.clock())

    assert (found.settled, found.initiated, found.percent) == (2, 5, 40)
    assert (found.rate_per_s, found.left_s) == (0.2, 15)
