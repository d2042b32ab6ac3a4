"""Having a CA revoke a certificate (rr), until it has or says that it will not.

`open_one` writes a row, and workers do the rest, signed with the issuer's OCCM certificate. An
answer that is lost costs another try: what is revoked already counts as revoked. A certificate that
lies in its secret is never revoked.
"""

import logging
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from django.db import IntegrityError, transaction
from structlog.contextvars import bound_contextvars

from certificates.domain import budgets, failures
from certificates.domain.conflicts import InUse, Settled
from certificates.domain.world import MARGIN, Transport, World
from certificates.models import Certificate, Enrollment, LeaseLost, MaybeIssued, Revocation
from cmp import (
    CmpError,
    Rejected,
    Revoke,
    SignatureCredentials,
    State,
    Transaction,
    TransportError,
    parse_name,
)
from issuers import metrics as ca_metrics
from issuers.domain import channel, health
from issuers.models import Issuer, IssuerHealth

Reason = Revocation.Reason

LEASE = timedelta(minutes=2)  # from the call to the first message
AT_ONCE = 8  # revocations in flight at one CA, so that they never crowd out requests
ALREADY = frozenset({"certRevoked"})  # PKIFailureInfo, RFC 9810, 5.2.3
FINAL = frozenset({"badCertId", "badRequest", "notAuthorized"})  # asking again would not help

log = logging.getLogger(__name__)


def open_one(  # noqa: PLR0913 (all by keyword)
    *,
    issuer: Issuer,
    certificate_name: str,
    why: str,
    due_at: datetime,
    now: datetime,
    certificate_der: bytes = b"",
    serial_number: str = "",
    issuer_dn: str = "",
    reason: str = Reason.UNSPECIFIED,
) -> Revocation:
    """Have a certificate revoked from `due_at` on; return the open row if there is one already.

    The certificate is given itself, or by its serial number and, if that is not what the OCCM
    certificate of the issuer says, the DN it was issued under. Raises InUse, ValidationError.
    """
    if certificate_der:
        serial_number = f"{x509.load_der_x509_certificate(certificate_der).serial_number:x}"
    row = Revocation(
        issuer=issuer,
        issuer_name=issuer.name,
        certificate_name=certificate_name,
        certificate_der=certificate_der,
        serial_number=serial_number,
        issuer_dn=issuer_dn,
        reason=reason,
        why=why[:300],
        due_at=due_at,
        created_at=now,
    )
    row.clean_fields(exclude=("issuer",))
    _refuse_in_use(row)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:  # one_open_revocation_per_certificate
        return Revocation.objects.open().get(issuer=issuer, serial_number=serial_number)
    return row


@transaction.atomic
def retry(revocation: Revocation, *, now: datetime) -> None:
    """Ask the CA at once; again where it refused, or the revocation was withdrawn."""
    row = Revocation.objects.select_for_update().get(pk=revocation.pk)
    if row.state == Revocation.State.REVOKED:
        raise Settled(f"{row}: the CA has revoked it.")
    if row.issuer is None:
        raise Settled(f"{row}: the issuer is no longer configured.")
    row.state, row.closed_at, row.outcome, row.due_at = Revocation.State.OPEN, None, "", now
    try:
        with transaction.atomic():
            row.save(update_fields=("state", "closed_at", "outcome", "due_at"))
    except IntegrityError:
        raise Settled(f"{row}: a later revocation of the same certificate is open.") from None
    IssuerHealth.objects.filter(pk=row.issuer_id, probe_at__gt=now).update(probe_at=now)


@transaction.atomic
def withdraw(revocation: Revocation, *, now: datetime) -> None:
    """Ask the CA no more. One that is just being asked may still revoke it."""
    row = Revocation.objects.select_for_update().get(pk=revocation.pk)
    if row.closed_at is not None:
        raise Settled(f"{row}: it has ended already ({row.get_state_display()}).")
    row.state, row.outcome = Revocation.State.WITHDRAWN, "withdrawn by the operator"
    row.closed_at, row.due_at, row.leased_until = now, None, None
    row.fence += 1
    row.save(update_fields=("state", "outcome", "closed_at", "due_at", "leased_until", "fence"))


@transaction.atomic
def take(*, now: datetime) -> list[tuple[int, int]]:
    """Lease the revocations whose turn it is, and return them with their fences, to be called.

    A CA that does not answer is tried by one at a time, and while its breaker is open by none: they
    stay as they are. Where requests have a pace, each takes its place in it.
    """
    due = Revocation.objects.due(now=now)
    leased = Revocation.objects.open().filter(leased_until__gt=now).order_by()
    at_work = Counter(leased.values_list("issuer", flat=True))
    asked = IssuerHealth.objects.filter(pk__in=due.values("issuer")).exclude(probe_at__gt=now)
    taken = []
    for ca in asked.order_by("pk").select_for_update():
        free = (1 if ca.failing_since else AT_ONCE) - at_work[ca.pk]
        turns = due.filter(issuer=ca.pk).order_by("due_at", "pk").values_list("pk", "fence")
        for pk, fence in turns[: max(free, 0)]:
            if not budgets.pay(ca, 1, now=now):
                break
            mine = due.filter(pk=pk, fence=fence)
            if mine.update(fence=fence + 1, leased_until=now + LEASE):
                taken.append((pk, fence + 1))
        ca.save(update_fields=["paced_until"])
    return taken


def run(pk: int, fence: int, world: World) -> None:
    """Ask the CA for what was taken under this fence, and write down what it says."""
    mine = Revocation.objects.open().filter(pk=pk, fence=fence)
    row = mine.select_related("issuer__health").first()
    if row is None:
        return  # it was taken again, or withdrawn
    try:
        with bound_contextvars(errand=row):
            _advance(row, world)
    except LeaseLost:
        log.info("%s: taken over by another worker, or withdrawn", row)


