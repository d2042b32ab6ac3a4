"""Bulk migrations through the API: the guide's sample, refusals with codes, lists and reports."""

import csv
import io
import json
from typing import Any

import pytest
from django.utils import timezone

from certificates.models import Certificate
from issuers.models import Issuer
from migrations_bulk.domain import progress
from migrations_bulk.models import BulkMigration, MigrationItem
from tests.fakes.faults import recover, refusing
from tests.fakes.site import Clock, Site
from tests.migrations_bulk.moving import finish, records, secret, standing, turn
from tests.project.clients import JsonClient, a_client, a_user, an_administrator

pytestmark = pytest.mark.django_db

MIGRATIONS = "/api/v1/bulk-certificate-migrations/"
ERRORS = "/api/v1/bulk-cert-migration-errors/"
SAMPLE = {"source": "CA1", "destination": "CA2"}
ALL = ["amf", "nrf", "smf"]


@pytest.fixture
def site(db: None) -> Site:
    """A site whose time is that of the API: the clock on the wall."""
    return Site(clock=Clock(timezone.now()))


@pytest.fixture
def api() -> JsonClient:
    return an_administrator()


def at(migration: dict[str, Any], action: str = "") -> str:
    return f"{MIGRATIONS}{migration['id']}/{action and action + '/'}"


def started(api: JsonClient, **body: Any) -> dict[str, Any]:
    answer = api.post(MIGRATIONS, SAMPLE | body)
    assert answer.status_code == 201, answer.json()
    found: dict[str, Any] = answer.json()
    return found


def done(site: Site, api: JsonClient, migration: dict[str, Any]) -> dict[str, Any]:
    finish(site, BulkMigration.objects.get(pk=migration["id"]))
    found: dict[str, Any] = api.get(at(migration)).json()
    return found


def refused(answer: Any) -> str:
    assert answer.status_code == 409, answer.content
    assert answer.json()["detail"]
    return str(answer.json()["code"])


