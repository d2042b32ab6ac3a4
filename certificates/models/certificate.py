"""What the operator wants, in the guide's fields, and what lies in the secrets now."""

from datetime import datetime
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Case, Q, Value, When

from certificates import validators
from certificates.fields import FittingCharField
from issuers.models import Issuer
from issuers.validators import namespace, object_name, secret_key, secret_name


class Readiness(models.TextChoices):
    READY = "READY"
    NOT_READY = "NOT_READY"
    EXPIRED = "EXPIRED"


class CertificateQuerySet(models.QuerySet["Certificate"]):
    def ready(self, *, now: datetime) -> "CertificateQuerySet":
        return self.filter(in_place=True, not_before__lte=now, not_after__gt=now)

    def with_readiness(self, *, now: datetime) -> "models.QuerySet[Any]":
        """Annotate `readiness`, computed from validity and from what lies in the secrets."""
        return self.annotate(
            readiness=Case(
                When(not_after__lte=now, then=Value(Readiness.EXPIRED)),
                When(in_place=True, not_before__lte=now, then=Value(Readiness.READY)),
                default=Value(Readiness.NOT_READY),
                output_field=models.CharField(),
            )
        )


class Certificate(models.Model):
    """What the operator wants, in the guide's fields, and what lies in the secrets now."""

    class CertType(models.TextChoices):
        OCCM = "OCCM", "OCCM (CMP identity)"
        OTHER = "OTHER", "OTHER (end entity)"

    class CreationMode(models.TextChoices):
        AUTOMATIC = "AUTOMATIC", "AUTOMATIC"
        MANUAL = "MANUAL", "MANUAL"

    class KeyAlgorithm(models.TextChoices):
        EC = "EC", "EC"
        RSA = "RSA", "RSA"

    class KeyEncoding(models.TextChoices):
        PEM = "PEM", "PEM"
        DER = "DER", "DER"

    class KeySize(models.TextChoices):
        KEYSIZE_2048 = "KEYSIZE_2048", "KEYSIZE_2048"
        KEYSIZE_4096 = "KEYSIZE_4096", "KEYSIZE_4096"

    class EllipticCurve(models.TextChoices):
        SECP256R1 = "SECP256r1", "SECP256r1"
        SECP384R1 = "SECP384r1", "SECP384r1"

    class BasicConstraints(models.TextChoices):
        END_ENTITY = "END_ENTITY", "END_ENTITY"

    name = models.CharField(max_length=63, unique=True, validators=[object_name])
    cert_type = models.CharField(max_length=5, choices=CertType, default=CertType.OTHER)
    network_function = models.CharField(max_length=63, validators=[validators.text])
    purpose = models.CharField(max_length=200, validators=[validators.text])
    issuer = models.ForeignKey(Issuer, models.PROTECT, related_name="certificates")
    creation_mode = models.CharField(
        max_length=9, choices=CreationMode, default=CreationMode.AUTOMATIC
    )

    # Private Key Options
    key_algorithm = models.CharField(max_length=3, choices=KeyAlgorithm, default=KeyAlgorithm.EC)
    key_encoding = models.CharField(max_length=3, choices=KeyEncoding, default=KeyEncoding.PEM)
    key_size = models.CharField(max_length=12, choices=KeySize, blank=True)
    elliptic_curve = models.CharField(max_length=9, choices=EllipticCurve, blank=True)

    # Private Key Output
    private_key_output_namespace = models.CharField(
        "namespace", max_length=63, blank=True, validators=[namespace]
    )
    private_key_output_secret = models.CharField(
        "secret name", max_length=253, blank=True, validators=[secret_name]
    )
    private_key_output_key = models.CharField(
        "key", max_length=253, blank=True, validators=[secret_key]
    )

    # Public Key Certificate Options
    key_usage = models.JSONField(
        default=validators.default_key_usage, validators=[validators.key_usage]
    )
    extended_key_usage = models.JSONField(
        default=validators.default_extended_key_usage,
        blank=True,
        validators=[validators.extended_key_usage],
    )
    basic_constraints = models.CharField(
        max_length=10, choices=BasicConstraints, default=BasicConstraints.END_ENTITY
    )
    country = models.CharField(max_length=2, blank=True, validators=[validators.country])
    state = models.CharField(max_length=128, blank=True, validators=[validators.text])
    location = models.CharField(max_length=128, blank=True, validators=[validators.text])
    organization = models.CharField(max_length=64, blank=True, validators=[validators.text])
    organization_unit = models.CharField(max_length=64, blank=True, validators=[validators.text])
    common_name = models.CharField(max_length=64, validators=[validators.common_name])
    requested_validity_days = models.PositiveIntegerField(
        "requested validity (days)",
        default=365,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
    )
    renew_before_expiration_days = models.PositiveIntegerField(
        "renew before expiration (days)", default=30, validators=[MinValueValidator(1)]
    )

    # Subject Alternate Names
    ip_addresses = models.JSONField(
        "IP addresses", default=list, blank=True, validators=[validators.ip_addresses]
    )
    dns_names = models.JSONField(
        "DNS names", default=list, blank=True, validators=[validators.dns_names]
    )
    uri_api_roots = models.JSONField(
        "URI ID API roots", default=list, blank=True, validators=[validators.api_roots]
    )
    uri_urns = models.JSONField(
        "URI ID URNs", default=list, blank=True, validators=[validators.urns]
    )

    # Certificate Output
    certificate_output_namespace = models.CharField(
        "namespace", max_length=63, blank=True, validators=[namespace]
    )
    certificate_output_secret = models.CharField(
        "secret name", max_length=253, blank=True, validators=[secret_name]
    )
    certificate_output_key = models.CharField(
        "key", max_length=253, blank=True, validators=[secret_key]
    )
    # Certificate Chain Output
    chain_output_namespace = models.CharField(
        "namespace", max_length=63, blank=True, validators=[namespace]
    )
    chain_output_secret = models.CharField(
        "secret name", max_length=253, blank=True, validators=[secret_name]
    )
    chain_output_key = models.CharField("key", max_length=253, blank=True, validators=[secret_key])
    merge_certificate_and_chain = models.BooleanField(default=False)
    repair_drift = models.BooleanField("repair what others change", default=True)
    # CA Bundle Input
    ca_bundle_namespace = models.CharField(
        "namespace", max_length=63, blank=True, validators=[namespace]
    )
    ca_bundle_secret = models.CharField(
        "secret name", max_length=253, blank=True, validators=[secret_name]
    )
    ca_bundle_key = models.CharField("key", max_length=253, blank=True, validators=[secret_key])

    # What was delivered, or found in place (MANUAL)
    certificate_der = models.BinaryField(blank=True, default=b"")
    serial_number = models.CharField(max_length=42, blank=True)  # hexadecimal
    fingerprint = models.CharField(max_length=64, blank=True)  # SHA-256 of the certificate
    not_before = models.DateTimeField(null=True, blank=True)
    not_after = models.DateTimeField(null=True, blank=True, db_index=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    renew_at = models.DateTimeField(null=True, blank=True, db_index=True)
    in_place = models.BooleanField(default=False)  # the outputs hold this pair
    chain_der = models.JSONField(null=True, blank=True, default=None)  # base64; null: not known
    looked_at = models.DateTimeField(null=True, blank=True)  # last look at the outputs
    look_due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    attention = models.TextField(blank=True)  # what is wrong or odd, in a sentence
    # Why it is renewed later than `renew_before_expiration_days` before; looks leave this alone
    renewal_warning = models.TextField(blank=True, default="", db_default="")
    # What somebody else changed in the outputs since (AUTOMATIC); see domain.drift
    drift = models.TextField(blank=True)  # in a sentence
    drifted_at = models.DateTimeField(null=True, blank=True)  # the first look that found it
    drift_count = models.PositiveIntegerField(default=0)  # how often it was found to last
    repaired_at = models.DateTimeField(null=True, blank=True)  # the last repair began
    contested = models.BooleanField(default=False)  # changed again after a repair: left alone
    modifications = models.JSONField(default=list, blank=True)  # grantedWithMods: what differs
    deleting = models.BooleanField(default=False)

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = CertificateQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=["issuer"],
                condition=Q(cert_type="OCCM"),
                name="one_occm_certificate_per_issuer",
                violation_error_message="This issuer already has its OCCM certificate.",
            )
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(deleting=True), name="certificate_deleting")
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def not_null(cls) -> tuple["models.Field[Any, Any]", ...]:
        """Return the columns that are filled in before saving and hold no NULL."""
        columns = cls._meta.concrete_fields
        return tuple(c for c in columns if c.editable and not (c.null or c.primary_key))


class ExpiryTime(Certificate):
    """The panel of the guide by this name; its rows are certificates."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "End Entity Certificate Expiry Time"
        verbose_name_plural = verbose_name


class ReadinessStatus(Certificate):
    """The panel of the guide by this name; its rows are certificates."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "End Entity Certificate Readiness Status"
        verbose_name_plural = verbose_name


class Output(models.Model):
    """A secret key that a certificate writes. Unique: no two certificates write the same one."""

    certificate = models.ForeignKey(Certificate, models.CASCADE, related_name="outputs")
    namespace = models.CharField(max_length=63)
    secret = models.CharField(max_length=253)
    key = models.CharField(max_length=253)
    version = FittingCharField(max_length=64, blank=True)  # of the secret, last written or seen

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["namespace", "secret", "key"], name="one_certificate_per_secret_key"
            )
        ]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.secret}[{self.key}]"
