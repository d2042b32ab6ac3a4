"""A migration as workers carry it out, on the test's clock."""

from collections import Counter
from datetime import timedelta
from typing import Any

from certificates.models import Certificate
from issuers.models import Issuer
from migrations_bulk.domain import migrate, progress
from migrations_bulk.models import BulkMigration, MigrationItem
from secretstore import Secret
from tests.factories import NOW
from tests.fakes.site import Site

RETRY = timedelta(seconds=30)


def start(site: Site, source: Issuer, destination: Issuer, **options: Any) -> BulkMigration:
    return migrate.start(now=site.clock(), source=source, destination=destination, **options)


def turn(site: Site) -> None:
    """Do what beat and workers do now, until there is nothing to do before time passes."""
    for _ in range(3):
        while progress.tick(now=site.clock()):
            pass
        site.run()
    progress.tick(now=site.clock())


def finish(site: Site, migration: BulkMigration) -> BulkMigration:
    """Let time pass until the migration has ended."""
    for _ in range(20):
        turn(site)
        migration.refresh_from_db()
        if migration.state == BulkMigration.State.ENDED:
            return migration
        site.clock.forward(seconds=RETRY.total_seconds())
    raise AssertionError(f"it does not end: {states(migration)}")


def states(migration: BulkMigration) -> Counter[str]:
    return Counter(migration.items.values_list("state", flat=True))


def item(migration: BulkMigration, certificate: Certificate) -> MigrationItem:
    return migration.items.get(certificate_name=certificate.name)


def secret(site: Site, certificate: Certificate) -> Secret:
    return site.present("ns1", certificate.private_key_output_secret)


def standing(site: Site, certificate: Certificate) -> tuple[Any, ...]:
    """Return all that a failed migration must leave as it is."""
    row = Certificate.objects.get(pk=certificate.pk)
    return (
        row.issuer.name,
        row.not_after,
        row.serial_number,
        row.renew_at,
        site.readiness(row),
        secret(site, row),
    )


def records(count: int) -> None:
    """Make records of migrations that have ended."""
    ended = BulkMigration.State.ENDED
    BulkMigration.objects.bulk_create(
        BulkMigration(source_name="old", destination_name="new", state=ended, created_at=NOW)
        for _ in range(count)
    )
