"""What may be saved together. Each refusal names the field and what to do."""

from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import ValidationError

from certificates.domain import keys, lifecycle, rules
from certificates.models import Certificate
from tests.factories import (
    NOW,
    a_certificate,
    an_identity,
    an_issuer,
    certificate_spec,
    identity_spec,
    issuer_spec,
)

pytestmark = pytest.mark.django_db

CHAIN: dict[str, Any] = {
    "chain_output_namespace": "ns1",
    "chain_output_secret": "amf-tls",
    "chain_output_key": "chain.pem",
}
BUNDLE: dict[str, Any] = {
    "ca_bundle_namespace": "ns1",
    "ca_bundle_secret": "bundle",
    "ca_bundle_key": "ca.pem",
}


def refused(**fields: Any) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as refusal:
        a_certificate(**fields)
    return refusal.value.message_dict


@pytest.mark.parametrize(
    "fields",
    [
        {"private_key_output_namespace": "ns2"},
        {"certificate_output_namespace": "ns2"},
        CHAIN | {"chain_output_namespace": "ns2"},
        BUNDLE | {"ca_bundle_namespace": "ns2"},
    ],
)
def test_a_namespace_that_occm_was_not_given_is_refused_by_its_field(
    settings: LazySettings, fields: dict[str, Any]
) -> None:
    settings.OCCM_ACCESSED_NAMESPACES = ["ns1", "ns3"]
    (field,) = (name for name, value in fields.items() if value == "ns2")

    errors = refused(**fields)

    assert list(errors) == [field]
    assert "OCCM may use the secrets of ns1, ns3 and of no other namespace" in errors[field][0]
    a_certificate()
    settings.OCCM_ACCESSED_NAMESPACES = []
    a_certificate(**fields)


def test_what_the_operator_leaves_out_has_its_default() -> None:
    certificate = a_certificate()

    assert (certificate.creation_mode, certificate.key_encoding) == ("AUTOMATIC", "PEM")
    assert (certificate.key_algorithm, certificate.elliptic_curve) == ("EC", "SECP256r1")
    assert certificate.key_usage == ["DIGITAL_SIGNATURE"]
    assert certificate.extended_key_usage == ["CLIENT_AUTH", "SERVER_AUTH"]
    assert certificate.requested_validity_days == 365
    assert certificate.renew_before_expiration_days == 30
    assert a_certificate(key_algorithm="RSA").key_size == "KEYSIZE_2048"


