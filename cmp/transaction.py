"""One CMP transaction as a client sees it: who may say what next, sans-IO.

`outgoing` gives the next message, `receive` takes the answer; time is an argument, and `wake_at` is
all a scheduler needs to know. `outgoing` changes the state before its bytes leave, so `snapshot` is
what to save before sending, and nothing in it is secret. An answer that is not accepted raises and
leaves the transaction as it was, unless it is the CA's own word that ends it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import NoReturn, Self

from cryptography import x509

from cmp import acceptance, saying, snapshot
from cmp.acceptance import Issued
from cmp.authentication import authenticate
from cmp.codec import decode
from cmp.errors import Expired, LocalError, OutOfSequence, Rejected, Unacceptable, Unprotected
from cmp.messages import (
    Body,
    Cp,
    ErrorMsg,
    GenP,
    InfoTypeAndValue,
    Ip,
    Kup,
    PkiConf,
    PKIMessage,
    PKIStatus,
    PKIStatusInfo,
    PollRep,
    Rp,
)
from cmp.profile import Profile
from cmp.protection import Credentials, Seal
from cmp.request import NO_CERT_REQ_ID, CertificateRequest, Request
from cmp.snapshot import Json
from cmp.states import AWAITING, TRANSITIONS, State
from cmp.trust import TrustStore

SHORTEST_WAIT = timedelta(seconds=1)  # between polls, whatever checkAfter says
LONGEST_WAIT = timedelta(days=7)


@dataclass(eq=False)
class Transaction:
    """Made by `begin` or `restore`.

    `issued` is set once a certificate is granted, `refusal` once one was refused, which is then
    `unwanted`; `answers` are the items of a genp. What is kept of messages is for the next one.
    """

    request: Request
    credentials: Credentials
    trust: TrustStore
    profile: Profile
    until: datetime
    id: bytes = field(default_factory=lambda: os.urandom(16))
    state: State = State.START
    wake_at: datetime | None = None
    issued: Issued | None = None
    refusal: Unacceptable | None = None
    answers: tuple[InfoTypeAndValue, ...] = ()
    nonce: bytes = b""  # senderNonce of the last message
    asked_nonce: bytes = b""  # of the one before we polled, if we do
    their_nonce: bytes | None = None
    awaited: type[Body] = PkiConf  # what ends the waiting, polled for or not
    poll_id: int = NO_CERT_REQ_ID
    cert_req_id: int = NO_CERT_REQ_ID  # of the certificate granted or refused
    unwanted: x509.Certificate | None = None
    signer: x509.Certificate | None = None  # of the CA's messages, once authenticated

    @cached_property
    def seal(self) -> Seal:
        """What this object's messages are protected with."""
        return self.credentials.seal()

    @classmethod
    def begin(
        cls,
        request: Request,
        *,
        credentials: Credentials,
        trust: TrustStore,
        profile: Profile,
        now: datetime,
    ) -> Self:
        until = now + profile.total_timeout
        return cls(request, credentials, trust, profile, until, awaited=request.answered_by)

    @property
    def deadline(self) -> datetime | None:
        """When the total timeout cuts the transaction; None once a certificate was granted."""
        return self.until if self.issued is None and self.refusal is None else None

    @property
    def refusal_was_told(self) -> bool:
        """Whether a certConf has refused; without one the CA counts its certificate as good."""
        return self.refusal is not None and self.awaited is PkiConf

    # What we say

    def outgoing(self, *, now: datetime) -> bytes | None:
        """Return the next message to send, or None while there is none to send.

        Raises Expired past the deadline, LocalError while an answer is awaited.
        """
        match self.state:
            case State.START:
                self._require_time(now)
                return self._send(State.REQUESTED, now)
            case State.WAITING:
                self._require_time(now)
                if self.wake_at is not None and now < self.wake_at:
                    return None
                return self._send(State.POLLED, now)
            case State.GRANTED:
                return self._send(State.CONFIRMING, now)
            case State.REFUSING:
                return self._send(State.REFUSED, now)
            case State.DONE:
                return None
            case _:
                raise LocalError(f"there is nothing to send while {self.state}")

    def resend(self, *, now: datetime) -> bytes:
        """Return again the message whose answer is awaited, for one that never left.

        It has the same transactionID and nonces, and its time is `now`: a CA refuses old messages.
        """
        if self.state not in AWAITING:
            raise LocalError(f"there is nothing to send again while {self.state}")
        if self.state in {State.REQUESTED, State.POLLED}:
            self._require_time(now)
        return saying.message(self, now=now)

    def _require_time(self, now: datetime) -> None:
        if self.deadline is not None and now >= self.deadline:
            raise Expired(f"the CA did not finish within {self.profile.total_timeout}")

    def _send(self, state: State, now: datetime) -> bytes:
        self.state = state
        self.wake_at = None
        self.nonce = os.urandom(16)
        if state is not State.POLLED:
            self.asked_nonce = self.nonce
        if state in {State.CONFIRMING, State.REFUSED}:
            self.awaited = PkiConf
        return saying.message(self, now=now)

    # What the CA says

    def receive(self, der: bytes, *, now: datetime) -> None:
        """Take the answer to the message sent last, or raise RemoteError.

        An unacceptable certificate does not raise: the state is REFUSING then, and what answers the
        certConf that refuses it raises `refusal`.
        """
        if self.state not in AWAITING:
            raise OutOfSequence(f"no answer is awaited while {self.state}")
        message = decode(der)
        signer = self._authenticated(message, now)
        body = message.body
        self._require_turn(body)
        match body:
            case PollRep():
                entry = acceptance.poll_entry(body, self.poll_id)
                self._wait(body, self.poll_id, max(entry.check_after, SHORTEST_WAIT), now)
            case ErrorMsg(status=PKIStatusInfo(status=PKIStatus.waiting)):
                self._wait(body, NO_CERT_REQ_ID, self._patience(), now)
            case ErrorMsg(status=info) if self._was_confirmed(info):
                self._move(State.DONE, body)
            case ErrorMsg(status=info):
                self._fail(body, self.refusal or acceptance.rejected(message, info, now=now))
            case Ip() | Cp() | Kup():
                self._take_certificate(body, message, now)
            case Rp():
                self._take_revocation(body, message, now)
            case GenP(items):
                self._move(State.DONE, body)
                self.answers = items
            case PkiConf() if self.refusal is not None:
                self._fail(body, self.refusal)
            case PkiConf():
                self._move(State.DONE, body)
        self.signer = signer or self.signer
        self.their_nonce = message.header.sender_nonce

    def _authenticated(self, message: PKIMessage, now: datetime) -> x509.Certificate | None:
        """Return the signer. What says no without proof is reported, and changes nothing."""
        try:
            acceptance.require_version(message)
            acceptance.require_transaction(message, self.id)
            acceptance.require_nonce(message, self._nonces(message.body))
            return authenticate(
                message,
                credentials=self.credentials,
                trust=self.trust,
                profile=self.profile,
                known_signer=self.signer,
                now=now,
            )
        except (OutOfSequence, Unprotected) as error:
            info = acceptance.negative(message.body)
            if info is None:
                raise
            raise acceptance.rejected(message, info, now=now, unproven=str(error)) from error

    def _nonces(self, body: Body) -> frozenset[bytes]:
        if self.state is State.POLLED and not isinstance(body, PollRep):
            return frozenset({self.nonce, self.asked_nonce})
        return frozenset({self.nonce})

    def _require_turn(self, body: Body) -> None:
        """RFC 9810, 5.3: what was asked decides what may be answered."""
        expected = isinstance(body, self.awaited | ErrorMsg | PollRep)
        if not expected or (self.state, type(body)) not in TRANSITIONS:
            raise OutOfSequence(
                f"{type(body).__name__} does not answer {type(self.request).__name__}"
                f" while {self.state}"
            )

    def _move(self, state: State, body: Body) -> None:
        """Go where the table allows. The only way an answer changes the state."""
        if state not in TRANSITIONS[self.state, type(body)]:
            raise OutOfSequence(f"{type(body).__name__} does not lead from {self.state} to {state}")
        self.state = state

    def _wait(self, body: Body, poll_id: int, patience: timedelta, now: datetime) -> None:
        """RFC 9810, 5.3.22: ask again no sooner than the CA said, but in time for the deadline."""
        self._move(State.WAITING, body)
        self.poll_id = poll_id
        wake_at = now + min(patience, LONGEST_WAIT)
        self.wake_at = min(wake_at, self.deadline or wake_at)

    def _patience(self) -> timedelta:
        """Nothing said how long: the first poll goes out at once, and tells us."""
        return SHORTEST_WAIT if self.state is State.POLLED else timedelta(0)

    def _was_confirmed(self, info: PKIStatusInfo) -> bool:
        """Whether a certConf came again because its pkiConf was lost: RFC 9810, 5.2.3."""
        return self.state is State.CONFIRMING and "certConfirmed" in info.fail_info

    def _fail(self, body: Body, error: Rejected | Unacceptable) -> NoReturn:
        self._move(State.FAILED, body)
        raise error

    def _take_certificate(self, body: Ip | Cp | Kup, message: PKIMessage, now: datetime) -> None:
        if not isinstance(self.request, CertificateRequest):
            raise OutOfSequence("a certificate was not asked for")
        response = acceptance.only_response(body, self.request.answer_ids)
        if response.status.status is PKIStatus.waiting:
            self._wait(body, response.cert_req_id, self._patience(), now)
            return
        if response.status.status is PKIStatus.rejection:
            self._fail(body, acceptance.rejected(message, response.status, now=now))
        implicit = self.profile.implicit_confirm and acceptance.confirms_implicitly(message)
        helpers = (*message.extra_certs, *body.ca_pubs)  # caPubs are no anchors, whoever sent them
        try:
            issued = acceptance.accept(
                response, self.request, trust=self.trust, helpers=helpers, now=now
            )
        except Unacceptable as error:
            self.refusal, self.unwanted = error, response.certificate
            if implicit or not (response.certificate or response.encrypted):
                self._fail(body, error)  # nobody waits for a certConf
            self._move(State.REFUSING, body)
        else:
            self._move(State.DONE if implicit else State.GRANTED, body)
            self.issued = issued
        self.cert_req_id = response.cert_req_id
        self.wake_at = None

    def _take_revocation(self, body: Rp, message: PKIMessage, now: datetime) -> None:
        info = acceptance.only_status(body)
        if info.status is PKIStatus.rejection:
            self._fail(body, acceptance.rejected(message, info, now=now))
        if info.status is PKIStatus.waiting:  # an error body says that here: RFC 9483, 4.4
            self._wait(body, NO_CERT_REQ_ID, self._patience(), now)
        self._move(State.DONE, body)

    # Between two workers

    def snapshot(self) -> Json:
        """Return what `restore` needs, fit for JSON and without secrets."""
        return snapshot.take(self)

    @classmethod
    def restore(
        cls,
        kept: Json,
        *,
        request: Request,
        credentials: Credentials,
        trust: TrustStore,
        profile: Profile,
    ) -> Self:
        """Take up a transaction where its snapshot left it. Raises LocalError if it cannot be."""
        fields = snapshot.fields(kept, request, credentials)
        return cls(request, credentials, trust, profile, **fields)
