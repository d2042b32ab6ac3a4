"""The metrics of migrations: how far they are, what failed and why, the destination as issuer."""

from datetime import timedelta

from prometheus_client import generate_latest

from certificates.domain import lifecycle
from certificates.models import Certificate
from issuers.models import Issuer
from migrations_bulk.domain import migrate, series
from migrations_bulk.models import BulkMigration, MigrationItem
from occm_project import collector
from tests.fakes.faults import refusing
from tests.fakes.site import Site
from tests.migrations_bulk.moving import finish, item, start
from tests.project.metrics import Page

FAILED = "occm_migration_failed_timestamp_seconds"
LEFT, LATEST = "occm_migration_left_behind", "occm_migration_last_failure_timestamp_seconds"


def scrape() -> Page:
    return Page(generate_latest(collector.REGISTRY).decode())


def test_what_cannot_be_moved_is_told_with_its_reason_and_the_destination(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    refusing(site, destination)
    migration = finish(site, start(site, source, destination))

    page = scrape()

    assert page.by("occm_migration_items", "state") == {"FAILED": 3}
    assert set(page.by(FAILED, "certificate")) == {"amf", "nrf", "smf"}
    for one in (sample.labels for sample in page.samples if sample.name == FAILED):
        assert one["migration"] == str(migration.pk)
        assert (one["issuer"], one["source"]) == ("CA2", "CA1")
        assert (one["class"], one["code"]) == ("REFUSED", "CMP_REJECTED")
        assert one["fail_info"] == "badRequest"
        assert "not today" in one["error"]
    settled_at = item(migration, three[0]).settled_at
    assert settled_at is not None
    assert page.value(FAILED, certificate="amf") == settled_at.timestamp()


def test_what_is_left_behind_is_counted_until_another_migration_moves_it(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    refusing(site, destination)
    migration = finish(site, start(site, source, destination))
    page = scrape()
    assert page.by(LEFT, "migration", "issuer", "source") == {(str(migration.pk), "CA2", "CA1"): 3}
    latest = migration.items.latest("settled_at").settled_at
    assert latest is not None
    assert page.value(LATEST, migration=str(migration.pk)) == latest.timestamp()

    lifecycle.delete(three[0], now=site.clock())
    site.run()
    assert scrape().values(LEFT) == [2]
    site.cas[destination.pk].refuse = None
    finish(site, migrate.retry_failed(migration, now=site.clock()))

    page = scrape()
    assert (page.values(LEFT), page.values(LATEST)) == ([], [])
    assert page.value("occm_migration_items", state="FAILED") == 3  # the record stays


def test_what_was_moved_is_counted_and_no_failure(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    finish(site, start(site, source, destination))

    page = scrape()

    assert page.by("occm_migration_items", "issuer", "source", "state") == {
        ("CA2", "CA1", "DONE"): 3
    }
    assert page.values(FAILED) == []


def test_of_very_many_failures_the_latest_are_told_and_all_are_counted(
    site: Site, source: Issuer, destination: Issuer
) -> None:
    migration = BulkMigration.objects.create(
        source_name="CA1", destination_name="CA2", state="ENDED", created_at=site.clock()
    )
    count = series.TOLD + 5
    MigrationItem.objects.bulk_create(
        MigrationItem(
            migration=migration,
            certificate_name=f"nf{n}",
            state="FAILED",
            settled_at=site.clock() + timedelta(seconds=n),
        )
        for n in range(count)
    )

    page = scrape()

    told = page.by(FAILED, "certificate")
    assert len(told) == series.TOLD
    assert f"nf{count - 1}" in told
    assert "nf4" not in told
    assert page.value("occm_migration_items", state="FAILED") == count
