"""The conversation with a CA: one CMP transaction, taken up where the row says it stands.

Every message's state is committed before the message leaves, and what the answer before it told
with it at the latest. Whoever finds the row later knows from `state` whether a message may be out:

    REQUESTED               the answer is lost: noted as maybe issued, begun anew with a new key
    POLLED, CONFIRMING      the step before is taken again: pollReq, certConf
    REFUSED                 the rejecting certConf is not repeated: begun anew

`exchange` holds the transaction `now` and, while a message is out, as it was `before`.
"""

import base64
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import InterfaceError, OperationalError, connection, transaction

from certificates.domain import breakers, errands, failures, identity, keys, means, policy
from certificates.domain.means import Means
from certificates.domain.world import MARGIN, LeasedSecrets, Transport, World
from certificates.models import Certificate, Enrollment, Stopped
from cmp import (
    BadHttp,
    CmpError,
    Enroll,
    Expired,
    Rejected,
    State,
    Transaction,
    TransportError,
    Unreachable,
    Update,
)
from issuers import metrics as ca_metrics
from issuers.domain import channel, health
from issuers.models import Issuer

Kind, Phase = Enrollment.Kind, Enrollment.Phase

CONFIRM_PATIENCE = timedelta(minutes=10)  # at least; a CA takes back what nobody confirms
NOT_PROCESSED = frozenset({501, 503, 505})

log = logging.getLogger(__name__)


def converse(enrollment: Enrollment, world: World) -> bool:
    """Take the transaction as far as it goes now; True if the next step may follow at once."""
    secrets = LeasedSecrets(world.secrets, enrollment, world.clock)
    if enrollment.state in {State.REQUESTED, State.REFUSED}:
        begin_anew(enrollment, lost="the worker was lost that waited for the CA's answer")
        return True
    try:
        found = means.gather(enrollment, secrets)
    except means.SignerReplaced as error:
        begin_anew(enrollment, lost=str(error))
        return True
    except means.NotInPlace as error:
        errands.recreate_instead(enrollment, reason=f"it cannot be renewed: {error}")
        return True
    if _endpoint_is_gone(enrollment):  # what is said is protected, whichever way it goes
        enrollment.exchange["url"] = enrollment.ca.server_url
    if not enrollment.exchange:
        means.check(enrollment, found, secrets, now=world.clock())
    tx = _transaction(enrollment, found, now=world.clock())
    try:
        with world.connect(
            enrollment.ca,
            secrets=secrets,
            http_version=enrollment.ca.health.http_version,  # what worked last: A3
            url=enrollment.exchange["url"],
        ) as ca:
            _talk(enrollment, tx, ca, world)
    except CmpError as error:
        _set_back(enrollment, error, tx, now=world.clock())
        return False
    if tx.state is State.DONE:
        return True
    enrollment.keep(due_at=tx.wake_at, leased_until=None, **failures.overcome())
    return False


def begin_anew(
    enrollment: Enrollment, *, lost: str = "", unproven: bool = False, **changes: Any
) -> None:
    """Give the transaction up; `lost` says why the CA may have issued what nobody will use.

    If `unproven`, somebody has said no who may have been the CA.
    """
    with transaction.atomic():
        if lost:
            errands.note_maybe_issued(enrollment, reason=lost, unproven=unproven)
        enrollment.move(Phase.NEW, **errands.forgotten() | changes)


def _transaction(enrollment: Enrollment, found: Means, *, now: datetime) -> Transaction:
    """Take up the row's transaction where it stands; or begin it, and have the row know its facts.

    These, a new key among them, are written with the first message.
    """
    begun = bool(enrollment.exchange)
    if not begun:
        if enrollment.phase == Phase.NEW:
            for name, value in keys.made(enrollment.request).items():
                setattr(enrollment, name, value)
        enrollment.signer_fingerprint = found.signer_fingerprint
        enrollment.exchange = {"url": enrollment.ca.server_url}
        if enrollment.kind == Kind.RENEW:
            enrollment.exchange["renews"] = _base64(means.old_certificate(enrollment, found))
            identity.keep(enrollment.certificate, found.credentials, now=now)
    request = _request(enrollment, at=enrollment.sent_at or now)
    credentials, trust, profile = found.credentials, found.trust, found.profile
    if not begun:
        return Transaction.begin(
            request, credentials=credentials, trust=trust, profile=profile, now=now
        )
    enrollment.asked_at = None  # whoever asked is gone
    unanswered = enrollment.state in {State.POLLED, State.CONFIRMING}
    return Transaction.restore(
        enrollment.exchange["before" if unanswered else "now"],
        request=request,
        credentials=credentials,
        trust=trust,
        profile=profile,
    )