def failed(api: JsonClient, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(ERRORS, query).json()["results"]
    return found


@pytest.mark.usefixtures("source", "destination", "three")
class TestTheGuidesSample:
    def test_three_certificates_move(self, site: Site, api: JsonClient) -> None:
        migration = started(api)

        assert migration["initiated_certificates"] == ALL
        assert migration["skipped_certificates"] == []
        assert (migration["state"], migration["created_by"]) == ("RUNNING", "admin")
        ended = done(site, api, migration)
        assert ended["state"] == "ENDED"
        assert ended["progress"] | {"rate_per_s": 0} == {
            "initiated": 3,
            "settled": 3,
            "percent": 100,
            "counts": dict.fromkeys(MigrationItem.State, 0) | {"DONE": 3},
            "rate_per_s": 0,
            "left_s": None,
        }
        for name in ALL:
            shown = api.get(f"/api/v1/certificates/{name}/").json()
            assert (shown["issuer"], shown["status"]["readiness"]) == ("CA2", "READY")
        assert failed(api) == []

    def test_all_three_fail_and_another_migration_retries_them(
        self, site: Site, api: JsonClient, destination: Issuer, three: list[Certificate]
    ) -> None:
        before = [standing(site, one) for one in three]
        refusing(site, destination)
        migration = started(api)
        ended = done(site, api, migration)

        assert ended["progress"]["counts"]["FAILED"] == 3
        assert [standing(site, one) for one in three] == before
        mine = failed(api, migration=migration["id"])
        assert sorted(each["certificate_name"] for each in mine) == ALL
        assert {(each["destination"], each["attempts"]) for each in mine} == {("CA2", 3)}
        assert "not today" in mine[0]["reason"]
        assert failed(api, migration="4947a69a-f61b-4bc1-b9da-47c9c5d14b64") == []
        assert len(failed(api, destination="CA2", search="nrf")) == 1
        assert api.get(ERRORS, {"migration": "none"}).status_code == 400

        recover(site, destination)
        answer = api.post(at(migration, "retry-failed"))
        assert (answer.status_code, answer.json()["purpose"]) == (201, "RETRY")
        assert answer.json()["follows"] == migration["id"]
        assert answer.json()["initiated_certificates"] == ALL
        assert done(site, api, answer.json())["progress"]["counts"]["DONE"] == 3
        assert refused(api.post(at(answer.json(), "retry-failed"))) == "NOTHING_TO_MIGRATE"

    def test_deleting_is_refused_while_it_runs_and_leaves_the_certificates(
        self, site: Site, api: JsonClient, three: list[Certificate]
    ) -> None:
        migration = started(api)
        assert refused(api.delete(at(migration))) == "MIGRATION_RUNNING"
        done(site, api, migration)
        written = secret(site, three[0])

        assert api.delete(at(migration)).status_code == 204

        assert api.get(at(migration)).status_code == 404
        assert secret(site, three[0]) == written
        assert Certificate.objects.filter(name__in=ALL).count() == 3

    def test_a_second_and_a_16th_are_refused(self, site: Site, api: JsonClient) -> None:
        migration = started(api)
        second = api.post(MIGRATIONS, SAMPLE)
        assert refused(second) == "MIGRATION_RUNNING"
        assert migration["id"] in second.json()["detail"]
        done(site, api, migration)
        records(14)

        assert refused(api.post(MIGRATIONS, SAMPLE)) == "TOO_MANY_MIGRATIONS"

    def test_a_migration_is_rolled_back(self, site: Site, api: JsonClient) -> None:
        migration = started(api)
        assert refused(api.post(at(migration, "roll-back"))) == "NOTHING_TO_MIGRATE"
        done(site, api, migration)

        answer = api.post(at(migration, "roll-back"), {"certificates": ["nrf"]})
        assert answer.status_code == 201
        assert (answer.json()["source"], answer.json()["destination"]) == ("CA2", "CA1")
        done(site, api, answer.json())
        assert api.get("/api/v1/certificates/nrf/").json()["issuer"] == "CA1"

        for body, field in (
            ({"certificates": ["udm"]}, "certificates"),
            ({"certificates": "udm"}, "certificates"),
            ({"names": []}, "names"),
        ):
            answer = api.post(at(migration, "roll-back"), body)
            assert (answer.status_code, set(answer.json())) == (400, {field}), answer.json()


@pytest.mark.usefixtures("source", "destination", "three")
class TestInput:
    @pytest.mark.parametrize(
        ("body", "wrong"),
        [
            ({"id": "4947a69a-f61b-4bc1-b9da-47c9c5d14b64"}, {"id"}),
            ({"initiated_certificates": ["nrf"]}, {"initiated_certificates"}),
            ({"skipped_certificates": ["nrf"]}, {"skipped_certificates"}),
            ({"source": "nobody"}, {"source"}),
            ({"destination": None}, {"destination"}),
            ({"destination": "CA1"}, {"destination"}),
            ({"canary": "few"}, {"canary"}),
            ({"canary_wait_s": 5}, {"canary_wait_s"}),
            ({"colour": "blue"}, {"colour"}),
        ],
        ids=str,
    )
    def test_mistakes_are_told_under_the_fields_name(
        self, api: JsonClient, body: dict[str, Any], wrong: set[str]
    ) -> None:
        answer = api.post(MIGRATIONS, SAMPLE | body)

        assert (answer.status_code, set(answer.json())) == (400, wrong), answer.json()
        assert not BulkMigration.objects.exists()

    def test_what_is_computed_may_come_empty(self, api: JsonClient) -> None:
        started(api, id="", initiated_certificates=[], skipped_certificates=None)

    def test_an_object_is_needed(self, api: JsonClient) -> None:
        bodies: list[Any] = [[], 1, "text", None]
        for body in bodies:
            answer = api.generic("POST", MIGRATIONS, json.dumps(body), "application/json")
            assert answer.status_code == 400

    def test_a_preview_starts_nothing(self, api: JsonClient) -> None:
        Certificate.objects.filter(name="nrf").update(in_place=False)

        answer = api.post(f"{MIGRATIONS}preview/", SAMPLE)

        assert answer.status_code == 200
        found = answer.json()
        assert [each["certificate"] for each in found["initiated"]] == ["amf", "smf"]
        assert found["skipped"] == [{"certificate": "nrf", "reason": "It is NOT_READY."}]
        assert (found["blocked"], found["warnings"]) == ([], [])
        assert not BulkMigration.objects.exists()
        answer = api.post(f"{MIGRATIONS}preview/", {"source": "CA1"})
        assert (answer.status_code, set(answer.json())) == (400, {"destination"})

    def test_the_destination_needs_an_identity(self, site: Site, api: JsonClient) -> None:
        site.add_ca(name="bare")

        assert refused(api.post(MIGRATIONS, SAMPLE | {"destination": "bare"})) == (
            "DESTINATION_NOT_READY"
        )


@pytest.mark.usefixtures("source", "destination", "three")
def test_operators_pause_resume_go_on_and_stop(site: Site, api: JsonClient) -> None:
    migration = started(api, canary=1)
    assert api.post(at(migration, "pause")).json()["state"] == "PAUSED"
    assert refused(api.post(at(migration, "go-on"))) == "MIGRATION_NOT_RUNNING"
    assert api.post(at(migration, "resume")).json()["state"] == "RUNNING"
    turn(site)
    assert api.get(at(migration)).json()["state"] == "WAITING"
    assert api.post(at(migration, "go-on")).json()["state"] == "RUNNING"
    progress.tick(now=site.clock())

    answer = api.post(at(migration, "stop"))

    assert (answer.status_code, answer.json()["state"]) == (202, "STOPPING")
    assert answer.json()["reason"] == "Stopped by admin."
    counts = done(site, api, migration)["progress"]["counts"]
    assert (counts["DONE"], counts["STOPPED"]) == (1, 2)


@pytest.mark.usefixtures("source", "destination", "three")
class TestItems:
    def test_are_listed_by_state_and_name(self, site: Site, api: JsonClient) -> None:
        Certificate.objects.filter(name="nrf").update(in_place=False)
        migration = started(api)
        done(site, api, migration)

        def names(**query: str) -> list[str]:
            answer = api.get(at(migration, "items"), query)
            return [each["certificate_name"] for each in answer.json()["results"]]

        assert names() == ALL
        assert names(state="SKIPPED") == ["nrf"]
        assert names(search="m", state="DONE", page_size="1") == ["amf"]
        assert names(search="\x00") == ALL
        assert api.get(at(migration, "items"), {"state": "GONE"}).status_code == 400

    def test_are_exported(self, site: Site, api: JsonClient) -> None:
        migration = started(api)
        done(site, api, migration)
        MigrationItem.objects.filter(certificate_name="nrf").update(reason="=SUM(A1)")
        where = at(migration, "export")

        for answer in (api.get(where, {"type": "csv"}), api.get(where, headers=CSV)):
            assert answer.headers["Content-Type"].startswith("text/csv")
            rows = list(csv.DictReader(io.StringIO(body(answer))))
            assert [row["certificate_name"] for row in rows] == ALL
            assert rows[1]["reason"] == "'=SUM(A1)"
            assert rows[0]["new_serial_number"]
        listed = json.loads(body(api.get(where)))
        assert [row["certificate_name"] for row in listed] == ALL
        assert listed[1]["reason"] == "=SUM(A1)"
        assert api.get(where, {"type": "xml"}).status_code == 400


@pytest.mark.usefixtures("source", "destination", "three")
def test_the_list_is_narrowed_and_costs_the_same_for_more(api: JsonClient, site: Site) -> None:
    migration = started(api)
    records(3)

    assert len(api.get(MIGRATIONS).json()["results"]) == 4
    for query in ({"state": "RUNNING"}, {"source": "CA1"}, {"search": "CA2"}):
        assert [each["id"] for each in api.get(MIGRATIONS, query).json()["results"]] == [
            migration["id"]
        ]


@pytest.mark.usefixtures("source", "destination", "three")
def test_permissions_are_djangos(api: JsonClient) -> None:
    migration = started(api)
    reader = a_client(a_user("view_bulkmigration"))

    assert reader.get(at(migration)).status_code == 200
    assert reader.get(at(migration, "export")).status_code == 200
    for action in ("stop", "pause", "roll-back", "retry-failed"):
        assert reader.post(at(migration, action)).status_code == 403
    assert reader.post(MIGRATIONS, SAMPLE).status_code == 403
    assert reader.post(f"{MIGRATIONS}preview/", SAMPLE).status_code == 403
    assert reader.delete(at(migration)).status_code == 403
    assert reader.get(ERRORS).status_code == 403
    assert JsonClient().get(MIGRATIONS).status_code == 401
    assert JsonClient().get(at(migration, "export")).status_code == 401


CSV = {"Accept": "text/csv"}


def body(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()
