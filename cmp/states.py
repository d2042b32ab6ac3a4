"""The states of a transaction, and which answer may lead from one to another, as data.

Everything legal is a row here, and everything else is refused. What an answer says decides among
the states of its row; what was asked decides which of the bodies may come at all.
"""

from enum import StrEnum, auto

from cmp.messages import Body, Cp, ErrorMsg, GenP, Ip, Kup, PkiConf, PollRep, Rp


class State(StrEnum):
    START = auto()
    REQUESTED = auto()  # the request is out
    WAITING = auto()  # the CA asked for patience, until `wake_at`
    POLLED = auto()  # pollReq is out
    GRANTED = auto()  # we hold the certificate and owe a certConf
    CONFIRMING = auto()  # certConf is out
    REFUSING = auto()  # what was issued is not acceptable, and we owe a certConf that says so
    REFUSED = auto()  # that one is out
    DONE = auto()
    FAILED = auto()


CERTIFICATE = frozenset(
    {State.GRANTED, State.REFUSING, State.DONE, State.WAITING, State.FAILED}
)  # DONE: confirmed implicitly
VERDICT = frozenset({State.DONE, State.FAILED})
ERROR = frozenset({State.FAILED, State.WAITING})

TRANSITIONS: dict[tuple[State, type[Body]], frozenset[State]] = {
    (State.REQUESTED, Ip): CERTIFICATE,
    (State.REQUESTED, Cp): CERTIFICATE,
    (State.REQUESTED, Kup): CERTIFICATE,
    (State.REQUESTED, Rp): VERDICT,
    (State.REQUESTED, GenP): frozenset({State.DONE}),
    (State.REQUESTED, ErrorMsg): ERROR,
    (State.POLLED, PollRep): frozenset({State.WAITING}),
    (State.POLLED, Ip): CERTIFICATE,
    (State.POLLED, Cp): CERTIFICATE,
    (State.POLLED, Kup): CERTIFICATE,
    (State.POLLED, Rp): VERDICT,
    (State.POLLED, GenP): frozenset({State.DONE}),
    (State.POLLED, PkiConf): VERDICT,
    (State.POLLED, ErrorMsg): ERROR,
    (State.CONFIRMING, PkiConf): frozenset({State.DONE}),
    (State.CONFIRMING, ErrorMsg): ERROR | {State.DONE},  # DONE: it was confirmed before
    (State.REFUSED, PkiConf): frozenset({State.FAILED}),
    (State.REFUSED, ErrorMsg): ERROR,
}
AWAITING = frozenset(state for state, _ in TRANSITIONS)
FINAL: tuple[type[Body], ...] = (Ip, Cp, Kup, Rp, GenP, PkiConf)  # what waiting ends with