def _request(enrollment: Enrollment, *, at: datetime) -> Enroll | Update:
    key = keys.from_der(enrollment.private_key.reveal())
    issuer = channel.issuer_name(enrollment.ca)
    template = keys.template(enrollment.request, key, issuer=issuer, at=at)
    if enrollment.kind == Kind.RENEW:
        old = x509.load_der_x509_certificate(base64.b64decode(enrollment.exchange["renews"]))
        return Update(template, key, old)
    return Enroll(template, key)


def _talk(enrollment: Enrollment, tx: Transaction, ca: Transport, world: World) -> None:
    """Say what there is to say and take the answers in, until the CA wants patience or all is said.

    What an answer tells is written together with the message that follows from it, or by itself.
    """
    told: dict[str, Any] = {}
    while (message := _outgoing(enrollment, tx, told, world)) is not None:
        answer = _ask(enrollment, tx, message, ca, world)
        now = world.clock()
        tx.receive(answer, now=now)
        if tx.state is State.WAITING and _is_late(enrollment, now):
            raise Expired("the CA has not answered the confirmation, and asks for more patience")
        told = _told(enrollment, tx, now=now)


def _outgoing(
    enrollment: Enrollment, tx: Transaction, told: dict[str, Any], world: World
) -> bytes | None:
    """Return the next message once the row knows that it may be out; None if there is none."""
    now, before = world.clock(), tx.snapshot()
    try:
        message = tx.outgoing(now=now)
    except Exception:  # whatever it is, what the CA has answered is not lost with it
        _note(enrollment, told, world)
        raise
    if message is None:
        _note(enrollment, told, world)
        return None
    changes = told | {
        "exchange": _exchange(enrollment, tx) | {"before": before},
        "state": str(tx.state),
        "transaction_id": tx.id.hex(),
        "signer_fingerprint": enrollment.signer_fingerprint,
        "sent_at": enrollment.sent_at or now,
    }
    to = None
    if enrollment.phase == Phase.NEW:
        to = Phase.EXCHANGE
        changes["private_key"] = enrollment.private_key
        changes["public_key_sha256"] = enrollment.public_key_sha256
    patience = timedelta(seconds=enrollment.ca.message_timeout_s) + MARGIN

    def write() -> None:
        asked_at = world.clock()
        enrollment.extend(asked_at + patience, to=to, **changes | {"asked_at": asked_at})

    try:
        if told:
            _persist(write, enrollment, world)
        else:
            write()
    except Stopped:
        _note(enrollment, told, world)
        raise
    if world.clock() - now > MARGIN:  # the database was away, and a CA refuses old messages
        message = tx.resend(now=world.clock())
    if tx.state is State.REQUESTED:
        log.info("%s: asked in transaction %s", enrollment, enrollment.transaction_id)
    return message


def _ask(
    enrollment: Enrollment, tx: Transaction, message: bytes, ca: Transport, world: World
) -> bytes:
    """Return the CA's answer, and note that there was one or none."""
    issuer = enrollment.ca
    try:
        with ca_metrics.round_trip(issuer.name, message=str(tx.state).upper()):
            answer = ca.post(message)
    except TransportError as error:
        seen = world.clock()
        breakers.ca_failed(enrollment, error, now=seen, http_version=ca.http_version)
        raise
    if enrollment.state != State.CONFIRMING or issuer.health.failing_since is not None:
        now = world.clock()
        note = partial(health.answered, issuer, now=now, http_version=ca.http_version)
        _persist(note, enrollment, world)
    return answer


def _told(enrollment: Enrollment, tx: Transaction, *, now: datetime) -> dict[str, Any]:
    """Return the changes that write down where an answer has led."""
    granted = _granted(tx, enrollment.ca, now)
    if tx.state is State.DONE:
        ended: dict[str, Any] = {
            "exchange": {},
            "state": "",
            "asked_at": None,
            "confirm_until": None,
            "issued_at": now,
        }
        return granted | ended | failures.overcome()
    return granted | {
        "exchange": _exchange(enrollment, tx),
        "state": str(tx.state),
        "asked_at": None,
    }


def _exchange(enrollment: Enrollment, tx: Transaction) -> dict[str, Any]:
    """Return what the row is to know of a transaction now, and what certificate was refused."""
    unwanted = {"unwanted": _base64(tx.unwanted)} if tx.unwanted is not None else {}
    known: dict[str, Any] = enrollment.exchange
    return known | {"now": tx.snapshot()} | unwanted


def _note(enrollment: Enrollment, told: dict[str, Any], world: World) -> None:
    """Write what an answer has told; the certificate is held once its state is gone."""
    if not told:
        return
    ended = told["state"] == ""
    write = partial(enrollment.move, Phase.ISSUED) if ended else enrollment.keep
    _persist(partial(write, **told), enrollment, world)


