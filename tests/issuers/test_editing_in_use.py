"""An issuer that certificates refer to: only its URL's scheme may change, and it stays."""

from collections.abc import Callable
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from certificates.models import Certificate, Enrollment
from issuers.domain import editing
from issuers.models import Issuer
from tests.issuers.factories import NOW, an_issuer
from tests.issuers.test_editing import COMPATIBILITY, SIGNATURE, TLS

pytestmark = pytest.mark.django_db

NO_TLS = {
    "server_url": "http://ca.example/pkix/",
    "tls_enabled": False,
    "tls_namespace": "",
    "tls_secret": "",
    "tls_trusted_certs": [],
}


def in_use(by: int = 2, **fields: Any) -> Issuer:
    issuer = an_issuer(**fields)
    for n in range(1, by + 1):
        Certificate.objects.create(
            name=f"nf{n:02}",
            issuer=issuer,
            network_function="AMF",
            purpose="SBI",
            common_name="amf.example",
        )
    return issuer


def refused(issuer: Issuer, **changes: Any) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        editing.update(issuer=issuer, now=NOW, **changes)
    return caught.value.message_dict


def test_saving_it_unchanged_is_no_change() -> None:
    issuer = in_use()

    editing.update(issuer=issuer, now=NOW, name=issuer.name, mac_secret=issuer.mac_secret)


def test_http_may_become_https_with_the_tls_settings_it_needs_and_back() -> None:
    issuer = in_use(server_url="http://ca.example/pkix/")

    issuer = editing.update(issuer=issuer, now=NOW, **TLS)
    assert (issuer.server_url, issuer.tls_secret) == (TLS["server_url"], TLS["tls_secret"])
    issuer = editing.update(issuer=issuer, now=NOW, **NO_TLS)

    assert issuer.server_url == "http://ca.example/pkix/"
    assert not issuer.tls_enabled


def test_https_still_needs_its_trust_store() -> None:
    issuer = in_use(server_url="http://ca.example/pkix/")

    found = refused(issuer, server_url="https://ca.example/pkix/", tls_enabled=True)

    assert found.keys() == {"tls_namespace", "tls_secret", "tls_trusted_certs"}


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/pkix/",
        "http://ca.example/other/",
        "http://ca.example:80/pkix/",
        "http://ca.example:8080/pkix/",
    ],
)
def test_the_rest_of_the_url_may_not_change(url: str) -> None:
    issuer = in_use(server_url="http://ca.example/pkix/")

    assert refused(issuer, server_url=url) == {
        "server_url": ["Only http:// ↔ https:// may change while certificates use it: nf01, nf02."]
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"recipient_dn": "/CN=other"},
        {"issuer_dn": "/CN=other"},
        {"total_timeout_s": 301},
        {"message_timeout_s": 31},
        {"initial_auth_digest": "SHA384"},
        {"initial_response_auth": "MAC_ONLY"},
        {"mac_password_key": "other"},
        SIGNATURE,
        {"other_auth_digest": "SHA384"},
        {"other_signature_secret": "other"},
        {"other_signature_extra_certs": ["ca1.pem"]},
        {"trust_store_root_ca_certs": ["root.pem", "root2.pem"]},
        {"trust_store_server_cert": "server.pem"},
        {"expected_sender_dn": "/CN=other"},
        COMPATIBILITY,
    ],
    ids=str,
)
def test_any_other_change_is_refused_naming_the_field_and_the_certificates(
    changes: dict[str, Any],
) -> None:
    issuer = in_use()

    found = refused(issuer, **changes)

    assert found.keys() == changes.keys()
    for messages in found.values():
        assert messages == [
            "This cannot change while certificates use the issuer: nf01, nf02. "
            "Migrate them to another issuer instead."
        ]


def test_tls_settings_change_only_together_with_the_scheme() -> None:
    issuer = in_use(2, **TLS)

    assert refused(issuer, tls_secret="other").keys() == {"tls_secret"}


def test_a_scheme_that_changes_together_with_more_is_refused_for_the_rest() -> None:
    issuer = in_use(server_url="http://ca.example/pkix/")

    assert refused(issuer, **TLS, total_timeout_s=301).keys() == {"total_timeout_s"}


def test_a_refusal_names_ten_certificates_and_counts_the_others() -> None:
    issuer = in_use(by=13)

    (message,) = refused(issuer, name="other")["name"]

    assert "nf09, nf10 and 3 more. " in message


def test_the_fields_open_to_change_are_those_of_the_scheme() -> None:
    assert editing.editable_fields(in_use()) == NO_TLS.keys()


def test_it_cannot_be_deleted_while_certificates_refer_to_it() -> None:
    issuer = in_use()

    with pytest.raises(editing.IssuerInUse, match=r"certificates refer to it: nf01, nf02\."):
        editing.delete(issuer=issuer)

    assert Issuer.objects.filter(pk=issuer.pk).exists()
    Certificate.objects.all().delete()
    editing.delete(issuer=issuer)
    assert not Issuer.objects.exists()


def test_a_destination_cannot_be_deleted_while_a_certificate_is_moving_there() -> None:
    source, destination = in_use(by=1), an_issuer()
    errand = Enrollment.objects.create(
        certificate=source.certificates.get(),
        issuer=destination,
        issuer_name=destination.name,
        kind=Enrollment.Kind.MIGRATE,
        request={},
        created_at=NOW,
    )

    with pytest.raises(editing.IssuerInUse, match=r"under way for certificates: nf01\. Wait"):
        editing.delete(issuer=destination)
    errand.phase, errand.closed_at = Enrollment.Phase.FAILED, NOW
    errand.save()
    editing.delete(issuer=destination)

    errand.refresh_from_db()
    assert (errand.issuer, errand.issuer_name) == (None, destination.name)


@pytest.mark.django_db(transaction=True)
def test_deleting_and_renaming_wait_for_a_certificate_that_is_being_registered() -> None:
    issuer = an_issuer(name="before")
    registering, outcomes = Event(), []

    def register() -> None:
        with transaction.atomic():
            Issuer.objects.select_for_update().get(pk=issuer.pk)  # as whoever adds one does
            Certificate.objects.create(
                name="amf",
                issuer=issuer,
                network_function="AMF",
                purpose="SBI",
                common_name="amf.example",
            )
            registering.set()
            sleep(0.3)
        connection.close()

    def attempt(change: Callable[[], object]) -> None:
        try:
            change()
        except (ValidationError, editing.IssuerInUse) as error:
            outcomes.append(type(error))
        finally:
            connection.close()

    first = Thread(target=register)
    first.start()
    registering.wait(10)
    others = [
        Thread(target=attempt, args=[change])
        for change in (
            lambda: editing.delete(issuer=issuer),
            lambda: editing.update(issuer=issuer, now=NOW, name="after"),
        )
    ]
    for thread in others:
        thread.start()
    for thread in (first, *others):
        thread.join(10)

    assert sorted(kind.__name__ for kind in outcomes) == ["IssuerInUse", "ValidationError"]
    assert Issuer.objects.get().name == "before"
