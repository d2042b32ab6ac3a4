"""How a certificate stands, in words for people: what is under way, and what comes next."""

from dataclasses import dataclass
from datetime import datetime

from certificates.domain.delays import delay
from certificates.domain.failures import failure_class
from certificates.models import Certificate, Enrollment, Readiness

LEVELS = {Readiness.READY: "good", Readiness.NOT_READY: "warn", Readiness.EXPIRED: "bad"}
NOUNS = {
    Enrollment.Kind.CREATE: "creation",
    Enrollment.Kind.RENEW: "renewal",
    Enrollment.Kind.RECREATE: "recreation",
    Enrollment.Kind.MIGRATE: "migration",
    Enrollment.Kind.REPAIR: "repair",
}
SHORT = 160  # characters of an error in a list


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An open errand as the pages show it: what it does, and what comes `then`, when."""

    enrollment: Enrollment
    level: str  # of the badge: info, warn or bad
    words: str
    then: str = ""
    at: datetime | None = None

    @property
    def cause(self) -> str:
        """The class of its last failure, in words; empty when nothing failed."""
        found = failure_class(self.enrollment.error_code)
        return str(found.label) if found else ""

    @property
    def kind(self) -> str:
        return NOUNS[Enrollment.Kind(self.enrollment.kind)]


def short(text: str) -> str:
    """Cut a text for lists; its page shows it in full."""
    return text if len(text) <= SHORT else text[: SHORT - 1].rstrip() + "…"


def under_way(errand: Enrollment | None, *, now: datetime) -> UnderWay | None:
    """Say in words what an open enrollment does now; None when there is none."""
    if errand is None:
        return None
    tried, failing = errand.tries, bool(errand.error_code)
    level, words, then, at = "info", f"attempt {tried + 1}", "", None
    if errand.leased_until and errand.leased_until > now:
        words = f"attempt {tried + 1} at work"
    elif errand.due_at is None:
        level, words = "bad", "stopped by the operator"
    elif errand.waiting_for:
        level, words = "warn", f"waits for {errand.waiting_for}"
    elif delayed := delay(errand, now=now):
        level, words = "warn", f"waits for {delayed.by}"
        then, at = "until", delayed.until
    elif errand.due_at <= now:
        words = f"attempt {tried + 1} about to begin"
    elif failing:
        level, words = "bad", f"attempt {tried} failed"
        then, at = "next attempt", errand.due_at
    else:
        then, at = "next step", errand.due_at
    return UnderWay(errand, level, words, then, at)


def expiry(certificate: Certificate, *, now: datetime) -> tuple[str, str]:
    """Return how long a certificate is still valid, in words, and how urgent that is."""
    if certificate.not_after is None:
        return "", "none"
    if certificate.not_after <= now:
        ago = (now - certificate.not_after).days
        return f"expired {_days(ago)} ago" if ago else "expired today", "bad"
    days = (certificate.not_after - now).days
    left = f"{_days(days)} left" if days else "less than a day left"
    return left, "warn" if days < certificate.renew_before_expiration_days else "none"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