def _granted(tx: Transaction, issuer: Issuer, now: datetime) -> dict[str, Any]:
    """Return the columns of the certificate that was just granted, or refused by us, if one was."""
    until = now + max(CONFIRM_PATIENCE, timedelta(seconds=issuer.total_timeout_s))
    if tx.state is State.REFUSING:
        return {"confirm_until": until}
    if tx.issued is None or tx.state not in {State.GRANTED, State.DONE}:
        return {}
    return {
        "certificate_der": tx.issued.certificate.public_bytes(Encoding.DER),
        "chain_der": [_base64(one) for one in tx.issued.chain],
        "modifications": list(tx.issued.modifications),
        "issued_fingerprint": means.fingerprint(tx.issued.certificate),
        "confirm_until": until,
    }


def _persist(write: Callable[[], None], enrollment: Enrollment, world: World) -> None:
    """Write with an answer in hand that cannot be had again: repeated until the lease ends."""
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError):
            leased_until = enrollment.leased_until
            if leased_until is None or world.clock() >= leased_until:
                raise
            log.warning("%s: the database is away with an answer in hand", enrollment)
            connection.close_if_unusable_or_obsolete()
            world.pause(1.0)


def _set_back(enrollment: Enrollment, error: CmpError, tx: Transaction, *, now: datetime) -> None:
    """Record a failure, and leave the row where the next try is to begin."""
    failed, unanswered = tx.state is State.FAILED, enrollment.asked_at is not None
    expired = isinstance(error, Expired) and enrollment.sent_at is not None and not unanswered
    until = tx.deadline if tx.state is State.POLLED else None
    recorded = failures.recorded(enrollment, error, now=now, ended=failed or expired, until=until)
    if failed:
        enrollment.exchange = _exchange(enrollment, tx)
        _refused(enrollment, error, tx, recorded)
    elif unanswered:
        _unanswered(enrollment, error, recorded, now)
    elif expired:
        begin_anew(enrollment, lost=str(error), **recorded)
        breakers.not_probed(enrollment, now=now)
    else:  # nothing was to go out
        enrollment.keep(**recorded)


def _unanswered(
    enrollment: Enrollment, error: CmpError, recorded: dict[str, Any], now: datetime
) -> None:
    """No answer came, or none that counts as one."""
    late = _is_late(enrollment, now)
    match enrollment.state:
        case State.REQUESTED if isinstance(error, Unreachable):
            enrollment.keep(**recorded | _unsent())
        case State.REQUESTED if isinstance(error, BadHttp) and _turned_away(error):
            begin_anew(enrollment, **recorded)
        case State.POLLED if not late:
            enrollment.keep(**recorded, **_as_before(enrollment, State.WAITING))
        case State.CONFIRMING if not late:
            enrollment.keep(**recorded, **_as_before(enrollment, State.GRANTED))
        case _:
            unproven = enrollment.state == State.REQUESTED and isinstance(error, Rejected)
            begin_anew(enrollment, lost=str(error), unproven=unproven, **recorded)


def _is_late(enrollment: Enrollment, now: datetime) -> bool:
    """Say whether the CA must have taken back by now what it issued and nobody has confirmed."""
    return enrollment.confirm_until is not None and now >= enrollment.confirm_until


def _refused(
    enrollment: Enrollment, error: CmpError, tx: Transaction, recorded: dict[str, Any]
) -> None:
    """The CA said no, and proved that it was the CA; or it took note that we did."""
    changes = dict(recorded)
    automatic = enrollment.certificate.creation_mode == Certificate.CreationMode.AUTOMATIC
    unknown = error.failures & policy.RECREATE_INSTEAD if isinstance(error, Rejected) else ()
    if enrollment.kind == Kind.RENEW and automatic and unknown:
        reason = f"the CA would not renew it: {', '.join(sorted(unknown))}"
        changes |= errands.recreating_instead(enrollment, reason=reason)
    unwanted = tx.refusal is not None and not tx.refusal_was_told
    live = unwanted or bool(enrollment.certificate_der)  # else nothing is issued, or taken back
    begin_anew(enrollment, lost=str(error) if live else "", **changes)


def _unsent() -> dict[str, Any]:
    """Return the changes that take back a request that never left; its key is as good as new."""
    kept = ("private_key", "public_key_sha256")
    return {name: value for name, value in errands.forgotten().items() if name not in kept}


def _as_before(enrollment: Enrollment, state: State) -> dict[str, Any]:
    """Return the changes that take the transaction back to before its last message."""
    exchange = enrollment.exchange | {"now": enrollment.exchange["before"]}
    return {"exchange": exchange, "state": str(state)}


def _turned_away(error: BadHttp) -> bool:
    """Say whether an HTTP server said no, before the CA behind it could issue anything."""
    return 400 <= error.status < 500 or error.status in NOT_PROCESSED


def _endpoint_is_gone(enrollment: Enrollment) -> bool:
    begun_by = urlsplit(str(enrollment.exchange.get("url", ""))).scheme
    return begun_by == "https" and not enrollment.ca.tls_enabled


def _base64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
