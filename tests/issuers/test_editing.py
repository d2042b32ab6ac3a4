"""Saving and deleting issuers that nothing refers to yet: which fields go together."""

from datetime import timedelta
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from issuers.domain import editing, rules
from issuers.models import Issuer, IssuerHealth
from tests.issuers.factories import NOW, an_issuer, issuer_spec

pytestmark = pytest.mark.django_db

SIGNATURE: dict[str, Any] = {
    "initial_auth_type": "SIGNATURE",
    "mac_namespace": "",
    "mac_secret": "",
    "mac_password_key": "",
    "mac_reference_key": "",
    "initial_signature_namespace": "ns1",
    "initial_signature_secret": "ca1-cmp-identity-secret",
    "initial_signature_key": "cmpkey.pem",
    "initial_signature_cert": "cmpcert.pem",
}
NO_INITIAL_AUTH = dict.fromkeys(("initial_auth_type", *rules.MAC_INPUT), "")
TLS: dict[str, Any] = {
    "server_url": "https://ca.example/pkix/",
    "tls_enabled": True,
    "tls_namespace": "ns1",
    "tls_secret": "ca1-tls-trust-store-secret",
    "tls_trusted_certs": ["caroot1.pem"],
}
COMPATIBILITY: dict[str, Any] = {
    "cert_profile": "5G NF, Süd",
    "implicit_confirmation": True,
    "send_root_cert": True,
    "null_dn_sender": True,
    "allow_missing_digital_signature": True,
}


def mistakes(**fields: Any) -> dict[str, list[str]]:
    """Try to register an issuer and return what was wrong."""
    with pytest.raises(ValidationError) as caught:
        editing.register(now=NOW, **issuer_spec(**fields))
    assert not Issuer.objects.exists()
    return caught.value.message_dict


@pytest.mark.parametrize(
    "field",
    [
        "mac_namespace",
        "initial_signature_namespace",
        "other_signature_namespace",
        "trust_store_namespace",
        "tls_namespace",
    ],
)
def test_a_namespace_that_occm_was_not_given_is_refused_by_its_field(
    settings: LazySettings, field: str
) -> None:
    settings.OCCM_ACCESSED_NAMESPACES = ["ns1", "ns3"]
    fields = TLS if field == "tls_namespace" else {}
    fields = SIGNATURE if field == "initial_signature_namespace" else fields

    errors = mistakes(**fields | {field: "ns2"})

    assert list(errors) == [field]
    assert "OCCM may use the secrets of ns1, ns3 and of no other namespace" in errors[field][0]
    assert an_issuer(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"initial_auth_digest": "SHA512", "initial_auth_mac_algorithm": "HMACSHA384"},
        SIGNATURE,
        SIGNATURE | {"initial_signature_extra_certs": ["ca.pem"]},
        NO_INITIAL_AUTH,
        TLS,
        TLS | {"server_url": "HTTPS://ca.example/"},
        {"recipient_dn": "/"},
        {"recipient_dn": r"/DC=org/DC=OpenSSL/DC=users/UID=123456+CN=John Doe "},
        {"trust_store_root_ca_certs": [], "trust_store_server_cert": "server.pem"},
        {"total_timeout_s": 604_800, "message_timeout_s": 600},
        {"total_timeout_s": 30, "message_timeout_s": 30},
        COMPATIBILITY,
    ],
    ids=str,
)
def test_an_issuer_whose_fields_fit_is_saved_as_given(fields: dict[str, Any]) -> None:
    spec = issuer_spec(**fields)

    issuer = editing.register(now=NOW, **spec)

    issuer.refresh_from_db()
    assert {name: getattr(issuer, name) for name in spec} == spec


