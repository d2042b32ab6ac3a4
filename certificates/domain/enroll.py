"""What a worker does for an enrollment it has claimed.

A step looks at the row's phase, does the one thing it calls for, and moves the row on. Each move
is committed before the next step begins, and no database transaction is open on the network.
"""

import logging
from datetime import datetime, timedelta

from certificates import metrics
from certificates.domain import (
    breakers,
    deliver,
    errands,
    exchange,
    failures,
    identity,
    keys,
    migrating,
    policy,
)
from certificates.domain.world import World
from certificates.models import Certificate, Enrollment, LeaseLost, Stopped

Kind, Phase = Enrollment.Kind, Enrollment.Phase

CLAIM = timedelta(seconds=90)  # a claim lasts for what comes before the first message

log = logging.getLogger(__name__)


def claim(*, pk: int, fence: int, now: datetime) -> Enrollment | None:
    """Lease an enrollment under the fence of a wake-up call; None if that call came too late."""
    mine = Enrollment.objects.claim(pk=pk, fence=fence, now=now, leased_until=now + CLAIM)
    if mine is not None:
        metrics.taken_up(mine, now=now)
    return mine


def advance(enrollment: Enrollment, world: World) -> None:
    """Take steps until one has to wait. A step that fails comes due again later."""
    try:
        try:
            while _step(enrollment, world):
                pass
            breakers.note_store(enrollment, None, now=world.clock())
        except failures.ANTICIPATED as error:
            enrollment.keep(**failures.recorded(enrollment, error, now=world.clock()))
            breakers.note_store(enrollment, error, now=world.clock())
        except Stopped:
            enrollment.keep(leased_until=None)  # the operator's `due_at` may be another already
            enrollment.due_at = None
        migrating.give_up_if_spent(enrollment, now=world.clock())
    except LeaseLost:
        log.info("%s: taken over by another worker", enrollment)
    else:
        _tell(enrollment)


def make_key(enrollment: Enrollment) -> None:
    """Make the key of one that has none yet, and leave it to others who speak to CAs."""
    try:
        if enrollment.phase == Phase.NEW:
            made = keys.made(enrollment.request)
            enrollment.move(Phase.EXCHANGE, leased_until=None, **made)
        else:
            enrollment.keep(leased_until=None)
    except LeaseLost:
        log.info("%s: taken over by another worker", enrollment)


def _tell(enrollment: Enrollment) -> None:
    """Log where an enrollment stands now that it is left alone."""
    if enrollment.phase == Phase.DELIVERED:
        return  # that move is told already
    if enrollment.phase == Phase.FAILED:
        text = "%s: failed after %d tries: %s: %s"
        log.warning(text, enrollment, enrollment.tries, enrollment.error_code, enrollment.error)
    elif enrollment.due_at is None:
        log.info("%s: stopped", enrollment)
    elif enrollment.error_code:
        polled = enrollment.state in errands.POLLING
        log.warning(
            "%s: %s failed, next at %s: %s: %s",
            enrollment,
            "a poll" if polled else f"try {enrollment.tries}",
            enrollment.due_at,
            enrollment.error_code,
            enrollment.error,
        )
    elif enrollment.waiting_for:
        log.info("%s: waits for %s", enrollment, enrollment.waiting_for)
    else:
        log.info("%s: the CA asks for patience until %s", enrollment, enrollment.due_at)


def record_unexpected(enrollment: Enrollment, error: Exception, *, now: datetime) -> None:
    """Record what no step anticipates, and try again. Raises LeaseLost."""
    enrollment.keep(**failures.recorded(enrollment, error, now=now))
    _tell(enrollment)


def _step(enrollment: Enrollment, world: World) -> bool:
    """Do what the phase calls for, and say whether the next step may follow at once."""
    match enrollment.phase:
        case Phase.NEW | Phase.EXCHANGE:
            return _may_ask(enrollment, now=world.clock()) and exchange.converse(enrollment, world)
        case Phase.ISSUED | Phase.DELIVERING:
            deliver.deliver(enrollment, world)
    return False


def _may_ask(enrollment: Enrollment, *, now: datetime) -> bool:
    """Say whether the transaction is open, or may begin; if not, the row waits from here on."""
    if enrollment.state:
        return True
    _recreate_what_expired(enrollment, now=now)
    if enrollment.signer != Enrollment.Signer.IDENTITY or enrollment.identity_is_fit:
        return True
    issuer = enrollment.ca.pk
    obstacle = identity.obstacles([issuer], now=now).get(issuer)
    if obstacle is None:
        return True
    enrollment.keep(waiting_for=obstacle, due_at=now + identity.LOOK_AGAIN, leased_until=None)
    return False


def _recreate_what_expired(enrollment: Enrollment, *, now: datetime) -> None:
    """An expired certificate signs no kur and is updated by none. A MANUAL one is left."""
    certificate = enrollment.certificate
    automatic = certificate.creation_mode == Certificate.CreationMode.AUTOMATIC
    expired = certificate.not_after is not None and certificate.not_after <= now
    if enrollment.kind == Kind.RENEW and expired and automatic:
        reason = str(policy.Reason.EXPIRED)
        enrollment.keep(**errands.recreating_instead(enrollment, reason=reason))
