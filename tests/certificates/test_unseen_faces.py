"""What operators do, by API and page, about what may have been issued, and about revocations."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from certificates.domain import revoke
from certificates.models import MaybeIssued, Revocation
from issuers.models import Issuer
from tests.factories import a_maybe_issued, a_revocation, an_issuer
from tests.pages import logged_in, text
from tests.project.clients import a_client, a_user, an_administrator

MAYBE_ISSUED = "/api/v1/maybe-issued/"
REVOCATIONS = "/api/v1/revocations/"
State = Revocation.State

pytestmark = pytest.mark.django_db


@pytest.fixture
def issuer() -> Issuer:
    return an_issuer(name="ca1")


@pytest.fixture
def entry(issuer: Issuer) -> MaybeIssued:
    return a_maybe_issued(issuer_name=issuer.name)


@pytest.fixture
def api() -> APIClient:
    return an_administrator()


@pytest.fixture
def admin() -> Client:
    return logged_in()


def at(page: str, row: Any) -> str:
    return reverse(f"admin:certificates_{row._meta.model_name}_{page}", args=(row.pk,))


class TestApi:
    def test_an_entry_is_revoked_by_the_number_found_at_the_ca(
        self, api: APIClient, entry: MaybeIssued
    ) -> None:
        asked = {"serial_number": "0x1F:0A", "issuer_dn": "/CN=Sub CA", "reason": "superseded"}

        answer = api.post(f"{MAYBE_ISSUED}{entry.pk}/revoke/", asked)

        assert answer.status_code == 202
        row = Revocation.objects.get()
        told = answer.json()
        assert (told["id"], told["state"], told["serial_number"]) == (row.pk, "OPEN", "1f0a")
        assert (row.issuer_dn, row.reason) == ("/CN=Sub CA", "superseded")
        assert api.get(f"{MAYBE_ISSUED}{entry.pk}/").json()["revocation"] == row.pk

    def test_mistakes_are_named_at_their_fields(self, api: APIClient, entry: MaybeIssued) -> None:
        address = f"{MAYBE_ISSUED}{entry.pk}/revoke/"
        for asked, field in (
            ({}, "serial_number"),
            ({"serial_number": "no number"}, "serial_number"),
            ({"serial_number": "a", "issuer_dn": "CN=x"}, "issuer_dn"),
            ({"serial_number": "a", "reason": "boredom"}, "reason"),
        ):
            answer = api.post(address, asked)
            assert (answer.status_code, list(answer.json())) == (400, [field])
        assert not Revocation.objects.exists()

    def test_an_entry_is_marked_as_resolved(self, api: APIClient, entry: MaybeIssued) -> None:
        address = f"{MAYBE_ISSUED}{entry.pk}/resolve/"
        assert api.post(address, {"note": "not there"}).json()["resolution"] == "not there"
        again = api.post(address, {})
        assert (again.status_code, again.json()["code"]) == (409, "SETTLED")
        assert api.get(MAYBE_ISSUED, {"resolved": "false"}).json()["results"] == []
        assert len(api.get(MAYBE_ISSUED, {"resolved": "true"}).json()["results"]) == 1

    def test_refusals_without_proof_are_counted(self, api: APIClient) -> None:
        entry = a_maybe_issued(refusals=3)
        assert api.get(f"{MAYBE_ISSUED}{entry.pk}/").json()["refusals"] == 3

    def test_an_issuer_that_is_gone_is_told(self, api: APIClient) -> None:
        entry = a_maybe_issued(issuer_name="gone")
        answer = api.post(f"{MAYBE_ISSUED}{entry.pk}/revoke/", {"serial_number": "a"})
        assert (answer.status_code, answer.json()["code"]) == (409, "ISSUER_GONE")

    def test_a_revocation_is_withdrawn_and_taken_up_again(self, api: APIClient) -> None:
        row = a_revocation()
        assert api.post(f"{REVOCATIONS}{row.pk}/withdraw/").json()["state"] == "WITHDRAWN"
        assert api.post(f"{REVOCATIONS}{row.pk}/withdraw/").status_code == 409
        assert api.post(f"{REVOCATIONS}{row.pk}/retry/").json()["state"] == "OPEN"
        (listed,) = api.get(REVOCATIONS, {"state": "OPEN"}).json()["results"]
        assert listed["id"] == row.pk

    def test_who_may_only_view_may_not_act(self, entry: MaybeIssued) -> None:
        row = a_revocation()
        viewer = a_client(a_user("view_maybeissued", "view_revocation"))
        stranger = a_client(a_user(username="stranger"))

        for address, actions in (
            (f"{MAYBE_ISSUED}{entry.pk}/", ("revoke", "resolve")),
            (f"{REVOCATIONS}{row.pk}/", ("retry", "withdraw")),
        ):
            assert viewer.get(address).status_code == 200
            assert stranger.get(address).status_code == 403
            for action in actions:
                assert viewer.post(f"{address}{action}/", {}).status_code == 403


class TestPages:
    def test_an_entry_is_revoked_by_the_number_found_at_the_ca(
        self, admin: Client, entry: MaybeIssued
    ) -> None:
        page = admin.get(at("view", entry))
        assert 'name="serial_number"' in text(page)
        assert entry.transaction_id in text(page)

        asked = {"serial_number": "1F0A", "issuer_dn": "", "reason": "keyCompromise"}
        answer = admin.post(at("revoke", entry), asked, follow=True)

        row = Revocation.objects.get()
        assert (row.serial_number, row.reason) == ("1f0a", "keyCompromise")
        assert "to be revoked" in text(answer)
        assert at("view", row) in text(answer)

    def test_refusals_without_proof_are_counted(self, admin: Client) -> None:
        page = admin.get(at("view", a_maybe_issued(refusals=3)))
        assert "3 requests; this is the last of them" in text(page)

    def test_what_is_wrong_is_told(self, admin: Client, entry: MaybeIssued) -> None:
        answer = admin.post(at("revoke", entry), {"serial_number": "none"}, follow=True)
        assert "give it in hexadecimal" in text(answer)
        entry.issuer_name = "gone"
        entry.save()
        answer = admin.post(at("revoke", entry), {"serial_number": "a"}, follow=True)
        assert "no longer configured" in text(answer)

    def test_an_entry_is_marked_as_resolved(self, admin: Client, entry: MaybeIssued) -> None:
        answer = admin.post(at("resolve", entry), {"note": "not <b>there</b>"}, follow=True)
        assert "not &lt;b&gt;there&lt;/b&gt;" in text(answer)
        assert at("resolve", entry) in text(answer)
        assert 'data-dialog="dialog-resolve"' not in text(answer)

    def test_a_revocation_shows_how_it_goes(self, admin: Client) -> None:
        row = a_revocation()
        ((pk, fence),) = revoke.take(now=timezone.now())
        revoke.record_unexpected(pk, fence, RuntimeError("a bug"), now=timezone.now())
        page = text(admin.get(at("view", row)))
        assert "a bug" in page
        assert "1 failed attempt" in page

        assert "WITHDRAWN" not in page
        admin.post(at("withdraw", row))
        row.refresh_from_db()
        assert row.state == State.WITHDRAWN
        admin.post(at("again", row))
        row.refresh_from_db()
        assert row.state == State.OPEN

    def test_who_may_only_view_may_not_act(self, client: Client, entry: MaybeIssued) -> None:
        client.force_login(a_user("view_maybeissued", is_staff=True))
        assert "<dialog" not in text(client.get(at("view", entry)))
        assert client.post(at("resolve", entry)).status_code == 403
        entry.refresh_from_db()
        assert entry.resolved_at is None
