"""Certificates through the API: the same rules and the same errors as below it."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from rest_framework.test import APIClient

from certificates.domain import lifecycle
from certificates.models import Certificate, Enrollment, MaybeIssued
from tests.certificates.standings import NEVER_SHOWN, SERIAL, at_work, failing, ready
from tests.factories import (
    a_certificate,
    an_identity,
    an_issuer,
    certificate_spec,
    identity_spec,
)
from tests.pages import queries
from tests.project.clients import a_client, a_user, an_administrator

CERTIFICATES = "/api/v1/certificates/"
MAYBE_ISSUED = "/api/v1/maybe-issued/"
ACTIONS = ("retry", "renew", "recreate", "stop")

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> APIClient:
    return an_administrator()


def at(certificate: Certificate, action: str = "") -> str:
    return f"{CERTIFICATES}{certificate.name}/{action and action + '/'}"


def spec(**fields: Any) -> dict[str, Any]:
    """Return what a program sends: the issuer by its name."""
    filled = certificate_spec(**fields)
    return filled | {"issuer": filled["issuer"].name}


def mistakes(**filled: Any) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        lifecycle.register(now=timezone.now(), **filled)
    return caught.value.message_dict


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json()
    return [each["name"] for each in answer.json()["results"]]


def test_a_certificate_is_added_asked_for_and_shown_with_the_models_fields(api: APIClient) -> None:
    sent = spec(name="nrf-1.a_b", secret="nrf-tls", dns_names=["b.example.org", "a.example.org"])

    answer = api.post(CERTIFICATES, sent)

    assert answer.status_code == 201, answer.json()
    shown = api.get(f"{CERTIFICATES}nrf-1.a_b/").json()
    assert answer.json() == shown
    assert {name: shown[name] for name in sent} == sent
    assert shown.keys() == {*lifecycle.FIELDS, "status", "created_at", "updated_at"}
    assert shown["status"]["under_way"]["kind"] == "CREATE"
    assert Enrollment.objects.get().certificate.name == "nrf-1.a_b"


def test_an_occm_certificate_needs_neither_outputs_nor_network_function(api: APIClient) -> None:
    issuer = an_issuer()

    shown = api.post(CERTIFICATES, identity_spec(issuer=issuer) | {"issuer": issuer.name}).json()

    assert shown["network_function"] == "OCCM"
    assert shown["private_key_output_secret"] == issuer.other_signature_secret


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "no spaces", "common_name": "", "country": "Germany"},
        {"ip_addresses": ["10.0.0.300", "fe80::1%1"], "dns_names": ["a.*.org"]},
        {"ip_addresses": "10.0.0.1", "key_usage": []},
        {"certificate_output_key": "tls.key"},
        {"renew_before_expiration_days": 365, "key_size": "KEYSIZE_2048"},
        {"purpose": None, "merge_certificate_and_chain": None},
    ],
    ids=str,
)
def test_errors_are_those_of_the_domain_all_at_once(api: APIClient, fields: dict[str, Any]) -> None:
    filled = certificate_spec(**fields)

    answer = api.post(CERTIFICATES, filled | {"issuer": filled["issuer"].name})

    assert answer.status_code == 400
    assert answer.json() == mistakes(**filled)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"issuer": "nobody"}, {"issuer"}),
        ({"requested_validity_days": "soon"}, {"requested_validity_days"}),
        ({"colour": "blue"}, {"colour"}),
    ],
    ids=str,
)
def test_a_wrong_type_or_an_unknown_name_is_told_under_the_fields_name(
    api: APIClient, fields: dict[str, Any], wrong: set[str]
) -> None:
    answer = api.post(CERTIFICATES, spec() | fields)

    assert (answer.status_code, set(answer.json())) == (400, wrong)


def test_the_status_tells_what_lies_in_the_secrets_and_what_is_under_way(api: APIClient) -> None:
    certificate = failing(a_certificate(requested_validity_days=2000))
    Certificate.objects.update(
        attention="Somebody wrote there.", modifications=["the CA left out a DNS name"]
    )
    errand = certificate.enrollments.get()

    status = api.get(at(certificate)).json()["status"]

    assert (status["readiness"], status["not_after"], status["deleting"]) == (
        "NOT_READY",
        None,
        False,
    )
    assert status["modifications"] == ["the CA left out a DNS name"]
    assert status["warnings"][0] == "Somebody wrote there."
    assert "1095 days" in status["warnings"][1]
    under_way = status["under_way"]
    assert under_way["next_attempt_at"] is not None
    assert {k: v for k, v in under_way.items() if not k.endswith("_at")} == {
        "kind": "CREATE",
        "phase": "EXCHANGE",
        "attempt": 4,
        "stopped": False,
        "delayed_by": "",
        "delayed_until": None,
        "reason": errand.reason,
        "waiting_for": "",
        "error_code": "CMP_REJECTED",
        "error_class": "REFUSED",
        "error": "the CA says <b>no</b>: badRequest",
    }


def test_the_status_of_a_ready_certificate(api: APIClient) -> None:
    certificate = ready()

    status = api.get(at(certificate)).json()["status"]

    assert (status["readiness"], status["under_way"]) == ("READY", None)
    assert status["serial_number"] == f"{SERIAL:x}"
    assert status["fingerprint"] == certificate.fingerprint
    assert certificate.not_after is not None
    assert status["not_after"].startswith(f"{certificate.not_after:%Y-%m-%dT%H:%M:%S}")


def test_the_status_cannot_be_set_and_may_come_back(api: APIClient) -> None:
    certificate = ready()
    shown = api.get(at(certificate)).json()
    shown["status"]["readiness"] = "EXPIRED"

    answer = api.put(at(certificate), shown | {"purpose": "N32"})

    assert answer.status_code == 200, answer.json()
    assert (answer.json()["status"]["readiness"], answer.json()["purpose"]) == ("READY", "N32")
    assert not certificate.enrollments.open().exists()


def test_what_is_fixed_is_refused_by_name(api: APIClient) -> None:
    answer = api.patch(at(ready()), {"name": "another", "cert_type": "OCCM", "purpose": "x"})

    assert answer.status_code == 400
    assert set(answer.json()) >= {"name", "cert_type"}


def test_another_subject_recreates(api: APIClient) -> None:
    certificate = ready()

    shown = api.patch(at(certificate), {"common_name": "other.example.org"}).json()

    assert shown["common_name"] == "other.example.org"
    assert shown["status"]["under_way"]["kind"] == "RECREATE"


@pytest.mark.parametrize(("action", "kind"), [("renew", "RENEW"), ("recreate", "RECREATE")])
def test_renew_and_recreate_begin(api: APIClient, action: str, kind: str) -> None:
    answer = api.post(at(ready(), action))

    assert answer.status_code == 202
    assert answer.json()["status"]["under_way"]["kind"] == kind


def test_stop_and_retry(api: APIClient) -> None:
    certificate = failing()

    stopped = api.post(at(certificate, "stop")).json()["status"]["under_way"]
    retried = api.post(at(certificate, "retry")).json()["status"]["under_way"]

    assert (stopped["stopped"], stopped["next_attempt_at"]) == (True, None)
    assert (retried["stopped"], retried["attempt"]) == (False, 4)


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("retry", "NOTHING_TO_RETRY"),
        ("stop", "NOTHING_TO_STOP"),
    ],
)
def test_what_stands_in_the_way_is_a_conflict(api: APIClient, action: str, code: str) -> None:
    answer = api.post(at(ready(), action))

    assert (answer.status_code, answer.json()["code"]) == (409, code)


@pytest.mark.parametrize("action", ["renew", "recreate"])
def test_what_is_under_way_is_not_interrupted(api: APIClient, action: str) -> None:
    certificate = ready()
    lifecycle.renew(certificate, now=timezone.now())
    at_work(certificate)

    answer = api.post(at(certificate, action))

    assert (answer.status_code, answer.json()["code"]) == (409, "ENROLLMENT_IN_PROGRESS")


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_needs_a_post_and_the_permission_to_change(action: str) -> None:
    certificate = failing()
    due_at = certificate.enrollments.get().due_at
    viewer = a_client(a_user("view_certificate"))

    assert viewer.post(at(certificate, action)).status_code == 403
    assert viewer.get(at(certificate, action)).status_code == 405
    assert APIClient().post(at(certificate, action)).status_code == 401

    assert certificate.enrollments.get().due_at == due_at


@pytest.mark.parametrize("path", ["", "enrollments"])
def test_reading_needs_the_permission_to_view(path: str) -> None:
    certificate = ready()

    assert a_client(a_user()).get(at(certificate, path)).status_code == 403
    assert APIClient().get(at(certificate, path)).status_code == 401
    viewer = a_client(a_user("view_certificate", username="viewer"))
    assert viewer.get(at(certificate, path)).status_code == 200


def test_deleting_names_the_secrets_left_behind(api: APIClient) -> None:
    certificate = ready(name="nrf1")

    answer = api.delete(at(certificate))

    assert (answer.status_code, answer.json()) == (
        200,
        {
            "finished": True,
            "secrets": ["ns1/nrf1-tls"],
            "outputs": ["ns1/nrf1-tls[tls.key]", "ns1/nrf1-tls[tls.crt]"],
        },
    )
    assert api.get(at(certificate)).status_code == 404


def test_deleting_what_a_worker_has_is_accepted_and_finishes_later(api: APIClient) -> None:
    certificate = at_work()

    answer = api.delete(at(certificate))

    assert (answer.status_code, answer.json()["finished"]) == (202, False)
    assert api.get(at(certificate)).json()["status"]["deleting"] is True
    assert api.post(at(certificate, "retry")).json()["code"] == "BEING_DELETED"


def test_an_occm_certificate_that_others_need_is_not_deleted(api: APIClient) -> None:
    identity = an_identity()
    a_certificate(issuer=identity.issuer)

    answer = api.delete(at(identity))

    assert (answer.status_code, answer.json()["code"]) == (409, "STILL_REFERRED")


def test_the_history_of_a_certificate_is_listed_latest_first(api: APIClient) -> None:
    certificate = ready()
    lifecycle.renew(certificate, now=timezone.now() + timedelta(seconds=1))

    history = api.get(at(certificate, "enrollments")).json()["results"]

    assert [(each["kind"], each["phase"]) for each in history] == [
        ("RENEW", "NEW"),
        ("CREATE", "DELIVERED"),
    ]
    assert history[0]["reason"] == "asked for by the operator"
    assert api.get(f"{CERTIFICATES}nobody/enrollments/").status_code == 404
    page = api.get(at(certificate, "enrollments"), {"page_size": 1}).json()
    assert len(page["results"]) == 1
    assert len(api.get(page["next"]).json()["results"]) == 1


def test_what_may_have_been_issued_is_listed_and_stays_when_its_certificate_goes(
    api: APIClient,
) -> None:
    MaybeIssued.objects.create(
        certificate_name="gone",
        issuer_name="ca1",
        transaction_id="00" * 16,
        sent_at=timezone.now(),
        reason="no answer within 30 s",
        public_key_sha256="0" * 64,
    )

    (found,) = api.get(MAYBE_ISSUED).json()["results"]

    assert (found["certificate_name"], found["reason"]) == ("gone", "no answer within 30 s")
    assert api.get(MAYBE_ISSUED, {"certificate_name": "other"}).json()["results"] == []
    assert api.post(MAYBE_ISSUED, {}).status_code == 405
    assert a_client(a_user()).get(MAYBE_ISSUED).status_code == 403


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"readiness": "READY"}, ["amf"]),
        ({"readiness": "EXPIRED"}, ["udm"]),
        ({"under_way": "NONE"}, ["amf", "udm"]),
        ({"under_way": "CREATE"}, ["nrf", "occm", "smf"]),
        ({"failing": "true"}, ["nrf"]),
        ({"failing": "false"}, ["amf", "occm", "smf", "udm"]),
        ({"cert_type": "OCCM"}, ["occm"]),
        ({"network_function": "SMF"}, ["smf"]),
        ({"issuer": "ca-b"}, ["smf"]),
        ({"issuer": "nobody"}, []),
        ({"search": "am"}, ["amf"]),
        ({"creation_mode": "MANUAL"}, []),
        ({}, ["amf", "nrf", "occm", "smf", "udm"]),
    ],
    ids=str,
)
def test_the_list_can_be_narrowed(
    api: APIClient, filters: dict[str, str], found: list[str]
) -> None:
    a, b = an_issuer(name="ca-a"), an_issuer(name="ca-b")
    ready(name="amf", issuer=a)
    ready(name="udm", issuer=a, days=-1)
    failing(a_certificate(name="nrf", issuer=a))
    a_certificate(name="smf", issuer=b, network_function="SMF")
    an_identity(name="occm", issuer=a)

    assert names(api.get(CERTIFICATES, filters)) == found


def test_the_list_can_be_narrowed_to_what_expires_soon(api: APIClient) -> None:
    ready(name="soon", days=5)
    ready(name="later", days=50)
    limit = (timezone.now() + timedelta(days=10)).isoformat()

    assert names(api.get(CERTIFICATES, {"expires_before": limit})) == ["soon"]


@pytest.mark.parametrize(
    "filters",
    [{"readiness": "MAYBE"}, {"under_way": "LUNCH"}, {"expires_before": "soon"}],
    ids=str,
)
def test_a_filter_that_cannot_be_is_refused(api: APIClient, filters: dict[str, str]) -> None:
    answer = api.get(CERTIFICATES, filters)

    assert (answer.status_code, set(answer.json())) == (400, set(filters))


def test_the_list_comes_in_pages_and_costs_the_same_queries_for_many_as_for_one(
    api: APIClient,
) -> None:
    failing()
    api.get(CERTIFICATES)
    for_one = queries(api, CERTIFICATES)
    an_identity()
    for _ in range(6):
        ready()
        failing()

    assert queries(api, CERTIFICATES) == for_one
    page = api.get(CERTIFICATES, {"page_size": 9}).json()
    rest = api.get(page["next"]).json()
    together = [each["name"] for each in page["results"] + rest["results"]]
    assert together == sorted(Certificate.objects.values_list("name", flat=True))


def test_no_answer_holds_keys_or_what_is_said_to_the_ca(api: APIClient) -> None:
    certificate = failing()

    for path in (CERTIFICATES, at(certificate), at(certificate, "enrollments")):
        assert NEVER_SHOWN not in api.get(path).content.decode(), path
