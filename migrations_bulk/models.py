"""Bulk migrations of certificates from one issuer to another, and each certificate's part in one.

A migration and its items say what was decided and how it ended; what is under way for a certificate
stands in its `Enrollment`, as always. Rules live in `domain`; here are columns and their words.
"""

import uuid
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q, Value
from django.db.models.deletion import Collector, ProtectedError

from certificates.models import Certificate, Enrollment
from issuers.models import Issuer


class BulkMigrationQuerySet(models.QuerySet["BulkMigration"]):
    def running(self) -> "BulkMigrationQuerySet":
        """Not ended, paused or not."""
        return self.exclude(state=BulkMigration.State.ENDED)


def held_while_running(
    collector: Collector, field: Any, migrations: models.QuerySet["BulkMigration"], using: str
) -> None:
    """Keep an issuer while a migration refers to it; one that has ended lets go."""
    running: set[models.Model] = set(migrations.exclude(state=BulkMigration.State.ENDED))
    if running:
        raise ProtectedError("a bulk migration to or from this issuer is running", running)
    models.SET_NULL(collector, field, migrations, using)


class BulkMigration(models.Model):
    """One migration. At most one has not ended, whoever starts them: the database sees to it.

    RUNNING ⇄ PAUSED
    RUNNING → WAITING (the first few are in place: the operator or time says go on) → RUNNING
    each of them → STOPPING → ENDED, and RUNNING → ENDED
    """

    class State(models.TextChoices):
        RUNNING = "RUNNING", "running"
        PAUSED = "PAUSED", "paused by the operator"
        WAITING = "WAITING", "the first certificates are migrated; waits for a word to go on"
        STOPPING = "STOPPING", "stopping: conversations with the CA are being ended"
        ENDED = "ENDED", "ended"

    class Purpose(models.TextChoices):
        MIGRATE = "MIGRATE", "migration"
        RETRY = "RETRY", "retry of what failed"
        ROLL_BACK = "ROLL_BACK", "roll back"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.ForeignKey(
        Issuer, held_while_running, null=True, related_name="migrations_from"
    )
    destination = models.ForeignKey(
        Issuer, held_while_running, null=True, related_name="migrations_to"
    )
    source_name = models.CharField(max_length=63)
    destination_name = models.CharField(max_length=63)
    purpose = models.CharField(max_length=9, choices=Purpose, default=Purpose.MIGRATE)
    follows = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="followed_by"
    )  # the one this retries or rolls back
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    reason = models.CharField(max_length=300, blank=True)  # why it waits, stops or has ended so

    # What the operator may choose: all at once when left alone
    canary = models.PositiveIntegerField(
        "canary", default=0, validators=[MaxValueValidator(100_000)]
    )
    canary_wait_s = models.PositiveIntegerField(
        "canary wait (seconds)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(604_800)],
    )
    wave_size = models.PositiveIntegerField(default=0, validators=[MaxValueValidator(100_000)])
    max_failures = models.PositiveIntegerField(
        "stop at failures", default=0, validators=[MaxValueValidator(100_000)]
    )

    revoke_old_after_s = models.PositiveIntegerField(
        "revoke old certificates after (seconds)",
        null=True,
        blank=True,
        validators=[MaxValueValidator(31_536_000)],
    )  # null: never

    wave = models.PositiveIntegerField(default=0)  # the last one that may begin
    go_on_at = models.DateTimeField(null=True, blank=True)  # while WAITING: by time
    created_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = BulkMigrationQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "bulk certificate migration"
        constraints = [
            models.UniqueConstraint(
                Value(1), condition=~Q(state="ENDED"), name="one_running_migration"
            )
        ]

    def __str__(self) -> str:
        return f"bulk migration {self.id} from {self.source_name} to {self.destination_name}"


class MigrationItemQuerySet(models.QuerySet["MigrationItem"]):
    def initiated(self) -> "MigrationItemQuerySet":
        return self.exclude(state=MigrationItem.State.SKIPPED)

    def unfinished(self) -> "MigrationItemQuerySet":
        """What keeps its migration running."""
        return self.filter(state__in=(MigrationItem.State.PENDING, MigrationItem.State.BEGUN))


class MigrationItem(models.Model):
    """A certificate's part in a migration.

    PENDING ⇄ BEGUN → ISSUED → DONE       (back: paused before the destination was asked)
       ╰────────┴───────┴→ FAILED | STOPPED | SKIPPED
    """

    class State(models.TextChoices):
        PENDING = "PENDING", "waits for its turn"
        BEGUN = "BEGUN", "the destination is being asked"
        ISSUED = "ISSUED", "certificate held, its secrets are being written"
        DONE = "DONE", "at the destination"
        FAILED = "FAILED", "failed"
        SKIPPED = "SKIPPED", "skipped"
        STOPPED = "STOPPED", "stopped before it had a certificate"

    migration = models.ForeignKey(BulkMigration, models.CASCADE, related_name="items")
    certificate = models.ForeignKey(
        Certificate, models.SET_NULL, null=True, related_name="migration_items"
    )
    certificate_name = models.CharField(max_length=63)
    enrollment = models.ForeignKey(
        Enrollment, models.SET_NULL, null=True, related_name="migration_items"
    )
    wave = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=7, choices=State, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=40, blank=True)
    reason = models.TextField(blank=True)  # of its being skipped, stopped or failed
    begun_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)  # the migration is done with it
    old_serial_number = models.CharField(max_length=42, blank=True)
    old_certificate_der = models.BinaryField(blank=True, default=b"")  # while it is to be revoked
    old_not_after = models.DateTimeField(null=True, blank=True)
    new_serial_number = models.CharField(max_length=42, blank=True)
    new_not_after = models.DateTimeField(null=True, blank=True)

    objects = MigrationItemQuerySet.as_manager()

    class Meta:
        ordering = ("certificate_name",)
        constraints = [
            models.UniqueConstraint(
                fields=["migration", "certificate_name"], name="one_item_per_certificate"
            )
        ]
        indexes = [
            models.Index(
                fields=["migration", "state", "wave", "certificate_name"], name="item_in_turn"
            ),
            models.Index(
                fields=["id"],
                condition=Q(state__in=("PENDING", "BEGUN", "ISSUED")),
                name="item_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.certificate_name} to {self.migration.destination_name}"


class MigrationError(MigrationItem):
    """The panel of the guide by this name; its rows are the items that failed."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "Bulk Cert Migrations Error"
        verbose_name_plural = verbose_name
