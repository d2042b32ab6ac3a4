"""Whatever JSON comes in is saved by the rules or refused by field, never an error of ours."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from issuers.models import Issuer
from tests.issuers.factories import issuer_spec
from tests.project.clients import JsonClient, an_administrator

ISSUERS = "/api/v1/issuers/"

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
nearly = st.sampled_from(
    ["/CN=x", "/CN=\x00", "\ud800", "http://ca/", "https://[::1]/", "MAC", "SHA256", "ns1", ""]
)
values = anything | nearly | st.lists(nearly, max_size=3)


@pytest.fixture
def api(db: None) -> JsonClient:
    return an_administrator()


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(fields=st.dictionaries(st.sampled_from(Issuer.configured()), values, max_size=6))
def test_every_request_is_granted_or_refused(api: JsonClient, fields: dict[str, Any]) -> None:
    body = json.dumps(issuer_spec() | fields)

    answer = api.generic("POST", ISSUERS, body, "application/json")

    if answer.status_code == 201:
        Issuer.objects.get(name=answer.json()["name"]).full_clean()
    else:
        assert answer.status_code == 400
        refused = answer.json()
        assert refused.keys() <= {*Issuer.configured(), "code", "detail"}
        if "code" not in refused:
            assert all(isinstance(text, str) for texts in refused.values() for text in texts)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    query=st.dictionaries(
        st.sampled_from(
            ["search", "cursor", "page_size", "warned", "failing", "tls_enabled", "format"]
        ),
        st.text(st.characters(codec="utf-8")) | st.sampled_from(["true", "1", "cD0x"]),
    )
)
def test_every_query_is_answered_or_refused(api: JsonClient, query: dict[str, str]) -> None:
    assert api.get(ISSUERS, query).status_code in {200, 400, 404}