def test_what_is_left_out_gets_the_guides_defaults() -> None:
    issuer = an_issuer()

    assert (issuer.message_timeout_s, issuer.total_timeout_s) == (30, 300)
    assert issuer.initial_auth_digest == issuer.other_auth_digest == "SHA256"
    assert issuer.initial_auth_mac_algorithm == "HMACSHA256"
    assert issuer.initial_response_auth == "MAC_OR_SIGNATURE"
    assert issuer.other_auth_type == "SIGNATURE"
    assert not issuer.tls_enabled
    assert not any(getattr(issuer, name) for name in COMPATIBILITY)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": ""}, {"name"}),
        ({"name": "no spaces"}, {"name"}),
        ({"recipient_dn": ""}, {"recipient_dn"}),
        ({"recipient_dn": "CN=ca"}, {"recipient_dn"}),
        ({"server_url": ""}, {"server_url"}),
        ({"server_url": "https://ca.example/"}, {"server_url"}),
        ({"initial_auth_type": "PASSWORD"}, {"initial_auth_type"}),
        ({"initial_auth_digest": "SHA1"}, {"initial_auth_digest"}),
        ({"initial_auth_mac_algorithm": "HMACSHA1"}, {"initial_auth_mac_algorithm"}),
        ({"other_auth_type": "MAC"}, {"other_auth_type"}),
        ({"mac_secret": ""}, {"mac_secret"}),
        (
            {"mac_password_key": "", "mac_reference_key": ""},
            {"mac_password_key", "mac_reference_key"},
        ),
        ({"initial_signature_secret": "s"}, {"initial_signature_secret"}),
        ({"initial_signature_extra_certs": ["a"]}, {"initial_signature_extra_certs"}),
        ({"initial_auth_type": ""}, set(rules.MAC_INPUT)),
        ({"initial_auth_type": "SIGNATURE"}, {*rules.MAC_INPUT, *rules.INITIAL_SIGNATURE_INPUT}),
        (SIGNATURE | {"initial_signature_cert": ""}, {"initial_signature_cert"}),
        (SIGNATURE | {"mac_secret": "s"}, {"mac_secret"}),
        ({"other_signature_key": ""}, {"other_signature_key"}),
        ({"other_signature_cert": "key.pem"}, {"other_signature_cert"}),
        ({"other_signature_extra_certs": ["cert.pem"]}, {"other_signature_extra_certs"}),
        ({"trust_store_secret": ""}, {"trust_store_secret"}),
        ({"trust_store_root_ca_certs": []}, {"trust_store_root_ca_certs"}),
        ({"trust_store_root_ca_certs": "root.pem"}, {"trust_store_root_ca_certs"}),
        ({"other_signature_extra_certs": None}, {"other_signature_extra_certs"}),
        ({"other_signature_extra_certs": ""}, {"other_signature_extra_certs"}),
        ({"tls_trusted_certs": {}}, {"tls_trusted_certs"}),
        ({"issuer_dn": None}, {"issuer_dn"}),
        ({"tls_enabled": None}, {"tls_enabled"}),
        ({"tls_enabled": True}, {"server_url", *rules.TLS_STORE}),
        (TLS | {"tls_enabled": False}, {"server_url", *rules.TLS_STORE}),
        (TLS | {"tls_trusted_certs": []}, {"tls_trusted_certs"}),
        ({"tls_secret": "s"}, {"tls_secret"}),
        ({"message_timeout_s": 0}, {"message_timeout_s"}),
        ({"message_timeout_s": 601, "total_timeout_s": 700}, {"message_timeout_s"}),
        ({"total_timeout_s": 604_801}, {"total_timeout_s"}),
        ({"total_timeout_s": 29}, {"total_timeout_s"}),
        ({"total_timeout_s": "soon"}, {"total_timeout_s"}),
        ({"cert_profile": "x" * 256}, {"cert_profile"}),
        ({"cert_profile": None}, {"cert_profile"}),
        ({"implicit_confirmation": None}, {"implicit_confirmation"}),
        (SIGNATURE | {"null_dn_sender": True}, {"null_dn_sender"}),
        (NO_INITIAL_AUTH | {"null_dn_sender": True}, {"null_dn_sender"}),
        (
            {
                "send_root_cert": True,
                "trust_store_root_ca_certs": [],
                "trust_store_server_cert": "server.pem",
            },
            {"send_root_cert"},
        ),
    ],
    ids=str,
)
def test_fields_that_do_not_fit_are_refused_by_name(
    fields: dict[str, Any], wrong: set[str]
) -> None:
    assert mistakes(**fields).keys() == wrong


def test_every_mistake_is_told_at_once() -> None:
    found = mistakes(
        name="no spaces", server_url="https://ca.example/", mac_secret="", total_timeout_s=1
    )

    assert found == {
        "name": [
            "“no spaces” cannot be used here: use 1 to 63 letters, digits, hyphens, underscores "
            "and dots."
        ],
        "server_url": ["Begin the URL with http://, or enable TLS."],
        "mac_secret": [
            "Fill this in: it is needed when the initial authentication is of type MAC."
        ],
        "total_timeout_s": ["Give at least the message timeout, 30 seconds."],
    }


