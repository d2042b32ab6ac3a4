"""Certificates that are kept alive, and the errands to CAs that keep them so.

`Certificate` is what is wanted and what was delivered; `Enrollment` is one errand to a CA and its
own queue entry. Rules for saving live in `domain.lifecycle`; here are columns and their vocabulary.
"""

from datetime import datetime
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Case, F, Q, Value, When

from certificates import validators
from certificates.fields import EncryptedBinaryField
from issuers.models import Issuer
from issuers.validators import namespace, object_name, secret_key, secret_name


class Readiness(models.TextChoices):
    READY = "READY"
    NOT_READY = "NOT_READY"
    EXPIRED = "EXPIRED"


class CertificateQuerySet(models.QuerySet["Certificate"]):
    def with_readiness(self, *, now: datetime) -> "CertificateQuerySet":
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
        AUTOMATIC = "AUTOMATIC"
        MANUAL = "MANUAL"

    class KeyAlgorithm(models.TextChoices):
        EC = "EC"
        RSA = "RSA"

    class KeyEncoding(models.TextChoices):
        PEM = "PEM"
        DER = "DER"

    class KeySize(models.TextChoices):
        KEYSIZE_2048 = "KEYSIZE_2048"
        KEYSIZE_4096 = "KEYSIZE_4096"

    class EllipticCurve(models.TextChoices):
        SECP256R1 = "SECP256r1"
        SECP384R1 = "SECP384r1"

    class BasicConstraints(models.TextChoices):
        END_ENTITY = "END_ENTITY"

    name = models.CharField(max_length=63, unique=True, validators=[object_name])
    cert_type = models.CharField(max_length=5, choices=CertType, default=CertType.OTHER)
    network_function = models.CharField(max_length=63)
    purpose = models.CharField(max_length=200)
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
    key_usage = models.JSONField(default=validators.default_key_usage)
    extended_key_usage = models.JSONField(
        default=validators.default_extended_key_usage, blank=True
    )
    basic_constraints = models.CharField(
        max_length=10, choices=BasicConstraints, default=BasicConstraints.END_ENTITY
    )
    country = models.CharField(max_length=2, blank=True, validators=[validators.country])
    state = models.CharField(max_length=128, blank=True)
    location = models.CharField(max_length=128, blank=True)
    organization = models.CharField(max_length=64, blank=True)
    organization_unit = models.CharField(max_length=64, blank=True)
    common_name = models.CharField(max_length=64)
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
    looked_at = models.DateTimeField(null=True, blank=True)  # last look at the outputs (MANUAL)
    look_due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    attention = models.TextField(blank=True)  # what is wrong or odd, in a sentence
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

    def __str__(self) -> str:
        return self.name


class Output(models.Model):
    """A secret key that a certificate writes. Unique: no two certificates write the same one."""

    certificate = models.ForeignKey(Certificate, models.CASCADE, related_name="outputs")
    namespace = models.CharField(max_length=63)
    secret = models.CharField(max_length=253)
    key = models.CharField(max_length=253)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["namespace", "secret", "key"], name="one_certificate_per_secret_key"
            )
        ]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.secret}[{self.key}]"


class LeaseLost(Exception):
    """Another worker has taken this enrollment over; what we were about to write is void."""


class EnrollmentQuerySet(models.QuerySet["Enrollment"]):
    def open(self) -> "EnrollmentQuerySet":
        return self.exclude(phase__in=Enrollment.CLOSED)

    def due(self, *, now: datetime) -> "EnrollmentQuerySet":
        """Open, its time has come, and nobody works on it."""
        unleased = Q(leased_until=None) | Q(leased_until__lte=now)
        return self.open().filter(unleased, due_at__lte=now)

    def claim(
        self, *, pk: int, fence: int, now: datetime, leased_until: datetime
    ) -> "Enrollment | None":
        """Lease the row under the fence a wake-up call was sent for; None if it was taken."""
        mine = self.due(now=now).filter(pk=pk, fence=fence)
        won = mine.update(fence=F("fence") + 1, leased_until=leased_until, called_until=None)
        return self.get(pk=pk) if won else None


