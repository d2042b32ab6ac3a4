"""What an operator, the API or a migration may ask of a certificate.

These functions only write rows. The workers find them due; nothing here waits on a CA or a cluster.
Mistakes raise ValidationError keyed by field, what stands in the way raises a Conflict. Locks are
taken in one order: issuer, certificate, enrollment.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from certificates.domain import breakers, errands, identity, policy, rules
from certificates.domain.conflicts import (
    BeingDeleted,
    CannotRecreate,
    Conflict,
    EnrollmentInProgress,
    NothingToRenew,
    NothingToRetry,
    NothingToStop,
    StillReferred,
)
from certificates.domain.places import outputs
from certificates.models import Certificate, Enrollment, Output
from issuers.models import Issuer

CONFLICTS = (Conflict,)
FIXED = ("name", "cert_type", "issuer", "creation_mode")
AT_ONCE = (
    "network_function",
    "purpose",
    "renew_before_expiration_days",
    "repair_drift",
    *rules.CA_BUNDLE,
)
RECREATING = (*errands.ASKED_FOR, *errands.WRITTEN_AS)  # these take effect by an ir
FIELDS = (*FIXED, *AT_ONCE, *RECREATING)

Kind, Priority = Enrollment.Kind, Enrollment.Priority

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Left:
    """What a delete leaves: the secrets' keys, and whether a worker must let go first."""

    outputs: tuple[str, ...]  # namespace/secret[key]
    secrets: tuple[str, ...]  # namespace/secret
    finished: bool


def register(*, now: datetime, **spec: Any) -> Certificate:
    """Start keeping a certificate. AUTOMATIC: asked for at once; MANUAL: looked for at once.

    Raises ValidationError with every mistake, keyed by field.
    """
    certificate = Certificate(**spec)
    with transaction.atomic():
        if (issuer := _lock_issuer(certificate)) is not None:
            certificate.issuer = issuer  # as it is now: its outputs are an OCCM certificate's
        rules.fill(certificate)
        rules.check(certificate)
        automatic = certificate.creation_mode == Certificate.CreationMode.AUTOMATIC
        certificate.look_due_at = None if automatic else now
        _save(certificate)
        if automatic:
            errands.open_one(certificate, kind=Kind.CREATE, reason="registered", now=now)
    return certificate


def recreating(certificate: Certificate, **changes: Any) -> tuple[str, ...]:
    """Name the changes that mean asking the CA for a new certificate, to be said before saving.

    None do for a MANUAL certificate: they take effect with its next renewal.
    """
    if certificate.creation_mode == Certificate.CreationMode.MANUAL:
        return ()
    wanted = Certificate(**{name: getattr(certificate, name) for name in FIELDS})
    for name, value in changes.items():
        setattr(wanted, name, value)
    rules.fill(wanted)
    return tuple(n for n in RECREATING if getattr(wanted, n) != getattr(certificate, n))


@transaction.atomic
def update(certificate: Certificate, *, now: datetime, **changes: Any) -> Certificate:
    """Change a certificate and return the row as saved; `recreating` says what that may start.

    Raises ValidationError with every mistake, keyed by field, and EnrollmentInProgress while it is
    being migrated.
    """
    _lock_issuer(certificate)
    row = _locked(certificate)
    before = {name: getattr(row, name) for name in FIELDS}
    anew = recreating(row, **changes)
    fixed = [name for name in FIXED if name in changes and changes[name] != getattr(row, name)]
    for name, value in changes.items():
        if name not in FIELDS:
            raise TypeError(f"a certificate has no field {name}")
        if name not in FIXED:
            setattr(row, name, value)
    rules.fill(row)
    _check_update(row, fixed)
    if row.creation_mode == Certificate.CreationMode.MANUAL or row.drift:
        row.look_due_at = now
    changed = {name for name in FIELDS if getattr(row, name) != before[name]}
    if "renew_before_expiration_days" in changed:
        _schedule_renewal(row)
    if not changed.isdisjoint(_read_as(row)):
        row.in_place = False  # not there, until it is delivered or found there
    _save(row)
    if anew:
        _replace(row, kind=_kind_of_ir(row), reason=f"changed: {', '.join(anew)}", now=now)
    elif moved := [name for name in errands.WRITTEN_AS if name in changed]:
        _redirect(row, reason=f"changed: {', '.join(moved)}", now=now)
    return row


@transaction.atomic
def delete(certificate: Certificate, *, now: datetime) -> Left:
    """Stop what is under way and forget a certificate; its secrets stay where they are.

    Not `finished` means that a worker has it: the row goes as soon as that one lets go.
    Raises StillReferred for an OCCM certificate that others of its issuer are signed with.
    """
    _lock_issuer(certificate)
    row = _locked(certificate, deleting_too=True)
    if row.cert_type == Certificate.CertType.OCCM and (needed := identity.why_needed(row)):
        raise StillReferred(needed)
    refs = outputs(row)
    row.enrollments.open().update(due_at=None)
    Certificate.objects.filter(pk=row.pk).update(deleting=True, look_due_at=None, renew_at=None)
    return Left(
        outputs=tuple(map(str, refs)),
        secrets=tuple(dict.fromkeys(f"{ref.namespace}/{ref.secret}" for ref in refs)),
        finished=_finish_deletion(row, now=now),
    )


