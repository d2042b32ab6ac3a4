"""What is left of certificates that nobody uses: revocations under way, and what may be issued."""

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q

from certificates import validators
from certificates.fields import FittingCharField
from certificates.models.enrollment import LeaseLost, held_while_open, over
from issuers.models import Issuer
from issuers.validators import distinguished_name


class RevocationQuerySet(models.QuerySet["Revocation"]):
    def open(self) -> "RevocationQuerySet":
        return self.filter(closed_at=None)

    def due(self, *, now: datetime) -> "RevocationQuerySet":
        """Open, its time has come, and nobody works on it."""
        return self.open().filter(over("leased_until", now), due_at__lte=now)


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
    fail_info = FittingCharField(max_length=400, blank=True)
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
    # How many requests somebody refused who may have been the CA; this is the last of them
    refusals = models.PositiveIntegerField(default=0, db_default=0)
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
