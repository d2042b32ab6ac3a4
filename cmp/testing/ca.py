"""A CA for demos and tests that speaks real CMP: `answer` turns a client's bytes into its own.

Sans-IO and without a clock, like `cmp.transaction`, whose other half it is. It keeps the rules a
strict CA keeps (RFC 9810, RFC 9483) unless a knob of `Behaviour` says otherwise, and remembers what
it was asked and what it issued. Never a production CA: nobody approves anything here.
"""

import os
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from cryptography import x509
from cryptography.hazmat.asn1 import GeneralizedTime, encode_der

from cmp import codec
from cmp.errors import Malformed
from cmp.messages import (
    Body,
    CertConf,
    CertId,
    CertRepMessage,
    Cr,
    ErrorMsg,
    GenM,
    GenP,
    InfoTypeAndValue,
    Ir,
    Kur,
    P10cr,
    PKIHeader,
    PKIMessage,
    PKIStatus,
    PKIStatusInfo,
    PollRep,
    PollRepEntry,
    PollReq,
    Rp,
    Rr,
)
from cmp.names import same_name
from cmp.request import NO_CERT_REQ_ID
from cmp.testing import genm
from cmp.testing.answers import Outgoing, Pen, is_refusal
from cmp.testing.behaviour import CERTIFICATION, Behaviour, Reply, befalls, body_name
from cmp.testing.certification import IMPLICIT_CONFIRM, Certification, response
from cmp.testing.exchange import PATIENCE, Exchange, Exchanges
from cmp.testing.gate import Gate, Peer
from cmp.testing.pki import Pki, RootUpdate
from cmp.testing.register import Issued, Register, State
from cmp.testing.wanted import Refused
from cmp.trust import TrustStore

CONFIRM_WAIT_TIME = x509.ObjectIdentifier("1.3.6.1.5.5.7.4.14")
Finish = Callable[[datetime], Body]
NULL_DN = x509.DirectoryName(x509.Name([]))
NOBODYS = PKIMessage(  # stands for bytes that are no message: nobody to address in the answer
    PKIHeader(NULL_DN, NULL_DN), ErrorMsg(PKIStatusInfo(PKIStatus.rejection))
)
REQUESTS = Ir | Cr | Kur | P10cr | Rr | GenM  # what begins a transaction
REMEMBERED = 100_000  # questions


