"""Issuers as the API shows and takes them: the model's fields under the model's names."""

from typing import Any, TypeVar

from django.db.models import Model
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from issuers.models import Issuer, IssuerHealth

Row = TypeVar("Row", bound=Model)


@extend_schema_field({"type": "array", "items": {"type": "string"}, "uniqueItems": True})
class Strings(serializers.JSONField):
    """A list of strings. What may stand in it is judged below, as for every other face."""


class TypesOnly(serializers.ModelSerializer[Row]):
    """Checks names and types, and leaves every rule to the domain.

    So that the API answers with the same errors as the admin, and with all of them at once. The
    schema still tells what a field requires. Fields that are only shown may come back: they are
    ignored.
    """

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise ValidationError({"non_field_errors": ["Send an object with fields in it."]})
        values: dict[str, Any] = {}
        errors: dict[str, Any] = {
            name: ["There is no such field: correct its name or leave it out."]
            for name in data.keys() - self.fields.keys()
        }
        for field in self._writable_fields:
            name = str(field.field_name)
            if name not in data:
                continue
            value = data[name]
            try:
                values[name] = None if value is None else field.to_internal_value(value)
            except ValidationError as error:
                errors[name] = error.detail
        if errors:
            raise ValidationError(errors)
        return values


class IssuerHealthSerializer(serializers.ModelSerializer[IssuerHealth]):
    """What workers found out about an issuer."""

    warnings = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = IssuerHealth
        fields = (
            "warnings",
            "looked_at",
            "http_version",
            "answered_at",
            "failing_since",
            "failures",
            "error",
            "probe_at",
            "recovered_at",
            "test_due_at",
            "tested_at",
            "test_passed",
            "test_outcome",
        )
        read_only_fields = fields


class IssuerSerializer(TypesOnly[Issuer]):
    """A CA and how it is spoken to. Fields left empty do not apply."""

    initial_signature_extra_certs = Strings(required=False)
    other_signature_extra_certs = Strings(required=False)
    trust_store_root_ca_certs = Strings(required=False)
    trust_store_intermediate_ca_certs = Strings(required=False)
    tls_trusted_certs = Strings(required=False)
    health = IssuerHealthSerializer(read_only=True)

    class Meta:
        model = Issuer
        fields = (*Issuer.configured(), "health", "created_at", "updated_at")
        read_only_fields = ("created_at", "updated_at")
        extra_kwargs = {
            name: {"trim_whitespace": False}  # A DN keeps its white space.
            for name in ("recipient_dn", "issuer_dn", "expected_sender_dn")
        }
        validators = ()
