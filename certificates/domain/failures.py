"""What went wrong in an enrollment: how it is classed, and what the row remembers of it."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import TextChoices

from certificates import metrics
from certificates.domain import errands
from certificates.fields import Undecryptable
from certificates.models import Enrollment, Revocation
from cmp import BadHttp, CmpError, Rejected
from issuers.domain.channel import ConfigurationError
from secretstore import SecretStoreError, Throttled

UNEXPECTED: Final = "UNEXPECTED"
POSTPONED: Final = " (not tried before "
KEPT: Final = 10  # different setbacks of an errand, for its history
KEPT_OF_EACH: Final = 500  # characters
SHORT: Final = 120  # characters of an error that metrics carry
LONGEST_PATIENCE: Final = timedelta(hours=1)  # whatever a CA or a cluster asks for


class FailureClass(TextChoices):
    TRANSPORT = "TRANSPORT", "the CA was not reached or did not answer"
    REFUSED = "REFUSED", "the CA refused"
    SECURITY = "SECURITY", "a security check failed"
    SECRET_STORE = "SECRET_STORE", "the secret store"
    CONFIGURATION = "CONFIGURATION", "the configuration"
    UNEXPECTED = "UNEXPECTED", "an error in OCCM"


CLASSES: Final = {
    "CMP_LOCAL": FailureClass.CONFIGURATION,
    "CMP_REJECTED": FailureClass.REFUSED,
    "CMP_MALFORMED": FailureClass.SECURITY,
    "CMP_UNPROTECTED": FailureClass.SECURITY,
    "CMP_OUT_OF_SEQUENCE": FailureClass.SECURITY,
    "CMP_UNACCEPTABLE": FailureClass.SECURITY,
    "CMP_REMOTE": FailureClass.SECURITY,
    ConfigurationError.code: FailureClass.CONFIGURATION,
    "FIELD_KEY": FailureClass.CONFIGURATION,
    UNEXPECTED: FailureClass.UNEXPECTED,
}

# What a step may raise that is anticipated: recorded by its code, and tried again.
ANTICIPATED: Final = (CmpError, SecretStoreError, ConfigurationError, Undecryptable)


def failure_class(code: str) -> FailureClass | None:
    """Return the class of a recorded error code; None when nothing failed."""
    if not code or code == errands.SUPERSEDED:
        return None
    if code in CLASSES:
        return CLASSES[code]
    return FailureClass.SECRET_STORE if code.startswith("SECRET") else FailureClass.TRANSPORT


def patience(error: Exception) -> timedelta:
    """Return how long to wait before what failed is tried again."""
    asked = error.retry_after if isinstance(error, BadHttp | Throttled) else None
    least: timedelta = settings.OCCM_RETRY_INTERVAL
    return least if asked is None else max(least, min(asked, LONGEST_PATIENCE))


def recorded(
    enrollment: Enrollment,
    error: Exception,
    *,
    now: datetime,
    ended: bool = False,
    until: datetime | None = None,
) -> dict[str, Any]:
    """Return the changes that remember a failure, release the row and plan its next try.

    The tries of a migration are limited, so there a poll that fails is none: the CA may be about to
    grant what it asked patience for, unless the transaction has `ended`. Whatever patience is
    asked for now, the next try is not put off beyond `until`.
    """
    changes = remembered(enrollment, error, now=now, until=until)
    changes |= {"waiting_for": "", "asked_at": None}
    limited = enrollment.kind == Enrollment.Kind.MIGRATE
    if limited and not ended and errands.is_polled(enrollment, now=now):
        changes["tries"] = enrollment.tries
    return changes | {"setbacks": _with(enrollment.setbacks, changes, now)}


def _with(setbacks: list[dict[str, Any]], failure: dict[str, Any], now: datetime) -> list[Any]:
    """Return the setbacks with one more: equal ones are one, and only the latest are kept."""
    what = {"code": failure["error_code"], "error": _lasting(failure["error"])[:KEPT_OF_EACH]}
    same = [one for one in setbacks if what.items() <= one.items()]
    others = [one for one in setbacks if one not in same]
    count, first_at = 1, now.isoformat()
    for one in same:
        count, first_at = one["count"] + 1, one["first_at"]
    new = what | {"count": count, "first_at": first_at, "last_at": now.isoformat()}
    return [*others, new][-KEPT:]


def remembered(
    errand: Enrollment | Revocation,
    error: Exception,
    *,
    now: datetime,
    until: datetime | None = None,
) -> dict[str, Any]:
    """Return what every kind of errand remembers of a failure."""
    text, due_at, soonest = str(error), now + patience(error), now + settings.OCCM_RETRY_INTERVAL
    if until is not None:
        due_at = max(soonest, min(due_at, until))
    if due_at > soonest:
        text = f"{text}{POSTPONED}{due_at:%Y-%m-%d %H:%M:%S} UTC, as it asked)"
    code: str = getattr(error, "code", UNEXPECTED)
    metrics.failed(errand, failure_class=failure_class(code) or "", code=code)
    return {
        "error_code": code,
        "error": text,
        "fail_info": ", ".join(sorted(error.failures)) if isinstance(error, Rejected) else "",
        "first_failed_at": errand.first_failed_at or now,
        "last_failed_at": now,
        "tries": errand.tries + 1,
        "due_at": due_at,
        "leased_until": None,
    }


def overcome() -> dict[str, Any]:
    """Return the changes that forget a failure; how many there were is kept."""
    return {
        "error_code": "",
        "error": "",
        "fail_info": "",
        "first_failed_at": None,
        "waiting_for": "",
    }


def in_short(error: str) -> str:
    """Return the start of a recorded error that stays the same from try to try."""
    return _lasting(error)[:SHORT]


def _lasting(error: str) -> str:
    return error.partition(POSTPONED)[0]
