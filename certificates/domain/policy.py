"""When is a certificate renewed, and by which errand? Pure: facts in, a reasoned decision out.

Rules are tried in order and the first that speaks wins; the order is the specification.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

RECREATE_INSTEAD = frozenset({"badCertId", "certRevoked"})  # PKIFailureInfo, RFC 9810, 5.2.3
HARDLY = 50  # a life has hardly any time until its renewal if that is less than 2 % of it


class Reason(StrEnum):
    EXPIRED = "the certificate has expired"
    EXPIRING = "the time to renew before expiration has come"


@dataclass(frozen=True, slots=True)
class Facts:
    now: datetime
    not_after: datetime | None
    renew_at: datetime | None
    automatic: bool  # creation mode; a MANUAL certificate is never created


Rule = Callable[[Facts], Reason | None]


def expired(facts: Facts) -> Reason | None:
    over = facts.not_after is not None and facts.not_after <= facts.now
    return Reason.EXPIRED if over and facts.automatic else None


def expiring(facts: Facts) -> Reason | None:
    alive = facts.not_after is not None and facts.not_after > facts.now
    begun = facts.renew_at is not None and facts.renew_at <= facts.now
    return Reason.EXPIRING if alive and begun else None


RULES: tuple[Rule, ...] = (expired, expiring)


def why_enroll(facts: Facts) -> Reason | None:
    """Return the first rule's reason to enroll again, or None while all is well."""
    return next((reason for rule in RULES if (reason := rule(facts))), None)


@dataclass(frozen=True, slots=True)
class Renewal:
    at: datetime
    warning: str = ""


def renewal(
    *,
    name: str,
    not_before: datetime,
    not_after: datetime,
    renew_before: timedelta,
    issued_at: datetime | None = None,
) -> Renewal:
    """Return when to renew: `renew_before` ahead of expiry, or somewhat earlier, never later.

    Certificates made together are spread over a tenth of that time, each by its name. One that has
    less than a fiftieth of its life until then is renewed at two thirds of it, or it would be
    renewed for ever: many a CA caps what it grants and dates it back. That life begins when it was
    issued to us, where this is known: what was dated back is over.
    """
    begin = max(not_before, issued_at or not_before)
    lifetime = not_after - begin
    if lifetime - renew_before < lifetime / HARDLY:
        return Renewal(
            begin + lifetime * 2 / 3,
            f"The CA issued it for {days(lifetime)}, hardly longer than it is to be renewed before "
            f"expiration ({days(renew_before)}), or not even that: it is renewed at two thirds of "
            "its life.",
        )
    room = min(renew_before / 10, (lifetime - renew_before) / 2)
    digest = hashlib.sha256(name.encode()).digest()
    share = int.from_bytes(digest[:4]) / 2**32
    return Renewal(not_after - renew_before - room * share)


def days(duration: timedelta) -> str:
    """Put a duration in words: in days, or in hours where that says more."""
    if duration < timedelta(days=2):
        return f"{duration / timedelta(hours=1):.3g} hours"
    return f"{duration / timedelta(days=1):.3g} days"
