"""What is fuzzed: reading a message, and a transaction that takes one for its answer.

A target is called with any bytes and raises for nothing but a fault of ours.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from cryptography.hazmat.asn1 import TLV, decode_der
from cryptography.hazmat.primitives.serialization import Encoding

from cmp import ber, codec, protection
from cmp.errors import CmpError, LocalError, Malformed, Rejected
from cmp.messages import (
    CertRepMessage,
    ErrorMsg,
    GenP,
    InfoTypeAndValue,
    Ip,
    Kup,
    PkiConf,
    PKIMessage,
    PollRep,
    PollRepEntry,
    Rp,
)
from cmp.profile import Profile
from cmp.protection import Seal
from cmp.request import Request, SignCsr
from cmp.states import State
from cmp.transaction import Transaction
from tests.cmp import talk, vectors
from tests.cmp.certs import NOW
from tests.cmp.hand import GRANT_IMPLICITLY, Hand
from tests.fuzz.elements import Element, message

Target = Callable[[bytes], None]
AFFORDABLE = range(100, 2001)  # iterations: hashing finds nothing
LATER = NOW + timedelta(seconds=61)


def seeds_for_decode() -> Iterator[bytes]:
    for name in vectors.message_names():
        yield vectors.named(name)


def decode(data: bytes) -> None:
    """Read a message, check its protection, write what was read, and read that again."""
    try:
        found = codec.decode(data)
    except Malformed as error:
        require_one_line(error)
        return
    require_cut_out(found, data)
    for certificate in (*found.extra_certs, None):
        with suppress(CmpError):
            if certificate is None:
                protection.verify_mac(found, b"mysecret")
            else:
                protection.verify_signature(found, certificate)
    try:
        again = codec.encode(found.header, found.body, protect=None)
    except LocalError as error:  # a failInfo bit without a name, …
        require_one_line(error)
        return
    once_more = codec.decode(again)
    if once_more.body != found.body:
        raise AssertionError(f"{found.body} became {once_more.body}")


def require_cut_out(found: PKIMessage, data: bytes) -> None:
    """What protection is checked over is what was read, byte for byte."""
    inside = bytes(decode_der(TLV, found.protected_part).data)
    if inside not in data and inside not in ber.to_der(data):
        raise AssertionError("the protected part is not what was received")


def require_one_line(error: CmpError) -> None:
    """A peer's bytes reach logs and pages only in print, and not at any length."""
    text = str(error)
    if not text.isprintable() or len(text) > 5000:
        raise AssertionError(f"unfit for a log: {text!r}")


# A transaction


@dataclass(frozen=True)
class Case:
    """A transaction that waits for an answer, and the answers that a CA would give."""

    tx: Transaction
    question: bytes
    answers: tuple[bytes, ...]
    seal: Seal


