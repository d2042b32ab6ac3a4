"""How a migration gets on: what ticks do, about once a second. Rows only.

A tick settles the items whose errands have come to something, and begins as many as there is room
for. Whatever is found is in the rows, so a tick that is lost or doubled changes nothing.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from certificates.domain import migrating, revoke
from certificates.domain.conflicts import InUse
from certificates.models import Certificate, Enrollment, Revocation
from migrations_bulk.domain import migrate
from migrations_bulk.models import BulkMigration, MigrationItem

State, ItemState, Phase = BulkMigration.State, MigrationItem.State, Enrollment.Phase

BATCH: Final = 100  # certificates begun, or errands taken back, in one database transaction
SETTLED: Final = 500  # items looked at in one
AHEAD: Final = 10  # begun and untried, for each place the destination has: workers never wait
HEAVY: Final = ("request", "private_key", "exchange", "certificate_der", "chain_der")
SETTLING: Final = (
    "state",
    "settled_at",
    "attempts",
    "error_code",
    "reason",
    "new_serial_number",
    "new_not_after",
    "old_certificate_der",
)
BEGINNING: Final = (
    "state",
    "reason",
    "settled_at",
    "enrollment",
    "begun_at",
    "old_serial_number",
    "old_not_after",
    "old_certificate_der",
)
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
        _take_back(migration, now=now)
        begun = 0
        if migration.state == State.WAITING:
            _wait(migration, now=now)
        if migration.state == State.RUNNING:
            _next_wave(migration, now=now)
        if migration.state == State.RUNNING:
            begun = _begin(migration, now=now)
        if not migration.items.unfinished().exists():
            migrate.end(migration, now=now)
    return full or begun == BATCH


@transaction.atomic
def settle(*, now: datetime) -> bool:
    """Note what has become of errands, in migrations that have ended too; True if there is more."""
    gone = Q(enrollment=None)
    moved = Q(state=ItemState.BEGUN) & (gone | ~Q(enrollment__phase__in=migrating.ASKING))
    ended = Q(state=ItemState.ISSUED) & (gone | Q(enrollment__phase__in=Enrollment.CLOSED))
    found = (
        MigrationItem.objects.filter(moved | ended, state__in=(ItemState.BEGUN, ItemState.ISSUED))
        .select_related("enrollment", "certificate", "migration__source")
        .defer(*(f"enrollment__{name}" for name in HEAVY), "certificate__certificate_der")
        .order_by("pk")
        .select_for_update(of=("self",), skip_locked=True)
    )
    items = list(found[:SETTLED])
    for item in items:
        _settle(item, now=now)
    MigrationItem.objects.bulk_update(items, SETTLING)
    return len(items) == SETTLED


def _settle(item: MigrationItem, *, now: datetime) -> None:
    """Set what has become of one item's errand."""
    item.settled_at = now
    errand, certificate = item.enrollment, item.certificate
    if errand is None:
        item.state, item.reason = ItemState.FAILED, DELETED
        if certificate is not None and certificate.issuer_id == item.migration.destination_id:
            item.state, item.reason = ItemState.DONE, ""  # its history was purged meanwhile
        return
    item.attempts = errand.tries + (errand.phase not in {Phase.FAILED, Phase.ABANDONED})
    match errand.phase:
        case Phase.ISSUED | Phase.DELIVERING:
            item.state = ItemState.ISSUED
        case Phase.DELIVERED:
            item.state = ItemState.DONE
            _have_old_revoked(item, now=now)
            if certificate is not None and certificate.fingerprint == errand.issued_fingerprint:
                item.new_serial_number = certificate.serial_number
                item.new_not_after = certificate.not_after
        case Phase.ABANDONED if errand.error_code == migrating.GIVEN_UP:
            item.state, item.reason = ItemState.STOPPED, errand.error
        case _:
            item.state, item.reason = ItemState.FAILED, errand.error
            item.error_code = errand.error_code
    if item.state != ItemState.ISSUED:
        item.old_certificate_der = b""


def _have_old_revoked(item: MigrationItem, *, now: datetime) -> None:
    """Have the source revoke, after the time of grace, what the new certificate has replaced."""
    migration = item.migration
    old, item.old_certificate_der = bytes(item.old_certificate_der), b""
    if not old or migration.source is None or migration.revoke_old_after_s is None:
        return
    with suppress(InUse):  # another certificate has it: it is not superseded
        revoke.open_one(
            issuer=migration.source,
            certificate_name=item.certificate_name,
            certificate_der=old,
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


def _take_back(migration: BulkMigration, *, now: datetime) -> None:
    """Give up what the operator stopped: single certificates, or all of a migration."""
    begun = migration.items.filter(state=ItemState.BEGUN)
    if migration.state != State.STOPPING:
        begun = begun.filter(Q(enrollment__due_at=None))
    pks = begun.order_by("pk").values_list("enrollment", flat=True)[:BATCH]
    reason = migration.reason or "Its migration was stopped by the operator."
    migrating.give_up((pk for pk in list(pks) if pk is not None), now=now, reason=reason)


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
    untried = migration.items.filter(state=ItemState.BEGUN, enrollment__tries=0)
    room -= untried.aggregate(count=Count("pk"))["count"]
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
    for item in items:
        _note_begun(item, migration, certificates, opened, now=now)
    MigrationItem.objects.bulk_update(items, BEGINNING)
    return len(opened)


def _in_turn(migration: BulkMigration, *, now: datetime) -> QuerySet[MigrationItem]:
    """Return the items that may begin, in order; those the source is still at come later."""
    busy = migrating.in_the_way(now=now).filter(certificate=OuterRef("certificate"))
    pending = migration.items.filter(~Exists(busy), state=ItemState.PENDING)
    return pending.filter(wave__lte=migration.wave).order_by("wave", "certificate_name")


def _note_begun(
    item: MigrationItem,
    migration: BulkMigration,
    certificates: dict[int, Certificate],
    opened: dict[int, Enrollment],
    *,
    now: datetime,
) -> None:
    pk = item.certificate_id
    certificate = certificates.get(pk) if pk is not None else None
    if pk is None or (certificate is not None and certificate.deleting):
        item.state, item.reason, item.settled_at = ItemState.SKIPPED, DELETED, now
    elif certificate is None:
        return  # locked by somebody: later
    elif certificate.issuer_id != migration.source_id:
        reason = f"It is no longer at issuer {migration.source_name}."
        item.state, item.reason, item.settled_at = ItemState.SKIPPED, reason, now
    elif pk in opened:
        item.state, item.enrollment, item.begun_at = ItemState.BEGUN, opened[pk], now
        item.old_serial_number = certificate.serial_number
        item.old_not_after = certificate.not_after
        valid = certificate.not_after is not None and certificate.not_after > now
        if valid and migration.revoke_old_after_s is not None:
            item.old_certificate_der = certificate.certificate_der
