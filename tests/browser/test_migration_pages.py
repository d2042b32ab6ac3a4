"""The guide's sample of a bulk migration, by hand: CA1 to CA2 with three certificates."""

import re

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from certificates.models import Certificate
from issuers.models import Issuer
from migrations_bulk.models import BulkMigration
from tests.browser.conftest import Open
from tests.factories import a_certificate, an_identity
from tests.fakes.faults import recover, refusing
from tests.fakes.site import Clock, Site
from tests.migrations_bulk.moving import finish, records, standing

LIST = "/admin/migrations_bulk/bulkmigration/"
ERRORS = "/admin/migrations_bulk/migrationerror/"
ALL = ("amf", "nrf", "smf")

Sample = tuple[Site, Issuer]


@pytest.fixture
def sample(transactional_db: None) -> Sample:
    """Three certificates, READY at CA1; and CA2 with its OCCM certificate."""
    site = Site(clock=Clock(timezone.now()))
    for number in (1, 2):
        issuer = site.add_ca(name=f"CA{number}")
        an_identity(now=site.clock(), issuer=issuer, name=f"OCCM-CA{number}")
    for name in ALL:
        a_certificate(now=site.clock(), issuer=Issuer.objects.get(name="CA1"), name=name)
    site.run()
    return site, Issuer.objects.get(name="CA2")


def begin(page: Page) -> BulkMigration:
    """Start the migration as the guide says, and return it."""
    page.goto("/admin/")
    page.get_by_role("link", name="Bulk Certificate Migration").click()
    page.get_by_role("link", name="Add", exact=True).click()
    page.get_by_label("Source Issuer").select_option("CA1")
    page.get_by_label("Destination Issuer").select_option("CA2")
    page.get_by_role("button", name="Start Certificate Migration").click()
    expect(page.get_by_text("CA1 → CA2").first).to_be_visible()
    return BulkMigration.objects.order_by("-created_at")[0]


def certificates() -> list[Certificate]:
    return list(Certificate.objects.filter(name__in=ALL).order_by("name"))


def test_three_certificates_are_migrated(open_page: Open, sample: Sample) -> None:
    site, destination = sample
    page = open_page("/admin/")

    migration = begin(page)
    for name in ALL:
        expect(page.get_by_role("cell", name=name, exact=True)).to_be_visible()
    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("It is RUNNING")
    page.get_by_role("link", name="Back").click()
    finish(site, migration)

    expect(page.get_by_text("3 of 3 certificates (100 %)")).to_be_visible()
    assert {one.issuer for one in certificates()} == {destination}
    page.goto("/admin/certificates/expirytime/")
    for name in ALL:
        expect(page.get_by_role("row", name=re.compile(f"{name}.*CA2"))).to_be_visible()
    page.goto(LIST)
    page.get_by_role("link", name=str(migration.pk)).click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete bulk certificate migration").click()
    expect(page.get_by_text("is deleted")).to_be_visible()
    assert not BulkMigration.objects.exists()


def test_a_wide_screen_shows_whole_rows(open_page: Open, admin: User) -> None:
    records(1)
    migration, now = BulkMigration.objects.get(), timezone.now()
    migration.items.create(
        certificate_name="smf-n11-b",
        state="FAILED",
        error_code="CMP_REJECTED",
        reason="no " * 60,
        begun_at=now,
        settled_at=now,
        old_serial_number="7" * 40,
        new_serial_number="e" * 40,
    )
    page = open_page(f"{LIST}{migration.pk}/view/")

    table = page.locator(".oc-table")
    needed, there = table.evaluate("it => [it.scrollWidth, it.parentElement.clientWidth]")
    lines = page.locator("td.oc-moment").first.evaluate(
        "it => { const text = document.createRange(); text.selectNodeContents(it);"
        " return text.getClientRects().length; }"
    )

    assert needed <= there
    assert lines <= 2  # the date on a line, the time on the next


def test_what_fails_stays_and_is_migrated_by_another(open_page: Open, sample: Sample) -> None:
    site, destination = sample
    before = [standing(site, one) for one in certificates()]
    refusing(site, destination)
    page = open_page("/admin/")

    first = finish(site, begin(page))

    assert [standing(site, one) for one in certificates()] == before
    page.goto(ERRORS)
    expect(page.get_by_text("not today")).to_have_count(3)
    page.goto(f"{ERRORS}?migration={first.pk}")
    expect(page.get_by_role("row", name=re.compile("nrf.*CA2.*not today"))).to_be_visible()
    recover(site, destination)
    page.goto(f"{LIST}{first.pk}/view/")
    page.get_by_role("button", name="Retry failed").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry failed").click()
    expect(page.get_by_text("The failed certificates are migrated again.")).to_be_visible()
    finish(site, BulkMigration.objects.get(follows=first))
    expect(page.get_by_text("3 of 3 certificates (100 %)")).to_be_visible()
    assert {one.issuer for one in certificates()} == {destination}


def test_a_look_ahead_a_canary_and_the_16th(open_page: Open, sample: Sample) -> None:
    records(15)
    page = open_page(f"{LIST}add/")

    page.get_by_label("Source Issuer").select_option("CA1")
    page.get_by_label("Destination Issuer").select_option("CA2")
    page.get_by_label("First certificates").fill("1")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("There are 15 bulk migrations")
    expect(page.get_by_text("3 certificates would be migrated")).to_be_visible()
    page.get_by_role("link", name="Back").click()
    expect(page.get_by_label("First certificates")).to_have_value("1")
    page.get_by_role("button", name="Start Certificate Migration").click()
    expect(page.get_by_role("alert")).to_contain_text("There are 15 bulk migrations")
    assert not BulkMigration.objects.running().exists()
