"""The pages of bulk migrations: filled in, looked ahead, watched, acted upon."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certificates.models import Certificate
from issuers.models import Issuer
from migrations_bulk.models import BulkMigration, MigrationItem
from tests.fakes.faults import refusing
from tests.fakes.site import Clock, Site
from tests.migrations_bulk.moving import finish, records, start, states, turn
from tests.pages import Form, logged_in, queries, text
from tests.project.clients import a_user

pytestmark = pytest.mark.django_db

LIST = "/admin/migrations_bulk/bulkmigration/"
ADD, PREVIEW = f"{LIST}add/", f"{LIST}preview/"
ITEMS = "/admin/migrations_bulk/migrationitem/"
ERRORS = "/admin/migrations_bulk/migrationerror/"
START = "Start Certificate Migration"


@pytest.fixture
def site(db: None) -> Site:
    """A site whose time is that of the pages: the clock on the wall."""
    return Site(clock=Clock(timezone.now()))


@pytest.fixture
def client() -> Client:
    return logged_in()


@pytest.fixture
def migration(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> BulkMigration:
    return start(site, source, destination, canary=1)


def at(migration: BulkMigration, action: str = "view") -> str:
    return f"{LIST}{migration.pk}/{action}/"


def form(page: Any, **values: Any) -> dict[str, Any]:
    return Form(page, "bulkmigration_form").filled(**values)


def refused(client: Client, address: str) -> str:
    """Return what the page says that follows a refused action."""
    return text(client.post(address, follow=True))


class TestAdding:
    def test_starts_a_migration_and_shows_it(
        self, client: Client, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        page = client.get(ADD)
        assert START in text(page)
        assert ">Save<" not in text(page).replace("aria-hidden", "").split(START)[1]

        answer = client.post(ADD, form(page, source=source.pk, destination=destination.pk))

        migration = BulkMigration.objects.get()
        assert answer["Location"] == at(migration)
        assert migration.created_by == "admin"
        shown = text(client.get(at(migration)))
        for words in (str(migration.pk), "CA1 → CA2", "amf", "0 of 3 certificates", "by admin"):
            assert words in shown

    @pytest.mark.usefixtures("three")
    @pytest.mark.parametrize(
        ("field", "value", "told"),
        [
            ("migration_id", "1", "Leave this empty"),
            ("initiated_certificates", "nrf", "Leave this empty"),
            ("skipped_certificates", "nrf", "Leave this empty"),
            ("source", "", "This field cannot be"),
            ("canary_wait_s", "5", "say how many in canary"),
            ("wave_size", "-1", "greater than or equal to 0"),
        ],
    )
    def test_mistakes_are_told_at_their_field(
        self,
        client: Client,
        destination: Issuer,
        field: str,
        value: str,
        told: str,
    ) -> None:
        source = Issuer.objects.get(name="CA1")
        filled = {"source": source.pk, "destination": destination.pk} | {field: value}
        for address in (ADD, PREVIEW):
            page = client.post(address, form(client.get(ADD), **filled))

            assert page.status_code == 200
            errors = text(page).split(f'id="id_{field}_error"')[1].split("</ul>")[0]
            assert told in errors
        assert not BulkMigration.objects.exists()

    def test_what_stands_in_the_way_is_told_above_the_form(
        self, client: Client, migration: BulkMigration
    ) -> None:
        filled = {"source": migration.source_id, "destination": migration.destination_id}

        page = client.post(ADD, form(client.get(ADD), **filled))

        assert f"Another one is running: {migration}" in text(page)

    def test_numbers_that_are_emptied_are_none(
        self, client: Client, source: Issuer, destination: Issuer, three: list[Certificate]
    ) -> None:
        filled = {"source": source.pk, "destination": destination.pk, "wave_size": "", "canary": ""}

        client.post(ADD, form(client.get(ADD), **filled))

        migration = BulkMigration.objects.get()
        assert (migration.canary, migration.wave_size) == (0, 0)


def test_a_long_preview_says_how_many_more_there_are_and_who_names_them(
    client: Client,
    source: Issuer,
    destination: Issuer,
    three: list[Certificate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filled = {"source": source.pk, "destination": destination.pk}
    asked = form(client.get(ADD), **filled)
    assert " more: " not in text(client.post(PREVIEW, asked))
    monkeypatch.setattr("migrations_bulk.admin.migration.NAMED", 1)

    page = text(client.post(PREVIEW, asked))

    assert "and 2 more: " in page
    assert page.count(" more: ") == 1  # nothing is skipped
    assert reverse("bulkmigration-preview") in page


def test_a_preview_shows_it_all_and_starts_it_at_a_word(
    client: Client, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    Certificate.objects.filter(name="nrf").update(in_place=False)
    filled = {"source": source.pk, "destination": destination.pk, "canary": 1}

    page = client.post(PREVIEW, form(client.get(ADD), **filled))

    shown = text(page)
    assert "2 certificates would be migrated" in shown
    assert "It is NOT_READY." in shown
    assert not BulkMigration.objects.exists()
    again = {each.split('"')[0]: each.split('value="')[1].split('"')[0] for each in _hidden(shown)}
    assert client.post(ADD, again | {"_save": ""}).status_code == 302
    assert BulkMigration.objects.get().canary == 1
    assert client.get(PREVIEW)["Location"] == ADD


def _hidden(page: str) -> list[str]:
    return page.split("oc-card")[1].split('type="hidden" name="')[2:]  # the first: CSRF's


class TestActing:
    def test_on_one_that_runs(self, site: Site, client: Client, migration: BulkMigration) -> None:
        assert client.get(at(migration, "stop")).status_code == 405
        client.post(at(migration, "pause"))
        assert "PAUSED" in text(client.get(at(migration)))
        client.post(at(migration, "resume"))
        turn(site)
        assert "look at them, then go on or stop" in text(client.get(at(migration, "status")))
        client.post(at(migration, "go-on"))
        assert "it is RUNNING" in refused(client, at(migration, "go-on"))
        client.post(at(migration, "stop"))
        finish(site, migration)
        assert states(migration) == {"DONE": 1, "STOPPED": 2}

    def test_on_one_that_has_ended(
        self, site: Site, client: Client, migration: BulkMigration
    ) -> None:
        turn(site)
        client.post(at(migration, "stop"))
        finish(site, migration)
        assert "Nothing failed" in refused(client, at(migration, "retry-failed"))

        assert "Not moved by this migration: nrf" in text(
            client.post(at(migration, "roll-back"), {"certificates": " nrf\n"}, follow=True)
        )
        answer = client.post(at(migration, "roll-back"), {"certificates": "amf\n"})

        back = BulkMigration.objects.get(purpose="ROLL_BACK")
        assert answer["Location"] == at(back)
        assert (back.created_by, back.items.get().certificate_name) == ("admin", "amf")

    def test_is_for_those_who_may_change(self, migration: BulkMigration) -> None:
        reader = logged_in(a_user("view_bulkmigration", is_staff=True))

        page = text(reader.get(at(migration)))

        assert "data-dialog" not in page
        assert reader.post(at(migration, "stop")).status_code == 403
        assert reader.get(ADD).status_code == 403
        assert reader.post(PREVIEW, {}).status_code == 403


class TestDeleting:
    def test_is_refused_while_it_runs(self, client: Client, migration: BulkMigration) -> None:
        assert "It is RUNNING" in text(client.get(at(migration, "delete")))
        assert "cannot be deleted" in refused(client, at(migration, "delete"))

    def test_removes_the_record_after_a_question(self, client: Client) -> None:
        records(1)
        migration = BulkMigration.objects.get()
        assert "Delete bulk certificate migration" in text(client.get(at(migration, "delete")))

        client.post(at(migration, "delete"))

        assert not BulkMigration.objects.exists()


def test_there_is_no_editing(client: Client, migration: BulkMigration) -> None:
    assert client.get(f"{LIST}{migration.pk}/change/")["Location"] == at(migration)
    assert client.post(f"{LIST}{migration.pk}/change/", {}).status_code == 403
    assert ">Edit<" not in text(client.get(at(migration)))


def test_failures_are_listed_by_uuid_and_issuer(
    site: Site, client: Client, destination: Issuer, migration: BulkMigration
) -> None:
    refusing(site, destination)
    for _ in range(4):
        turn(site)
        site.clock.forward(seconds=30)
    client.post(at(migration, "stop"))
    finish(site, migration)

    page = text(client.get(ERRORS))
    settled = f"{migration.items.latest('settled_at').settled_at:%Y-%m-%d %H:%M:%S} UTC"
    for words in ("Bulk Cert Migrations Error", "not today", str(migration.pk), "CA2", settled):
        assert words in page
    assert "not today" in text(client.get(ERRORS, {"migration": str(migration.pk)}))
    assert "not today" not in text(client.get(ERRORS, {"destination": "CA1"}))
    assert "not today" in text(client.get(ITEMS, {"state__exact": "FAILED"}))
    assert client.get(ERRORS, {"migration": "no uuid"}).status_code == 200
    assert logged_in(a_user(is_staff=True)).get(ERRORS).status_code == 403


def test_each_moment_is_shown_with_its_date(client: Client, migration: BulkMigration) -> None:
    midnight = migration.created_at.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    migration.items.update(begun_at=midnight - timedelta(seconds=5), settled_at=midnight)

    page = text(client.get(at(migration)))

    for moment in (midnight - timedelta(seconds=5), midnight):
        assert f">{moment:%Y-%m-%d %H:%M:%S}<" in page


def test_reports_are_downloaded(client: Client, migration: BulkMigration) -> None:
    for kind in ("csv", "json"):
        answer: Any = client.get(at(migration, kind))
        assert f"migration-{migration.pk}.{kind}" in answer["Content-Disposition"]
        assert b"amf" in b"".join(answer.streaming_content)


def test_a_page_costs_the_same_for_more_certificates(
    client: Client, migration: BulkMigration
) -> None:
    client.get(at(migration))
    before = queries(client, at(migration))
    MigrationItem.objects.bulk_create(
        MigrationItem(migration=migration, certificate_name=f"nf{n}") for n in range(150)
    )

    assert queries(client, at(migration)) <= before
    assert "and 53 more" in text(client.get(at(migration)))


def test_the_menu_has_the_guides_word(client: Client) -> None:
    assert "Bulk Certificate Migration" in text(client.get("/admin/"))
    assert User.objects.get().is_superuser
