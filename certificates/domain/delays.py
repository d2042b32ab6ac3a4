"""What keeps an errand whose time has come from being taken up: breakers and budgets, in words.

They are no failures, and leave the row as it is; `EnrollmentQuerySet.with_delays` brings along what
is to be known of them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from certificates.domain.breakers import WRITING
from certificates.models import Enrollment

SOON = timedelta(seconds=3)  # what is due for no longer is about to begin


@dataclass(frozen=True, slots=True)
class Delay:
    """What an errand waits for, and until when; None where nobody can tell."""

    by: str
    until: datetime | None


def delay(errand: Enrollment, *, now: datetime) -> Delay | None:
    """Return what keeps an open errand of `with_delays` from its next try, besides its own time."""
    busy = any(it and it > now for it in (errand.leased_until, errand.called_until))
    if errand.due_at is None or errand.waiting_for or busy:
        return None
    return _silence(errand, errand.due_at) or _turn(errand, errand.due_at, now)


def _silence(errand: Enrollment, due_at: datetime) -> Delay | None:
    """Say who does not answer, and when the next probe is sent; with luck it is this one."""
    known = vars(errand)
    for probe_at, who, concerned in (
        (known.get("store_probe_at"), "the secret store", True),
        (
            known.get("issuer_probe_at"),
            f"issuer {errand.issuer_name}",
            errand.phase not in WRITING,
        ),
    ):
        if probe_at is not None and concerned:
            text = f"{who}, which does not answer: it is tried again with one certificate"
            return Delay(text, max(probe_at, due_at))
    return None


def _turn(errand: Enrollment, due_at: datetime, now: datetime) -> Delay | None:
    """Say whose budget may be used up; how long that lasts is known if it is one in time."""
    if due_at > now - SOON:
        return None
    if errand.phase in WRITING:
        return Delay("its turn to be written", None)
    rate = settings.OCCM_ISSUER_REQUESTS_PER_SECOND
    if rate > 0:
        last = now + timedelta(seconds=2 * (vars(errand).get("issuer_queued") or 0) / rate)
        return Delay(f"its turn: issuer {errand.issuer_name} gets {rate:g} requests a second", last)
    most = settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT
    budget = f"issuer {errand.issuer_name} is at its budget of {most}"
    return Delay(f"its turn: {budget}, or workers are busy or away", None)
