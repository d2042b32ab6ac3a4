"""Issuers through the API: the same rules and the same errors as below it."""

import json
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from issuers.domain import trial
from issuers.models import Issuer, IssuerHealth
from secretstore import MemorySecretStore
from tests.issuers.factories import NOW, an_issuer, issuer_spec
from tests.issuers.test_editing import SIGNATURE, TLS, mistakes
from tests.issuers.test_editing_in_use import in_use
from tests.project.clients import a_client, a_user, an_administrator

ISSUERS = "/api/v1/issuers/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> APIClient:
    return an_administrator()


def at(issuer: Issuer) -> str:
    return f"{ISSUERS}{issuer.name}/"


def test_an_issuer_is_added_and_shown_with_the_models_fields(api: APIClient) -> None:
    spec = issuer_spec(name="CA-1_a.b")

    answer = api.post(ISSUERS, spec)

    assert answer.status_code == 201
    shown = api.get(f"{ISSUERS}CA-1_a.b/").json()
    assert answer.json() == shown
    assert {name: shown[name] for name in spec} == spec
    assert shown.keys() == {*Issuer.configured(), "health", "created_at", "updated_at"}


def test_the_health_of_an_issuer_is_shown_and_cannot_be_set(api: APIClient) -> None:
    issuer = an_issuer()
    IssuerHealth.objects.update(
        warnings=["no such secret"], looked_at=NOW, http_version="1.1", failing_since=NOW, error="x"
    )

    shown = api.patch(at(issuer), {"health": {"warnings": []}, "created_at": None}).json()

    assert shown["health"] == {
        "warnings": ["no such secret"],
        "looked_at": "2026-01-01T12:00:00Z",
        "http_version": "1.1",
        "answered_at": None,
        "failing_since": "2026-01-01T12:00:00Z",
        "failures": 0,
        "error": "x",
        "probe_at": None,
        "recovered_at": None,
        "test_due_at": None,
        "tested_at": None,
        "test_passed": None,
        "test_outcome": "",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "no spaces", "server_url": "https://ca.example/", "mac_secret": ""},
        {"name": "", "recipient_dn": "", "trust_store_root_ca_certs": []},
        {"trust_store_root_ca_certs": ["a", "a"], "initial_signature_extra_certs": ["b"]},
        {"tls_trusted_certs": "ca.pem"},
        TLS | {"message_timeout_s": 601, "total_timeout_s": 0},
        SIGNATURE | {"mac_secret": "s"},
        {"name": None, "total_timeout_s": None, "tls_enabled": None, "tls_trusted_certs": None},
    ],
    ids=str,
)
def test_errors_are_those_of_the_domain_all_at_once(api: APIClient, fields: dict[str, Any]) -> None:
    answer = api.post(ISSUERS, issuer_spec(**fields))

    assert answer.status_code == 400
    assert answer.json() == mistakes(**fields)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"total_timeout_s": "soon"}, {"total_timeout_s"}),
        ({"total_timeout_s": 1.5}, {"total_timeout_s"}),
        ({"tls_enabled": "perhaps"}, {"tls_enabled"}),
        ({"name": ["ca"]}, {"name"}),
        ({"name": {"a": 1}, "initial_auth_type": "PASSWORD"}, {"name", "initial_auth_type"}),
        ({"mac_secert": "s"}, {"mac_secert"}),
        ([], {"non_field_errors"}),
        ("issuer", {"non_field_errors"}),
        (None, {"non_field_errors"}),
    ],
    ids=repr,
)
def test_wrong_types_and_unknown_fields_are_refused_by_name(
    api: APIClient, body: Any, wrong: set[str]
) -> None:
    url = at(an_issuer())

    answer = api.generic("PATCH", url, json.dumps(body), "application/json")

    assert answer.status_code == 400
    assert answer.json().keys() == wrong
    assert all(isinstance(text, str) for texts in answer.json().values() for text in texts)


@pytest.mark.parametrize(
    "body",
    [
        {"recipient_dn": "/CN=\x00"},
        {"tls_trusted_certs": ["\ud800"]},
        {"\udfff": 1},
        {"a": {"b": "\0"}},
    ],
    ids=ascii,
)
def test_texts_that_cannot_be_stored_are_refused(api: APIClient, body: Any) -> None:
    answer = api.generic("POST", ISSUERS, json.dumps(body), "application/json")

    assert answer.status_code == 400
    assert answer.json()["code"] == "PARSE_ERROR"


def test_put_replaces_and_patch_changes_what_it_names(api: APIClient) -> None:
    issuer = an_issuer(total_timeout_s=600, issuer_dn="/CN=ca")
    spec = issuer_spec(name=issuer.name)

    patched = api.patch(at(issuer), {"message_timeout_s": 60}).json()
    assert (patched["message_timeout_s"], patched["total_timeout_s"]) == (60, 600)
    replaced = api.put(at(issuer), spec).json()

    assert (replaced["message_timeout_s"], replaced["total_timeout_s"]) == (30, 300)
    assert (replaced["issuer_dn"], replaced["mac_secret"]) == ("", spec["mac_secret"])


