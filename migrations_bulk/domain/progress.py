"""How a migration gets on: what ticks do, about once a second. Rows only.

A tick settles the items whose errands have come to something, and begins as many as there is room
for. Whatever is found is in the rows, so a tick that is lost or doubled changes nothing.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from certificates.domain import migrating, revoke
from certificates.domain.conflicts import InUse
from certificates.models import Certificate, Enrollment, Revocation
from migrations_bulk.domain import migrate
from migrations_bulk.models import BulkMigration, MigrationItem

State, ItemState, Phase = BulkMigration.State, MigrationItem.State, Enrollment.Phase

BATCH: Final = 100  # certificates begun, or errands taken back, in one database transaction
SETTLED: Final = 500  # items looked at in one
AHEAD: Final = 10  # begun and unasked, for each place the destination has: workers never wait
UNSETTLED: Final = (ItemState.BEGUN, ItemState.ISSUED)
DELETED = "The certificate was deleted."


def tick(*, now: datetime) -> bool:
    """Take all migrations as far as they go now; say whether another tick finds more at once."""
    migrating.sweep(now=now, limit=BATCH)
    full = settle(now=now)
    with transaction.atomic():
        running = BulkMigration.objects.running().select_for_update(skip_locked=True)
        migration = running.first()
        if migration is None:  # or another tick has it
            return full
        _stop_at_failures(migration, now=now)
        moved = _take_back(migration, now=now)
        if migration.state == State.WAITING:
            _wait(migration, now=now)
        if migration.state == State.RUNNING:
            _next_wave(migration, now=now)
        if migration.state == State.RUNNING:
            moved += _begin(migration, now=now)
        if migration.state == State.PAUSED:
            moved += _hand_back(migration, now=now)
        if not migration.items.unfinished().exists():
            migrate.end(migration, now=now)
    return full or moved >= BATCH


@transaction.atomic
def settle(*, now: datetime) -> bool:
    """Note what has become of errands, in migrations that have ended too; True if there is more."""
    done = _locked(UNSETTLED, enrollment__phase=Phase.DELIVERED)
    _have_old_revoked(done, now=now)
    MigrationItem.objects.filter(pk__in=done).update(
        state=ItemState.DONE,
        settled_at=Coalesce("settled_at", now),
        attempts=_of_errand(F("tries") + 1),
        new_serial_number=Coalesce(_as_written("certificate__serial_number"), Value("")),
        new_not_after=_as_written("certificate__not_after"),
        old_certificate_der=b"",
    )
    issued = _locked((ItemState.BEGUN,), enrollment__phase__in=(Phase.ISSUED, Phase.DELIVERING))
    MigrationItem.objects.filter(pk__in=issued).update(
        state=ItemState.ISSUED, settled_at=now, attempts=_of_errand(F("tries") + 1)
    )
    lost = _locked(UNSETTLED, enrollment__phase__in=(Phase.FAILED, Phase.ABANDONED))
    lost += _locked(UNSETTLED, enrollment=None)
    items = MigrationItem.objects.filter(pk__in=lost).select_related("migration", "certificate")
    for item in items.defer("certificate__certificate_der"):
        _note_lost(item, now=now)
    return SETTLED in {len(done), len(issued)}


def _locked(states: tuple[str, ...], **of_errands: Any) -> list[int]:
    """Lock the items in these states whose errands are so, and that nobody else has locked."""
    found = MigrationItem.objects.filter(state__in=states, **of_errands).order_by("pk")
    free = found.select_for_update(of=("self",), skip_locked=True)
    return list(free.values_list("pk", flat=True)[:SETTLED])


def _of_errand(value: Any) -> Subquery:
    """Return something of an item's errand, for an update."""
    mine = Enrollment.objects.filter(pk=OuterRef("enrollment_id")).order_by()
    return Subquery(mine.annotate(wanted=value).values("wanted"))


def _as_written(column: str) -> Subquery:
    """Return something of the certificate that the errand wrote, unless another came since."""
    mine = Enrollment.objects.filter(pk=OuterRef("enrollment_id")).order_by()
    return Subquery(mine.filter(issued_fingerprint=F("certificate__fingerprint")).values(column))