@pytest.mark.parametrize(
    ("fields", "field", "advice"),
    [
        ({"name": "a name"}, "name", "letters"),
        ({"network_function": ""}, "network_function", "blank"),
        ({"purpose": ""}, "purpose", "blank"),
        ({"common_name": ""}, "common_name", "blank"),
        ({"common_name": "c" * 65}, "common_name", "64"),
        ({"common_name": "ü" * 33}, "common_name", "66 bytes"),
        ({"country": "Germany"}, "country", "two letters|2 characters"),
        ({"key_usage": []}, "key_usage", "blank"),
        ({"ip_addresses": ["nowhere"]}, "ip_addresses", "nowhere"),
        ({"dns_names": ["a b"]}, "dns_names", "a b"),
        ({"uri_api_roots": ["amf"]}, "uri_api_roots", "amf"),
        ({"uri_urns": ["urn:x"]}, "uri_urns", "urn:x"),
        ({"requested_validity_days": 0}, "requested_validity_days", "1"),
        ({"requested_validity_days": 3651}, "requested_validity_days", "3650"),
        ({"renew_before_expiration_days": 365}, "renew_before_expiration_days", "fewer"),
        ({"dns_names": {}}, "dns_names", "list"),
        ({"dns_names": None}, "dns_names", "null"),
        ({"country": None}, "country", "null"),
        ({"chain_output_key": None}, "chain_output_key", "null"),
        ({"requested_validity_days": None}, "requested_validity_days", "null"),
        ({"merge_certificate_and_chain": None}, "merge_certificate_and_chain", "null|True"),
        ({"key_size": "KEYSIZE_2048"}, "key_size", "RSA"),
        ({"key_algorithm": "RSA", "elliptic_curve": "SECP256r1"}, "elliptic_curve", "EC"),
        ({"key_algorithm": "DSA"}, "key_algorithm", "DSA"),
        ({"private_key_output_namespace": ""}, "private_key_output_namespace", "Fill"),
        ({"private_key_output_secret": "Tls"}, "private_key_output_secret", "lower case"),
        ({"certificate_output_key": ""}, "certificate_output_key", "Fill"),
        ({"certificate_output_key": "tls.key"}, "certificate_output_key", "private key"),
        ({"chain_output_key": "chain.pem"}, "chain_output_secret", "all empty"),
        ({"ca_bundle_secret": "bundle"}, "ca_bundle_key", "all empty"),
        (CHAIN | {"chain_output_key": "tls.crt"}, "chain_output_key", "merging"),
        (CHAIN | {"chain_output_key": "tls.key"}, "chain_output_key", "private key"),
        ({"merge_certificate_and_chain": True}, "chain_output_key", "needs it"),
        (
            CHAIN | {"merge_certificate_and_chain": True, "chain_output_secret": "other"},
            "chain_output_secret",
            "certificate's secret",
        ),
        (
            CHAIN | {"merge_certificate_and_chain": True, "key_encoding": "DER"},
            "merge_certificate_and_chain",
            "DER",
        ),
        (
            BUNDLE | {"ca_bundle_secret": "amf-tls", "ca_bundle_key": "tls.crt"},
            "ca_bundle_key",
            "writes",
        ),
    ],
)
def test_refused_naming_the_field(fields: dict[str, Any], field: str, advice: str) -> None:
    errors = refused(**{"name": "amf", **fields}, secret="amf-tls")

    assert set(errors) >= {field}
    assert any(part in " ".join(errors[field]) for part in advice.split("|")), errors


def test_all_mistakes_are_named_at_once() -> None:
    errors = refused(country="Germany", key_size="KEYSIZE_4096", renew_before_expiration_days=900)

    assert set(errors) == {"country", "key_size", "renew_before_expiration_days"}


def test_nothing_is_saved_with_a_mistake() -> None:
    refused(country="Germany")

    assert not Certificate.objects.exists()


@pytest.mark.parametrize("same_key", [True, False])
def test_merging_takes_one_key_or_two_of_one_secret(same_key: bool) -> None:
    key = "tls.crt" if same_key else "chain.pem"

    certificate = a_certificate(
        **CHAIN | {"chain_output_key": key}, secret="amf-tls", merge_certificate_and_chain=True
    )

    assert certificate.outputs.count() == (2 if same_key else 3)


def test_outputs_of_an_identity_are_the_issuers() -> None:
    issuer = an_issuer(other_signature_extra_certs=["sub.pem"])

    identity = an_identity(issuer=issuer)

    assert identity.network_function == "OCCM"
    assert identity.private_key_output_secret == issuer.other_signature_secret
    assert identity.private_key_output_key == issuer.other_signature_key
    assert identity.certificate_output_key == issuer.other_signature_cert
    assert {row.key for row in identity.outputs.all()} == {"key.pem", "cert.pem", "sub.pem"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"network_function": "NRF"}, "network_function"),
        ({"private_key_output_secret": "elsewhere"}, "private_key_output_secret"),
        ({"certificate_output_key": "other.pem"}, "certificate_output_key"),
        (BUNDLE, "ca_bundle_key"),
        (
            {
                "chain_output_namespace": "ns1",
                "chain_output_secret": "ca-occm",
                "chain_output_key": "sub.pem",
            },
            "chain_output_key",
        ),
    ],
)
def test_an_identity_takes_nothing_else(fields: dict[str, Any], field: str) -> None:
    issuer = an_issuer(other_signature_secret="ca-occm", other_signature_extra_certs=["sub.pem"])

    with pytest.raises(ValidationError) as refusal:
        an_identity(issuer=issuer, **fields)

    assert field in refusal.value.message_dict