def finish_deletions(*, now: datetime) -> int:
    """Delete the rows whose workers have let go, and return how many."""
    finished = 0
    for row in Certificate.objects.filter(deleting=True).order_by("pk"):
        try:
            with transaction.atomic():
                locked = Certificate.objects.select_for_update().filter(pk=row.pk).first()
                if locked is not None and _finish_deletion(locked, now=now):
                    finished += 1
        except Exception:  # one that cannot go keeps nobody else waiting: a tick begins with this
            log.exception("%s: it cannot be deleted", row)
    return finished


@transaction.atomic
def retry(certificate: Certificate, *, now: datetime) -> None:
    """Take the next step of the open procedure at once, stopped or not; MANUAL: look at once.

    What somebody else has changed is looked at, and repaired even if it is contested.
    """
    row = _locked(certificate)
    breakers.ask_for(row.enrollments.open(), now=now)
    found = row.enrollments.open().update(due_at=now, priority=Priority.OPERATOR)
    mine = Certificate.objects.filter(pk=row.pk)
    if row.creation_mode == Certificate.CreationMode.MANUAL:
        mine.update(look_due_at=now)
    elif row.drift and not found:
        mine.update(look_due_at=now, contested=False, repaired_at=None)
    elif not found:
        raise NothingToRetry(f"No procedure is open for {row}.")


@transaction.atomic
def stop(certificate: Certificate, *, now: datetime) -> None:
    """Take no further step of the open procedure until retry, renew or recreate."""
    row = _locked(certificate)
    if not row.enrollments.open().update(due_at=None):
        raise NothingToStop(f"No procedure is open for {row}.")


@transaction.atomic
def renew(certificate: Certificate, *, now: datetime) -> Enrollment:
    """Ask for a new certificate with the old one's authority (kur), now."""
    _lock_issuer(certificate)
    row = _locked(certificate)
    if row.not_after is None or not row.in_place:
        raise NothingToRenew(f"{row} is not in its secret: recreate it instead.")
    if row.not_after <= now:
        raise NothingToRenew(f"{row} expired at {row.not_after:%Y-%m-%d %H:%M} UTC: recreate it.")
    _refuse_under_way(row, now=now)
    return _replace(row, kind=Kind.RENEW, reason="asked for by the operator", now=now)


@transaction.atomic
def recreate(certificate: Certificate, *, now: datetime) -> Enrollment:
    """Ask for a new certificate as if there were none (ir), now."""
    _lock_issuer(certificate)
    row = _locked(certificate)
    identity = row.cert_type == Certificate.CertType.OCCM
    if identity and not row.issuer.initial_auth_type:
        raise CannotRecreate(
            f"Issuer {row.issuer} has no initial authentication to ask for {row} with: replace the "
            "key and certificate in their secret instead."
        )
    _refuse_under_way(row, now=now)
    return _replace(row, kind=_kind_of_ir(row), reason="asked for by the operator", now=now)


@transaction.atomic
def open_due_renewals(*, now: datetime, limit: int) -> int:
    """Open an enrollment for certificates whose time to renew has come; return how many.

    What somebody else holds locked is left to the next scan.
    """
    due = Certificate.objects.filter(renew_at__lte=now, deleting=False)
    due = due.exclude(creation_mode=Certificate.CreationMode.MANUAL, not_after__lte=now)
    idle = due.exclude(enrollments__in=Enrollment.objects.open()).order_by("renew_at", "pk")
    pks = list(idle.values_list("pk", flat=True)[:limit])
    ours = Certificate.objects.select_for_update(skip_locked=True).filter(pk__in=pks)
    in_turn = ours.filter(deleting=False).prefetch_related("issuer").order_by("renew_at", "pk")
    rows = {row.pk: row for row in in_turn}
    # Only who holds the certificate opens one: what is not there now will not be.
    opened = Enrollment.objects.open().filter(certificate__in=rows)
    for pk in opened.values_list("certificate", flat=True):
        del rows[pk]
    return errands.open_many(_renewals(rows.values(), now=now), now=now)


def _renewals(
    rows: Iterable[Certificate], *, now: datetime
) -> Iterator[tuple[Certificate, Enrollment.Kind, str]]:
    """Yield those that policy wants renewed, by which errand, and why."""
    for row in rows:
        automatic = row.creation_mode == Certificate.CreationMode.AUTOMATIC
        why = policy.why_enroll(policy.Facts(now, row.not_after, row.renew_at, automatic))
        if why is not None:
            yield row, Kind.RECREATE if why is policy.Reason.EXPIRED else Kind.RENEW, str(why)


def _lock_issuer(certificate: Certificate) -> Issuer | None:
    """Keep the issuer from being edited or deleted meanwhile, and return it; None if it is gone.

    Its key is left alone: a scan that holds certificates opens errands to it, in that order.
    """
    rows = Issuer.objects.select_for_update(no_key=True)
    return rows.filter(pk=certificate.issuer_id).first()


