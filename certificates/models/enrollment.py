"""One errand to a CA: a row that is its own queue entry, written by who holds its lease."""

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import F, Q, Subquery, Value
from django.db.models.deletion import Collector, ProtectedError

from certificates.fields import EncryptedBinaryField, FittingCharField
from certificates.models.certificate import Certificate
from issuers import statements
from issuers.models import Issuer, IssuerHealth, SecretStoreHealth

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another worker has taken this enrollment over; what we were about to write is void."""


class Stopped(Exception):
    """The operator stopped this enrollment, or is deleting its certificate: leave it as it is."""


class EnrollmentQuerySet(models.QuerySet["Enrollment"]):
    def open(self) -> "EnrollmentQuerySet":
        return self.exclude(phase__in=Enrollment.CLOSED)

    def due(self, *, now: datetime) -> "EnrollmentQuerySet":
        """Open, its time has come, and nobody works on it."""
        return self.open().filter(over("leased_until", now), due_at__lte=now)

    def uncalled(self, *, now: datetime) -> "EnrollmentQuerySet":
        """No wake-up call for it is on its way to a worker."""
        return self.filter(over("called_until", now))

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
        """Lease the row under the fence a wake-up call was sent for; None if it was taken.

        What a worker needs to know beside it comes along.
        """
        at, until = (statements.value_of(Enrollment, "due_at", it) for it in (now, leased_until))
        won = statements.one(
            "UPDATE certificates_enrollment"  # noqa: S608 - names only
            " SET fence = fence + 1, leased_until = %s, called_until = NULL"
            " WHERE id = %s AND fence = %s AND phase NOT IN (%s, %s, %s)"
            " AND due_at <= %s AND (leased_until IS NULL OR leased_until <= %s)"
            f" RETURNING {statements.columns(Enrollment)}",
            (until, pk, fence, *Enrollment.CLOSED, at, at),
        )
        return _with_related(statements.row(Enrollment, won), now) if won is not None else None


def _with_related(enrollment: "Enrollment", now: datetime) -> "Enrollment":
    """Give an enrollment its certificate, its issuer, and what is known of their health."""
    at = statements.value_of(Certificate, "not_after", now)
    kinds = (Certificate, Issuer, IssuerHealth)
    wanted = (statements.columns(it, alias=a) for it, a in zip(kinds, "cih", strict=True))
    found = statements.one(
        f"SELECT {', '.join(wanted)},"  # noqa: S608 - names only
        " EXISTS (SELECT 1 FROM issuers_secretstorehealth WHERE failing_since IS NOT NULL),"
        " EXISTS (SELECT 1 FROM certificates_certificate o"
        " WHERE o.issuer_id = i.id AND o.cert_type = %s AND NOT o.deleting"
        " AND o.in_place AND o.not_before <= %s AND o.not_after > %s"
        " AND NOT EXISTS (SELECT 1 FROM certificates_enrollment e WHERE e.certificate_id = o.id"
        " AND e.phase NOT IN (%s, %s, %s) AND e.issued_fingerprint <> ''))"
        " FROM certificates_certificate c"
        " JOIN issuers_issuer i ON i.id = %s JOIN issuers_issuerhealth h ON h.issuer_id = i.id"
        " WHERE c.id = %s",
        (
            *(Certificate.CertType.OCCM, at, at, *Enrollment.CLOSED),
            *(enrollment.issuer_id, enrollment.certificate_id),
        ),
    )
    if found is not None:
        certificate, issuer, health = statements.split(found, kinds)
        enrollment.certificate = statements.row(Certificate, certificate)
        enrollment.issuer = statements.row(Issuer, issuer)
        enrollment.issuer.health = statements.row(IssuerHealth, health)
        enrollment.issuer.health.read_at = now
        enrollment.store_fails, enrollment.identity_is_fit = map(bool, found[-2:])
    return enrollment


def over(column: str, now: datetime) -> Q:
    """Match where the moment in `column` has passed, or none is set."""
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
    reason = FittingCharField(max_length=300)  # why it was opened, for the history
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
    waiting_for = FittingCharField(max_length=300, blank=True)  # a condition, not a failure
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    fail_info = FittingCharField(max_length=400, blank=True)  # the CA's, by RFC 9810's bit names
    first_failed_at = models.DateTimeField(null=True, blank=True)
    last_failed_at = models.DateTimeField(null=True, blank=True)
    setbacks = models.JSONField(default=list, blank=True)  # what failed, equal ones as one
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = EnrollmentQuerySet.as_manager()

    # Of a claimed one: whether the secret store was known to fail, and whether requests may be
    # signed with the issuer's OCCM certificate; if not, `domain.identity.obstacles` says why.
    store_fails = False
    identity_is_fit = False

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
        """Go to phase `to`, still under our lease. A phase changes by this and `extend` only."""
        before = self._require_way(to)
        self.keep(phase=to, **changes)
        self._tell_of_move(before)

    def _require_way(self, to: Phase) -> str:
        if to not in self.NEXT[self.phase]:
            raise ValueError(f"{self}: no way from here to {to}")
        return self.phase

    def _tell_of_move(self, before: str) -> None:
        until = self.certificate.not_after
        said = f", valid until {until}" if self.phase == self.Phase.DELIVERED else ""
        transaction.on_commit(partial(log.info, "%s: %s, was %s%s", self, self.phase, before, said))

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

    def extend(self, until: datetime, *, to: Phase | None = None, **changes: Any) -> None:
        """Extend our lease for the I/O that follows, and go to phase `to` if that begins with it.

        Raises LeaseLost or Stopped, and has changed nothing then.
        """
        before = None if to is None else self._require_way(to)
        changes |= {"leased_until": until} | ({} if to is None else {"phase": to})
        if not self._write(changes, also=" AND due_at IS NOT NULL"):
            if Enrollment.objects.filter(pk=self.pk, fence=self.fence).exists():
                raise Stopped(str(self))
            raise LeaseLost(str(self))
        if before is not None:
            self._tell_of_move(before)

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