@dataclass(kw_only=True)
class DemoCA(Behaviour):
    """`secrets` maps references to shared secrets; `vendor_roots` anchor devices' certificates.

    `asked` lists the bodies that came, `heard` the last messages, `register` what was issued.
    """

    pki: Pki
    secrets: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    vendor_roots: tuple[x509.Certificate, ...] = ()
    register: Register = field(default_factory=Register)
    root_update: RootUpdate | None = None

    def __post_init__(self) -> None:
        self.lock = threading.RLock()  # a question is answered in microseconds, one at a time
        self.asked: deque[str] = deque(maxlen=REMEMBERED)
        self.heard: deque[PKIMessage] = deque(maxlen=1000)
        self.counts: Counter[str] = Counter()
        self.exchanges = Exchanges()
        names = (self.pki.issuing.certificate.subject, self.pki.signer.certificate.subject)
        vendors = TrustStore(roots=self.vendor_roots)
        self._gate = Gate(self, self.secrets, self.register, names, vendors)
        self._pen = Pen(self, self.pki, self.secrets)
        self._certification = Certification(self, self.pki, self.register)
        self._swept_at: datetime | None = None

    @property
    def issued(self) -> list[Issued]:
        """Everything issued, oldest first, whatever became of it."""
        return list(self.register)

    @property
    def open_transactions(self) -> list[Exchange]:
        return list(self.exchanges)

    def count(self, name: str) -> int:
        """Say how often a body was asked: ir, cr, kur, p10cr, certConf, pollReq, rr, genm."""
        return self.counts[name]

    def answer(self, der: bytes, *, now: datetime) -> bytes:
        """Return the DER of the answer to a question in DER. Mishaps on the way are ignored."""
        return self.respond(der, now=now).der

    def respond(self, der: bytes, *, now: datetime) -> Reply:
        """Return the answer, and what is to become of it on its way back."""
        with self.lock:
            self.sweep(now=now)
            unread: Refused | None = None
            try:
                question = codec.decode(der)
            except Malformed as error:
                question, unread = NOBODYS, Refused("badDataFormat", str(error))
            if mishap := self.turned_away(question):
                self.counts["turned away"] += 1
                return Reply(b"", self.delay, mishap)
            self._note("malformed" if unread else body_name(question), question)
            body, answer = self._answer(question, unread, now)
            return Reply(answer, self.delay, self.mishap(question), is_refusal(body))

    def sweep(self, *, now: datetime) -> None:
        """Revoke what was not confirmed in time; forget clients that do not come back."""
        if self._swept_at is None:
            for entry in self.register:
                if entry.state is State.UNCONFIRMED:
                    self.register.revoke(entry, reason="the CA restarted meanwhile", now=now)
        elif (now - self._swept_at).total_seconds() < 1:
            return
        self._swept_at = now
        for exchange in self.exchanges:
            if exchange.until <= now:
                if exchange.issued and exchange.issued.state is State.UNCONFIRMED:
                    self.register.revoke(exchange.issued, reason="not confirmed in time", now=now)
                self.exchanges.close(exchange)

    def _note(self, name: str, question: PKIMessage) -> None:
        self.heard.append(question)
        self.asked.append(name)
        self.counts[name] += 1

    def _answer(
        self, question: PKIMessage, unread: Refused | None, now: datetime
    ) -> tuple[Body, bytes]:
        peer = exchange = None
        try:
            if unread is not None:
                raise unread
            peer = self._gate.authenticate(question, now=now)
            exchange = self._find(question, peer)
            if exchange is None:
                self._gate.authorize(peer, question, now=now)
                exchange = self._open(question, peer, now)
            body = self._react(exchange, question, now)
        except Refused as refused:
            body = ErrorMsg(refused.info)
        nonce, recip_nonce = os.urandom(16), question.header.sender_nonce
        info: tuple[InfoTypeAndValue, ...] = ()
        if exchange is not None:
            exchange.our_nonces.append(None if "sender_nonce" in self.omit_header else nonce)
            if self.original_nonce and isinstance(question.body, PollReq) and not exchange.finish:
                recip_nonce = exchange.request.header.sender_nonce
            info = self._general_info(exchange, body)
        answer = Outgoing(body, nonce, recip_nonce, info)
        return body, self._pen.write(answer, to=question, peer=peer, now=now)

    def _find(self, question: PKIMessage, peer: Peer) -> Exchange | None:
        """Return the transaction a question goes on with; None if it begins one."""
        transaction_id = question.header.transaction_id or b""
        exchange = self.exchanges.find(transaction_id)
        if isinstance(question.body, REQUESTS):
            if self.exchanges.used(transaction_id) or self.register.of_transaction(transaction_id):
                raise Refused("transactionIdInUse", "this transactionID was used before")
            return None
        if exchange is None or (self.forget_finished and not self.exchanges.is_open(exchange)):
            raise Refused("badRequest", "no such transaction is open")
        if peer != exchange.peer:
            raise Refused("badMessageCheck", "somebody else began this transaction")
        if question.header.recip_nonce not in exchange.our_nonces:
            raise Refused("badRecipientNonce", "recipNonce is none of this transaction's")
        return exchange

    def _open(self, question: PKIMessage, peer: Peer, now: datetime) -> Exchange:
        transaction_id = question.header.transaction_id or b""
        exchange = Exchange(transaction_id, peer, question, until=now + PATIENCE)
        self.exchanges.begin(exchange)
        return exchange

    def _react(self, exchange: Exchange, question: PKIMessage, now: datetime) -> Body:
        match question.body:
            case Ir() | Cr() | Kur() | P10cr() as body:
                return self._begin(exchange, body, now)
            case Rr() as body:
                return self._in_time(exchange, partial(self._revoke, body), now)
            case GenM() as body:
                return self._in_time(exchange, partial(self._inform, body), now)
            case CertConf() as body:
                return self._hear(exchange, question, body, now)
            case PollReq() as body:
                return self._poll(exchange, body, now)
        raise Refused("badRequest", f"{body_name(question)} is not asked of a CA")

    def _begin(self, exchange: Exchange, body: Ir | Cr | Kur | P10cr, now: datetime) -> Body:
        """Look at the request at once, however long the certificate is waited for."""
        certification = self._certification
        try:
            template = certification.examine(exchange, body, now=now)
        except Refused as refused:
            return self._settle(exchange, self._no(exchange, refused.info))
        return self._in_time(
            exchange, lambda then: certification.issue(exchange, template, now=then), now
        )

    def _hear(
        self, exchange: Exchange, question: PKIMessage, body: CertConf, now: datetime
    ) -> Body:
        certification, issued = self._certification, exchange.issued
        if issued is None:
            raise Refused("badRequest", "no certificate is there to be confirmed")
        exchange.request = question  # it may have to wait in its turn
        return self._in_time(
            exchange, lambda then: certification.confirm(exchange, issued, body, now=then), now
        )

    def _in_time(self, exchange: Exchange, finish: Finish, now: datetime) -> Body:
        """Finish now, or ask for patience if the knobs say so."""
        if self.polls <= 0 or exchange.asked not in self.polls_on:
            return self._complete(exchange, finish, now)
        exchange.finish = finish
        exchange.polls_left = self.polls - 1
        exchange.until = now + PATIENCE
        return response(exchange, PKIStatusInfo(PKIStatus.waiting, ("somebody has to look at it",)))

    def _poll(self, exchange: Exchange, body: PollReq, now: datetime) -> Body:
        awaited = exchange.cert_req_id if exchange.asked in CERTIFICATION else NO_CERT_REQ_ID
        if body.cert_req_ids != (awaited,):
            raise Refused("badRequest", f"certReqId {awaited} is what there is to poll for")
        finish = exchange.finish
        if finish is None:
            if exchange.answer is None:
                raise Refused("badRequest", "there is nothing to poll for")
            return exchange.answer  # it was lost on the way
        if exchange.poll_at and now < exchange.poll_at:
            self.counts["pollReq too early"] += 1
        if exchange.polls_left > 0:
            exchange.polls_left -= 1
            exchange.poll_at = now + timedelta(seconds=int(self.check_after.total_seconds()))
            return PollRep((PollRepEntry(awaited, self.check_after),))
        exchange.finish = None
        return self._complete(exchange, finish, now)

    def _complete(self, exchange: Exchange, finish: Finish, now: datetime) -> Body:
        refusal = self.refuse
        if refusal is not None and befalls(self.refuse_when, exchange.request):
            info = PKIStatusInfo(refusal.status, refusal.text, refusal.failures)
            return self._settle(exchange, self._no(exchange, info))
        try:
            return self._settle(exchange, finish(now))
        except Refused as refused:
            return self._settle(exchange, self._no(exchange, refused.info))

    def _settle(self, exchange: Exchange, answer: Body) -> Body:
        """Keep the answer in case it is lost; close the transaction unless a certConf is owed."""
        exchange.answer = answer
        if exchange.issued is None or exchange.issued.state is not State.UNCONFIRMED:
            self.exchanges.close(exchange)
        return answer

    def _no(self, exchange: Exchange, info: PKIStatusInfo) -> Body:
        return ErrorMsg(info) if self.error_body else response(exchange, info)

    def _revoke(self, body: Rr, now: datetime) -> Body:
        """RFC 9810, 5.3.9: any certificate of this CA may ask for any other, as an RA does."""
        if len(body.details) != 1:
            raise Refused("badRequest", "exactly one certificate is revoked at a time")
        template = body.details[0].cert_details
        issuer = self.pki.issuing.certificate.subject
        entry = self.register.get(template.serial_number or 0)
        if entry is None or template.issuer is None or not same_name(template.issuer, issuer):
            raise Refused("badCertId", "this CA issued no such certificate")
        if entry.revoked_at:
            raise Refused("certRevoked", "the certificate is revoked already")
        self.register.revoke(entry, reason="a client asked for it", now=now)
        revoked = CertId(x509.DirectoryName(issuer), entry.serial)
        return Rp((PKIStatusInfo(PKIStatus.accepted),), (revoked,))

    def _inform(self, body: GenM, now: datetime) -> Body:
        answers = genm.answers(
            body.items, pki=self.pki, update=self.root_update, register=self.register, now=now
        )
        return GenP(answers)

    def _general_info(self, exchange: Exchange, body: Body) -> tuple[InfoTypeAndValue, ...]:
        if not isinstance(body, CertRepMessage) or exchange.issued is None:
            return ()
        if exchange.implicit:
            return (IMPLICIT_CONFIRM,)
        time = GeneralizedTime(exchange.until.astimezone(UTC).replace(microsecond=0))
        return (InfoTypeAndValue(CONFIRM_WAIT_TIME, encode_der(time)),)