class Enrollment(models.Model):
    """One errand to a CA, from key to secret. The row is its own queue entry.

        NEW → EXCHANGE → ISSUED → DELIVERING → DELIVERED
          ╰──────┴──────────┴──────────┴→ ABANDONED | FAILED (migration only)

    Every move is committed before the I/O that follows it, so the phase always says what is left
    to do. `fence` counts claims: writing under an older one raises LeaseLost.
    """

    class Kind(models.TextChoices):
        CREATE = "CREATE"
        RENEW = "RENEW"
        RECREATE = "RECREATE"
        MIGRATE = "MIGRATE"

    class Phase(models.TextChoices):
        NEW = "NEW", "no key yet"
        EXCHANGE = "EXCHANGE", "talking to the CA"
        ISSUED = "ISSUED", "certificate held, secrets not written"
        DELIVERING = "DELIVERING", "writing secrets"
        DELIVERED = "DELIVERED", "secrets written"
        ABANDONED = "ABANDONED", "given up"
        FAILED = "FAILED", "failed"

    CLOSED = (Phase.DELIVERED, Phase.ABANDONED, Phase.FAILED)
    NEXT: dict[str, frozenset[str]] = {
        Phase.NEW: frozenset({Phase.EXCHANGE, Phase.ABANDONED, Phase.FAILED}),
        Phase.EXCHANGE: frozenset({Phase.NEW, Phase.ISSUED, Phase.ABANDONED, Phase.FAILED}),
        Phase.ISSUED: frozenset({Phase.DELIVERING, Phase.ABANDONED}),
        Phase.DELIVERING: frozenset({Phase.DELIVERED, Phase.ABANDONED}),
    }

    class Priority(models.IntegerChoices):
        """What goes first among due rows; certConf and poll go before all (see dispatch)."""

        OPERATOR = 10
        IDENTITY = 20
        RENEWAL = 30
        CREATE = 40
        BULK = 50

    certificate = models.ForeignKey(Certificate, models.CASCADE, related_name="enrollments")
    issuer = models.ForeignKey(Issuer, models.PROTECT, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind)
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.NEW)
    priority = models.PositiveSmallIntegerField(choices=Priority, default=Priority.CREATE)
    request = models.JSONField()  # what is asked for and where it goes, frozen at the start

    # Queue columns: when, a wake-up is out, someone works, whose, recorded failures
    due_at = models.DateTimeField(null=True, blank=True)  # null: stopped by the operator
    called_until = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveIntegerField(default=0)
    tries = models.PositiveIntegerField(default=0)

    # The CMP transaction, saved before each message is sent
    private_key = EncryptedBinaryField(blank=True, default=b"")  # PKCS#8 DER
    exchange = models.JSONField(default=dict, blank=True)  # Transaction.snapshot()
    transaction_id = models.CharField(max_length=64, blank=True)  # hexadecimal
    signer_fingerprint = models.CharField(max_length=64, blank=True)
    certificate_der = models.BinaryField(blank=True, default=b"")
    chain_der = models.JSONField(default=list, blank=True)  # base64 of each intermediate
    modifications = models.JSONField(default=list, blank=True)
    confirm_until = models.DateTimeField(null=True, blank=True)

    # What operators see
    waiting_for = models.CharField(max_length=200, blank=True)  # a condition, not a failure
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    first_failed_at = models.DateTimeField(null=True, blank=True)
    last_failed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)  # first message of this transaction
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = EnrollmentQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = [
            models.UniqueConstraint(
                fields=["certificate"],
                condition=~Q(phase__in=("DELIVERED", "ABANDONED", "FAILED")),
                name="one_open_enrollment_per_certificate",
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=~Q(phase__in=("DELIVERED", "ABANDONED", "FAILED")),
                name="enrollment_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.certificate_id} ({self.phase})"

    def move(self, to: Phase, **changes: Any) -> None:
        """Go to phase `to`, still under our lease. The only way a phase changes."""
        if to not in self.NEXT[self.phase]:
            raise ValueError(f"{self}: no way from here to {to}")
        self.keep(phase=to, **changes)

    def keep(self, **changes: Any) -> None:
        """Write under our lease, or raise LeaseLost."""
        ours = Enrollment.objects.filter(pk=self.pk, fence=self.fence, phase=self.phase)
        if not ours.update(**changes):
            raise LeaseLost(str(self))
        for name, value in changes.items():
            setattr(self, name, value)


class MaybeIssued(models.Model):
    """A certificate a CA may have issued although no answer reached us. Survives deletes."""

    certificate_name = models.CharField(max_length=63)
    issuer_name = models.CharField(max_length=63)
    transaction_id = models.CharField(max_length=64)
    sent_at = models.DateTimeField()
    reason = models.TextField()
    serial_number = models.CharField(max_length=42, blank=True)  # when it is known
    public_key_sha256 = models.CharField(max_length=64)

    class Meta:
        ordering = ("-sent_at",)
        verbose_name_plural = "maybe issued"

    def __str__(self) -> str:
        return f"{self.certificate_name} at {self.issuer_name}"