def test_an_issuer_has_one_identity() -> None:
    first = an_identity()

    with pytest.raises(ValidationError) as refusal:
        an_identity(issuer=first.issuer)

    assert first.name in refusal.value.message_dict["issuer"][0]


def test_an_identity_cannot_be_created_without_initial_authentication() -> None:
    mac = ("namespace", "secret", "password_key", "reference_key")
    issuer = an_issuer(initial_auth_type="", **{f"mac_{field}": "" for field in mac})

    with pytest.raises(ValidationError) as refusal:
        an_identity(issuer=issuer)

    assert "MANUAL" in refusal.value.message_dict["creation_mode"][0]
    assert an_identity(issuer=issuer, creation_mode="MANUAL").pk


def test_two_certificates_cannot_write_the_same_key() -> None:
    first = a_certificate()

    errors = refused(secret=first.private_key_output_secret, private_key_output_key="other")

    assert list(errors) == ["certificate_output_key"]
    assert first.name in errors["certificate_output_key"][0]


def test_two_certificates_may_share_a_secret() -> None:
    first = a_certificate()

    second = a_certificate(
        secret=first.private_key_output_secret,
        private_key_output_key="second.key",
        certificate_output_key="second.crt",
    )

    assert second.pk


@pytest.mark.parametrize("key", ["root.pem", "sub.pem", "server.pem"])
def test_a_certificate_does_not_overwrite_what_an_issuer_reads(key: str) -> None:
    issuer = an_issuer(
        trust_store_secret="trust",
        trust_store_intermediate_ca_certs=["sub.pem"],
        trust_store_server_cert="server.pem",
    )

    errors = refused(certificate_output_secret="trust", certificate_output_key=key)

    assert issuer.name in errors["certificate_output_key"][0]


def test_a_certificate_does_not_overwrite_an_identity() -> None:
    issuer = an_issuer()

    errors = refused(
        issuer=issuer,
        certificate_output_secret=issuer.other_signature_secret,
        certificate_output_key=issuer.other_signature_cert,
    )

    assert issuer.name in errors["certificate_output_key"][0]


def test_an_identity_does_not_overwrite_another_issuers_input() -> None:
    spec = issuer_spec()
    secret, key = spec["trust_store_secret"], spec["trust_store_root_ca_certs"][0]
    an_issuer(**spec)
    careless = an_issuer(other_signature_secret=secret, other_signature_cert=key)

    with pytest.raises(ValidationError) as refusal:
        an_identity(issuer=careless)

    assert "certificate_output_key" in refusal.value.message_dict


def test_a_name_is_taken_once() -> None:
    first = a_certificate()

    assert "name" in refused(name=first.name, secret="another")


def test_the_issuer_is_needed() -> None:
    with pytest.raises(ValidationError) as refusal:
        lifecycle.register(now=NOW, **{**certificate_spec(), "issuer": None})
    with pytest.raises(ValidationError) as refusal_too:
        lifecycle.register(now=NOW, **{**identity_spec(), "issuer": None})

    assert "issuer" in refusal.value.message_dict
    assert "issuer" in refusal_too.value.message_dict


def test_a_validity_beyond_3gpps_is_warned_of() -> None:
    assert rules.warnings(a_certificate(requested_validity_days=1095)) == ()
    [warning] = rules.warnings(a_certificate(requested_validity_days=1096))
    assert "1095" in warning


def test_outputs_in_several_secrets_are_warned_of() -> None:
    [warning] = rules.warnings(a_certificate(private_key_output_secret="keys"))

    assert "ns1/keys" in warning


def test_whatever_a_subject_may_say_fits_into_a_request() -> None:
    subject: dict[str, Any] = {
        "country": "DE",
        "state": "ü" * 128,
        "location": "ü" * 128,
        "organization": "ü" * 64,
        "organization_unit": "ü" * 64,
        "common_name": "ü" * 32,
    }

    request = a_certificate(**subject).enrollments.get().request

    template = keys.template(request, keys.generate(request), issuer=None, at=NOW)
    assert template.subject is not None
    assert len(list(template.subject)) == len(subject)
