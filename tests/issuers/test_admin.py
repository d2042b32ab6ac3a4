"""The issuer pages: the guide's fields, only those that apply, and the domain's refusals."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from issuers.models import Issuer, IssuerHealth
from tests.issuers.factories import NOW, an_issuer, issuer_spec
from tests.issuers.test_editing import SIGNATURE, TLS, mistakes
from tests.issuers.test_editing_in_use import in_use
from tests.pages import Form, Page, logged_in, queries, text, typed
from tests.project.clients import a_user

ADD = "/admin/issuers/issuer/add/"
LIST = "/admin/issuers/issuer/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    return logged_in()


def at(page: str, issuer: Issuer) -> str:
    return reverse(f"admin:issuers_issuer_{page}", args=(issuer.pk,))


def form(page: Page) -> Form:
    assert page.status_code == 200
    return Form(page, "issuer_form")


def columns(issuer: Issuer) -> dict[str, Any]:
    return {name: getattr(issuer, name) for name in Issuer.configured()}


def test_an_issuer_is_added_by_filling_in_the_form(admin: Client) -> None:
    spec = issuer_spec(trust_store_root_ca_certs=["new.pem", "old.pem"], total_timeout_s=600)

    answer = admin.post(ADD, form(admin.get(ADD)).filled(**spec))

    issuer = Issuer.objects.get()
    assert answer["Location"] == at("view", issuer)
    assert {name: getattr(issuer, name) for name in spec} == spec
    assert IssuerHealth.objects.filter(issuer=issuer).exists()  # through the domain


def test_the_page_asks_for_every_field_in_the_guides_order(admin: Client) -> None:
    assert set(form(admin.get(ADD)).rows) == set(Issuer.configured())
    assert form(admin.get(ADD)).rows[:3] == ["name", "recipient_dn", "server_url"]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "no spaces", "server_url": "https://ca.example/", "mac_secret": ""},
        {"name": "", "recipient_dn": "", "trust_store_root_ca_certs": []},
        {"trust_store_root_ca_certs": ["a", "a"], "other_signature_extra_certs": ["no space"]},
        TLS | {"message_timeout_s": 601, "total_timeout_s": 0},
        {"total_timeout_s": ""},
    ],
    ids=str,
)
def test_what_the_domain_refuses_is_shown_at_the_fields_all_at_once_and_nothing_is_saved(
    admin: Client, fields: dict[str, Any]
) -> None:
    page = admin.post(ADD, form(admin.get(ADD)).filled(**issuer_spec(**fields)))

    numbers = {name: None for name in ("total_timeout_s",) if fields.get(name) == ""}
    assert page.context["adminform"].form.errors == mistakes(**fields | numbers)
    assert not Issuer.objects.exists()
    still_there = form(page).filled()
    assert still_there == still_there | {name: typed(value) for name, value in fields.items()}


def test_a_number_that_is_none_is_told_at_its_field(admin: Client) -> None:
    page = admin.post(ADD, form(admin.get(ADD)).filled(**issuer_spec(total_timeout_s="soon")))

    assert page.context["adminform"].form.errors == {"total_timeout_s": ["Enter a whole number."]}


def test_only_the_fields_that_apply_are_shown(admin: Client) -> None:
    mac = {"mac_namespace", "mac_secret", "mac_password_key", "mac_reference_key"}
    signature = {
        "initial_signature_namespace",
        "initial_signature_secret",
        "initial_signature_key",
        "initial_signature_cert",
        "initial_signature_extra_certs",
    }
    tls = {"tls_namespace", "tls_secret", "tls_trusted_certs"}
    of_mac = {"initial_auth_mac_algorithm", "initial_response_auth", "null_dn_sender"}
    with_mac, with_signature = an_issuer(), an_issuer(**SIGNATURE | TLS)

    nothing_yet = form(admin.get(ADD))

    assert nothing_yet.hidden == mac | of_mac | signature | tls | {"initial_auth_digest"}
    assert form(admin.get(at("change", with_mac))).hidden == signature | tls
    assert form(admin.get(at("change", with_signature))).hidden == mac | of_mac


def test_what_does_not_apply_is_emptied_whatever_the_browser_sends(admin: Client) -> None:
    issuer = an_issuer(
        initial_auth_mac_algorithm="HMACSHA512", initial_response_auth="MAC_ONLY", **TLS
    )
    sent = form(admin.get(at("change", issuer))).filled(
        initial_auth_type="SIGNATURE",
        **{name: SIGNATURE[name] for name in SIGNATURE if name.startswith("initial_signature")},
        server_url="http://ca.example:8080/pkix/",
    )
    del sent["tls_enabled"]  # as a browser does with a box that is not checked
    assert sent["mac_secret"] != [""]

    admin.post(at("change", issuer), sent)

    issuer.refresh_from_db()
    assert issuer.initial_signature_key == SIGNATURE["initial_signature_key"]
    assert (issuer.mac_namespace, issuer.mac_secret, issuer.mac_password_key) == ("", "", "")
    assert issuer.initial_auth_mac_algorithm == "HMACSHA256"  # the default again
    assert issuer.initial_response_auth == "MAC_OR_SIGNATURE"
    assert (issuer.tls_enabled, issuer.tls_secret, issuer.tls_trusted_certs) == (False, "", [])


def test_a_wrong_value_in_a_field_that_does_not_apply_is_no_mistake(admin: Client) -> None:
    spec = issuer_spec(tls_namespace="No Namespace", tls_trusted_certs=["no key"])

    answer = admin.post(ADD, form(admin.get(ADD)).filled(**spec))

    assert answer.status_code == 302
    assert Issuer.objects.get().tls_namespace == ""


def test_lists_survive_an_unchanged_save(admin: Client) -> None:
    many = [f"root{n}.pem" for n in range(12)]
    issuer = an_issuer(
        trust_store_root_ca_certs=many,
        trust_store_intermediate_ca_certs=["b.pem", "a.pem"],
        other_signature_extra_certs=["chain1.pem", "chain0.pem"],
        **SIGNATURE | {"initial_signature_extra_certs": ["z.pem", "a.pem", "m.pem"]},
        **TLS | {"tls_trusted_certs": ["tls2.pem", "tls1.pem"]},
    )
    before = columns(issuer)

    answer = admin.post(at("change", issuer), form(admin.get(at("change", issuer))).filled())

    assert answer.status_code == 302
    issuer.refresh_from_db()
    assert columns(issuer) == before


def test_a_list_loses_blanks_and_keeps_the_order(admin: Client) -> None:
    issuer = an_issuer()
    sent = form(admin.get(at("change", issuer)))

    admin.post(
        at("change", issuer),
        sent.filled(trust_store_root_ca_certs=["", " b.pem ", "a.pem", "  "]),
    )

    issuer.refresh_from_db()
    assert issuer.trust_store_root_ca_certs == ["b.pem", "a.pem"]


def test_an_issuer_in_use_offers_only_its_scheme_and_says_why(admin: Client) -> None:
    issuer = in_use()

    page = admin.get(at("change", issuer))

    assert form(page).rows == [
        "server_url",
        "tls_enabled",
        "tls_namespace",
        "tls_secret",
        "tls_trusted_certs",
    ]
    assert "Certificates refer to this issuer: nf01, nf02." in text(page)
    assert issuer.recipient_dn in text(page)  # what is fixed can still be read


def test_the_scheme_of_an_issuer_in_use_can_be_switched(admin: Client) -> None:
    issuer = in_use(server_url="http://ca.example/pkix/")
    sent = form(admin.get(at("change", issuer))).filled(
        **{name: value for name, value in TLS.items() if name != "tls_enabled"}, tls_enabled="on"
    )

    admin.post(at("change", issuer), sent | {"name": "another"})

    issuer.refresh_from_db()
    assert (issuer.server_url, issuer.tls_enabled) == ("https://ca.example/pkix/", True)
    assert issuer.name != "another"


def test_more_than_the_scheme_of_an_issuer_in_use_is_refused_at_the_field(admin: Client) -> None:
    issuer = in_use()
    sent = form(admin.get(at("change", issuer))).filled(server_url="http://other.example/pkix/")

    page = admin.post(at("change", issuer), sent)

    errors = page.context["adminform"].form.errors
    assert "Only http:// ↔ https:// may change" in errors["server_url"][0]


def test_certificates_that_came_while_the_page_was_open_refuse_what_is_then_fixed(
    admin: Client,
) -> None:
    issuer = an_issuer()
    sent = form(admin.get(at("change", issuer))).filled(name="renamed")
    in_use_now = in_use()
    in_use_now.certificates.update(issuer=issuer)

    admin.post(at("change", issuer), sent)

    issuer.refresh_from_db()
    assert issuer.name != "renamed"


def test_deleting_asks_first_and_then_deletes(admin: Client) -> None:
    issuer = an_issuer()

    page = admin.get(at("delete", issuer))
    assert f"Delete issuer {issuer.name}?" in text(page)
    assert Issuer.objects.exists()
    answer = admin.post(at("delete", issuer), follow=True)

    assert not Issuer.objects.exists()
    assert f"Issuer {issuer.name} is deleted. The secrets it names stay." in text(answer)


def test_an_issuer_in_use_cannot_be_deleted_and_the_page_names_by_whom(admin: Client) -> None:
    issuer = in_use()

    page = admin.get(at("delete", issuer))
    assert "Certificates refer to it: nf01, nf02." in text(page)
    assert b"<form method" not in page.content
    answer = admin.post(at("delete", issuer), follow=True)

    assert Issuer.objects.exists()
    assert "certificates refer to it: nf01, nf02" in text(answer)


def test_the_page_of_an_issuer_shows_its_health_and_warnings(admin: Client) -> None:
    issuer = in_use()
    IssuerHealth.objects.update(
        looked_at=NOW,
        failing_since=NOW,
        error="refused by <script>alert(1)</script>",
        warnings=["Secret ns1/ca1-trust has no key root.pem."],
    )

    page = text(admin.get(at("view", issuer)))

    assert "Failing since 2026-01-01 12:00:00 UTC." in page
    assert "refused by &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "Secret ns1/ca1-trust has no key root.pem." in page
    assert reverse("admin:certificates_certificate_view", args=(_first(issuer).pk,)) in page


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ({}, "not asked yet"),
        ({"answered_at": NOW}, "answers"),
        ({"answered_at": NOW, "warnings": ["a"]}, "1 warning"),
        ({"warnings": ["a", "b"]}, "2 warnings"),
        ({"answered_at": NOW, "failing_since": NOW, "warnings": ["a"]}, "failing"),
    ],
)
def test_the_list_tells_how_each_issuer_does(
    admin: Client, found: dict[str, Any], shown: str
) -> None:
    an_issuer()
    IssuerHealth.objects.update(**found)

    assert f">{shown}</span>" in text(admin.get(LIST))


def test_the_list_costs_the_same_queries_for_many_as_for_one(admin: Client) -> None:
    in_use()
    admin.get(LIST)  # what is cached for good is cached now
    for_one = queries(admin, LIST)
    for _ in range(9):
        an_issuer()

    assert queries(admin, LIST) == for_one


def _first(issuer: Issuer) -> Any:
    return issuer.certificates.order_by("name").first()


# Test connection


def test_the_page_offers_to_test_the_connection_in_a_dialog_and_shows_the_outcome(
    admin: Client,
) -> None:
    issuer = an_issuer()
    page = text(admin.get(at("view", issuer)))
    assert 'data-dialog="dialog-test"' in page
    assert f'action="{at("test_connection", issuer)}"' in page

    after = text(admin.post(at("test_connection", issuer), follow=True))
    assert "The connection is being tested." in after
    assert IssuerHealth.objects.get().test_due_at is not None

    IssuerHealth.objects.update(
        test_due_at=None, tested_at=NOW, test_passed=False, test_outcome="refused by <b>nobody</b>"
    )
    outcome = text(admin.get(at("status", issuer)))
    assert "Connection test failed</b> at 2026-01-01 12:00:00 UTC" in outcome
    assert "refused by &lt;b&gt;nobody&lt;/b&gt;" in outcome
    assert "being tested" not in outcome


def test_testing_the_connection_needs_a_post_a_permission_and_a_token() -> None:
    issuer = an_issuer()
    viewer = logged_in(a_user("view_issuer", is_staff=True))
    changer = a_user("view_issuer", "change_issuer", is_staff=True, username="changer")
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(changer)
    test = at("test_connection", issuer)

    assert logged_in(changer).get(test).status_code == 405
    assert viewer.post(test).status_code == 403
    assert 'data-dialog="dialog-test"' not in text(viewer.get(at("view", issuer)))
    assert Client().post(test).status_code == 302  # to the login
    assert forger.post(test).status_code == 403

    assert IssuerHealth.objects.get().test_due_at is None