def _note_lost(item: MigrationItem, *, now: datetime) -> None:
    """Note of one item why it has come to nothing."""
    errand, certificate = item.enrollment, item.certificate
    item.settled_at, item.old_certificate_der = now, b""
    if errand is None:
        item.state, item.reason = ItemState.FAILED, DELETED
        if certificate is not None and certificate.issuer_id == item.migration.destination_id:
            item.state, item.reason = ItemState.DONE, ""  # its history was purged meanwhile
    else:
        stopped = errand.error_code == migrating.GIVEN_UP
        item.state = ItemState.STOPPED if stopped else ItemState.FAILED
        item.attempts, item.reason = errand.tries, errand.error
        item.error_code = "" if stopped else errand.error_code
    item.save()


def _have_old_revoked(done: list[int], *, now: datetime) -> None:
    """Have the source revoke, after the time of grace, what new certificates have replaced."""
    items = MigrationItem.objects.filter(pk__in=done).exclude(old_certificate_der=b"")
    for item in items.select_related("migration__source"):
        migration = item.migration
        if migration.source is None or migration.revoke_old_after_s is None:
            continue
        with suppress(InUse):  # another certificate has it: it is not superseded
            revoke.open_one(
                issuer=migration.source,
                certificate_name=item.certificate_name,
                certificate_der=bytes(item.old_certificate_der),
                reason=Revocation.Reason.SUPERSEDED,
                why=f"bulk migration {migration.pk} to {migration.destination_name}",
                due_at=now + timedelta(seconds=migration.revoke_old_after_s),
                now=now,
            )


def _stop_at_failures(migration: BulkMigration, *, now: datetime) -> None:
    if not migration.max_failures or migration.state == State.STOPPING:
        return
    failed = migration.items.filter(state=ItemState.FAILED).count()
    if failed >= migration.max_failures:
        reason = f"Stopped: {failed} failed, and it was to stop at {migration.max_failures}."
        migrate.stop(migration, now=now, reason=reason)
        migration.refresh_from_db()


def _take_back(migration: BulkMigration, *, now: datetime) -> int:
    """Give up what the operator stopped: single certificates, or all of a migration.

    Those that have sent nothing go first, before a worker takes them up.
    """
    begun = migration.items.filter(state=ItemState.BEGUN)
    if migration.state != State.STOPPING:
        begun = begun.filter(Q(enrollment__due_at=None))
    unsent_first = begun.order_by(F("enrollment__sent_at").asc(nulls_first=True), "pk")
    pks = unsent_first.values_list("enrollment", flat=True)[:BATCH]
    reason = migration.reason or "Its migration was stopped by the operator."
    return migrating.give_up((pk for pk in list(pks) if pk is not None), now=now, reason=reason)


def _hand_back(migration: BulkMigration, *, now: datetime) -> int:
    """Let what was begun wait for its turn again where the destination was not asked yet."""
    begun = migration.items.filter(state=ItemState.BEGUN)
    unasked = begun.filter(enrollment__in=migrating.unasked()).order_by("pk")
    pks = unasked.values_list("enrollment", flat=True)[:BATCH]
    reason = "its migration was paused before its turn"
    back = migrating.hand_back((pk for pk in list(pks) if pk is not None), now=now, reason=reason)
    begun.filter(enrollment__in=back).update(
        state=ItemState.PENDING,
        enrollment=None,
        begun_at=None,
        old_serial_number="",
        old_not_after=None,
        old_certificate_der=b"",
    )
    return len(back)


def _wait(migration: BulkMigration, *, now: datetime) -> None:
    """Go on after the first few, once they have been READY for as long as was asked for."""
    if not _all_ready(migration, now=now) or migration.canary_wait_s is None:
        migration.go_on_at = None
    elif migration.go_on_at is None:
        migration.go_on_at = now + timedelta(seconds=migration.canary_wait_s)
    elif migration.go_on_at <= now:
        migrate.go_on(migration, now=now)
        migration.refresh_from_db()
        return
    migration.save(update_fields=["go_on_at"])


