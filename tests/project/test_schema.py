"""The OpenAPI description: generated without a warning, valid, and true."""

import io
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.issuers.factories import an_issuer, issuer_spec
from tests.issuers.test_editing_in_use import in_use
from tests.project.clients import JsonClient, a_client, a_user, an_administrator


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    out = io.StringIO()
    call_command("spectacular", "--fail-on-warn", "--validate", stdout=out)
    described: dict[str, Any] = yaml.safe_load(out.getvalue())
    return described


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    ]


def fits(schema: dict[str, Any], described: dict[str, Any], answer: Any) -> None:
    """Check an answer against what its operation says of its status."""
    content = described["responses"][str(answer.status_code)].get("content")
    if content is None:
        assert not answer.content
        return
    rules = content["application/json"]["schema"] | {"components": schema["components"]}
    Draft202012Validator(rules).validate(answer.json())


def test_the_schema_is_openapi_3_1_and_valid(schema: dict[str, Any]) -> None:
    assert schema["openapi"].startswith("3.1")
    validate_schema(schema)  # type: ignore[no-untyped-call]
    assert "nullable" not in str(schema)  # 3.0's word, which 3.1 does not know


def test_every_operation_tells_of_the_refusals_it_may_meet(schema: dict[str, Any]) -> None:
    for method, path, operation in operations(schema):
        told = operation["responses"].keys()
        login = path.endswith("/login/")
        expected = {"401", "406"}
        expected |= set() if login else {"403"}
        expected |= {"429"} if login else set()
        expected |= {"404"} if "{" in path else set()
        expected |= {"400", "415"} if method in {"post", "put", "patch"} else set()
        expected |= {"409"} if method == "delete" else set()
        assert expected <= told, f"{method} {path}"


def test_requests_that_name_an_unknown_field_are_said_to_be_refused(schema: dict[str, Any]) -> None:
    assert schema["components"]["schemas"]["IssuerRequest"]["additionalProperties"] is False


@pytest.mark.django_db
def test_answers_are_as_described(schema: dict[str, Any]) -> None:
    api, stranger = an_administrator(), JsonClient()
    used, free = in_use(), an_issuer()
    listed, single = (schema["paths"][f"/api/v1/issuers/{p}"] for p in ("", "{name}/"))
    at = "/api/v1/issuers/"

    for operation, answer, status in (
        (listed["get"], api.get(at, {"page_size": 1}), 200),
        (listed["get"], api.get(at, {"page_size": 0}), 400),
        (listed["get"], api.get(at, {"cursor": "nowhere"}), 404),
        (listed["get"], api.get(at, {"initial_auth_type": "PASSWORD"}), 400),
        (listed["get"], stranger.get(at), 401),
        (listed["get"], a_client(a_user()).get(at), 403),
        (listed["get"], api.get(at, headers={"Accept": "text/html"}), 406),
        (listed["post"], api.post(at, issuer_spec()), 201),
        (listed["post"], api.post(at, {"name": ""}), 400),
        (listed["post"], api.generic("POST", at, "{", "application/json"), 400),
        (listed["post"], api.generic("POST", at, "a=b", "text/plain"), 415),
        (single["get"], api.get(f"{at}{free.name}/"), 200),
        (single["get"], api.get(f"{at}nobody/"), 404),
        (single["put"], api.put(f"{at}{free.name}/", issuer_spec(name=free.name)), 200),
        (single["patch"], api.patch(f"{at}{used.name}/", {"name": "other"}), 400),
        (single["delete"], api.delete(f"{at}{used.name}/"), 409),
        (single["delete"], api.delete(f"{at}{free.name}/"), 204),
    ):
        assert answer.status_code == status, answer.content
        fits(schema, operation, answer)
