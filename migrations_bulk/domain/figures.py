"""How far a migration is, in numbers: counted from its items, never kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Q

from migrations_bulk.models import BulkMigration, MigrationItem

State = MigrationItem.State

LATELY: Final = timedelta(minutes=1)  # that a rate is counted over


@dataclass(frozen=True, slots=True)
class Progress:
    counts: Mapping[str, int]  # by state of the items
    rate_per_s: float  # settled lately, in a second
    left_s: int | None  # None: nothing moves, or nothing is left

    @property
    def initiated(self) -> int:
        return sum(self.counts.values()) - self.counts[State.SKIPPED]

    @property
    def settled(self) -> int:
        """How many of the initiated the migration is done with."""
        return self.initiated - self.counts[State.PENDING] - self.counts[State.BEGUN]

    @property
    def percent(self) -> int:
        return 100 * self.settled // self.initiated if self.initiated else 100


def progress(migration: BulkMigration, *, now: datetime) -> Progress:
    """Count a migration's items."""
    return progresses([migration], now=now)[migration.pk]


def progresses(migrations: list[BulkMigration], *, now: datetime) -> dict[object, Progress]:
    """Count the items of several migrations, in one query."""
    lately = Q(settled_at__gt=now - LATELY) & ~Q(state=State.SKIPPED)
    rows = MigrationItem.objects.filter(migration__in=migrations).order_by()
    found = rows.values_list("migration", "state").annotate(
        count=Count("pk"), lately=Count("pk", filter=lately)
    )
    counts = {one.pk: dict.fromkeys(map(str, State), 0) for one in migrations}
    moved = dict.fromkeys(counts, 0)
    for pk, state, count, recent in found:
        counts[pk][state] = count
        moved[pk] += recent
    return {one.pk: _progress(one, counts[one.pk], moved[one.pk], now) for one in migrations}


def _progress(
    migration: BulkMigration, counts: dict[str, int], lately: int, now: datetime
) -> Progress:
    left = counts[State.PENDING] + counts[State.BEGUN]
    if not left or not lately:
        return Progress(counts, 0.0, None)
    seconds = min(LATELY, max(now - migration.created_at, timedelta(seconds=1))).total_seconds()
    rate = lately / seconds
    return Progress(counts, rate, round(left / rate))
