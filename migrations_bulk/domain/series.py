"""What metrics tell of migrations: how far each is, and what it could not move.

Read only, one query each. There are few migrations, but each may fail for all certificates:
the latest failures are told one by one, and all are counted.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from django.db.models import Count, F, Max

from certificates.domain.failures import failure_class, in_short
from migrations_bulk.models import MigrationItem

TOLD: Final = 1000  # failures


class Items(NamedTuple):
    """The items of a migration in one state; the issuer is the destination."""

    migration: str
    issuer: str
    source: str
    state: str
    number: int


class LeftBehind(NamedTuple):
    """How many a migration could not move that are at the source still, and the latest of them."""

    migration: str
    issuer: str
    source: str
    number: int
    latest: datetime


class Failure(NamedTuple):
    """An item that failed."""

    migration: str
    issuer: str
    source: str
    certificate: str
    failure_class: str
    code: str
    fail_info: str
    error: str
    at: datetime | None


def items() -> Iterator[Items]:
    """Count the items of every migration by state; one without an item left has none."""
    rows = MigrationItem.objects.order_by().values_list(
        "migration", "migration__destination_name", "migration__source_name", "state"
    )
    for migration, issuer, source, state, count in rows.annotate(count=Count("pk")):
        yield Items(str(migration), issuer, source, state, count)


def left_behind() -> Iterator[LeftBehind]:
    """Count what failed, by migration; not what was moved or deleted since."""
    failed = MigrationItem.objects.filter(
        state=MigrationItem.State.FAILED, certificate__issuer=F("migration__source")
    )
    rows = (
        failed.exclude(settled_at=None)
        .order_by()
        .values_list("migration", "migration__destination_name", "migration__source_name")
    )
    counted = rows.annotate(count=Count("pk"), latest=Max("settled_at"))
    for migration, issuer, source, count, latest in counted:
        yield LeftBehind(str(migration), issuer, source, count, latest)


def failures() -> Iterator[Failure]:
    """Yield the items that failed, the latest first."""
    failed = MigrationItem.objects.filter(state=MigrationItem.State.FAILED)
    rows = failed.exclude(settled_at=None).order_by("-settled_at", "pk")
    columns = rows.values_list(
        "migration",
        "migration__destination_name",
        "migration__source_name",
        "certificate_name",
        "error_code",
        "enrollment__fail_info",
        "reason",
        "settled_at",
    )
    for migration, issuer, source, name, code, fail_info, reason, at in columns[:TOLD]:
        yield Failure(
            migration=str(migration),
            issuer=issuer,
            source=source,
            certificate=name,
            failure_class=failure_class(code) or "",
            code=code,
            fail_info=fail_info or "",
            error=in_short(reason),
            at=at,
        )
