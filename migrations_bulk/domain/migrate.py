"""What operators ask of bulk migrations: start, pause, resume, stop, retry, roll back, delete.

Rows only: a tick (`progress`) takes the items up within a second. Mistakes raise ValidationError
keyed by field, what stands in the way raises a Conflict. Locks are taken in one order: issuers,
migration, item, certificate, enrollment.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from issuers.models import Issuer
from migrations_bulk.domain import selection
from migrations_bulk.domain.conflicts import (
    DestinationNotReady,
    MigrationNotRunning,
    MigrationRunning,
    NothingToMigrate,
    StillWriting,
    TooManyMigrations,
)
from migrations_bulk.domain.selection import Choice
from migrations_bulk.models import BulkMigration, MigrationItem

State, Purpose = BulkMigration.State, BulkMigration.Purpose

OPTIONS = ("canary", "canary_wait_s", "wave_size", "max_failures", "revoke_old_after_s")
FIELDS = ("source", "destination", *OPTIONS)
SAVED_AT_ONCE = 500
NAMED = 10  # certificates in a refusal


def start(
    *,
    now: datetime,
    created_by: str = "",
    only: Collection[int] | None = None,
    purpose: BulkMigration.Purpose = Purpose.MIGRATE,
    follows: BulkMigration | None = None,
    **spec: Any,
) -> BulkMigration:
    """Start migrating the certificates of one issuer to another; `only` some of them.

    Raises ValidationError with every mistake, and a Conflict that says what stands in the way.
    """
    migration = BulkMigration(
        created_at=now, created_by=created_by, purpose=purpose, follows=follows, **spec
    )
    _check(migration)
    with transaction.atomic():
        source, destination = _locked_issuers(migration)
        _refuse(MigrationRunning, selection.running())
        _refuse(TooManyMigrations, selection.full())
        _refuse(DestinationNotReady, selection.not_ready(destination, now=now))
        choices = selection.select(source, now=now, only=only)
        _refuse(NothingToMigrate, selection.nothing(source, choices))
        migration.source_name, migration.destination_name = source.name, destination.name
        migration.wave = 0 if migration.canary else 1
        _insert(migration)
        MigrationItem.objects.bulk_create(_items(migration, choices, now), SAVED_AT_ONCE)
        if all(one.skipped for one in choices):
            end(migration, now=now, reason="All certificates were skipped.")
    return migration


def check(**spec: Any) -> None:
    """Raise ValidationError with every mistake in what a migration is to be started with."""
    _check(BulkMigration(**spec))


def retry_failed(migration: BulkMigration, *, now: datetime, created_by: str = "") -> BulkMigration:
    """Start the next migration, with only the certificates that failed in this one."""
    _refuse(NothingToMigrate, _gone(migration))
    failed = migration.items.filter(state=MigrationItem.State.FAILED)
    if not failed.exists():
        raise NothingToMigrate(f"Nothing failed in {migration}.")
    return start(
        now=now,
        created_by=created_by,
        only=_certificates(failed),
        purpose=Purpose.RETRY,
        follows=migration,
        source=migration.source,
        destination=migration.destination,
        **{name: getattr(migration, name) for name in OPTIONS},
    )


def roll_back(
    migration: BulkMigration,
    *,
    now: datetime,
    created_by: str = "",
    certificates: Collection[str] | None = None,
) -> BulkMigration:
    """Migrate back what this migration has moved, all of it or the certificates named."""
    _refuse(NothingToMigrate, _gone(migration))
    moved = migration.items.filter(state=MigrationItem.State.DONE)
    if certificates is not None:
        moved = moved.filter(certificate_name__in=certificates)
        missing = set(certificates) - set(moved.values_list("certificate_name", flat=True))
        if missing:
            told = f"Not moved by this migration: {', '.join(sorted(missing))}."
            raise ValidationError({"certificates": [told]})
    if not moved.exists():
        raise NothingToMigrate(f"No certificate was moved by {migration}.")
    return start(
        now=now,
        created_by=created_by,
        only=_certificates(moved),
        purpose=Purpose.ROLL_BACK,
        follows=migration,
        source=migration.destination,
        destination=migration.source,
    )


@transaction.atomic
def pause(migration: BulkMigration, *, now: datetime) -> None:
    """Ask for no further certificate; what the destination was asked for goes on."""
    row = _locked(migration)
    if row.state not in {State.RUNNING, State.WAITING}:
        raise MigrationNotRunning(f"It cannot be paused: it is {row.state}.")
    _move(row, State.PAUSED)


@transaction.atomic
def resume(migration: BulkMigration, *, now: datetime) -> None:
    """Go on after a pause; the first few are waited for again if no word was given yet."""
    row = _locked(migration)
    if row.state != State.PAUSED:
        raise MigrationNotRunning(f"It is not paused: it is {row.state}.")
    _move(row, State.RUNNING)


@transaction.atomic
def go_on(migration: BulkMigration, *, now: datetime) -> None:
    """Give the word that a migration waits for after its first few certificates."""
    row = _locked(migration)
    if row.state != State.WAITING:
        raise MigrationNotRunning(f"It does not wait for a word to go on: it is {row.state}.")
    _move(row, State.RUNNING, wave=1)


@transaction.atomic
def stop(migration: BulkMigration, *, now: datetime, reason: str = "Stopped.") -> None:
    """End it: what has no certificate stays with the source, what is issued is still written."""
    row = _locked(migration)
    if row.state in {State.STOPPING, State.ENDED}:
        raise MigrationNotRunning(f"It cannot be stopped: it is {row.state}.")
    row.items.filter(state=MigrationItem.State.PENDING).update(
        state=MigrationItem.State.STOPPED, settled_at=now, reason=reason
    )
    _move(row, State.STOPPING, reason=reason)


@transaction.atomic
def delete(migration: BulkMigration) -> None:
    """Forget a migration that has ended; certificates and their errands stay as they are."""
    row = _locked(migration)
    if row.state != State.ENDED:
        raise MigrationRunning(f"It cannot be deleted: it is {row.state}. Stop it first.")
    _refuse(StillWriting, unrevoked(row))
    row.delete()


def unrevoked(migration: BulkMigration) -> str:
    """Say which old certificates only this record has revoked, once the new ones are written."""
    items = migration.items.filter(state=MigrationItem.State.ISSUED)
    waiting = items.exclude(old_certificate_der=b"").order_by("certificate_name")
    names = list(waiting.values_list("certificate_name", flat=True)[: NAMED + 1])
    if not names or migration.source_id is None:  # a CA that is gone is asked for nothing
        return ""
    listed = ", ".join(names[:NAMED]) + (" and more" if len(names) > NAMED else "")
    return (
        f"It cannot be deleted yet: the old certificates of {listed} are to be revoked once the "
        "new ones are written."
    )


def end(migration: BulkMigration, *, now: datetime, reason: str = "") -> None:
    """Note that nothing is left to do. The caller holds the row."""
    migration.ended_at = now
    _move(migration, State.ENDED, ended_at=now, reason=reason or migration.reason)


def _move(row: BulkMigration, state: BulkMigration.State, **changes: Any) -> None:
    changes = {"reason": "", "go_on_at": None} | changes | {"state": state}
    BulkMigration.objects.filter(pk=row.pk).update(**changes)
    for name, value in changes.items():
        setattr(row, name, value)


def _locked(migration: BulkMigration) -> BulkMigration:
    return BulkMigration.objects.select_for_update().get(pk=migration.pk)


def _locked_issuers(migration: BulkMigration) -> tuple[Issuer, Issuer]:
    """Keep both issuers from being edited or deleted meanwhile."""
    pks = (migration.source_id or 0, migration.destination_id or 0)
    rows = Issuer.objects.select_for_update(no_key=True).filter(pk__in=pks).order_by("pk")
    found = {row.pk: row for row in rows}
    for name, pk in zip(("source", "destination"), pks, strict=True):
        if pk not in found:
            raise ValidationError({name: ["This issuer was deleted meanwhile."]})
    return found[pks[0]], found[pks[1]]


def _check(migration: BulkMigration) -> None:
    found: dict[str, list[ValidationError]] = {}
    try:
        migration.clean_fields()
    except ValidationError as error:
        found = error.error_dict
    if migration.source_id and migration.source_id == migration.destination_id:
        told = "Choose another issuer than the source."
        found["destination"] = [ValidationError(told, code="invalid")]
    if migration.canary_wait_s and migration.canary == 0:
        told = "This applies to the first certificates: say how many in canary."
        found["canary_wait_s"] = [ValidationError(told, code="invalid")]
    found = {name: errors for name, errors in found.items() if name in FIELDS}
    if found:
        raise ValidationError(found)


def _gone(migration: BulkMigration) -> str:
    """Say that an issuer of an earlier migration was deleted since."""
    issuers = {
        migration.source_name: migration.source_id,
        migration.destination_name: migration.destination_id,
    }
    gone = [name for name, pk in issuers.items() if pk is None]
    return f"Issuer {gone[0]} is no longer configured." if gone else ""


def _refuse(conflict: type[Exception], obstacle: str) -> None:
    if obstacle:
        raise conflict(obstacle)


def _insert(migration: BulkMigration) -> None:
    """Save the row, if no other one is running and there is room. Both hold whoever else starts.

    Each is inserted unended, and of these there is one: whoever has inserted counts alone.
    """
    try:
        with transaction.atomic():
            migration.save(force_insert=True)
    except IntegrityError:  # one_running_migration: started since we looked
        text = selection.running() or "Another one was started at the same time."
        raise MigrationRunning(text) from None
    if BulkMigration.objects.count() > selection.MOST:
        raise TooManyMigrations(selection.FULL)


def _items(
    migration: BulkMigration, choices: Iterable[Choice], now: datetime
) -> Iterator[MigrationItem]:
    waves = _waves(migration)
    for one in choices:
        item = MigrationItem(
            migration=migration, certificate_id=one.certificate, certificate_name=one.name
        )
        if one.skipped:
            item.state, item.reason = MigrationItem.State.SKIPPED, one.skipped
            item.settled_at = now
        else:
            item.wave = next(waves)
        yield item


def _waves(migration: BulkMigration) -> Iterator[int]:
    """Yield the wave of each certificate in turn: 0 for the first few, then by size."""
    yield from islice(iter(lambda: 0, 1), migration.canary)
    wave = 1
    while True:
        if not migration.wave_size:
            yield wave
        else:
            yield from islice(iter(lambda: wave, 0), migration.wave_size)  # noqa: B023
            wave += 1


def _certificates(items: Any) -> list[int]:
    return list(items.exclude(certificate=None).values_list("certificate_id", flat=True))
