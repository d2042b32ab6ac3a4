"""Certificates that are kept alive, and the errands to CAs that keep them so.

`Certificate` is what is wanted and what was delivered; `Enrollment` is one errand to a CA and its
own queue entry. Rules for saving live in `domain.lifecycle`; here are columns and their vocabulary.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Case, F, Q, Subquery, Value, When
from django.db.models.deletion import Collector, ProtectedError

from certificates import validators
from certificates.fields import EncryptedBinaryField
from issuers import statements
from issuers.models import Issuer, IssuerHealth, SecretStoreHealth
from issuers.validators import distinguished_name, namespace, object_name, secret_key, secret_name

log = logging.getLogger(__name__)


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
    common_name = models.CharField(max_length=64, validators=[validators.text])
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
    version = models.CharField(max_length=64, blank=True)  # of the secret, last written or seen

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


class Stopped(Exception):
    """The operator stopped this enrollment, or is deleting its certificate: leave it as it is."""


class EnrollmentQuerySet(models.QuerySet["Enrollment"]):
    def open(self) -> "EnrollmentQuerySet":
        return self.exclude(phase__in=Enrollment.CLOSED)

    def due(self, *, now: datetime) -> "EnrollmentQuerySet":
        """Open, its time has come, and nobody works on it."""
        return self.open().filter(_over("leased_until", now), due_at__lte=now)

    def uncalled(self, *, now: datetime) -> "EnrollmentQuerySet":
        """No wake-up call for it is on its way to a worker."""
        return self.filter(_over("called_until", now))

    def in_flight(self, *, now: datetime) -> "EnrollmentQuerySet":
        """A worker has it, or is called to it."""
        return self.open().filter(Q(leased_until__gt=now) | Q(called_until__gt=now))

    def under_way(self, *, now: datetime) -> "EnrollmentQuerySet":
        """More than waiting for its next try: an open transaction, or a key not yet written."""
        begun = Q(phase__in=(Enrollment.Phase.ISSUED, Enrollment.Phase.DELIVERING))
        begun |= Q(phase=Enrollment.Phase.EXCHANGE) & ~Q(state="")  # the request may be out
        return self.open().filter(begun | Q(leased_until__gt=now))

    def with_delays(self, *, now: datetime) -> "models.QuerySet[Any]":
        """Annotate what `domain.delays` tells from: breakers that are open, the queue, the time."""
        store = SecretStoreHealth.objects.filter(pk=SecretStoreHealth.ONLY)
        return self.annotate(
            store_probe_at=Subquery(store.values("probe_at")),
            issuer_probe_at=F("issuer__health__probe_at"),
            issuer_queued=F("issuer__health__queued"),
            seen_at=Value(now, output_field=models.DateTimeField()),
        )

    def claim(
        self, *, pk: int, fence: int, now: datetime, leased_until: datetime
    ) -> "Enrollment | None":
        """Lease the row under the fence a wake-up call was sent for; None if it was taken."""
        at, until = (statements.value_of(Enrollment, "due_at", it) for it in (now, leased_until))
        won = statements.one(
            "UPDATE certificates_enrollment"  # noqa: S608 - names only
            " SET fence = fence + 1, leased_until = %s, called_until = NULL"
            " WHERE id = %s AND fence = %s AND phase NOT IN (%s, %s, %s)"
            " AND due_at <= %s AND (leased_until IS NULL OR leased_until <= %s)"
            f" RETURNING {statements.columns(Enrollment)}",
            (until, pk, fence, *Enrollment.CLOSED, at, at),
        )
        return _with_related(statements.row(Enrollment, won)) if won is not None else None


def _with_related(enrollment: "Enrollment") -> "Enrollment":
    """Give an enrollment its certificate, its issuer, and what is known of their health."""
    kinds = (Certificate, Issuer, IssuerHealth)
    wanted = (statements.columns(it, alias=a) for it, a in zip(kinds, "cih", strict=True))
    found = statements.one(
        f"SELECT {', '.join(wanted)},"  # noqa: S608 - names only
        " EXISTS (SELECT 1 FROM issuers_secretstorehealth WHERE failing_since IS NOT NULL)"
        " FROM certificates_certificate c"
        " JOIN issuers_issuer i ON i.id = %s JOIN issuers_issuerhealth h ON h.issuer_id = i.id"
        " WHERE c.id = %s",
        (enrollment.issuer_id, enrollment.certificate_id),
    )
    if found is not None:
        certificate, issuer, health = statements.split(found, kinds)
        enrollment.certificate = statements.row(Certificate, certificate)
        enrollment.issuer = statements.row(Issuer, issuer)
        enrollment.issuer.health = statements.row(IssuerHealth, health)
        enrollment.store_fails = bool(found[-1])
    return enrollment


def _over(column: str, now: datetime) -> Q:
    return Q(**{column: None}) | Q(**{f"{column}__lte": now})


def held_while_open(
    collector: Collector, field: Any, errands: models.QuerySet[Any], using: str
) -> None:
    """Keep an issuer while an errand to it is open; a closed one is history and lets go."""
    unfinished: set[models.Model] = set(errands.filter(closed_at=None))
    if unfinished:
        raise ProtectedError("errands to this issuer are under way", unfinished)
    models.SET_NULL(collector, field, errands, using)


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
        REPAIR = "REPAIR"  # what was delivered before is written again; no CA is asked

    class Phase(models.TextChoices):
        NEW = "NEW", "no key yet"
        EXCHANGE = "EXCHANGE", "talking to the CA"
        ISSUED = "ISSUED", "certificate held, secrets not written"
        DELIVERING = "DELIVERING", "writing secrets"
        DELIVERED = "DELIVERED", "secrets written"
        ABANDONED = "ABANDONED", "given up"
        FAILED = "FAILED", "failed"

    CLOSED = (Phase.DELIVERED, Phase.ABANDONED, Phase.FAILED)
    NEXT: Mapping[str, frozenset[str]] = {
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

    class Signer(models.TextChoices):
        """Who vouches for the request."""

        INITIAL = "INITIAL", "the issuer's initial authentication"
        IDENTITY = "IDENTITY", "the issuer's OCCM certificate"
        ITSELF = "ITSELF", "the certificate that is renewed"

    certificate = models.ForeignKey(Certificate, models.CASCADE, related_name="enrollments")
    issuer = models.ForeignKey(Issuer, held_while_open, null=True, related_name="enrollments")
    issuer_name = models.CharField(max_length=63)
    kind = models.CharField(max_length=8, choices=Kind)
    reason = models.CharField(max_length=300)  # why it was opened, for the history
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.NEW)
    priority = models.PositiveSmallIntegerField(choices=Priority, default=Priority.CREATE)
    needed_by = models.DateTimeField(null=True, blank=True)  # notAfter of what it replaces
    signer = models.CharField(max_length=8, choices=Signer)
    request = models.JSONField()  # what is asked for and where it goes, frozen at the start

    # Queue columns: when, a wake-up is out, someone works, whose, recorded failures
    due_at = models.DateTimeField(null=True, blank=True)  # null: stopped by the operator
    called_until = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveIntegerField(default=0)
    tries = models.PositiveIntegerField(default=0)

    # The CMP transaction, saved before each message is sent
    private_key = EncryptedBinaryField(blank=True)  # PKCS#8 DER
    public_key_sha256 = models.CharField(max_length=64, blank=True)
    exchange = models.JSONField(default=dict, blank=True)  # Transaction.snapshot()
    state = models.CharField(max_length=12, blank=True)  # of the transaction: cmp.State
    transaction_id = models.CharField(max_length=64, blank=True)  # hexadecimal
    signer_fingerprint = models.CharField(max_length=64, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)  # first message of this transaction
    asked_at = models.DateTimeField(null=True, blank=True)  # the message that waits for its answer
    certificate_der = models.BinaryField(blank=True, default=b"")
    chain_der = models.JSONField(default=list, blank=True)  # base64 of each intermediate
    modifications = models.JSONField(default=list, blank=True)
    issued_fingerprint = models.CharField(max_length=64, blank=True)
    confirm_until = models.DateTimeField(null=True, blank=True)
    issued_at = models.DateTimeField(null=True, blank=True)  # the certificate is held since

    # What operators see
    waiting_for = models.CharField(max_length=300, blank=True)  # a condition, not a failure
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    fail_info = models.CharField(max_length=400, blank=True)  # the CA's, by RFC 9810's bit names
    first_failed_at = models.DateTimeField(null=True, blank=True)
    last_failed_at = models.DateTimeField(null=True, blank=True)
    setbacks = models.JSONField(default=list, blank=True)  # what failed, equal ones as one
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = EnrollmentQuerySet.as_manager()
    store_fails = False  # of a claimed one: whether the secret store was known to

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
            ),
            models.Index(
                fields=["leased_until"],
                condition=Q(leased_until__isnull=False),
                name="enrollment_leased",
            ),
            models.Index(
                fields=["called_until"],
                condition=Q(called_until__isnull=False),
                name="enrollment_called",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.certificate}: {self.kind} at {self.issuer_name}"

    @property
    def ca(self) -> Issuer:
        """The issuer of an open enrollment, which holds it."""
        if self.issuer is None:
            raise ValueError(f"{self} is closed, and its issuer {self.issuer_name} is gone")
        return self.issuer

    def move(self, to: Phase, **changes: Any) -> None:
        """Go to phase `to`, still under our lease. The only way a phase changes."""
        before = self.phase
        if to not in self.NEXT[before]:
            raise ValueError(f"{self}: no way from here to {to}")
        self.keep(phase=to, **changes)
        said = f", valid until {self.certificate.not_after}" if to == self.Phase.DELIVERED else ""
        transaction.on_commit(partial(log.info, "%s: %s, was %s%s", self, to, before, said))

    def facts(self) -> dict[str, object]:
        """Return what a log line about it is found by."""
        known = {
            "certificate": self.certificate.name,
            "issuer": self.issuer_name,
            "enrollment": self.pk,
            "procedure": self.kind,
            "phase": self.phase,
            "transaction_id": self.transaction_id,
            "error_code": self.error_code,
        }
        return {name: value for name, value in known.items() if value}

    def keep(self, **changes: Any) -> None:
        """Write under our lease, or raise LeaseLost. A stop by the operator outlives `due_at`."""
        due = {"due_at": "CASE WHEN due_at IS NULL THEN NULL ELSE %s END"}
        written_as = due if changes.get("due_at") is not None else {}
        if not self._write(changes, written_as=written_as):
            raise LeaseLost(str(self))

    def extend(self, until: datetime, **changes: Any) -> None:
        """Extend our lease for the I/O that follows, or raise LeaseLost or Stopped."""
        if not self._write(changes | {"leased_until": until}, also=" AND due_at IS NOT NULL"):
            if Enrollment.objects.filter(pk=self.pk, fence=self.fence).exists():
                raise Stopped(str(self))
            raise LeaseLost(str(self))

    def _write(
        self,
        changes: dict[str, Any],
        *,
        also: str = "",
        written_as: Mapping[str, str] | None = None,
    ) -> bool:
        """Change the row and this object under our fence, if it is ours still."""
        where, ours = f"id = %s AND fence = %s{also}", (self.pk, self.fence)
        if not statements.update(
            Enrollment, changes, where=where, matching=ours, written_as=written_as
        ):
            return False
        for name, value in changes.items():
            setattr(self, name, value)
        return True


class RevocationQuerySet(models.QuerySet["Revocation"]):
    def open(self) -> "RevocationQuerySet":
        return self.filter(closed_at=None)

    def due(self, *, now: datetime) -> "RevocationQuerySet":
        """Open, its time has come, and nobody works on it."""
        return self.open().filter(_over("leased_until", now), due_at__lte=now)


class Revocation(models.Model):
    """A certificate that its CA is asked to revoke (rr). The row is its own queue entry.

    OPEN → REVOKED | REFUSED | WITHDRAWN, and from the latter two back to OPEN. Asking twice does no
    harm: the CA answers that it is revoked already. `fence` counts claims, as of enrollments.
    """

    class State(models.TextChoices):
        OPEN = "OPEN", "to be revoked"
        REVOKED = "REVOKED", "revoked"
        REFUSED = "REFUSED", "refused by the CA"
        WITHDRAWN = "WITHDRAWN", "withdrawn"

    class Reason(models.TextChoices):
        """CRLReason, RFC 5280, 5.3.1: those a CA may be given for an end entity."""

        UNSPECIFIED = "unspecified"
        KEY_COMPROMISE = "keyCompromise"
        AFFILIATION_CHANGED = "affiliationChanged"
        SUPERSEDED = "superseded"
        CESSATION_OF_OPERATION = "cessationOfOperation"

    certificate_name = models.CharField(max_length=63)
    issuer = models.ForeignKey(Issuer, held_while_open, null=True, related_name="revocations")
    issuer_name = models.CharField(max_length=63)
    serial_number = models.CharField(max_length=42, validators=[validators.serial_number])
    # Under which the CA issued it. Empty: the certificate says it, or that of the OCCM certificate
    issuer_dn = models.TextField("issuer DN", blank=True, validators=[distinguished_name])
    certificate_der = models.BinaryField(blank=True, default=b"")  # when it is at hand
    reason = models.CharField(max_length=20, choices=Reason, default=Reason.UNSPECIFIED)
    why = models.CharField(max_length=300)  # it was opened
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)

    # Queue columns, as of an enrollment
    due_at = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveIntegerField(default=0)
    tries = models.PositiveIntegerField(default=0)

    exchange = models.JSONField(default=dict, blank=True)  # while the CA asks for patience
    transaction_id = models.CharField(max_length=64, blank=True)  # hexadecimal, of the last try

    # What operators see
    outcome = models.TextField(blank=True)  # how it ended, in a sentence
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    fail_info = models.CharField(max_length=400, blank=True)
    first_failed_at = models.DateTimeField(null=True, blank=True)
    last_failed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = RevocationQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = [
            models.UniqueConstraint(
                fields=["issuer", "serial_number"],
                condition=Q(closed_at=None),
                name="one_open_revocation_per_certificate",
            )
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(closed_at=None), name="revocation_due")
        ]

    def __str__(self) -> str:
        return f"{self.certificate_name}: revocation of {self.serial_number} at {self.issuer_name}"

    @property
    def kind(self) -> str:
        """The procedure, beside the kinds of enrollments."""
        return "REVOKE"

    def facts(self) -> dict[str, object]:
        """Return what a log line about it is found by."""
        known = {
            "certificate": self.certificate_name,
            "issuer": self.issuer_name,
            "revocation": self.pk,
            "procedure": self.kind,
            "serial_number": self.serial_number,
            "transaction_id": self.transaction_id,
            "error_code": self.error_code,
        }
        return {name: value for name, value in known.items() if value}

    @property
    def ca(self) -> Issuer:
        """The issuer of an open revocation, which holds it."""
        if self.issuer is None:
            raise ValueError(f"{self} is closed, and its issuer {self.issuer_name} is gone")
        return self.issuer

    def keep(self, **changes: Any) -> None:
        """Write under our lease, or raise LeaseLost."""
        ours = Revocation.objects.open().filter(pk=self.pk, fence=self.fence)
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
    certificate_der = models.BinaryField(blank=True, default=b"")  # when it was received
    public_key_sha256 = models.CharField(max_length=64)
    revocation = models.ForeignKey(
        Revocation, models.SET_NULL, null=True, blank=True, related_name="maybe_issued"
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=300, blank=True)  # what became of it

    class Meta:
        ordering = ("-sent_at",)
        verbose_name_plural = "maybe issued"

    def __str__(self) -> str:
        return f"{self.certificate_name} at {self.issuer_name}"