class Receive:
    """The first byte chooses the transaction, and whether the rest is made authentic.

    Only what a CA's key or the shared secret protects gets as far as the checks of what it says.
    """

    def __init__(self) -> None:
        self.hand = Hand()
        self.cases = tuple(self._cases())
        signer = self.hand.by_signature.sent_certs
        self.signers = [
            one for one in map(message, (c.public_bytes(Encoding.DER) for c in signer)) if one
        ]

    def __call__(self, data: bytes) -> None:
        if data:
            self.state_after(data)

    def state_after(self, data: bytes) -> State:
        """Have the transaction take the answer, and return the state it is left in."""
        case = self.cases[(data[0] & 0x7F) % len(self.cases)]
        answer = data[1:]
        if not data[0] & 0x80:
            answer = self._authentic(answer, case)
        tx = copy.copy(case.tx)
        before = tx.snapshot()
        try:
            tx.receive(answer, now=LATER)
        except CmpError as error:
            require_one_line(error)
            self._require_unmoved(tx, before, error)
        kept = tx.snapshot()
        if talk.restored(kept, tx).snapshot() != kept:
            raise AssertionError(f"not restored as it was: {kept}")
        json.dumps(kept, allow_nan=False)
        state = tx.state
        if state in (State.WAITING, State.GRANTED, State.REFUSING):
            with suppress(CmpError):
                tx.outgoing(now=LATER + timedelta(days=8))
        return state

    def seeds(self) -> Iterator[bytes]:
        for number, case in enumerate(self.cases):
            for answer in case.answers:
                yield bytes((number,)) + answer
                yield bytes((number | 0x80,)) + answer
        for name in vectors.message_names():
            yield b"\0" + vectors.named(name)

    @staticmethod
    def _require_unmoved(tx: Transaction, before: dict[str, object], error: CmpError) -> None:
        """An answer that is refused changes nothing, unless it is the CA's own word."""
        if tx.state is State.FAILED:
            if isinstance(error, Rejected) and not error.authenticated:
                raise AssertionError("an unauthenticated answer ended the transaction")
        elif tx.snapshot() != before:
            raise AssertionError(f"a refused answer left its mark: {before} {tx.snapshot()}")

    def _authentic(self, answer: bytes, case: Case) -> bytes:
        """Put our ids into the header, and protect what comes out, however wrong it is."""
        envelope = message(answer)
        if envelope is None or not isinstance(envelope.content, list) or len(envelope.content) < 2:
            return answer
        header, body, *rest = envelope.content
        if not isinstance(header.content, list) or len(header.content) < 3:
            return answer
        ours = codec.decode(case.question).header
        self._put(header, 0xA1, codec.encode_algorithm(case.seal.algorithm))
        self._put(header, 0xA4, string(ours.transaction_id))
        self._put(header, 0xA6, string(ours.sender_nonce))
        protected = Element(b"\x30", [header, body]).der()
        protection = Element(b"\x03", b"\0" + case.seal.protect(protected))
        certificates = [one for one in rest if one.identifier == b"\xa1"][:1]
        brought = self._certificates(certificates)
        parts = [header, body, Element(b"\xa0", [protection]), *brought]
        return Element(b"\x30", parts).der()

    @staticmethod
    def _put(header: Element, tag: int, der: bytes) -> None:
        assert isinstance(header.content, list)
        first, others = header.content[:3], header.content[3:]
        kept = [one for one in others if one.identifier[0] != tag]
        kept.append(Element(bytes((tag,)), der))
        header.content = first + sorted(kept, key=lambda one: one.identifier)

    def _certificates(self, brought: list[Element]) -> list[Element]:
        if not brought or not isinstance(brought[0].content, list) or not brought[0].content:
            return [Element(b"\xa1", [Element(b"\x30", list(self.signers))])]
        inside = brought[0].content[0].content
        if isinstance(inside, list):
            brought[0].content[0].content = self.signers + inside
        return brought

    def _cases(self) -> Iterator[Case]:
        identity = self.hand.identity()
        for request in (*talk.REQUESTS.values(), SignCsr(talk.a_csr())):
            yield self._case(self._begin(request, identity))
        yield self._case(self._begin(talk.REQUESTS[Ip], self.hand.by_mac))
        yield self._case(self._begin(talk.REQUESTS[Ip], self.hand.by_mac, implicit_confirm=True))
        for body in (talk.WAIT,):
            asked = self._begin(talk.REQUESTS[Kup], identity)
            asked.hear(ErrorMsg(body))
            asked.say(LATER)
            yield self._case(asked)
        granted = self._begin(talk.REQUESTS[Ip], identity)
        granted.hear(self.hand.grants(granted.sent[-1]))
        granted.say()
        yield self._case(granted)
        refused = self._begin(talk.REQUESTS[Ip], identity)
        other = self.hand.issue(refused.sent[-1], key=talk.OLD.key.public_key())
        refused.hear(self.hand.grants(refused.sent[-1], other))
        refused.say()
        yield self._case(refused)

    def _begin(self, request: Request, by: protection.Credentials, **profile: Any) -> talk.Talk:
        chosen: Profile = replace(talk.PROFILE, **profile)
        tx = Transaction.begin(
            request, credentials=by, trust=self.hand.trust, profile=chosen, now=NOW
        )
        begun = talk.Talk(self.hand, tx, [])
        begun.say()
        return begun

    def _case(self, begun: talk.Talk) -> Case:
        question = begun.sent[-1]
        mac = isinstance(begun.tx.credentials, protection.MacCredentials)
        by = self.hand.by_mac if mac else self.hand.by_signature
        answers = tuple(
            self.hand.answer(question, body, by=by, general_info=(GRANT_IMPLICITLY,))
            for body in self._bodies(begun)
        )
        return Case(begun.tx, question, answers, by.seal())

    def _bodies(self, begun: talk.Talk) -> Iterator[Any]:
        yield PkiConf()
        yield ErrorMsg(talk.NO, 7, ("no",))
        yield ErrorMsg(talk.WAIT)
        yield PollRep((PollRepEntry(begun.tx.poll_id, timedelta(seconds=9), ("soon",)),))
        yield Rp((talk.NO,))
        yield GenP((InfoTypeAndValue(GRANT_IMPLICITLY.type, b"\x05\x00"),))
        kind = begun.tx.request.answered_by
        if issubclass(kind, CertRepMessage):
            question = begun.sent[0]
            chain = (self.hand.issuing.certificate, self.hand.root.certificate)
            yield self.hand.grants(question, body=kind, ca_pubs=chain)
            other = self.hand.issue(question, key=talk.OLD.key.public_key())
            yield self.hand.grants(question, other, body=kind)


def string(content: bytes | None) -> bytes:
    return Element(b"\x04", content or b"").der()
