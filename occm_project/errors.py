"""The one place where a domain error becomes an HTTP answer.

A broken rule of validation is 400 with a list of sentences under each field's name. Everything else
is one sentence for people with a code for programs: `{"code": …, "detail": …}`.
"""

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ObjectDoesNotExist
from django.core.exceptions import ValidationError as BrokenRules
from rest_framework.exceptions import ErrorDetail, NotFound, ValidationError
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

from certificates.domain.conflicts import Conflict
from issuers.domain.editing import IssuerInUse

CONFLICTS = (IssuerInUse, Conflict)


def to_problem(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return the answer to an error; None lets an unexpected one end as 500."""
    if isinstance(error, CONFLICTS):
        return Response({"code": error.code, "detail": str(error)}, status=409)
    if isinstance(error, BrokenRules):
        error = ValidationError(_by_field(error))
    if isinstance(error, ObjectDoesNotExist):  # deleted while we were about to work on it
        error = NotFound()
    response = exception_handler(error, context)
    if response is not None and not isinstance(error, ValidationError):
        detail = response.data["detail"]
        code = detail.code if isinstance(detail, ErrorDetail) else "error"
        response.data = {"code": str(code).upper(), "detail": detail}
    return response


def _by_field(error: BrokenRules) -> dict[str, Any]:
    fields: dict[str, Any] = as_serializer_error(error)
    if NON_FIELD_ERRORS in fields:
        fields[api_settings.NON_FIELD_ERRORS_KEY] = fields.pop(NON_FIELD_ERRORS)
    return fields
