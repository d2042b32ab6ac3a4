"""Everything a demo CA can be told to do otherwise: its policy, its habits, its faults.

Plain attributes named by what they do, set before or between questions. Every default is that of
a strict, healthy CA. A `Fault` is True, False, a `When`, or a function that looks at the question.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum, auto
from random import Random
from typing import Literal

from cmp.messages import PKIMessage, PKIStatus

ODD_NAMES = {"GenM": "genm", "GenP": "genp", "ErrorMsg": "error"}
CERTIFICATION = frozenset({"ir", "cr", "p10cr", "kur"})


@dataclass(slots=True)
class When:
    """Befalls some questions: of these bodies (none named: any), by chance, so many times.

    The chance is drawn from `seed`, so the same questions in the same order meet the same faults.
    """

    bodies: frozenset[str] = frozenset()
    chance: float = 1.0
    skip: int = 0  # spare the first so many
    times: int | None = None
    seed: int = 0
    _random: Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311 - repeatable, not secret

    def __call__(self, question: PKIMessage) -> bool:
        if self.bodies and body_name(question) not in self.bodies:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times == 0 or self._random.random() >= self.chance:
            return False
        if self.times is not None:
            self.times -= 1
        return True


Fault = bool | When | Callable[[PKIMessage], bool]


def befalls(fault: Fault, question: PKIMessage) -> bool:
    return fault if isinstance(fault, bool) else fault(question)


def body_name(message: PKIMessage) -> str:
    """Name a body as RFC 9810 does: `Ir` is ir, `CertConf` is certConf, `GenM` is genm."""
    name = type(message.body).__name__
    return ODD_NAMES.get(name) or name[0].lower() + name[1:]


class Mishap(StrEnum):
    """What befalls an answer on its way; the HTTP shell acts it out."""

    HTML_503 = auto()  # turned away at the door: the CA never saw the question
    GARBAGE = auto()  # 200, application/pkixcmp, and no PKIMessage inside
    TRUNCATION = auto()  # ends before its Content-Length
    DROP = auto()  # the connection closes without a word
    STALL = auto()  # processed, then nothing for as long as the client waits
    DRIP = auto()  # a byte at a time


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and what is to become of it."""

    der: bytes = field(repr=False)
    delay: timedelta = timedelta(0)
    mishap: Mishap | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The CA says no: a rejection in the response, or an error body."""

    failures: frozenset[str] = frozenset({"badRequest"})
    text: tuple[str, ...] = ("refused by the operator of this demo CA",)
    status: PKIStatus = PKIStatus.rejection


@dataclass(kw_only=True)
class Behaviour:
    # Policy
    validity: timedelta = timedelta(days=365)  # granted at most, and when none is asked for
    implicit_confirm: bool = False  # granted to those who ask for it
    require_confirm: bool = True  # revoke what is not confirmed within `confirm_wait`
    confirm_wait: timedelta = timedelta(minutes=5)
    accept_used_keys: bool = False
    only_own_subject: bool = False  # no certificate for a subject other than the signer's
    # Strictness
    clock_tolerance: timedelta = timedelta(seconds=300)
    check_recipient: bool = True
    check_mac_sender: bool = False  # sender's CN equals the reference (OpenSSL 3.0 cannot)
    forget_finished: bool = False  # a certConf repeated after pkiConf is an error
    # Patience asked of the client
    polls: int = 0  # so many `waiting` before the answer
    check_after: timedelta = timedelta(seconds=1)
    polls_on: frozenset[str] = CERTIFICATION  # rr, genm and certConf wait by an error body
    original_nonce: bool = False  # after polling: recipNonce of the request, not the last pollReq
    # How answers look
    sign_mac_answers: bool = False
    pbmac1: bool = False  # RFC 9481, 6.1.2, instead of the older password-based MAC
    omit_extra_certs: Fault = False
    extra_chain_order: Literal["ordered", "reversed", "with unrelated"] = "ordered"
    root_in_extra_certs: bool = False
    ca_pubs: bool = False  # the root in caPubs
    omit_header: frozenset[str] = frozenset()  # PKIHeader's names: sender_nonce, message_time …
    # Refusals and faults of the CA
    refuse: Refusal | None = None
    refuse_when: Fault = True
    error_body: bool = False  # refuse by an error body, not in the response
    grant_with_mods: Fault = False  # half the validity, no extended key usage
    issue_for_another_key: Fault = False
    answer_another_transaction: Fault = False
    wrong_nonce: Fault = False
    wrong_cert_req_id: Fault = False
    spoil_protection: Fault = False
    unprotected_errors: Fault = False
    unprotected_answers: Fault = False
    # Faults on the way
    delay: timedelta = timedelta(0)
    garbage: Fault = False
    truncate: Fault = False
    lose_request: Fault = False
    drop_connection: Fault = False
    stall: Fault = False
    drip: Fault = False
    http_503_html: Fault = False
    retry_after: timedelta | None = None  # told with the 503
    # HTTP
    http11_only: bool = False
    http10_refusal: int = 505  # the status for it; 0 closes the connection without a word
    refusal_status: int = 200  # of refusals in CMP; some CAs send theirs with 400
    chunked: bool = False
    close_always: bool = False  # after each answer, in spite of the keep-alive promised

    def turned_away(self, question: PKIMessage) -> Mishap | None:
        """Say what keeps a question from the CA altogether."""
        ways = ((self.http_503_html, Mishap.HTML_503), (self.lose_request, Mishap.DROP))
        return _first(ways, question)

    def mishap(self, question: PKIMessage) -> Mishap | None:
        """Say what befalls the answer on its way back."""
        ways = (
            (self.garbage, Mishap.GARBAGE),
            (self.truncate, Mishap.TRUNCATION),
            (self.drop_connection, Mishap.DROP),
            (self.stall, Mishap.STALL),
            (self.drip, Mishap.DRIP),
        )
        return _first(ways, question)


def _first(ways: Iterable[tuple[Fault, Mishap]], question: PKIMessage) -> Mishap | None:
    return next((mishap for fault, mishap in ways if befalls(fault, question)), None)
