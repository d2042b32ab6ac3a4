"""What an answer of the Kubernetes API other than success means.

Passed on are its status and which fields it complains of, never its words: they may quote what
was written.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final, Literal

from secretstore.base import (
    Conflict,
    Forbidden,
    Invalid,
    SecretMissing,
    SecretStoreError,
    Throttled,
    Unauthenticated,
    Unavailable,
)

Action = Literal["read", "create", "patch", "watch"]

_FIELD: Final = re.compile(r"(?:data|metadata|type|immutable)[-._/a-zA-Z0-9\[\]]{0,100}")
_REASON: Final = re.compile(r"[A-Za-z]{1,60}")
_VERBS: Final[dict[Action, str]] = {
    "read": "get",
    "create": "create",
    "patch": "patch",
    "watch": "watch",
}


def refusal(
    action: Action, where: str, *, status: int, retry_after: str | None, answer: dict[str, Any]
) -> SecretStoreError:
    """Return the error for an answer; `where` names the secret."""
    match status:
        case 401:
            error: SecretStoreError = Unauthenticated(
                f"{where}: the Kubernetes API does not know us (401): our token or client"
                " certificate is missing, has expired or is another cluster's"
            )
        case 403:
            verb = _VERBS[action]
            error = Forbidden(f"{where}: we may not {verb} it (403): {_remedy(answer, verb)}")
        case 404 if answer.get("kind") == "Status":
            error = _missing(action, where)
        case 409:
            what = "exists by now" if action == "create" else "has changed since it was read"
            error = Conflict(f"{where} {what} (409): read it and write again")
        case 429:
            error = Throttled(
                f"{where}: the Kubernetes API is busy (429): try again later",
                _seconds(retry_after),
            )
        case 400 | 413 | 415 | 422:
            complaints = "; ".join(_complaints(answer)) or "no field named"
            error = Invalid(
                f"{where}: the Kubernetes API refuses it as invalid ({status}, {complaints}):"
                " is it immutable, too large, or of a type that wants other keys?"
            )
        case _ if 500 <= status < 600:
            error = Unavailable(f"{where}: the Kubernetes API fails ({status}): try again later")
        case _:
            error = Unavailable(
                f"{where}: what answered ({status}) is not the Kubernetes API:"
                " correct the server's address"
            )
    return error


def _missing(action: Action, where: str) -> SecretStoreError:
    match action:
        case "read":
            return SecretMissing(f"{where} does not exist: create it, or correct the name")
        case "watch":
            return SecretMissing(f"{where} cannot be watched, it does not exist")
        case "create":
            return SecretMissing(f"{where} cannot be created, its namespace does not exist")
        case "patch":
            return Conflict(f"{where} was deleted since it was read: read it and write again")


def _remedy(answer: dict[str, Any], verb: str) -> str:
    """Recognise, by their fixed words, the refusals that are not about rights."""
    words = str(answer.get("message"))
    if "exceeded quota" in words:
        return "the namespace's resource quota is used up, raise it"
    if "admission webhook" in words or "ValidatingAdmissionPolicy" in words:
        return "an admission policy of the cluster is against it"
    if "being terminated" in words:
        return "the namespace is being deleted"
    return f"let a Role in that namespace grant {verb} on secrets"


def _complaints(answer: dict[str, Any]) -> Iterator[str]:
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    for cause in causes[:5] if isinstance(causes, list) else ():
        if isinstance(cause, dict):
            name, reason = str(cause.get("field", "")), str(cause.get("reason", ""))
            if _FIELD.fullmatch(name) and _REASON.fullmatch(reason):
                yield f"{name} {reason}"


def _seconds(retry_after: str | None) -> timedelta | None:
    if retry_after is not None and re.fullmatch(r"[0-9]{1,6}", retry_after.strip()):
        return timedelta(seconds=int(retry_after))
    return None  # absent, or a date: the caller's own interval will do