def _locked(certificate: Certificate, *, deleting_too: bool = False) -> Certificate:
    """Lock and return the row. Raises Certificate.DoesNotExist, or BeingDeleted."""
    row = Certificate.objects.select_for_update().get(pk=certificate.pk)
    if row.deleting and not deleting_too:
        raise BeingDeleted(f"{row} is being deleted.")
    return row


def _save(certificate: Certificate) -> None:
    try:
        with transaction.atomic():
            certificate.save()
            certificate.outputs.all().delete()
            Output.objects.bulk_create(
                Output(
                    certificate=certificate, namespace=ref.namespace, secret=ref.secret, key=ref.key
                )
                for ref in outputs(certificate)
            )
    except IntegrityError:  # taken between the check and here: the check can say now by whom
        rules.check(certificate)
        raise


def _check_update(row: Certificate, fixed: list[str]) -> None:
    found: dict[str, list[ValidationError]] = {
        name: [ValidationError("This cannot change once it is saved.", code="fixed")]
        for name in fixed
    }
    try:
        rules.check(row)
    except ValidationError as error:
        found = error.error_dict | found
    if found:
        raise ValidationError(found)


def _kind_of_ir(row: Certificate) -> Enrollment.Kind:
    return Kind.RECREATE if row.delivered_at or row.in_place else Kind.CREATE


def _replace(row: Certificate, *, kind: Enrollment.Kind, reason: str, now: datetime) -> Enrollment:
    """Open an enrollment of the operator's in place of whatever is open."""
    for earlier in row.enrollments.open().select_for_update():
        if earlier.kind == Kind.MIGRATE and not earlier.issued_fingerprint:
            raise _being_migrated(earlier)
        errands.supersede(earlier, reason=reason, now=now)
    return errands.open_one(row, kind=kind, reason=reason, now=now, priority=Priority.OPERATOR)


def _redirect(row: Certificate, *, reason: str, now: datetime) -> None:
    """Have what is open for a MANUAL certificate written where that lies now.

    Where it lay may be another's from here on. What is issued is kept; the rest begins anew.
    """
    for earlier in row.enrollments.open().select_for_update():
        if earlier.phase in breakers.WRITING:
            _write_elsewhere(earlier, row, now=now)
            continue
        if earlier.kind == Kind.MIGRATE:  # only its migration can begin it anew
            raise _being_migrated(earlier)
        errands.supersede(earlier, reason=reason, now=now)
        errands.open_one(
            row,
            kind=Kind(earlier.kind),
            reason=earlier.reason,
            now=now,
            priority=earlier.priority,
            due_at=now if earlier.due_at else None,  # a stop holds
        )


def _write_elsewhere(errand: Enrollment, row: Certificate, *, now: datetime) -> None:
    """Have the key and certificate that an errand holds written as its certificate says now.

    Whoever is at it loses its lease before the next write.
    """
    Enrollment.objects.filter(pk=errand.pk).update(
        request=errand.request | {name: getattr(row, name) for name in errands.WRITTEN_AS},
        phase=Enrollment.Phase.ISSUED,
        fence=errand.fence + 1,
        leased_until=None,
        called_until=None,
        due_at=now if errand.due_at else None,  # a stop holds
    )


def _being_migrated(errand: Enrollment) -> EnrollmentInProgress:
    return EnrollmentInProgress(
        f"{errand.certificate} is being migrated to issuer {errand.issuer_name}: wait for it, or "
        "stop it first."
    )


def _refuse_under_way(row: Certificate, *, now: datetime) -> None:
    """Let only what waits for its next try, or was stopped, be superseded."""
    if busy := row.enrollments.under_way(now=now).filter(due_at__isnull=False).first():
        raise EnrollmentInProgress(
            f"A procedure for {row} is under way ({busy.kind}, {busy.get_phase_display()}): wait "
            "for it, or stop it first."
        )


def _finish_deletion(row: Certificate, *, now: datetime) -> bool:
    open_ones = row.enrollments.open().select_for_update()
    if any(one.leased_until and one.leased_until > now for one in open_ones):
        return False
    for one in open_ones:
        errands.note_maybe_issued(one, reason="its certificate was deleted from OCCM")
    row.delete()
    return True


def _read_as(row: Certificate) -> tuple[str, ...]:
    """Name the fields that say where, and how, the readers of key and certificate find them.

    OCCM reads its own in either encoding, and a MANUAL pair is taken as it is.
    """
    as_found = row.cert_type == Certificate.CertType.OCCM
    as_found |= row.creation_mode == Certificate.CreationMode.MANUAL
    return rules.OUTPUTS if as_found else ("key_encoding", *rules.OUTPUTS)


def _schedule_renewal(row: Certificate) -> None:
    if row.not_before and row.not_after:
        renewal = policy.renewal(
            name=row.name,
            not_before=row.not_before,
            not_after=row.not_after,
            renew_before=timedelta(days=row.renew_before_expiration_days),
        )
        row.renew_at, row.renewal_warning = renewal.at, renewal.warning
