"""Bulk migrations as the API shows and takes them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from issuers.models import Issuer
from issuers.serializers import TypesOnly
from migrations_bulk.domain import migrate
from migrations_bulk.domain.figures import Progress
from migrations_bulk.domain.report import COLUMNS
from migrations_bulk.domain.selection import Choice, Preview
from migrations_bulk.models import BulkMigration, MigrationItem

COMPUTED = ("id", "initiated_certificates", "skipped_certificates")  # empty in a request, or absent
SHOWN = (
    "purpose",
    "follows",
    "state",
    "reason",
    "progress",
    "go_on_at",
    "created_by",
    "created_at",
    "ended_at",
)


class SkippedSerializer(serializers.Serializer[Any]):
    """A certificate that a migration leaves where it is, and why."""

    certificate = serializers.CharField(read_only=True)
    reason = serializers.CharField(read_only=True)


class ProgressSerializer(serializers.Serializer[Progress]):
    """How far a migration is."""

    initiated = serializers.IntegerField(read_only=True)
    settled = serializers.IntegerField(
        read_only=True, help_text="Of the initiated: those the migration is done with."
    )
    percent = serializers.IntegerField(read_only=True)
    counts = serializers.DictField(
        child=serializers.IntegerField(), read_only=True, help_text="Certificates by state."
    )
    rate_per_s = serializers.FloatField(read_only=True, help_text="Over the last minute.")
    left_s = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Seconds left at this rate."
    )


class BulkMigrationSerializer(TypesOnly[BulkMigration]):
    """A migration of certificates from one issuer to another, without its lists."""

    source = serializers.SlugRelatedField(  # type: ignore[assignment]  # a field's own `source`
        slug_field="name", queryset=Issuer.objects.all()
    )
    destination = serializers.SlugRelatedField(slug_field="name", queryset=Issuer.objects.all())
    follows = serializers.UUIDField(
        source="follows_id",
        read_only=True,
        allow_null=True,
        help_text="The migration that this one retries or rolls back.",
    )
    progress = serializers.SerializerMethodField(read_only=True)

    class Meta:
        model = BulkMigration
        fields = ("id", *migrate.FIELDS, *SHOWN)
        read_only_fields = ("id", *SHOWN)
        extra_kwargs = {
            "canary": {"help_text": "So many first; the others wait for a word. 0: none."},
            "canary_wait_s": {
                "help_text": "Seconds that these are to be READY before the others follow by "
                "themselves. Null: until the operator says go on."
            },
            "wave_size": {
                "help_text": "So many at a time, each lot once the one before is done. 0: all."
            },
            "max_failures": {"help_text": "Stop when so many have failed. 0: never."},
            "revoke_old_after_s": {
                "help_text": "Have the source revoke each old certificate so many seconds after "
                "the new one was written. Null: never."
            },
        }
        validators = ()

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            filled = [name for name in COMPUTED if data.get(name) not in (None, "", [])]
            if filled:
                told = "Leave this empty: OCCM fills it in."
                raise ValidationError({name: [told] for name in filled})
            data = {name: value for name, value in data.items() if name not in COMPUTED}
        return super().to_internal_value(data)

    def to_representation(self, instance: BulkMigration) -> dict[str, Any]:
        shown = super().to_representation(instance)
        names = {"source": instance.source_name, "destination": instance.destination_name}
        return shown | names  # they outlive the issuers

    @extend_schema_field(ProgressSerializer)
    def get_progress(self, migration: BulkMigration) -> Any:
        found: dict[object, Progress] = self.context["progresses"]
        return ProgressSerializer(found[migration.pk]).data


class BulkMigrationDetailSerializer(BulkMigrationSerializer):
    """A migration of certificates from one issuer to another."""

    initiated_certificates = serializers.SerializerMethodField(
        read_only=True, help_text="Names; empty in a request."
    )
    skipped_certificates = serializers.SerializerMethodField(
        read_only=True, help_text="Names and reasons; empty in a request."
    )

    class Meta(BulkMigrationSerializer.Meta):
        fields = ("id", *migrate.FIELDS, *COMPUTED[1:], *SHOWN)  # type: ignore[assignment]

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_initiated_certificates(self, migration: BulkMigration) -> list[str]:
        return list(migration.items.initiated().values_list("certificate_name", flat=True))

    @extend_schema_field(SkippedSerializer(many=True))
    def get_skipped_certificates(self, migration: BulkMigration) -> list[dict[str, str]]:
        skipped = migration.items.filter(state=MigrationItem.State.SKIPPED)
        return [
            {"certificate": name, "reason": reason}
            for name, reason in skipped.values_list("certificate_name", "reason")
        ]


class ChoiceSerializer(serializers.Serializer[Choice]):
    """A certificate that would be migrated."""

    certificate = serializers.CharField(source="name", read_only=True)
    parks = serializers.CharField(
        read_only=True, help_text="Kind of the procedure that waits, and would give way."
    )


class PreviewSerializer(serializers.Serializer[Preview]):
    """What a migration would do if it were started now."""

    initiated = ChoiceSerializer(many=True, read_only=True)
    skipped = serializers.SerializerMethodField(read_only=True)
    blocked = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="Why it would be refused."
    )
    warnings = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="What may make it fail."
    )
    estimated_s = serializers.IntegerField(
        read_only=True, help_text="Seconds it may take, by the last enrollments at that CA."
    )

    @extend_schema_field(SkippedSerializer(many=True))
    def get_skipped(self, preview: Preview) -> list[dict[str, str]]:
        return [{"certificate": one.name, "reason": one.skipped} for one in preview.skipped]


class MigrationItemSerializer(serializers.ModelSerializer[MigrationItem]):
    """A certificate's part in a migration. `reason` tells why it failed, was skipped or stopped."""

    class Meta:
        model = MigrationItem
        fields = COLUMNS
        read_only_fields = fields


class MigrationErrorSerializer(serializers.ModelSerializer[MigrationItem]):
    """A certificate whose migration has failed."""

    migration = serializers.UUIDField(source="migration_id", read_only=True)
    destination = serializers.CharField(source="migration.destination_name", read_only=True)

    class Meta:
        model = MigrationItem
        fields = (
            "migration",
            "certificate_name",
            "destination",
            "reason",
            "error_code",
            "attempts",
            "settled_at",
        )
        read_only_fields = fields


class RollBackSerializer(serializers.Serializer[Any]):
    """Which certificates to migrate back; all that the migration has moved when it names none."""

    certificates = serializers.ListField(
        child=serializers.CharField(max_length=63), required=False, allow_null=True
    )

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        unknown = set(data) - set(self.fields) if isinstance(data, dict) else set()
        if unknown:
            told = ["There is no such field: correct its name or leave it out."]
            raise ValidationError(dict.fromkeys(unknown, told))
        found: dict[str, Any] = super().to_internal_value(data)
        return found
