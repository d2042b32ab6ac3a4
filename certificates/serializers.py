"""Certificates as the API shows and takes them: the operator's fields, flat, and one status block.

Keys are never in anything shown here.
"""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from certificates.domain import lifecycle, rules
from certificates.domain.delays import delay
from certificates.domain.failures import FailureClass, failure_class
from certificates.models import Certificate, Enrollment, MaybeIssued, Readiness, Revocation
from issuers.models import Issuer
from issuers.serializers import Strings, TypesOnly

# Never shown, and heavy: what an errand asks for, its key, the state of its exchange.
HEAVY = ("request", "private_key", "exchange", "certificate_der", "chain_der")
ERRAND = (
    "kind",
    "phase",
    "reason",
    "waiting_for",
    "error_code",
    "error",
    "first_failed_at",
    "last_failed_at",
)


class ErrandSerializer(serializers.ModelSerializer[Enrollment]):
    """What the open errand and those of the past have in common."""

    error_class = serializers.SerializerMethodField(
        help_text="Where to look for the cause; null when nothing failed."
    )

    @extend_schema_field(
        serializers.ChoiceField(choices=FailureClass.choices, read_only=True, allow_null=True)
    )
    def get_error_class(self, errand: Enrollment) -> str | None:
        return failure_class(errand.error_code)


class UnderWaySerializer(ErrandSerializer):
    """The errand to a CA that is open. `next_attempt_at` is null while it is stopped."""

    attempt = serializers.IntegerField(
        read_only=True, help_text="The one that is made now or next: 1 + recorded failures."
    )
    next_attempt_at = serializers.DateTimeField(read_only=True, allow_null=True)
    stopped = serializers.BooleanField(read_only=True, help_text="By the operator.")
    delayed_by = serializers.CharField(
        read_only=True, help_text="A budget or a probe that the attempt waits for, if any."
    )
    delayed_until = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="As far as that can be told."
    )

    class Meta:
        model = Enrollment
        fields = (
            "attempt",
            "next_attempt_at",
            "stopped",
            "delayed_by",
            "delayed_until",
            *ERRAND,
            "error_class",
        )
        read_only_fields = fields


class StatusSerializer(serializers.ModelSerializer[Certificate]):
    """What lies in the secrets now, and what is under way."""

    readiness = serializers.ChoiceField(choices=Readiness.choices, read_only=True)
    under_way = UnderWaySerializer(read_only=True, allow_null=True)
    modifications = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="What the CA granted differently."
    )
    warnings = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Certificate
        fields = (
            "readiness",
            "under_way",
            "not_before",
            "not_after",
            "serial_number",
            "fingerprint",
            "delivered_at",
            "renew_at",
            "modifications",
            "warnings",
            "drift",
            "drifted_at",
            "drift_count",
            "contested",
            "deleting",
        )
        read_only_fields = fields


class CertificateSerializer(TypesOnly[Certificate]):
    """A certificate that is kept alive. Fields left empty do not apply."""

    issuer = serializers.SlugRelatedField(slug_field="name", queryset=Issuer.objects.all())
    key_usage = Strings(required=False)
    extended_key_usage = Strings(required=False)
    ip_addresses = Strings(required=False)
    dns_names = Strings(required=False)
    uri_api_roots = Strings(required=False)
    uri_urns = Strings(required=False)
    status = serializers.SerializerMethodField(read_only=True)

    class Meta:
        model = Certificate
        fields = (*lifecycle.FIELDS, "status", "created_at", "updated_at")
        read_only_fields = ("created_at", "updated_at")
        extra_kwargs = {"network_function": {"required": False}}  # of an OCCM certificate
        validators = ()

    def to_representation(self, instance: Certificate) -> dict[str, Any]:
        """Take the columns as they are: they are JSON already, and lists are long."""
        return {
            **{name: getattr(instance, name) for name in lifecycle.FIELDS},
            "issuer": instance.issuer.name,
            "status": self.get_status(instance),
            "created_at": instance.created_at,
            "updated_at": instance.updated_at,
        }

    @extend_schema_field(StatusSerializer)
    def get_status(self, certificate: Any) -> dict[str, Any]:
        errand = next(iter(certificate.open_errands), None)
        return {
            "readiness": certificate.readiness,
            "under_way": None if errand is None else _under_way(errand),
            "not_before": certificate.not_before,
            "not_after": certificate.not_after,
            "serial_number": certificate.serial_number,
            "fingerprint": certificate.fingerprint,
            "delivered_at": certificate.delivered_at,
            "renew_at": certificate.renew_at,
            "modifications": certificate.modifications,
            "warnings": warnings_of(certificate),
            "drift": certificate.drift,
            "drifted_at": certificate.drifted_at,
            "drift_count": certificate.drift_count,
            "contested": certificate.contested,
            "deleting": certificate.deleting,
        }