def record_unexpected(pk: int, fence: int, error: Exception, *, now: datetime) -> None:
    """Record what nobody anticipates, and try again."""
    row = Revocation.objects.open().filter(pk=pk, fence=fence).first()
    if row is not None:
        with suppress(LeaseLost):
            row.keep(**failures.remembered(row, error, now=now), exchange={})


def _advance(row: Revocation, world: World) -> None:
    try:
        _refuse_in_use(row)
        tx = _exchange(row, world)
    except InUse as obstacle:
        _close(row, Revocation.State.WITHDRAWN, str(obstacle), now=world.clock())
    except Rejected as refused:
        _refused(row, refused, now=world.clock())
    except failures.ANTICIPATED as error:
        row.keep(**failures.remembered(row, error, now=world.clock()), exchange={})
        log.warning("%s: try %d failed: %s", row, row.tries, error)
    else:
        if tx.state is State.DONE:
            _close(row, Revocation.State.REVOKED, "The CA has revoked it.", now=world.clock())
        else:
            row.keep(exchange=tx.snapshot(), due_at=tx.wake_at, leased_until=None)
            log.info("%s: the CA asks for patience until %s", row, tx.wake_at)


def _exchange(row: Revocation, world: World) -> Transaction:
    """Speak with the CA until it has answered, or asks for patience."""
    issuer, secrets = row.ca, world.secrets
    identity = channel.identity_credentials(issuer, secrets=secrets)
    tx = _transaction(row, identity, world)
    with world.connect(
        issuer, secrets=secrets, http_version=issuer.health.http_version, url=issuer.server_url
    ) as ca:
        while (message := tx.outgoing(now=world.clock())) is not None:
            until = world.clock() + timedelta(seconds=issuer.message_timeout_s) + MARGIN
            row.keep(leased_until=until, transaction_id=tx.id.hex())
            tx.receive(_post(message, issuer, ca, world), now=world.clock())
    return tx


def _post(message: bytes, issuer: Issuer, ca: Transport, world: World) -> bytes:
    try:
        with ca_metrics.round_trip(issuer.name, message="REVOKE"):
            answer = ca.post(message)
    except TransportError as error:
        seen = world.clock()
        health.failed(issuer, now=seen, error=str(error), http_version=ca.http_version)
        raise
    health.answered(issuer, now=world.clock(), http_version=ca.http_version)
    return answer


def _transaction(row: Revocation, identity: SignatureCredentials, world: World) -> Transaction:
    """Go on where the CA asked for patience; begin anew if that was asked of another signer."""
    request = _request(row, identity)
    trust = channel.trust_store(row.ca, secrets=world.secrets)
    profile = channel.profile(row.ca)
    if row.exchange:
        try:
            return Transaction.restore(
                row.exchange, request=request, credentials=identity, trust=trust, profile=profile
            )
        except CmpError as error:
            log.info("%s: begun anew: %s", row, error)
    return Transaction.begin(
        request, credentials=identity, trust=trust, profile=profile, now=world.clock()
    )


def _request(row: Revocation, identity: SignatureCredentials) -> Revoke:
    reason = x509.ReasonFlags(row.reason)
    if row.certificate_der:
        return Revoke.of(x509.load_der_x509_certificate(bytes(row.certificate_der)), reason)
    name = parse_name(row.issuer_dn) if row.issuer_dn else channel.issuer_name(row.ca)
    return Revoke(name or identity.certificate.issuer, int(row.serial_number, 16), reason)


def _refused(row: Revocation, refused: Rejected, *, now: datetime) -> None:
    """Take the CA's no for an answer where it is its own, and says that nothing will change."""
    if refused.authenticated and refused.failures & ALREADY:
        _close(row, Revocation.State.REVOKED, "The CA had revoked it before.", now=now)
        return
    recorded = failures.remembered(row, refused, now=now)
    if refused.authenticated and refused.failures & FINAL:
        _close(row, Revocation.State.REFUSED, f"The CA refused: {refused}", now=now, **recorded)
    else:
        row.keep(**recorded, exchange={})
        log.warning("%s: try %d was refused: %s", row, row.tries, refused)


@transaction.atomic
def _close(
    row: Revocation, state: Revocation.State, outcome: str, *, now: datetime, **changes: Any
) -> None:
    closed: dict[str, Any] = {
        "due_at": None,
        "leased_until": None,
        "closed_at": now,
        "exchange": {},
    }
    row.keep(**changes | closed, state=state, outcome=outcome)
    log.info("%s: %s", row, outcome)
    if state == Revocation.State.REVOKED:
        answered = MaybeIssued.objects.filter(revocation=row, resolved_at=None)
        answered.update(resolved_at=now, resolution="revoked")


def _refuse_in_use(row: Revocation) -> None:
    """Raise InUse for a certificate that was delivered and not replaced, or is about to be."""
    mine = Certificate.objects.filter(issuer=row.issuer, serial_number=row.serial_number)
    if (used := mine.only("name").first()) is not None:
        raise InUse(
            f"Serial number {row.serial_number} is that of {used}, which is in use: recreate it "
            "first, then its predecessor can be revoked."
        )
    granted = Enrollment.objects.open().filter(issuer=row.issuer).exclude(certificate_der=b"")
    wanted = ("certificate__name", "certificate_der")
    for errand in granted.select_related("certificate").only(*wanted):
        held = x509.load_der_x509_certificate(bytes(errand.certificate_der))
        if f"{held.serial_number:x}" == row.serial_number:
            raise InUse(
                f"Serial number {row.serial_number} is that of the certificate that is on its way "
                f"to the secrets of {errand.certificate}: wait for it, then recreate it first."
            )