def test_a_name_can_be_used_once() -> None:
    an_issuer(name="ca")

    with pytest.raises(ValidationError) as caught:
        an_issuer(name="ca")

    assert caught.value.message_dict == {"name": ["Issuer with this Name already exists."]}


@pytest.mark.django_db(transaction=True)
def test_a_name_taken_between_check_and_save_is_told_like_any_other() -> None:
    saving = Event()

    def be_quicker() -> None:
        with transaction.atomic():
            an_issuer(name="ca")
            saving.set()
            sleep(0.3)  # not committed yet: the other's check finds the name free
        connection.close()

    quicker = Thread(target=be_quicker)
    quicker.start()
    saving.wait(10)
    with pytest.raises(ValidationError) as caught:
        an_issuer(name="ca")
    quicker.join(10)

    assert caught.value.message_dict == {"name": ["Issuer with this Name already exists."]}
    assert Issuer.objects.count() == 1


def test_a_worker_looks_at_the_secrets_at_once_after_every_save() -> None:
    issuer = an_issuer()
    assert issuer.health.look_due_at == NOW
    IssuerHealth.objects.update(look_due_at=NOW + timedelta(minutes=1))

    editing.update(issuer=issuer, now=NOW + timedelta(seconds=1), mac_secret="other")

    issuer.health.refresh_from_db()
    assert issuer.health.look_due_at == NOW + timedelta(seconds=1)


def test_every_field_may_change_while_no_certificate_refers_to_the_issuer() -> None:
    issuer = an_issuer(name="before")
    changes = issuer_spec(name="after", **SIGNATURE | TLS)

    saved = editing.update(issuer=issuer, now=NOW, **changes)

    assert saved == Issuer.objects.get(name="after")
    assert {name: getattr(saved, name) for name in changes} == changes
    assert editing.editable_fields(saved) == set(Issuer.configured())


def test_an_update_obeys_the_same_rules_and_saves_all_or_nothing() -> None:
    issuer = an_issuer(name="before")

    with pytest.raises(ValidationError) as caught:
        editing.update(issuer=issuer, now=NOW, name="after", tls_enabled=True)

    assert caught.value.message_dict.keys() == {"server_url", *rules.TLS_STORE}
    issuer.refresh_from_db()
    assert issuer.name == "before"


def test_another_url_forgets_what_was_known_about_the_old_one() -> None:
    issuer = an_issuer()
    known = {"http_version": "1.1", "answered_at": NOW, "failing_since": NOW, "error": "refused"}
    IssuerHealth.objects.update(**known)

    editing.update(issuer=issuer, now=NOW, total_timeout_s=600)
    issuer.health.refresh_from_db()
    assert issuer.health.http_version == "1.1"
    editing.update(issuer=issuer, now=NOW, server_url="http://other.example/")

    issuer.health.refresh_from_db()
    assert (issuer.health.http_version, issuer.health.answered_at) == ("", None)
    assert (issuer.health.failing_since, issuer.health.error) == (None, "")


def test_an_issuer_that_nothing_refers_to_can_be_deleted() -> None:
    issuer = an_issuer()

    editing.delete(issuer=issuer)

    assert not Issuer.objects.exists()
    assert not IssuerHealth.objects.exists()


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("http://ca/p", "https://ca/p", True),
        ("https://ca/p", "http://ca/p", True),
        ("http://ca/p", "https://CA/p", True),
        ("http://ca/p", "https://ca:443/p", True),
        ("http://ca:80/p", "https://ca/p", True),
        ("http://ca:80/p", "https://ca:443/p", True),
        ("https://ca:443/p", "http://ca/p", True),
        ("http://ca:8080/p", "https://ca:8080/p", True),
        ("http://ca:443/p", "https://ca:443/p", True),
        ("http://ca:443/p", "https://ca/p", True),
        ("http://ca/p", "http://ca/p", False),
        ("http://ca/p", "https://ca/q", False),
        ("http://ca/p", "https://other/p", False),
        ("http://ca/p", "https://ca:8443/p", False),
        ("http://ca:8080/p", "https://ca/p", False),
        ("http://ca:8080/p", "https://ca:8443/p", False),
        ("http://ca:80/p", "https://ca:80/p", False),
    ],
)
def test_the_scheme_changes_and_an_explicit_port_stays_unless_it_was_the_default(
    old: str, new: str, same: bool
) -> None:
    assert rules.differs_only_in_scheme(old, new) is same
