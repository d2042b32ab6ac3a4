"""What is forgotten of the past, and what never is."""

from datetime import timedelta

import pytest
from pytest_django import Settings

from certificates.domain import history, lifecycle, revoke, unseen
from certificates.models import Certificate, Enrollment, MaybeIssued, Revocation
from issuers.models import Issuer
from migrations_bulk.models import BulkMigration, MigrationItem
from tests.factories import NOW, a_certificate, a_maybe_issued, a_revocation, an_issuer
from tests.fakes.site import Site

pytestmark = pytest.mark.django_db


@pytest.fixture
def certificate(site: Site, issuer: Issuer) -> Certificate:
    """A certificate that was recreated three times."""
    certificate = a_certificate(issuer=issuer)
    site.run()
    for _ in range(3):
        site.clock.forward(days=1)
        lifecycle.recreate(certificate, now=site.clock())
        site.run()
    return certificate


def purge(site: Site) -> int:
    """Let an hour go by in the eyes of the scan."""
    return sum(history.purge(now=site.clock(), turn=turn) for turn in range(history.TURNS))


def test_of_closed_errands_the_latest_are_kept(
    site: Site, certificate: Certificate, settings: Settings
) -> None:
    settings.OCCM_HISTORY_KEEP = 2
    latest = list(certificate.enrollments.order_by("-pk").values_list("pk", flat=True)[:2])

    assert purge(site) == 2

    assert list(certificate.enrollments.order_by("-pk").values_list("pk", flat=True)) == latest
    assert site.readiness(certificate) == "READY"
    assert purge(site) == 0


def test_what_is_too_old_goes_and_what_is_open_stays(site: Site, certificate: Certificate) -> None:
    lifecycle.recreate(certificate, now=site.clock())
    opened = certificate.enrollments.open().get()
    assert purge(site) == 0
    site.clock.forward(days=731)

    purge(site)

    assert list(certificate.enrollments.all()) == [opened]


def test_the_key_of_an_identity_stays(
    site: Site, identity: Certificate, certificate: Certificate, settings: Settings
) -> None:
    settings.OCCM_HISTORY_KEEP = 0
    purge(site)
    kept = identity.enrollments.get()
    assert kept.private_key
    assert not certificate.enrollments.exists()


def test_what_a_migration_names_stays(
    site: Site, certificate: Certificate, issuer: Issuer, settings: Settings
) -> None:
    settings.OCCM_HISTORY_KEEP = 0
    named = certificate.enrollments.last()
    assert named is not None
    migration = BulkMigration.objects.create(
        source=issuer, destination=an_issuer(), state="ENDED", created_at=NOW
    )
    MigrationItem.objects.create(migration=migration, certificate=certificate, enrollment=named)

    purge(site)

    assert list(Enrollment.objects.filter(certificate=certificate)) == [named]


def test_of_what_may_have_been_issued_only_what_is_resolved_gets_old(site: Site) -> None:
    issuer = an_issuer(name="ca1")
    resolved, waiting, pending = (a_maybe_issued(issuer_name=issuer.name) for _ in range(3))
    unseen.resolve(resolved, now=NOW)
    row = unseen.revoke(pending, serial_number="abc", now=NOW)
    revoke.withdraw(row, now=NOW)
    ended, opened = a_revocation(issuer=issuer), a_revocation(issuer=issuer)
    revoke.withdraw(ended, now=NOW)
    assert purge(site) == 0
    site.clock.forward(days=731)

    purge(site)

    assert set(MaybeIssued.objects.all()) == {waiting, pending}
    assert set(Revocation.objects.all()) == {row, opened}


def test_each_certificate_has_its_turn_within_the_hour(site: Site, settings: Settings) -> None:
    settings.OCCM_HISTORY_KEEP = 0
    issuer = an_issuer()
    for _ in range(5):
        a_certificate(issuer=issuer)
    Enrollment.objects.update(phase="ABANDONED", closed_at=NOW, due_at=None)
    assert timedelta(hours=1) >= timedelta(seconds=10) * history.TURNS
    assert purge(site) == 5