class EnrollmentSerializer(ErrandSerializer):
    """One errand to a CA, past or present."""

    class Meta:
        model = Enrollment
        fields = (
            "id",
            "issuer_name",
            "tries",
            "transaction_id",
            "created_at",
            "sent_at",
            "due_at",
            "closed_at",
            *ERRAND,
            "error_class",
        )
        read_only_fields = fields


class MaybeIssuedSerializer(serializers.ModelSerializer[MaybeIssued]):
    """A certificate that a CA may have issued although no answer reached us."""

    refusals = serializers.IntegerField(
        read_only=True,
        help_text="How many requests were answered by an unauthenticated refusal: the last of them "
        "is the one named here. 0 where an answer was lost.",
    )

    class Meta:
        model = MaybeIssued
        fields = (
            "id",
            "certificate_name",
            "issuer_name",
            "transaction_id",
            "sent_at",
            "reason",
            "serial_number",
            "public_key_sha256",
            "refusals",
            "revocation",
            "resolved_at",
            "resolution",
        )
        read_only_fields = fields


class RevokeSerializer(serializers.ModelSerializer[Revocation]):
    """What to revoke. The serial number may be left out where `serial_number` is known."""

    serial_number = serializers.CharField(
        required=False, max_length=80, help_text="Hexadecimal, as the CA shows it."
    )

    class Meta:
        model = Revocation
        fields = ("serial_number", "issuer_dn", "reason")
        extra_kwargs = {
            "issuer_dn": {"help_text": "If it is another than that of the OCCM certificate."}
        }


class ResolveSerializer(serializers.Serializer[MaybeIssued]):
    """What became of it."""

    note = serializers.CharField(required=False, allow_blank=True, max_length=300)


class RevocationSerializer(serializers.ModelSerializer[Revocation]):
    """A certificate that its CA is asked to revoke, or was."""

    error_class = serializers.SerializerMethodField(
        help_text="Where to look for the cause; null when nothing failed."
    )

    class Meta:
        model = Revocation
        fields = (
            "id",
            "certificate_name",
            "issuer_name",
            "serial_number",
            "issuer_dn",
            "reason",
            "why",
            "state",
            "outcome",
            "tries",
            "due_at",
            "transaction_id",
            "error_code",
            "error",
            "error_class",
            "fail_info",
            "first_failed_at",
            "last_failed_at",
            "created_at",
            "closed_at",
        )
        read_only_fields = fields

    @extend_schema_field(
        serializers.ChoiceField(choices=FailureClass.choices, read_only=True, allow_null=True)
    )
    def get_error_class(self, row: Revocation) -> str | None:
        return failure_class(row.error_code)


class LeftSerializer(serializers.Serializer[lifecycle.Left]):
    """What a deletion leaves where it is, and whether it is finished."""

    finished = serializers.BooleanField(help_text="False while a worker still has it.")
    secrets = serializers.ListField(child=serializers.CharField(), help_text="namespace/secret")
    outputs = serializers.ListField(
        child=serializers.CharField(), help_text="namespace/secret[key]"
    )


def warnings_of(certificate: Certificate) -> list[str]:
    """Return what is odd about a certificate: found by workers, or meant by the operator."""
    told = (certificate.drift, certificate.attention, certificate.renewal_warning)
    found = [line for text in told for line in text.splitlines()]
    return [*found, *rules.warnings(certificate)]


def _under_way(errand: Enrollment) -> dict[str, Any]:
    delayed = delay(errand, now=vars(errand)["seen_at"])
    return {
        "attempt": errand.tries + 1,
        "next_attempt_at": errand.due_at,
        "stopped": errand.due_at is None,
        "delayed_by": delayed.by if delayed else "",
        "delayed_until": delayed.until if delayed else None,
        **{name: getattr(errand, name) for name in ERRAND},
        "error_class": failure_class(errand.error_code),
    }