def _all_ready(migration: BulkMigration, *, now: datetime) -> bool:
    first = migration.items.initiated().filter(wave=0)
    ready = Certificate.objects.ready(now=now).values("pk")
    return not first.exclude(state=ItemState.DONE, certificate__in=ready).exists()


def _next_wave(migration: BulkMigration, *, now: datetime) -> None:
    """Let the next wave begin when the one before has come to something."""
    left = migration.items.unfinished()
    if left.filter(wave__lte=migration.wave).exists():
        return
    following = left.order_by("wave").values_list("wave", flat=True).first()
    if following is None:
        return
    if migration.canary and migration.wave == 0:
        migration.state = State.WAITING
        migration.reason = "The first certificates are through: look at them, then go on or stop."
    else:
        migration.wave = following
    migration.save(update_fields=["state", "reason", "wave"])


def _begin(migration: BulkMigration, *, now: datetime) -> int:
    """Begin with items whose turn it is, as many as there is room for; return how many."""
    room = AHEAD * settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT
    unasked = migration.items.filter(state=ItemState.BEGUN, enrollment__in=migrating.unasked())
    room -= unasked.aggregate(count=Count("pk"))["count"]
    if room <= 0:
        return 0
    items = list(_in_turn(migration, now=now)[: min(room, BATCH)])
    rows = Certificate.objects.select_for_update(skip_locked=True).filter(
        pk__in=[item.certificate_id for item in items if item.certificate_id]
    )
    certificates = {row.pk: row for row in rows.prefetch_related("issuer").order_by("pk")}
    ours = {
        pk: row
        for pk, row in certificates.items()
        if row.issuer_id == migration.source_id and not row.deleting
    }
    destination = migration.destination
    assert destination is not None  # noqa: S101 - held while it runs
    reason = f"bulk migration {migration.pk} from {migration.source_name}"
    opened = migrating.begin(ours.values(), destination=destination, reason=reason, now=now)
    begun = [item.pk for item in items if item.certificate_id in opened]
    MigrationItem.objects.filter(pk__in=begun).update(**_begun(migration, now=now))
    for item in items:
        if item.certificate_id not in opened:
            _note_passed_over(item, migration, certificates, now=now)
    return len(opened)


def _begun(migration: BulkMigration, *, now: datetime) -> dict[str, Any]:
    """Return the changes of items that begin: their errands, and the certificates of before."""
    mine = Certificate.objects.filter(pk=OuterRef("certificate_id")).order_by()
    errand = Enrollment.objects.open().filter(certificate=OuterRef("certificate_id")).order_by()
    changes: dict[str, Any] = {
        "state": ItemState.BEGUN,
        "begun_at": now,
        "enrollment": Subquery(errand.values("pk")),
        "old_serial_number": Subquery(mine.values("serial_number")),
        "old_not_after": Subquery(mine.values("not_after")),
    }
    if migration.revoke_old_after_s is not None:
        valid = Subquery(mine.filter(not_after__gt=now).values("certificate_der"))
        changes["old_certificate_der"] = Coalesce(valid, Value(b""))
    return changes


def _in_turn(migration: BulkMigration, *, now: datetime) -> QuerySet[MigrationItem]:
    """Return the items that may begin, in order; those the source is still at come later."""
    busy = migrating.in_the_way(now=now).filter(certificate=OuterRef("certificate"))
    pending = migration.items.filter(~Exists(busy), state=ItemState.PENDING)
    return pending.filter(wave__lte=migration.wave).order_by("wave", "certificate_name")


def _note_passed_over(
    item: MigrationItem,
    migration: BulkMigration,
    certificates: dict[int, Certificate],
    *,
    now: datetime,
) -> None:
    """Skip an item whose certificate is gone; one that is locked or busy now comes later."""
    pk = item.certificate_id
    certificate = certificates.get(pk) if pk is not None else None
    if pk is None or (certificate is not None and certificate.deleting):
        item.reason = DELETED
    elif certificate is not None and certificate.issuer_id != migration.source_id:
        item.reason = f"It is no longer at issuer {migration.source_name}."
    else:
        return
    item.state, item.settled_at = ItemState.SKIPPED, now
    item.save(update_fields=("state", "reason", "settled_at"))
