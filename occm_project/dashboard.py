"""The admin's first page: how long certificates last, what needs a person and why, what goes on.

What a user may not view is left out. The page asks for its figures again every few seconds.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from certificates.admin import standing
from certificates.admin.certificate import readiness
from certificates.admin.panels import LEVELS
from certificates.domain import figures
from certificates.models import Readiness
from issuers.admin.issuer import health_of
from issuers.admin.pages import LIVE
from issuers.domain.clock import database_time
from migrations_bulk.admin.migration import STATES
from migrations_bulk.domain.figures import progress
from migrations_bulk.models import BulkMigration

SHOWN: Final = 12  # concerns that the page lists before it only counts
IDLE: Final = {  # why a certificate is listed for which nothing is under way
    Readiness.EXPIRED: "It has expired, and nothing is under way.",
    Readiness.NOT_READY: "Its secrets do not hold it with its key, and nothing is under way.",
}
CERTIFICATES: Final = "admin:certificates_certificate_changelist"


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that leads to the list it counts."""

    level: str
    words: str
    count: int
    link: str


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the dashboard's figures to the context of the first page."""
    now = database_time()
    context["title"] = "Dashboard"
    context["live_only"] = LIVE in request.headers
    if request.user.has_perm("certificates.view_certificate"):
        context |= _certificates(now)
    if request.user.has_perm("issuers.view_issuer"):
        context["issuers"] = [_issuer(row) for row in figures.issuers(now=now)]
    if request.user.has_perm("migrations_bulk.view_bulkmigration"):
        context["migration"] = _migration(now)
    return context


def _certificates(now: datetime) -> dict[str, Any]:
    counts, bands = figures.by_readiness(now=now), figures.bands(now=now)
    needy = figures.needing_attention(now=now)
    concerns, total = [_concern(row, now) for row in needy[:SHOWN]], needy.count()
    return {
        "total": sum(counts.values()),
        "tiles": [
            Tile(standing.LEVELS[one], one, counts[one], _list(CERTIFICATES, readiness=one))
            for one in Readiness
        ],
        "bands": [
            Tile(LEVELS[one.name], one.words, one.count, _list(CERTIFICATES, band=one.name))
            for one in bands
        ],
        "concerns": concerns,
        "more_concerns": total - len(concerns),
        "errands": figures.errands(),
        "maybe_issued": figures.maybe_issued(),
        "failing_store": figures.failing_store(),
    }


def _concern(row: Any, now: datetime) -> dict[str, Any]:
    """Say why a certificate needs a person: the errand's error first, then what is odd."""
    errand = next(iter(row.open_errands), None)
    found = standing.under_way(errand, now=now)
    idle = IDLE.get(row.readiness, "") if errand is None else ""
    why = row.drift or row.attention or row.renewal_warning or idle
    if errand is not None and errand.error:
        why = errand.error
    elif found is not None and errand is not None and errand.due_at is None:
        why = f"its {found.kind} was {found.words}"
    return {
        "certificate": row,
        "badge": readiness(row),
        "expires": standing.expiry(row, now=now),
        "why": standing.short(why) if why else "",
        "full": why,
        "under_way": found,
    }


def _issuer(row: Any) -> dict[str, Any]:
    identity = row.identity_readiness
    return {
        "issuer": row,
        "health": health_of(row),
        "identity": (standing.LEVELS[identity], identity) if identity else ("warn", "none"),
    }


def _migration(now: datetime) -> dict[str, Any] | None:
    """Return the migration that was started last, and how far it is."""
    latest = BulkMigration.objects.first()
    if latest is None:
        return None
    state = BulkMigration.State(latest.state)
    return {
        "record": latest,
        "badge": (STATES[state], state),
        "progress": progress(latest, now=now),
    }


def _list(name: str, **narrowed: str) -> str:
    return f"{reverse(name)}?{urlencode(narrowed)}"
