"""The certificate pages: what is wanted, how it stands, and what an operator can do about it."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certificates.domain import lifecycle
from certificates.models import Certificate, Enrollment, MaybeIssued
from tests.certificates.standings import NEVER_SHOWN, SERIAL, at_work, failing, ready
from tests.factories import a_certificate, an_identity, an_issuer, certificate_spec, identity_spec
from tests.pages import Form, Page, logged_in, queries, text
from tests.project.clients import a_user

LIST = "/admin/certificates/certificate/"
ADD = f"{LIST}add/"
ENROLLMENTS = "/admin/certificates/enrollment/"
MAYBE_ISSUED = "/admin/certificates/maybeissued/"
OUTPUTS = {
    f"{place}_output_{part}"
    for place in ("private_key", "certificate")
    for part in ("namespace", "secret", "key")
}
CA_BUNDLE = {"ca_bundle_namespace", "ca_bundle_secret", "ca_bundle_key"}
LISTS: dict[str, Any] = {
    "ip_addresses": ["2001:db8::1", "10.0.0.2", "10.0.0.1"],
    "dns_names": ["*.nrf.example.org", "nrf-b.example.org", "nrf-a.example.org"],
    "uri_api_roots": ["https://nrf.example.org:8443/b", "https://nrf.example.org:8443/a"],
    "uri_urns": [
        "urn:uuid:4947a69a-f61b-4bc1-b9da-47c9c5d14b64",
        "urn:uuid:00000000-f61b-4bc1-b9da-47c9c5d14b64",
    ],
    "extended_key_usage": ["SERVER_AUTH"],
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    return logged_in()


def at(page: str, certificate: Certificate) -> str:
    return reverse(f"admin:certificates_certificate_{page}", args=(certificate.pk,))


def form(page: Page) -> Form:
    assert page.status_code == 200
    return Form(page, "certificate_form")


def spec(**fields: Any) -> dict[str, Any]:
    """Return what an operator types in; the issuer is chosen from a list."""
    filled = certificate_spec(**fields)
    return filled | {"issuer": filled["issuer"].pk}


def columns(certificate: Certificate) -> dict[str, Any]:
    certificate.refresh_from_db()
    return {name: getattr(certificate, name) for name in lifecycle.FIELDS}


def errors(page: Page) -> Any:
    return page.context["adminform"].form.errors


# Add


def test_a_certificate_is_added_by_filling_in_the_form_and_asked_for_at_once(
    admin: Client,
) -> None:
    filled = spec(**LISTS)

    answer = admin.post(ADD, form(admin.get(ADD)).filled(**filled))

    certificate = Certificate.objects.get()
    assert answer["Location"] == at("view", certificate)
    saved = columns(certificate) | {"issuer": certificate.issuer_id}
    assert {name: saved[name] for name in filled} == filled
    assert {name: getattr(certificate, name) for name in LISTS} == LISTS
    assert certificate.enrollments.get().kind == "CREATE"


def test_the_page_suggests_the_guides_defaults(admin: Client) -> None:
    suggested = form(admin.get(ADD)).fields

    assert suggested["creation_mode"] == ["AUTOMATIC"]
    assert (suggested["key_algorithm"], suggested["elliptic_curve"]) == (["EC"], ["SECP256r1"])
    assert suggested["key_size"] == ["KEYSIZE_2048"]  # shown when RSA is chosen
    assert suggested["key_usage"] == ["DIGITAL_SIGNATURE"]
    assert suggested["extended_key_usage"] == ["CLIENT_AUTH", "SERVER_AUTH"]
    assert suggested["requested_validity_days"] == ["365"]


def test_the_page_asks_for_every_field_in_the_guides_order(admin: Client) -> None:
    rows = form(admin.get(ADD)).rows

    assert set(rows) == set(lifecycle.FIELDS)
    assert rows[:3] == ["name", "cert_type", "network_function"]


def test_an_occm_certificate_leaves_out_what_follows_from_its_issuer(admin: Client) -> None:
    issuer = an_issuer()
    wanted = identity_spec(issuer=issuer)
    typed_before = {"network_function": "AMF", "certificate_output_secret": "elsewhere"}
    sent = form(admin.get(ADD)).filled(**wanted | {"issuer": issuer.pk} | typed_before)

    admin.post(ADD, sent)

    certificate = Certificate.objects.get()
    assert certificate.network_function == "OCCM"
    assert certificate.certificate_output_secret == issuer.other_signature_secret


def test_only_the_fields_that_apply_are_shown(admin: Client) -> None:
    rsa = a_certificate(key_algorithm="RSA", key_encoding="DER")
    identity = an_identity()

    assert form(admin.get(ADD)).hidden == {"key_size"}
    assert form(admin.get(at("change", rsa))).hidden == {
        "elliptic_curve",
        "merge_certificate_and_chain",
    }
    of_identity = form(admin.get(at("change", identity)))
    assert not (OUTPUTS | CA_BUNDLE | {"network_function"}).intersection(of_identity.rows)


def test_what_does_not_apply_is_emptied_whatever_the_browser_sends(admin: Client) -> None:
    certificate = a_certificate(
        merge_certificate_and_chain=True,
        chain_output_namespace="ns1",
        chain_output_secret="merged-tls",
        chain_output_key="chain.pem",
        secret="merged-tls",
    )
    sent = form(admin.get(at("change", certificate))).filled(
        key_algorithm="RSA", key_size="KEYSIZE_4096", key_encoding="DER"
    )
    assert (sent["elliptic_curve"], sent["merge_certificate_and_chain"]) == (["SECP256r1"], ["on"])

    admin.post(at("change", certificate), sent | {"confirmed": "1"})

    now = columns(certificate)
    assert (now["key_size"], now["elliptic_curve"]) == ("KEYSIZE_4096", "")
    assert now["merge_certificate_and_chain"] is False


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"ip_addresses": ["10.0.0.300"]}, {"ip_addresses"}),
        ({"country": "Germany", "common_name": ""}, {"country", "common_name"}),
        ({"certificate_output_key": ""}, {"certificate_output_key"}),
        ({"certificate_output_key": "tls.key"}, {"certificate_output_key"}),
        ({"renew_before_expiration_days": 365}, {"renew_before_expiration_days"}),
        ({"issuer": ""}, {"issuer"}),
        ({"key_usage": ["CRL_SIGN"]}, {"key_usage"}),
    ],
    ids=str,
)
def test_mistakes_are_shown_at_their_fields_and_nothing_is_saved(
    admin: Client, fields: dict[str, Any], wrong: set[str]
) -> None:
    page = admin.post(ADD, form(admin.get(ADD)).filled(**spec() | fields))

    assert set(errors(page)) == wrong
    assert not Certificate.objects.exists()


def test_what_may_be_saved_but_should_be_meant_is_said_after_saving(admin: Client) -> None:
    sent = form(admin.get(ADD)).filled(**spec(requested_validity_days=2000))

    page = text(admin.post(ADD, sent, follow=True))

    assert "is longer than the 1095 days" in page


# Edit


def test_lists_survive_an_unchanged_save_which_starts_nothing(admin: Client) -> None:
    certificate = ready(**LISTS)
    before = columns(certificate)

    sent = form(admin.get(at("change", certificate))).filled()
    answer = admin.post(at("change", certificate), sent)

    assert answer.status_code == 302
    assert columns(certificate) == before
    assert certificate.enrollments.count() == 1


def test_what_is_fixed_can_be_read_but_not_changed(admin: Client) -> None:
    certificate = ready()

    page = admin.get(at("change", certificate))
    admin.post(at("change", certificate), form(page).filled() | {"name": "x", "cert_type": "OCCM"})

    assert not {"name", "cert_type", "issuer", "creation_mode"}.intersection(form(page).rows)
    assert certificate.name in text(page)
    assert (columns(certificate)["name"], certificate.cert_type) == (certificate.name, "OTHER")


def test_what_takes_effect_at_once_is_saved_without_a_question(admin: Client) -> None:
    certificate = ready()
    sent = form(admin.get(at("change", certificate))).filled(
        purpose="SEPP N32", renew_before_expiration_days=60
    )

    answer = admin.post(at("change", certificate), sent)

    assert answer.status_code == 302
    assert columns(certificate)["purpose"] == "SEPP N32"
    assert certificate.enrollments.count() == 1


def test_what_asks_the_ca_anew_is_saved_only_when_confirmed(admin: Client) -> None:
    certificate = ready()
    before = columns(certificate)
    sent = form(admin.get(at("change", certificate))).filled(
        common_name="other.example.org", dns_names=["other.example.org"]
    )

    question = admin.post(at("change", certificate), sent)
    assert "because these change: common name, DNS names" in text(question)
    assert columns(certificate) == before
    assert certificate.enrollments.count() == 1
    answer = admin.post(at("change", certificate), form(question).filled() | {"confirmed": "1"})

    assert answer.status_code == 302
    assert columns(certificate)["dns_names"] == ["other.example.org"]
    assert certificate.enrollments.open().get().kind == "RECREATE"


def test_mistakes_come_before_the_question(admin: Client) -> None:
    certificate = ready()
    sent = form(admin.get(at("change", certificate))).filled(common_name="", country="Germany")

    page = admin.post(at("change", certificate), sent)

    assert set(errors(page)) == {"common_name", "country"}
    assert "Save and recreate" not in text(page)


def test_a_certificate_on_its_way_out_can_no_longer_be_changed(admin: Client) -> None:
    certificate = at_work()
    sent = form(admin.get(at("change", certificate))).filled(purpose="another")
    lifecycle.delete(certificate, now=timezone.now())

    page = admin.post(at("change", certificate), sent)

    assert f"{certificate.name} is being deleted." in text(page)


# Delete


def test_deleting_asks_first_says_what_stays_and_then_deletes(admin: Client) -> None:
    certificate = ready(name="nrf1")

    page = text(admin.get(at("delete", certificate)))
    assert "Delete certificate nrf1?" in page
    assert "ns1/nrf1-tls[tls.crt]" in page
    assert Certificate.objects.exists()
    answer = text(admin.post(at("delete", certificate), follow=True))

    assert not Certificate.objects.exists()
    assert "Certificate nrf1 is deleted. Left behind: ns1/nrf1-tls." in answer


def test_a_certificate_that_a_worker_has_goes_when_it_lets_go(admin: Client) -> None:
    certificate = at_work()

    answer = text(admin.post(at("delete", certificate), follow=True))

    assert "goes as soon as the worker that has it lets go" in answer
    assert ">deleting</span>" in text(admin.get(LIST))


def test_an_occm_certificate_stays_while_others_need_it_and_the_page_names_them(
    admin: Client,
) -> None:
    identity = an_identity()
    a_certificate(name="amf1", issuer=identity.issuer)

    page = admin.get(at("delete", identity))
    assert "signs the requests for other certificates" in text(page)
    assert b"<form method" not in page.content
    answer = text(admin.post(at("delete", identity), follow=True))

    assert Certificate.objects.filter(pk=identity.pk).exists()
    assert "amf1. Delete or migrate them first." in answer


# Actions


def test_retry_makes_what_waits_due_at_once(admin: Client) -> None:
    certificate = failing()

    answer = admin.post(at("retry", certificate), follow=True)

    assert certificate.enrollments.get().due_at <= timezone.now()  # type: ignore[operator]
    assert "It is tried again at once." in text(answer)


def test_stop_and_retry(admin: Client) -> None:
    certificate = failing()

    admin.post(at("stop", certificate))
    assert certificate.enrollments.get().due_at is None
    assert "stopped by the operator" in text(admin.get(at("view", certificate)))
    admin.post(at("retry", certificate))

    assert certificate.enrollments.get().due_at is not None


@pytest.mark.parametrize(("action", "kind"), [("renew", "RENEW"), ("recreate", "RECREATE")])
def test_renew_and_recreate_begin_at_once(admin: Client, action: str, kind: str) -> None:
    certificate = ready()

    admin.post(at(action, certificate))

    assert certificate.enrollments.open().get().kind == kind


@pytest.mark.parametrize(
    ("action", "refusal"),
    [
        ("retry", "No procedure is open for nrf1."),
        ("stop", "No procedure is open for nrf1."),
        ("renew", "A procedure for nrf1 is under way"),
        ("recreate", "A procedure for nrf1 is under way"),
    ],
)
def test_what_stands_in_the_way_of_an_action_is_told(
    admin: Client, action: str, refusal: str
) -> None:
    certificate = ready(name="nrf1")
    if action in {"renew", "recreate"}:
        lifecycle.renew(certificate, now=timezone.now())
        at_work(certificate)

    assert refusal in text(admin.post(at(action, certificate), follow=True))


@pytest.mark.parametrize("action", ["retry", "renew", "recreate", "stop"])
def test_an_action_needs_a_post_a_permission_and_a_token(action: str) -> None:
    certificate = failing()
    before = Enrollment.objects.values().get()
    viewer = logged_in(a_user("view_certificate", is_staff=True))
    changer = a_user("view_certificate", "change_certificate", is_staff=True, username="changer")
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(changer)

    assert logged_in(changer).get(at(action, certificate)).status_code == 405
    assert viewer.post(at(action, certificate)).status_code == 403
    assert Client().post(at(action, certificate)).status_code == 302  # to the login
    assert forger.post(at(action, certificate)).status_code == 403

    assert Enrollment.objects.values().get() | {"private_key": None} == before | {
        "private_key": None
    }


def offered(admin: Client, certificate: Certificate) -> list[str]:
    page = admin.get(at("status", certificate))
    return [action.name for action in page.context["actions"]]


def test_only_actions_that_make_sense_now_are_offered(admin: Client) -> None:
    idle, waiting, stopped, going = ready(), failing(), failing(), at_work()
    manual = a_certificate(creation_mode="MANUAL")
    lifecycle.stop(stopped, now=timezone.now())
    lifecycle.delete(going, now=timezone.now())

    assert offered(admin, idle) == ["renew", "recreate"]
    assert offered(admin, waiting) == ["retry", "renew", "recreate", "stop"]
    assert offered(admin, stopped) == ["retry", "renew", "recreate"]
    assert offered(admin, manual) == ["retry", "renew", "recreate"]
    assert offered(admin, going) == []


# View


def test_the_page_tells_what_is_under_way_and_the_error_in_full(admin: Client) -> None:
    page = text(admin.get(at("view", failing())))

    assert "attempt 3 failed, next attempt" in page
    assert "<b>The CA refused</b> <code>CMP_REJECTED</code>" in page
    assert "3 failed attempts, failing since" in page
    assert "the CA says &lt;b&gt;no&lt;/b&gt;: badRequest" in page
    assert "NOT_READY" in page


def test_the_page_shows_what_the_issued_certificate_says(admin: Client) -> None:
    certificate = ready(name="nrf1", common_name="nrf1.example.org")

    page = text(admin.get(at("view", certificate)))

    assert ">READY</span>" in page
    assert "CN=nrf1.example.org" in page
    assert "DNS nrf1.example.org" in page
    assert f"{SERIAL:x}" in page
    assert certificate.fingerprint in page
    assert "EC, secp256r1" in page


def test_an_issued_certificate_that_does_not_decode_spoils_no_page(admin: Client) -> None:
    certificate = ready()
    Certificate.objects.update(certificate_der=b"\x30\x03\x02\x01\x00")

    page = admin.get(at("view", certificate))

    assert page.status_code == 200
    assert "Unreadable" in text(page)


def test_attention_modifications_and_warnings_are_shown(admin: Client) -> None:
    certificate = ready(requested_validity_days=2000)
    Certificate.objects.update(
        attention="Somebody else wrote <there>.", modifications=["the CA left out a DNS name"]
    )

    page = text(admin.get(at("view", certificate)))

    assert "Somebody else wrote &lt;there&gt;." in page
    assert "the CA left out a DNS name" in page
    assert "is longer than the 1095 days" in page


def test_history_is_listed_latest_first(admin: Client) -> None:
    certificate = ready()
    lifecycle.renew(certificate, now=timezone.now() + timedelta(seconds=1))

    page = text(admin.get(at("view", certificate)))

    assert page.index(">Renew</td>") < page.index(">Create</td>")
    assert "asked for by the operator" in page


def test_no_page_shows_keys_or_what_is_said_to_the_ca(admin: Client) -> None:
    certificate = failing()
    enrollment = certificate.enrollments.get()
    pages = [
        LIST,
        at("view", certificate),
        at("status", certificate),
        at("change", certificate),
        at("delete", certificate),
        at("history", certificate),
        ENROLLMENTS,
        reverse("admin:certificates_enrollment_change", args=(enrollment.pk,)),
    ]

    for page in pages:
        answer = admin.get(page)
        assert answer.status_code == 200, page
        assert NEVER_SHOWN not in text(answer), page


def test_somebody_who_may_only_look_sees_no_buttons_and_gets_no_form() -> None:
    certificate = failing()
    viewer = logged_in(a_user("view_certificate", is_staff=True))

    page = text(viewer.get(at("view", certificate)))

    assert "Retry now" not in page
    assert at("change", certificate) not in page
    assert viewer.get(at("change", certificate))["Location"] == at("view", certificate)
    assert viewer.post(at("change", certificate), {"purpose": "x"}).status_code == 403
    assert viewer.get(at("delete", certificate)).status_code == 403
    assert viewer.post(at("delete", certificate)).status_code == 403
    assert viewer.get(ADD).status_code == 403
    assert viewer.get(LIST).status_code == 200


# List


def listed(admin: Client, **filters: str) -> list[str]:
    page = admin.get(LIST, filters)
    assert page.status_code == 200, page
    return [row.name for row in page.context["cl"].result_list]


def test_the_list_tells_readiness_expiry_and_what_is_under_way(admin: Client) -> None:
    ready(name="expiring", days=11.5)
    ready(name="expired", days=-0.5)
    failing(a_certificate(name="failing", now=timezone.now()))
    waiting = a_certificate(name="waiting", now=timezone.now())
    waiting.enrollments.update(waiting_for="the OCCM certificate")
    Certificate.objects.filter(name="expiring").update(attention="Somebody wrote there.")

    page = text(admin.get(LIST))

    assert "(11 days left)" in page
    assert "(expired today)" in page
    assert "attempt 3 failed" in page
    assert "waits for the OCCM certificate" in page
    assert "Somebody wrote there." in page
    for readiness in ("READY", "NOT_READY", "EXPIRED"):
        assert f">{readiness}</span>" in page


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"readiness": "READY"}, ["amf"]),
        ({"readiness": "NOT_READY"}, ["nrf", "occm", "smf"]),
        ({"readiness": "EXPIRED"}, ["udm"]),
        ({"under_way": "NONE"}, ["amf", "udm"]),
        ({"under_way": "ANY"}, ["nrf", "occm", "smf"]),
        ({"under_way": "CREATE"}, ["nrf", "occm", "smf"]),
        ({"under_way": "FAILING"}, ["nrf"]),
        ({"under_way": "STOPPED"}, ["smf"]),
        ({"under_way": "RENEW"}, []),
        ({"cert_type__exact": "OCCM"}, ["occm"]),
        ({"network_function": "SMF"}, ["smf"]),
        ({"issuer__name": "ca-b"}, ["smf"]),
        ({"q": "am"}, ["amf"]),
        ({"readiness": "READY", "under_way": "ANY"}, []),
        ({}, ["amf", "nrf", "occm", "smf", "udm"]),
    ],
    ids=str,
)
def test_the_list_can_be_narrowed(admin: Client, filters: dict[str, str], names: list[str]) -> None:
    a, b = an_issuer(name="ca-a"), an_issuer(name="ca-b")
    ready(name="amf", issuer=a)
    ready(name="udm", issuer=a, days=-1)
    failing(a_certificate(name="nrf", issuer=a))
    stopped = a_certificate(name="smf", issuer=b, network_function="SMF")
    lifecycle.stop(stopped, now=timezone.now())
    an_identity(name="occm", issuer=a)
    if "issuer__name" in filters:
        filters = {"issuer__id__exact": str(b.pk)}

    assert listed(admin, **filters) == names


def test_the_list_costs_the_same_queries_for_many_as_for_one(admin: Client) -> None:
    failing()
    admin.get(LIST)  # what is cached for good is cached now
    for_one = queries(admin, LIST)
    for _ in range(5):
        ready()
        failing()

    assert queries(admin, LIST) == for_one


def test_a_page_keeps_its_live_part_up_to_date_by_itself(admin: Client) -> None:
    certificate = failing()
    live = {"X-Occm-Live": "1"}

    part = text(admin.get(LIST, headers=live))
    status = text(admin.get(at("status", certificate)))

    assert certificate.name in part
    assert "<html" not in part
    assert "<html" not in status
    assert "csrf" not in part + status  # else it would differ each time
    assert text(admin.get(at("status", certificate))) == status
    assert logged_in(a_user(is_staff=True)).get(at("status", certificate)).status_code == 403
    assert Client().get(at("status", certificate)).status_code == 302


def test_the_live_part_tells_what_the_certificate_says(admin: Client) -> None:
    """It changes with each renewal."""
    part = text(admin.get(at("status", ready())))

    assert "Issued certificate" in part
    assert "Signature algorithm" in part


# Records


def test_errands_and_what_may_be_issued_can_be_read_and_not_be_edited(admin: Client) -> None:
    certificate = failing(a_certificate(name="nrf1"))
    MaybeIssued.objects.create(
        certificate_name="gone",
        issuer_name="ca1",
        transaction_id="00" * 16,
        sent_at=timezone.now(),
        reason="no answer within 30 s",
        public_key_sha256="0" * 64,
    )
    enrollment = certificate.enrollments.get()

    assert "the CA says &lt;b&gt;no&lt;/b&gt;" in text(admin.get(ENROLLMENTS))
    assert "no answer within 30 s" in text(admin.get(MAYBE_ISSUED))
    for page in (ENROLLMENTS, MAYBE_ISSUED):
        assert admin.get(f"{page}add/").status_code == 403
    of_it = reverse("admin:certificates_enrollment_delete", args=(enrollment.pk,))
    assert admin.post(of_it, {"post": "yes"}).status_code == 403
    change = reverse("admin:certificates_enrollment_change", args=(enrollment.pk,))
    assert admin.post(change, {"phase": "FAILED"}).status_code == 403
