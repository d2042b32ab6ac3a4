"""The OpenAPI description: what the views declare, and every refusal a client may meet."""

from typing import Any, Literal

from drf_spectacular.authentication import BasicScheme
from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse
from rest_framework.permissions import AllowAny

# What the schema says about answers that are not what was asked for; the names are components.
SCHEMAS: dict[str, Any] = {
    "Problem": {
        "type": "object",
        "description": "Why the request was not carried out.",
        "properties": {
            "code": {"type": "string", "description": "For programs; never changes."},
            "detail": {"type": "string", "description": "For people."},
        },
        "required": ["code", "detail"],
    },
    "FieldErrors": {
        "type": "object",
        "description": "Under each field's name what is wrong with it and what to do.",
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
    },
}
PROBLEM = {"$ref": "#/components/schemas/Problem"}
FIELD_ERRORS_OR_PROBLEM = {"oneOf": [{"$ref": "#/components/schemas/FieldErrors"}, PROBLEM]}
REFUSALS = {
    "400": OpenApiResponse(FIELD_ERRORS_OR_PROBLEM, "Something in the request cannot be."),
    "401": OpenApiResponse(PROBLEM, "Neither a valid token nor a session came along."),
    "403": OpenApiResponse(PROBLEM, "This user may not do that."),
    "404": OpenApiResponse(PROBLEM, "There is no such thing, or no such page."),
    "406": OpenApiResponse(PROBLEM, "The answer would be JSON, which the client does not accept."),
    "409": OpenApiResponse(PROBLEM, "Not now: something else stands against it."),
    "415": OpenApiResponse(PROBLEM, "The body has to be JSON."),
    "429": OpenApiResponse(PROBLEM, "Too many attempts: wait as long as Retry-After says."),
}


class TokenScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]
    """Tells the schema about our tokens; found by being a subclass."""

    target_class = "occm_project.api.access.TokenAuthentication"
    name = "token"


class BasicLoginScheme(BasicScheme):  # type: ignore[no-untyped-call]
    """Tells the schema about the login's basic authentication; found by being a subclass."""

    target_class = "occm_project.login.Basic"


class Schema(AutoSchema):
    """Documents the refusals that an operation may meet, beside what its view declares."""

    def _get_response_bodies(
        self, direction: Literal["request", "response"] = "response"
    ) -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for code in sorted(self._refusals() - bodies.keys()):
            body = self._get_response_for_code(REFUSALS[code], code)  # type: ignore[no-untyped-call]
            bodies[code] = body
        return bodies

    def _refusals(self) -> set[str]:
        listed = self._is_list_view()
        acting = self.method == "POST" and getattr(self.view, "detail", False)
        refusals = {"401", "406"}
        if AllowAny not in self.view.permission_classes:
            refusals.add("403")
        if listed or self.method in {"POST", "PUT", "PATCH"}:
            refusals.add("400")
        if listed or "{" in self.path:  # a list's cursor may lead nowhere
            refusals.add("404")
        if self.method in {"POST", "PUT", "PATCH"}:
            refusals.add("415")
        if acting or self.method == "DELETE":
            refusals.add("409")
        if self.view.throttle_classes:
            refusals.add("429")
        return refusals


def finished(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add what refusals refer to, and say that unknown fields are refused."""
    schemas = result["components"]["schemas"]
    for name, schema in schemas.items():
        if name.endswith("Request"):
            schema["additionalProperties"] = False
    schemas |= SCHEMAS
    return result
