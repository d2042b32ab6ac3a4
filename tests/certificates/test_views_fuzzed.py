"""Whatever JSON comes in is saved by the rules or refused by field, never an error of ours."""

import json
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certificates.domain import lifecycle, rules
from certificates.models import Certificate
from tests.certificates.test_views import CERTIFICATES, at, spec
from tests.factories import a_certificate
from tests.issuers.test_views_fuzzed import anything
from tests.project.clients import JsonClient, an_administrator

FIELDS = lifecycle.FIELDS
nearly = st.sampled_from(
    [
        *("OCCM", "OTHER", "MANUAL", "RSA", "EC", "DER", "PEM", "KEYSIZE_4096", "SECP384r1"),
        *("DIGITAL_SIGNATURE", "SERVER_AUTH", "END_ENTITY", "10.0.0.1", "::1", "*.example.org"),
        *("https://nrf/", "https://[::1]/", "urn:uuid:4947a69a-f61b-4bc1-b9da-47c9c5d14b64"),
        *("ns1", "tls.key", "\x00", "\ud800", "", 1, 365, -1, 2**70),
    ]
)
QUERIES = (
    *("search", "cursor", "page_size", "readiness", "under_way", "failing", "issuer", "format"),
    *("expires_before", "cert_type", "network_function", "creation_mode"),
)
values = anything | nearly | st.lists(nearly, max_size=3)
bodies = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)
many = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def api(db: None) -> JsonClient:
    return an_administrator()


def sound(answer: Any) -> None:
    """Check that a refusal names fields and says what to do."""
    assert answer.status_code == 400
    refused = answer.json()
    assert refused.keys() <= {*FIELDS, "code", "detail"}
    if "code" not in refused:
        assert all(isinstance(text, str) for texts in refused.values() for text in texts)


@many
@given(fields=bodies)
def test_every_new_certificate_is_granted_or_refused(
    api: JsonClient, fields: dict[str, Any]
) -> None:
    answer = api.generic("POST", CERTIFICATES, json.dumps(spec() | fields), "application/json")

    if answer.status_code == 201:
        rules.check(Certificate.objects.get(name=answer.json()["name"]))
    else:
        sound(answer)


@many
@given(fields=bodies, method=st.sampled_from(["PUT", "PATCH"]))
def test_every_change_is_granted_or_refused(
    api: JsonClient, fields: dict[str, Any], method: str
) -> None:
    certificate = a_certificate(now=timezone.now())

    answer = api.generic(method, at(certificate), json.dumps(fields), "application/json")

    if answer.status_code == 200:
        rules.check(Certificate.objects.get(pk=certificate.pk))
    else:
        sound(answer)


@many
@given(
    query=st.dictionaries(
        st.sampled_from(QUERIES),
        st.text(st.characters(codec="utf-8"))
        | st.sampled_from(["true", "1", "cD0x", "READY", "NONE", "2026-01-01", "OCCM"]),
    )
)
def test_every_query_is_answered_or_refused(api: JsonClient, query: dict[str, str]) -> None:
    assert api.get(CERTIFICATES, query).status_code in {200, 400, 404}