def test_what_was_shown_can_be_put_back(api: APIClient) -> None:
    issuer = an_issuer(**TLS)
    shown = api.get(at(issuer)).json()

    answer = api.put(at(issuer), shown)

    assert answer.status_code == 200
    assert answer.json() == shown | {"updated_at": answer.json()["updated_at"]}


def test_an_issuer_in_use_changes_its_scheme_only_and_is_not_deleted(api: APIClient) -> None:
    issuer = in_use(server_url="http://ca.example/pkix/")

    renamed = api.patch(at(issuer), {"name": "other", "server_url": "http://other.example/"})
    assert renamed.status_code == 400
    assert renamed.json() == {
        "name": [
            "This cannot change while certificates use the issuer: nf01, nf02. "
            "Migrate them to another issuer instead."
        ],
        "server_url": ["Only http:// ↔ https:// may change while certificates use it: nf01, nf02."],
    }
    assert api.patch(at(issuer), TLS).status_code == 200
    deleted = api.delete(at(issuer))

    assert deleted.status_code == 409
    assert deleted.json() == {
        "code": "ISSUER_IN_USE",
        "detail": f"Issuer {issuer.name} cannot be deleted: certificates refer to it: nf01, nf02. "
        "Delete them or migrate them to another issuer first.",
    }


def test_an_issuer_that_nothing_refers_to_is_deleted(api: APIClient) -> None:
    issuer = an_issuer()

    assert api.delete(at(issuer)).status_code == 204

    gone = api.get(at(issuer))
    assert gone.status_code == 404
    assert gone.json() == {"code": "NOT_FOUND", "detail": "No Issuer matches the given query."}


def test_lists_come_in_pages_by_name(api: APIClient) -> None:
    for name in ("c", "a", "b"):
        an_issuer(name=name)

    first = api.get(ISSUERS, {"page_size": 2}).json()
    second = api.get(first["next"]).json()

    assert [issuer["name"] for issuer in first["results"]] == ["a", "b"]
    assert [issuer["name"] for issuer in second["results"]] == ["c"]
    assert (first["previous"], second["next"]) == (None, None)


@pytest.mark.parametrize("size", ["0", "-1", "1001", "ten", "1.5", "", "٣", "9" * 5000])
def test_a_page_size_that_cannot_be_is_refused(api: APIClient, size: str) -> None:
    answer = api.get(ISSUERS, {"page_size": size})

    assert answer.status_code == 400
    assert answer.json() == {"page_size": ["Give a number from 1 to 1000."]}


def test_lists_are_searched_and_filtered(api: APIClient) -> None:
    an_issuer(name="plain", server_url="http://plain.example/")
    an_issuer(name="secure", **TLS)
    IssuerHealth.objects.filter(issuer__name="secure").update(
        warnings=["no such secret"], failing_since=NOW
    )

    def names(**query: str) -> list[str]:
        return [issuer["name"] for issuer in api.get(ISSUERS, query).json()["results"]]

    assert names(search="plain.example") == ["plain"]
    assert names(tls_enabled="true") == ["secure"]
    assert names(initial_auth_type="MAC") == ["plain", "secure"]
    assert names(warned="true") == ["secure"]
    assert names(warned="false") == ["plain"]
    assert names(failing="true") == ["secure"]
    assert names(failing="false") == ["plain"]


def test_a_list_takes_a_fixed_number_of_queries(
    api: APIClient, django_assert_max_num_queries: Any
) -> None:
    for _ in range(20):
        an_issuer()

    with django_assert_max_num_queries(4):  # token, its user's other tokens, the page
        assert len(api.get(ISSUERS).json()["results"]) == 20


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("view_issuer", {"GET", "HEAD", "OPTIONS"}),
        ("add_issuer", {"POST"}),
        ("change_issuer", {"PUT", "PATCH"}),
        ("delete_issuer", {"DELETE"}),
        ("view_certificate", set()),
    ],
)
def test_each_permission_opens_its_own_methods(permission: str, allowed: set[str]) -> None:
    api = a_client(a_user(permission))
    issuer = an_issuer()
    url = {"POST": ISSUERS}

    for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
        answer = api.generic(method, url.get(method, at(issuer)), "{}", "application/json")
        assert (answer.status_code != 403) is (method in allowed), method


def test_a_connection_is_tested_by_a_worker_and_the_health_tells_what_came_of_it(
    api: APIClient,
) -> None:
    issuer = an_issuer(server_url="http://ca.invalid/")

    asked = api.post(f"{at(issuer)}test-connection/")

    assert asked.status_code == 202
    assert asked.json()["health"]["test_due_at"] is not None
    assert asked.json()["health"]["tested_at"] is None
    for pk in trial.take(now=timezone.now()):
        trial.run(pk, secrets=MemorySecretStore(), clock=timezone.now)
    health = api.get(at(issuer)).json()["health"]
    assert health["test_due_at"] is None
    assert health["test_passed"] is False
    assert "does not resolve" in health["test_outcome"]


@pytest.mark.parametrize(
    ("permission", "status"), [("view_issuer", 403), ("change_issuer", 202), ("add_issuer", 403)]
)
def test_testing_a_connection_takes_the_permission_to_change(permission: str, status: int) -> None:
    issuer = an_issuer()

    answer = a_client(a_user(permission)).post(f"{at(issuer)}test-connection/")

    assert answer.status_code == status
