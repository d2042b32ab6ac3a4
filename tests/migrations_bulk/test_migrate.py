"""Who is migrated, what comes of it, and what operators can do meanwhile."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from certificates.domain import lifecycle, migrating, revoke
from certificates.domain.conflicts import EnrollmentInProgress, StillReferred
from certificates.models import Certificate, Enrollment, MaybeIssued, Revocation
from issuers.domain import editing
from issuers.models import Issuer
from migrations_bulk.domain import migrate, progress, selection
from migrations_bulk.domain.conflicts import (
    DestinationNotReady,
    MigrationNotRunning,
    MigrationRunning,
    NothingToMigrate,
    StillWriting,
    TooManyMigrations,
)
from migrations_bulk.models import BulkMigration, MigrationItem
from tests.factories import NOW, a_certificate
from tests.fakes.faults import NotWriting, cut, recover, refusing, set_knob
from tests.fakes.site import Site
from tests.migrations_bulk.moving import (
    finish,
    item,
    records,
    secret,
    standing,
    start,
    states,
    turn,
)

pytestmark = pytest.mark.django_db

Kind, Phase, Priority = Enrollment.Kind, Enrollment.Phase, Enrollment.Priority
State = BulkMigration.State
ALL = {"amf", "nrf", "smf"}


def test_the_log_tells_of_each_errand_that_is_opened(  # noqa: PLR0913, PLR0917 - fixtures
    site: Site,
    source: Issuer,
    destination: Issuer,
    three: list[Certificate],
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    start(site, source, destination)
    with caplog.at_level("INFO"), django_capture_on_commit_callbacks(execute=True):
        progress.tick(now=site.clock())

    told = [it.getMessage() for it in caplog.records if ": opened: " in it.getMessage()]
    assert [it.partition(":")[0] for it in told] == sorted(one.name for one in three)


class TestSuccess:
    def test_issuer_expiry_and_secret_are_the_destinations(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        before = {one.name: site.leaf(one) for one in three}
        expiry = {one.name: one.not_after for one in Certificate.objects.all()}
        site.clock.forward(days=10)

        migration = finish(site, start(site, source, destination, created_by="anna"))

        assert (migration.source_name, migration.destination_name) == ("CA1", "CA2")
        assert states(migration) == {"DONE": 3}
        issued = {one.serial for one in site.cas[destination.pk].issued}
        for one in three:
            one.refresh_from_db()
            leaf = site.leaf(one)
            assert (one.issuer, site.readiness(one)) == (destination, "READY")
            assert leaf.serial_number in issued
            assert one.not_after == leaf.not_valid_after_utc != expiry[one.name]
            assert leaf.public_key() != before[one.name].public_key()
            found = item(migration, one)
            assert found.old_serial_number == f"{before[one.name].serial_number:x}"
            assert (found.new_serial_number, found.new_not_after) == (
                one.serial_number,
                one.not_after,
            )
            assert (found.attempts, found.reason) == (1, "")
        errand = site.errand(three[0])
        assert (errand.kind, errand.priority) == (Kind.MIGRATE, Priority.BULK)

    def test_other_keys_of_the_secret_stay(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        site.put("ns1", three[0].private_key_output_secret, {"others": b"mine"})

        finish(site, start(site, source, destination))

        assert secret(site, three[0]).data["others"] == b"mine"

    def test_the_occm_certificate_stays_where_it_is(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        migration = finish(site, start(site, source, destination))

        assert source.certificates.get().name == "OCCM-CA1"
        assert set(migration.items.values_list("certificate_name", flat=True)) == ALL

    def test_a_manual_certificate_moves_too(
        self, site: Site, source: Issuer, destination: Issuer
    ) -> None:
        site.provide(source, "by-hand")
        manual = a_certificate(issuer=source, creation_mode="MANUAL", secret="by-hand")
        site.look()

        migration = finish(site, start(site, source, destination))

        assert states(migration) == {"DONE": 1}
        manual.refresh_from_db()
        assert (manual.issuer, site.readiness(manual)) == (destination, "READY")

    def test_the_next_renewal_goes_to_the_destination(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        finish(site, start(site, source, destination))
        asked = site.cas[source.pk].count("ir")

        lifecycle.recreate(three[0], now=site.clock())
        site.run()

        assert site.cas[source.pk].count("ir") == asked
        assert site.errand(three[0]).issuer == destination

    def test_flower_shows_it_by_name(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        from certificates.domain import dispatch  # noqa: PLC0415

        start(site, source, destination)
        progress.tick(now=site.clock())

        calls = dispatch.tick(now=site.clock())

        assert {call.task for call in calls} == {"migrations_bulk.migrate_certificate"}


class TestSelection:
    def test_expired_ones_are_initiated(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        Certificate.objects.filter(name="amf").update(not_after=NOW - timedelta(days=1))

        migration = finish(site, start(site, source, destination))

        assert item(migration, three[0]).state == "DONE"
        assert site.readiness(three[0]) == "READY"

    def test_what_is_not_ready_or_under_way_is_skipped_with_its_reason(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        amf, nrf, smf = three
        site.cas[source.pk].polls = 3
        lifecycle.recreate(amf, now=site.clock())
        site.run()  # the CA asks for patience: an open transaction
        Certificate.objects.filter(pk=nrf.pk).update(in_place=False, attention="Somebody wrote.")
        Certificate.objects.filter(pk=smf.pk).update(deleting=True)

        migration = start(site, source, destination)

        skipped = dict(migration.items.values_list("certificate_name", "reason"))
        assert skipped == {
            "amf": "A procedure is under way: RECREATE.",
            "nrf": "It is NOT_READY. Somebody wrote.",
            "smf": "It is being deleted.",
        }
        assert migration.state == State.ENDED
        assert states(migration) == {"SKIPPED": 3}

    def test_a_key_that_is_not_written_yet_is_under_way(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        site.secrets = NotWriting(site.secrets)
        lifecycle.recreate(three[0], now=site.clock())
        site.run()
        lifecycle.stop(three[0], now=site.clock())

        chosen = selection.select(source, now=site.clock())

        assert chosen[0].skipped == "A procedure is under way: RECREATE."

    def test_the_database_holds_no_enrollment_of_what_waits_for_its_turn(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        start(site, source, destination, canary=1)
        turn(site)

        assert Enrollment.objects.filter(kind=Kind.MIGRATE).count() == 1
        assert not Enrollment.objects.open().exists()

    def test_a_preview_tells_the_same_and_does_nothing(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        Certificate.objects.filter(name="nrf").update(in_place=False)
        cut(site, source)
        lifecycle.recreate(three[0], now=site.clock())
        site.run()

        found = selection.preview(source, destination, now=site.clock())

        assert [(one.name, one.parks) for one in found.initiated] == [
            ("amf", "RECREATE"),
            ("smf", ""),
        ]
        assert [(one.name, one.skipped) for one in found.skipped] == [("nrf", "It is NOT_READY.")]
        assert (found.blocked, found.warnings, found.estimated_s >= 0) == ((), (), True)
        assert not BulkMigration.objects.exists()

    def test_a_preview_knows_the_issuers_budget(
        self,
        site: Site,
        source: Issuer,
        destination: Issuer,
        three: list[Certificate],
        settings: Settings,
    ) -> None:
        done = Enrollment.objects.filter(issuer=destination)
        done.update(sent_at=NOW, closed_at=NOW + timedelta(seconds=80))
        settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 20  # of which bulk work may have 16

        assert selection.preview(source, destination, now=site.clock()).estimated_s == 15
        settings.OCCM_ISSUER_REQUESTS_PER_SECOND = 0.1  # two for each certificate
        assert selection.preview(source, destination, now=site.clock()).estimated_s == 60

    def test_a_preview_tells_what_stands_in_the_way(self, site: Site, source: Issuer) -> None:
        other = site.add_ca(name="bare")

        found = selection.preview(source, other, now=site.clock())

        assert len(found.blocked) == 2
        assert "there is none" in found.blocked[0]
        assert "no certificate of type OTHER" in found.blocked[1]


class TestWhatWaitsAtTheSource:
    @pytest.fixture
    def waiting(self, site: Site, source: Issuer, three: list[Certificate]) -> Certificate:
        """A certificate whose renewal has failed and waits for its next try: the CA is away."""
        cut(site, source)
        lifecycle.renew(three[0], now=site.clock())
        site.run()
        assert site.errand(three[0]).error_code == "CMP_UNREACHABLE"
        return three[0]

    def test_gives_way_to_the_migration(
        self, site: Site, source: Issuer, destination: Issuer, waiting: Certificate
    ) -> None:
        parked = site.errand(waiting)

        migration = finish(site, start(site, source, destination))

        parked.refresh_from_db()
        assert (parked.phase, parked.error_code) == (Phase.ABANDONED, "SUPERSEDED")
        assert states(migration) == {"DONE": 3}
        assert not waiting.enrollments.open().exists()

    def test_is_resumed_at_the_source_when_the_migration_fails(
        self, site: Site, source: Issuer, destination: Issuer, waiting: Certificate
    ) -> None:
        refusing(site, destination)

        migration = finish(site, start(site, source, destination))

        assert item(migration, waiting).state == "FAILED"
        again = waiting.enrollments.open().get()
        assert (again.kind, again.issuer, again.due_at is None) == (Kind.RENEW, source, False)
        assert again.reason == "asked for by the operator"
        recover(site, source)
        site.clock.forward(seconds=30)
        site.run()
        assert site.errand(waiting).phase == Phase.DELIVERED
        waiting.refresh_from_db()
        assert waiting.issuer == source

    def test_stays_stopped_if_it_was(
        self, site: Site, source: Issuer, destination: Issuer, waiting: Certificate
    ) -> None:
        lifecycle.stop(waiting, now=site.clock())
        refusing(site, destination)

        finish(site, start(site, source, destination))

        assert waiting.enrollments.open().get().due_at is None

    def test_goes_on_while_its_item_waits_for_its_turn(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        """A renewal that comes due is made at the source; the migration follows it."""
        amf, nrf, _ = three
        migration = start(site, source, destination, canary=1)
        turn(site)
        site.cas[source.pk].polls = 2
        lifecycle.renew(nrf, now=site.clock())
        site.run()
        migrate.go_on(migration, now=site.clock())
        turn(site)
        assert item(migration, nrf).state == "PENDING"
        assert item(migration, amf).state == "DONE"

        finish(site, migration)

        kinds = nrf.enrollments.order_by("pk").values_list("kind", "phase")
        assert list(kinds) == [
            ("CREATE", "DELIVERED"),
            ("RENEW", "DELIVERED"),
            ("MIGRATE", "DELIVERED"),
        ]

    def test_no_renewal_is_opened_while_it_is_migrated(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        start(site, source, destination)
        progress.tick(now=site.clock())
        Certificate.objects.filter(name="amf").update(renew_at=site.clock())

        lifecycle.open_due_renewals(now=site.clock(), limit=100)

        assert three[0].enrollments.open().get().kind == Kind.MIGRATE


class TestFailure:
    def test_leaves_everything_as_it_was(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        before = [standing(site, one) for one in three]
        refusing(site, destination)

        migration = finish(site, start(site, source, destination))

        assert [standing(site, one) for one in three] == before
        assert states(migration) == {"FAILED": 3}
        for found in migration.items.all():
            assert (found.attempts, found.error_code) == (3, "CMP_REJECTED")
            assert "not today" in found.reason
        assert site.cas[destination.pk].count("ir") == 1 + 3 * 3  # the identity, and three tries
        assert site.clock() >= NOW + timedelta(seconds=60)
        assert not Enrollment.objects.open().exists()

    def test_comes_after_as_many_tries_as_are_set(
        self,
        site: Site,
        source: Issuer,
        destination: Issuer,
        three: list[Certificate],
        settings: Settings,
    ) -> None:
        settings.OCCM_MIGRATION_MAX_ATTEMPTS = 1
        refusing(site, destination)

        migration = start(site, source, destination)
        turn(site)

        migration.refresh_from_db()
        assert (migration.state, states(migration)) == (State.ENDED, {"FAILED": 3})

    def test_tries_that_somebody_else_counts_count(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        migration = start(site, source, destination)
        progress.tick(now=site.clock())
        Enrollment.objects.open().update(
            tries=3, error_code="CMP_UNREACHABLE", error="away", due_at=site.clock() + 9 * MINUTE
        )

        progress.tick(now=site.clock())
        progress.tick(now=site.clock())

        assert states(migration) == {"FAILED": 3}
        assert set(migration.items.values_list("reason", flat=True)) == {"away"}

    def test_waiting_for_the_destinations_identity_is_none(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        migration = start(site, source, destination)
        identity = Certificate.objects.filter(name="OCCM-CA2")
        identity.update(in_place=False)
        for _ in range(5):
            turn(site)
            site.clock.forward(seconds=30)
        assert states(migration) == {"BEGUN": 3}
        identity.update(in_place=True)

        finish(site, migration)

        assert states(migration) == {"DONE": 3}

    def test_of_writing_has_no_limit_and_does_not_keep_the_migration_running(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        real, site.secrets = site.secrets, NotWriting(site.secrets)
        migration = start(site, source, destination)
        for _ in range(4):
            turn(site)
            site.clock.forward(seconds=30)
        migration.refresh_from_db()
        assert (migration.state, states(migration)) == (State.ENDED, {"ISSUED": 3})
        assert {one.issuer for one in Certificate.objects.filter(name__in=ALL)} == {source}
        assert site.errand(three[0]).tries >= 4

        site.secrets = real
        turn(site)

        assert states(migration) == {"DONE": 3}
        assert {one.issuer for one in Certificate.objects.filter(name__in=ALL)} == {destination}

    def test_is_retried_by_another_migration(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        site.cas[destination.pk].refuse = None
        first = start(site, source, destination)
        progress.tick(now=site.clock())
        Enrollment.objects.open().exclude(certificate__name="nrf").update(tries=3, error="away")
        finish(site, first)
        assert states(first) == {"FAILED": 2, "DONE": 1}

        second = finish(site, migrate.retry_failed(first, now=site.clock(), created_by="anna"))

        assert (second.purpose, second.follows) == ("RETRY", first)
        assert states(second) == {"DONE": 2}
        with pytest.raises(NothingToMigrate):
            migrate.retry_failed(second, now=site.clock())

    def test_of_an_unanswered_request_is_remembered_as_maybe_issued(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        set_knob("drop_connection")(site, destination)

        migration = finish(site, start(site, source, destination))

        assert states(migration) == {"FAILED": 3}
        assert MaybeIssued.objects.filter(issuer_name="CA2").count() == 9


class TestStart:
    def test_source_and_destination_must_differ(self, site: Site, source: Issuer) -> None:
        with pytest.raises(ValidationError) as caught:
            start(site, source, source)

        assert caught.value.message_dict == {
            "destination": ["Choose another issuer than the source."]
        }

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"source": None}, "source"),
            ({"canary": -1}, "canary"),
            ({"canary_wait_s": 60}, "canary_wait_s"),
            ({"canary": 1, "canary_wait_s": 0}, "canary_wait_s"),
            ({"wave_size": None}, "wave_size"),
            ({"max_failures": 10**7}, "max_failures"),
        ],
        ids=str,
    )
    def test_mistakes_are_told_at_their_field(
        self,
        site: Site,
        source: Issuer,
        destination: Issuer,
        options: dict[str, Any],
        field: str,
    ) -> None:
        with pytest.raises(ValidationError) as caught:
            migrate.start(
                now=site.clock(), **{"source": source, "destination": destination} | options
            )

        assert set(caught.value.message_dict) == {field}

    def test_needs_a_ready_identity_of_the_destination(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        Certificate.objects.filter(name="OCCM-CA2").update(not_after=NOW - timedelta(days=1))

        with pytest.raises(DestinationNotReady, match="OCCM-CA2: it is EXPIRED"):
            start(site, source, destination)

    def test_needs_a_certificate(self, site: Site, source: Issuer, destination: Issuer) -> None:
        with pytest.raises(NothingToMigrate, match="CA1 has no certificate of type OTHER"):
            start(site, source, destination)

    def test_a_second_is_refused_naming_the_first(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        first = start(site, source, destination)

        with pytest.raises(MigrationRunning, match=str(first.pk)):
            start(site, source, destination)

    def test_the_database_refuses_a_second_that_nobody_saw_coming(
        self,
        site: Site,
        source: Issuer,
        destination: Issuer,
        three: list[Certificate],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        start(site, source, destination)
        monkeypatch.setattr(selection, "running", str)

        with pytest.raises(MigrationRunning):
            start(site, source, destination)
        assert BulkMigration.objects.count() == 1

    def test_the_16th_record_is_refused(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        records(15)

        with pytest.raises(TooManyMigrations, match="There are 15"):
            start(site, source, destination)

        assert BulkMigration.objects.count() == 15
        migrate.delete(BulkMigration.objects.all()[0])
        start(site, source, destination)


class TestMeanwhile:
    @pytest.fixture
    def migration(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> BulkMigration:
        """A migration whose certificates the CA lets wait."""
        site.cas[destination.pk].polls = 100
        site.cas[destination.pk].check_after = timedelta(hours=1)
        migration = start(site, source, destination)
        turn(site)
        assert states(migration) == {"BEGUN": 3}
        return migration

    def test_issuers_are_neither_deleted_nor_changed(
        self, site: Site, source: Issuer, migration: BulkMigration
    ) -> None:
        with pytest.raises(editing.IssuerInUse):
            editing.delete(issuer=source)
        Certificate.objects.filter(issuer=source).delete()
        with pytest.raises(editing.IssuerInUse, match=str(migration.pk)):
            editing.delete(issuer=source)
        with pytest.raises(ValidationError) as caught:
            editing.update(issuer=source, now=site.clock(), recipient_dn="/CN=other")
        assert str(migration.pk) in caught.value.message_dict["recipient_dn"][0]

    def test_it_is_not_deleted(self, migration: BulkMigration) -> None:
        with pytest.raises(MigrationRunning, match="cannot be deleted: it is RUNNING"):
            migrate.delete(migration)

    @pytest.mark.parametrize("wish", [lifecycle.renew, lifecycle.recreate])
    def test_its_certificates_are_not_asked_for_elsewhere(
        self, site: Site, migration: BulkMigration, three: list[Certificate], wish: object
    ) -> None:
        assert callable(wish)
        with pytest.raises(EnrollmentInProgress):
            wish(three[0], now=site.clock())
        Enrollment.objects.open().update(state="", phase=Phase.NEW)  # merely waiting
        with pytest.raises(EnrollmentInProgress, match="is being migrated to issuer CA2"):
            wish(three[0], now=site.clock())

    def test_a_change_that_recreates_has_to_wait_and_others_do_not(
        self, site: Site, migration: BulkMigration, three: list[Certificate]
    ) -> None:
        with pytest.raises(EnrollmentInProgress):
            lifecycle.update(three[0], now=site.clock(), common_name="other")

        assert lifecycle.update(three[0], now=site.clock(), purpose="other").purpose == "other"

    def test_a_deleted_certificate_fails(
        self, site: Site, migration: BulkMigration, three: list[Certificate]
    ) -> None:
        lifecycle.delete(three[0], now=site.clock())
        turn(site)

        found = migration.items.get(certificate_name="amf")
        assert (found.state, found.reason) == ("FAILED", "The certificate was deleted.")

    def test_a_certificate_that_is_stopped_leaves_the_migration(
        self, site: Site, migration: BulkMigration, three: list[Certificate]
    ) -> None:
        lifecycle.stop(three[0], now=site.clock())
        turn(site)
        turn(site)

        found = item(migration, three[0])
        assert (found.state, "stopped by the operator" in found.reason) == ("STOPPED", True)
        assert states(migration) == {"STOPPED": 1, "BEGUN": 2}

    def test_the_destinations_identity_stays(
        self, site: Site, destination: Issuer, migration: BulkMigration
    ) -> None:
        identity = destination.certificates.get()
        with pytest.raises(StillReferred, match=str(migration.pk)):
            lifecycle.delete(identity, now=site.clock())

    def test_stopping_ends_it(
        self, site: Site, source: Issuer, migration: BulkMigration, three: list[Certificate]
    ) -> None:
        before = [standing(site, one) for one in three]
        migrate.stop(migration, now=site.clock())

        finish(site, migration)

        assert states(migration) == {"STOPPED": 3}
        assert [standing(site, one) for one in three] == before
        assert not Enrollment.objects.open().exists()
        assert MaybeIssued.objects.count() == 3  # the CA may issue them yet
        with pytest.raises(MigrationNotRunning):
            migrate.stop(migration, now=site.clock())
        migrate.delete(migration)
        assert not MigrationItem.objects.exists()

    def test_stopping_waits_for_who_is_talking_to_the_ca(
        self, site: Site, migration: BulkMigration, three: list[Certificate]
    ) -> None:
        Enrollment.objects.open().filter(certificate=three[0]).update(
            leased_until=site.clock() + MINUTE
        )

        migrate.stop(migration, now=site.clock())
        turn(site)

        migration.refresh_from_db()
        assert (migration.state, states(migration)) == (State.STOPPING, {"BEGUN": 1, "STOPPED": 2})
        finish(site, migration)

    def test_what_is_issued_is_written_after_a_stop(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        real, site.secrets = site.secrets, NotWriting(site.secrets)
        migration = start(site, source, destination, canary=1)
        progress.tick(now=site.clock())
        site.run()
        migrate.stop(migration, now=site.clock())
        finish(site, migration)
        assert states(migration) == {"ISSUED": 1, "STOPPED": 2}

        site.secrets = real
        site.clock.forward(seconds=30)
        turn(site)

        assert states(migration) == {"DONE": 1, "STOPPED": 2}
        three[0].refresh_from_db()
        assert three[0].issuer == destination

    def test_a_pause_begins_nothing(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        migration = start(site, source, destination)
        migrate.pause(migration, now=site.clock())
        turn(site)
        assert states(migration) == {"PENDING": 3}
        with pytest.raises(MigrationNotRunning, match="it is PAUSED"):
            migrate.pause(migration, now=site.clock())

        migrate.resume(migration, now=site.clock())
        finish(site, migration)

        assert states(migration) == {"DONE": 3}
        with pytest.raises(MigrationNotRunning, match="it is ENDED"):
            migrate.resume(migration, now=site.clock())


class TestRollBack:
    def test_migrates_everything_back(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        away = finish(site, start(site, source, destination))

        back = finish(site, migrate.roll_back(away, now=site.clock()))

        assert (back.source, back.destination, back.follows) == (destination, source, away)
        assert back.purpose == BulkMigration.Purpose.ROLL_BACK
        assert states(back) == {"DONE": 3}
        assert {one.issuer for one in Certificate.objects.filter(name__in=ALL)} == {source}

    def test_migrates_one_back(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        away = finish(site, start(site, source, destination))

        finish(site, migrate.roll_back(away, now=site.clock(), certificates=["nrf"]))

        assert set(source.certificates.values_list("name", flat=True)) == {"nrf", "OCCM-CA1"}

    def test_has_the_same_guards(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        away = start(site, source, destination)
        with pytest.raises(NothingToMigrate):
            migrate.roll_back(away, now=site.clock())
        with pytest.raises(ValidationError, match="Not moved by this migration: nobody, nrf"):
            migrate.roll_back(away, now=site.clock(), certificates=["nrf", "nobody"])
        finish(site, away)
        Certificate.objects.filter(name="OCCM-CA1").update(in_place=False)
        with pytest.raises(DestinationNotReady):
            migrate.roll_back(away, now=site.clock())


def test_an_issuer_that_is_gone_takes_part_in_nothing(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    migration = finish(site, start(site, source, destination))
    lifecycle.delete(source.certificates.get(), now=site.clock())
    editing.delete(issuer=source)
    migration.refresh_from_db()

    for again in (migrate.roll_back, migrate.retry_failed):
        with pytest.raises(NothingToMigrate, match="Issuer CA1 is no longer configured"):
            again(migration, now=site.clock())
    migrate.delete(migration)


class TestOldCertificates:
    def test_are_left_alone_unless_the_operator_says_otherwise(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        finish(site, start(site, source, destination))

        assert not Revocation.objects.exists()

    def test_are_revoked_once_the_new_are_written_and_a_time_has_passed(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        old = {site.leaf(one).serial_number for one in three}
        Certificate.objects.filter(name="smf").update(not_after=NOW - timedelta(days=1))
        refusing(site, destination)
        failed = finish(site, start(site, source, destination, revoke_old_after_s=3600))
        assert not Revocation.objects.exists()
        recover(site, destination)

        finish(site, migrate.retry_failed(failed, now=site.clock()))

        found = Revocation.objects.all()
        assert {one.certificate_name for one in found} == {"amf", "nrf"}  # smf's has expired
        assert {one.due_at for one in found} == {site.clock() + timedelta(hours=1)}
        assert not revoke.take(now=site.clock())
        for pk, fence in revoke.take(now=site.clock() + timedelta(hours=1)):
            revoke.run(pk, fence, site.world)
        assert set(found.all().values_list("state", flat=True)) == {"REVOKED"}
        assert {int(one.serial_number, 16) for one in found} < old
        assert {site.readiness(one) for one in three} == {"READY"}
        assert not MigrationItem.objects.exclude(old_certificate_der=b"").exists()

    def test_keep_the_record_that_has_them_revoked_until_the_new_are_written(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        real, site.secrets = site.secrets, NotWriting(site.secrets)
        migration = finish(site, start(site, source, destination, revoke_old_after_s=60))
        assert states(migration) == {"ISSUED": 3}

        with pytest.raises(StillWriting, match="the old certificates of amf, nrf, smf are to be"):
            migrate.delete(migration)

        site.secrets = real
        site.clock.forward(seconds=30)
        turn(site)
        migrate.delete(migration)
        assert Revocation.objects.count() == 3

    def test_that_nobody_wants_revoked_keep_no_record(
        self, site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        site.secrets = NotWriting(site.secrets)
        migration = finish(site, start(site, source, destination))
        assert states(migration) == {"ISSUED": 3}

        migrate.delete(migration)

        assert not BulkMigration.objects.exists()


def test_only_what_has_no_certificate_can_be_given_up(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    site.secrets = NotWriting(site.secrets)
    start(site, source, destination)
    progress.tick(now=site.clock())
    site.run()
    errand = site.errand(three[0])
    assert errand.issued_fingerprint

    assert migrating.give_up([errand.pk], now=site.clock() + MINUTE, reason="no") == 0


MINUTE = timedelta(minutes=1)
