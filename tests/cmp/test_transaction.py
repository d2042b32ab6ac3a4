"""Who may say what next: the table, confirmation, polling, deadlines, and what survives a worker.

The clock is an argument and stands at NOW; nothing here sleeps or touches a network.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cmp import codec
from cmp.errors import (
    Expired,
    LocalError,
    OutOfSequence,
    Rejected,
    RemoteError,
    Unacceptable,
)
from cmp.messages import (
    Body,
    CertConf,
    CertResponse,
    CertStatus,
    CertTemplate,
    Cp,
    Cr,
    ErrorMsg,
    GenM,
    GenP,
    InfoTypeAndValue,
    Ip,
    Ir,
    Kup,
    Kur,
    P10cr,
    PkiConf,
    PKIMessage,
    PKIStatus,
    PKIStatusInfo,
    PollRep,
    PollRepEntry,
    PollReq,
    RevDetails,
    Rp,
    Rr,
)
from cmp.protection import (
    Credentials,
    SignatureCredentials,
)
from cmp.request import Certify, Enroll, Update
from cmp.states import TRANSITIONS, State
from cmp.transaction import Transaction
from tests.cmp import certs
from tests.cmp.certs import DAY, NOW, an_ec_key
from tests.cmp.hand import GRANT_IMPLICITLY, SECRET, Hand, requested
from tests.cmp.talk import (
    KEY,
    MAC,
    NO,
    PROFILE,
    REQUESTS,
    SECOND,
    WAIT,
    Begin,
    Talk,
    a_csr,
    of,
    restored,
    revived,
)

# The table: 10 states by 16 bodies


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("body", list(get_args(Body)))
def test_every_answer_is_either_in_the_table_or_refused_without_effect(
    hand: Hand, talk: Begin, state: State, body: type[Body]
) -> None:
    conversation = talk(REQUESTS.get(body))
    question = conversation.say()
    tx = conversation.tx
    tx.state = state
    if state in {State.CONFIRMING, State.REFUSED} or body is PkiConf:
        tx.awaited = PkiConf
    if state is State.REFUSED:
        tx.refusal = Unacceptable("another key")
    samples: dict[type[Body], Body] = {
        Ir: Ir(question.body.requests if isinstance(question.body, Ir) else ()),
        Cr: Cr(()),
        Kur: Kur(()),
        P10cr: P10cr(a_csr().public_bytes(certs.DER)),
        Rr: Rr((RevDetails(CertTemplate(serial_number=1)),)),
        Rp: Rp((PKIStatusInfo(PKIStatus.accepted),)),
        GenM: GenM(()),
        GenP: GenP(()),
        CertConf: CertConf((CertStatus(b"hash", 0),)),
        PkiConf: PkiConf(),
        PollReq: PollReq((0,)),
        PollRep: PollRep((PollRepEntry(-1, SECOND),)),
        ErrorMsg: ErrorMsg(NO),
    }
    for granting in (Ip, Cp, Kup):
        if isinstance(tx.request, Enroll | Certify | Update):
            granted: Any = hand.grants(conversation.sent[-1], body=granting)
            samples[granting] = granted
        else:
            samples[granting] = granting((CertResponse(0, WAIT),))
    before = tx.snapshot()

    try:
        conversation.hear(samples[body])
    except OutOfSequence:
        assert (state, body) not in TRANSITIONS
        assert tx.snapshot() == before
    except (Rejected, Unacceptable):
        assert tx.state is State.FAILED
        assert State.FAILED in TRANSITIONS[state, body]
    else:
        assert tx.state in TRANSITIONS[state, body]


@pytest.mark.parametrize("asked", list(REQUESTS))
@pytest.mark.parametrize("answered", [*REQUESTS, PkiConf])
def test_only_the_body_that_answers_the_request_is_accepted(
    talk: Begin, asked: type[Body], answered: type[Body]
) -> None:
    conversation = talk(REQUESTS[asked])
    conversation.say()
    before = conversation.tx.snapshot()
    bodies: dict[type[Body], Body] = {
        **{granting: granting((CertResponse(0, WAIT),)) for granting in (Ip, Cp, Kup)},
        Rp: Rp((PKIStatusInfo(PKIStatus.accepted),)),
        GenP: GenP(()),
        PkiConf: PkiConf(),
    }

    if asked is answered:
        conversation.hear(bodies[answered])
        assert conversation.tx.state in {State.WAITING, State.DONE}
    else:
        with pytest.raises(OutOfSequence, match=f"{answered.__name__} does not answer"):
            conversation.hear(bodies[answered])
        assert conversation.tx.snapshot() == before


def test_a_granted_certificate_is_held_and_confirmed(talk: Begin) -> None:
    conversation = talk()
    conversation.grant()
    tx = conversation.tx

    assert conversation.state() is State.GRANTED
    assert tx.issued is not None
    assert tx.issued.certificate.public_key() == KEY.public_key()
    assert tx.issued.chain == (conversation.hand.issuing.certificate,)
    assert tx.issued.modifications == ()
    assert tx.issued.status is PKIStatus.accepted
    assert tx.refusal is None

    conversation.say()
    assert conversation.state() is State.CONFIRMING
    conversation.hear(PkiConf())
    assert conversation.state() is State.DONE


def test_nothing_is_sent_while_an_answer_is_awaited_and_nothing_after_the_end(talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    with pytest.raises(LocalError, match="nothing to send while requested"):
        conversation.tx.outgoing(now=NOW)

    conversation.hear(conversation.hand.grants(conversation.sent[-1]))
    conversation.say()
    conversation.hear(PkiConf())
    assert conversation.state() is State.DONE
    assert conversation.tx.outgoing(now=NOW) is None


@pytest.mark.field_note(9)
def test_a_message_that_never_left_is_sent_again_with_its_ids_and_a_new_time(
    hand: Hand, talk: Begin
) -> None:
    conversation = talk()
    first = conversation.say()

    again = codec.decode(conversation.tx.resend(now=NOW + 60 * SECOND))

    assert again.header.transaction_id == first.header.transaction_id
    assert again.header.sender_nonce == first.header.sender_nonce
    assert again.header.message_time == NOW + 60 * SECOND
    assert requested(conversation.sent[0]) == requested(conversation.tx.resend(now=NOW))
    conversation.hear(hand.grants(conversation.sent[-1]))
    assert conversation.state() is State.GRANTED
    with pytest.raises(LocalError, match="nothing to send again while granted"):
        conversation.tx.resend(now=NOW)
    conversation.say()
    assert (
        codec.decode(conversation.tx.resend(now=NOW)).body
        == codec.decode(conversation.sent[-1]).body
    )


# Implicit confirmation, A2


@pytest.mark.field_note(37)
@pytest.mark.parametrize(
    ("asked", "granted", "state"),
    [
        (True, True, State.DONE),
        (True, False, State.GRANTED),
        (False, True, State.GRANTED),
        (False, False, State.GRANTED),
    ],
)
def test_certconf_is_left_out_only_if_that_was_asked_for_and_granted(
    talk: Begin, asked: bool, granted: bool, state: State
) -> None:
    conversation = talk(implicit_confirm=asked)
    question = conversation.say()
    assert (GRANT_IMPLICITLY in question.header.general_info) is asked

    conversation.hear(
        conversation.hand.grants(conversation.sent[-1]),
        general_info=(GRANT_IMPLICITLY,) if granted else (),
    )

    assert conversation.state() is state
    assert conversation.tx.issued is not None


def test_a_bad_certificate_under_implicit_confirmation_fails_at_once(
    hand: Hand, talk: Begin
) -> None:
    conversation = talk(implicit_confirm=True)
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], key=an_ec_key().public_key())

    with pytest.raises(Unacceptable):
        conversation.hear(
            hand.grants(conversation.sent[-1], certificate), general_info=(GRANT_IMPLICITLY,)
        )

    assert conversation.state() is State.FAILED
    assert conversation.tx.unwanted == certificate  # the CA counts it as good
    assert not conversation.tx.refusal_was_told


# Polling, A13


@pytest.mark.field_note(39)
def test_transaction_polls_at_once_and_then_no_sooner_than_the_ca_asked(
    hand: Hand, talk: Begin
) -> None:
    conversation = talk()
    tx = conversation.tx
    conversation.say()
    conversation.hear(Ip((CertResponse(0, WAIT),)))
    assert (tx.state, tx.wake_at) == (State.WAITING, NOW)

    poll = conversation.say()
    assert poll.body == PollReq((0,))
    conversation.hear(PollRep((PollRepEntry(0, 60 * SECOND),)))
    assert (tx.state, tx.wake_at) == (State.WAITING, NOW + 60 * SECOND)
    assert tx.outgoing(now=NOW + 59 * SECOND) is None

    conversation.say(NOW + 60 * SECOND)
    assert (tx.state, tx.wake_at) == (State.POLLED, None)
    conversation.hear(hand.grants(conversation.sent[0]), now=NOW + 61 * SECOND)
    assert conversation.state() is State.GRANTED


@pytest.mark.field_note(7)
@pytest.mark.parametrize("which", ["original", "last"])
def test_after_polling_the_nonce_may_be_that_of_the_request_or_of_the_last_poll(
    hand: Hand, talk: Begin, which: str
) -> None:
    conversation = talk()
    conversation.say()
    conversation.hear(Ip((CertResponse(0, WAIT),)))
    conversation.say()
    conversation.hear(PollRep((PollRepEntry(0, SECOND),)))
    conversation.say(NOW + SECOND)
    nonces = [codec.decode(der).header.sender_nonce for der in conversation.sent]
    body = hand.grants(conversation.sent[0])

    with pytest.raises(OutOfSequence, match="recipNonce"):
        conversation.hear(body, recip_nonce=nonces[1])
    conversation.hear(body, recip_nonce=nonces[0] if which == "original" else nonces[2])

    assert conversation.state() is State.GRANTED


@pytest.mark.field_note(7)
def test_a_poll_rep_answers_the_last_poll_only(talk: Begin) -> None:
    conversation = talk()
    first = conversation.say()
    conversation.hear(Ip((CertResponse(0, WAIT),)))
    conversation.say()

    with pytest.raises(OutOfSequence, match="recipNonce"):
        conversation.hear(
            PollRep((PollRepEntry(0, SECOND),)), recip_nonce=first.header.sender_nonce
        )


def test_a_poll_rep_about_something_else_is_refused(talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    conversation.hear(Ip((CertResponse(0, WAIT),)))
    conversation.say()
    before = conversation.tx.snapshot()

    with pytest.raises(OutOfSequence, match="nothing about certReqId 0"):
        conversation.hear(PollRep((PollRepEntry(1, SECOND),)))

    assert conversation.tx.snapshot() == before


@pytest.mark.field_note(39)
@pytest.mark.parametrize("asked", [Ip, Rp, GenP])
def test_waiting_said_in_an_error_body_is_polled_for_without_a_number(
    hand: Hand, talk: Begin, asked: type[Body]
) -> None:
    conversation = talk(REQUESTS[asked])
    conversation.say()
    conversation.hear(ErrorMsg(WAIT))
    assert conversation.say().body == PollReq((-1,))
    conversation.hear(PollRep((PollRepEntry(-1, SECOND),)))
    conversation.say(NOW + SECOND)

    bodies: dict[type[Body], Callable[[], Any]] = {
        Ip: lambda: hand.grants(conversation.sent[0]),
        Rp: lambda: Rp((PKIStatusInfo(PKIStatus.accepted),)),
        GenP: lambda: GenP(()),
    }
    conversation.hear(bodies[asked]())

    assert conversation.state() is (State.GRANTED if asked is Ip else State.DONE)


@pytest.mark.field_note(38)
def test_a_late_pkiconf_is_polled_for_and_no_deadline_cuts_it(talk: Begin) -> None:
    conversation = talk()
    conversation.grant()
    confirmation = conversation.say()
    conversation.hear(ErrorMsg(WAIT))
    tx = conversation.tx
    assert conversation.state() is State.WAITING
    assert tx.deadline is None

    late = NOW + DAY
    assert conversation.say(late).body == PollReq((-1,))
    with pytest.raises(OutOfSequence, match="Ip does not answer"):
        conversation.hear(Ip((CertResponse(0, WAIT),)), now=late)
    conversation.hear(PkiConf(), now=late, recip_nonce=confirmation.header.sender_nonce)

    assert conversation.state() is State.DONE


CONFIRMED = PKIStatusInfo(PKIStatus.rejection, (), frozenset({"certConfirmed"}))


@pytest.mark.field_note(38)
def test_a_certificate_that_the_ca_has_confirmed_already_is_no_refusal(talk: Begin) -> None:
    conversation = talk()
    conversation.grant()
    conversation.say()  # its answer was lost, and it is sent again

    conversation.hear(ErrorMsg(CONFIRMED))

    assert conversation.state() is State.DONE
    assert conversation.tx.issued is not None


def test_only_what_answers_a_certconf_may_say_so(talk: Begin) -> None:
    conversation = talk()
    conversation.say()

    with pytest.raises(Rejected, match="certConfirmed"):
        conversation.hear(ErrorMsg(CONFIRMED))

    assert conversation.state() is State.FAILED


def test_nobody_may_say_so_without_proof(talk: Begin) -> None:
    conversation = talk()
    conversation.grant()
    conversation.say()

    with pytest.raises(Rejected) as refused:
        conversation.hear(ErrorMsg(CONFIRMED), protected=False)

    assert not refused.value.authenticated
    assert conversation.state() is State.CONFIRMING


def test_a_refusal_may_be_taken_note_of_late(hand: Hand, talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], key=an_ec_key().public_key())
    conversation.hear(hand.grants(conversation.sent[-1], certificate))
    conversation.say()
    conversation.hear(ErrorMsg(WAIT))
    conversation.say(NOW + DAY)

    with pytest.raises(Unacceptable, match="for another public key"):
        conversation.hear(PkiConf(), now=NOW + DAY)

    assert conversation.state() is State.FAILED


def test_waiting_is_not_said_in_a_revocation_response(talk: Begin) -> None:
    conversation = talk(REQUESTS[Rp])
    conversation.say()
    before = conversation.tx.snapshot()

    with pytest.raises(OutOfSequence, match="Rp does not lead from requested to waiting"):
        conversation.hear(Rp((WAIT,)))

    assert conversation.tx.snapshot() == before


@pytest.mark.field_note(39)
@pytest.mark.parametrize("seconds", [0, -5])
def test_a_ca_that_asks_for_no_patience_is_not_polled_without_pause(
    talk: Begin, seconds: int
) -> None:
    conversation = talk()
    conversation.say()
    conversation.hear(Ip((CertResponse(0, WAIT),)))
    conversation.say()
    conversation.hear(PollRep((PollRepEntry(0, seconds * SECOND),)))
    assert conversation.tx.wake_at == NOW + SECOND

    conversation.say(NOW + SECOND)
    conversation.hear(Ip((CertResponse(0, WAIT),)), now=NOW + SECOND)
    assert conversation.tx.wake_at == NOW + 2 * SECOND


@pytest.mark.field_note(39)
def test_a_ca_that_asks_for_years_of_patience_is_left_at_the_deadline(talk: Begin) -> None:
    conversation = talk(total_timeout=timedelta(hours=1))
    conversation.say()
    conversation.hear(Ip((CertResponse(0, WAIT),)))
    conversation.say()
    conversation.hear(PollRep((PollRepEntry(0, timedelta(days=36500)),)))
    tx = conversation.tx
    assert tx.wake_at == tx.deadline == NOW + timedelta(hours=1)
    assert tx.outgoing(now=NOW + timedelta(hours=1) - SECOND) is None
    before = tx.snapshot()

    with pytest.raises(Expired, match="1:00:00"):
        tx.outgoing(now=NOW + timedelta(hours=1))

    assert tx.snapshot() == before


def test_the_deadline_cuts_requests_and_polls_and_nothing_after_the_grant(
    hand: Hand, talk: Begin
) -> None:
    late = NOW + PROFILE.total_timeout
    with pytest.raises(Expired):
        talk().tx.outgoing(now=late)
    conversation = talk()
    conversation.say()
    with pytest.raises(Expired):
        conversation.tx.resend(now=late)

    conversation.hear(hand.grants(conversation.sent[-1]), now=late)  # late, and welcome
    conversation.say(late)
    conversation.tx.resend(now=late + DAY)
    assert conversation.state() is State.CONFIRMING


# Between two workers


def test_snapshot_is_json_without_secrets(hand: Hand, talk: Begin) -> None:
    conversation = talk(by=MAC)
    conversation.grant()

    text = json.dumps(conversation.tx.snapshot())

    key = KEY.private_numbers().private_value.to_bytes(32, "big")
    for secret in (SECRET, key):
        for form in (secret.hex(), *(certs.base64(secret[n:]).strip("=")[:-2] for n in range(3))):
            assert form not in text
    assert SECRET.decode() not in text + repr(conversation.tx)


def _story(hand: Hand, conversation: Talk) -> list[str]:
    """Poll twice, grant, wait for the pkiConf; return what was sent."""
    conversation.say()
    yield_ = [Ip((CertResponse(0, WAIT),)), PollRep((PollRepEntry(0, SECOND),))]
    for body in yield_:
        conversation.hear(body)
        conversation.say(NOW + SECOND)
    conversation.hear(hand.grants(conversation.sent[0]))
    for body in (ErrorMsg(WAIT), PollRep((PollRepEntry(-1, SECOND),)), PkiConf()):
        conversation.say(NOW + 2 * SECOND)
        conversation.hear(body)
    return [type(codec.decode(der).body).__name__ for der in conversation.sent]


@pytest.mark.field_note(38)
@pytest.mark.parametrize("by", ["mac", "signature"])
def test_a_transaction_restored_at_every_step_is_as_one_never_interrupted(
    hand: Hand, talk: Begin, identity: SignatureCredentials, by: str
) -> None:
    credentials = MAC if by == "mac" else identity

    class Forgetful(Talk):
        """Loses its worker before every message and before every answer."""

        def revive(self) -> None:
            kept = self.tx.snapshot()
            self.tx = revived(self.tx)
            assert self.tx.snapshot() == kept

        def say(self, now: Any = NOW) -> PKIMessage:
            self.revive()
            return super().say(now)

        def hear(self, body: Any, now: Any = NOW, **how: Any) -> None:
            self.revive()
            super().hear(body, now, **how)

    plain = talk(by=credentials)
    forgetful = Forgetful(hand, talk(by=credentials).tx, [])

    expected = ["Ir", "PollReq", "PollReq", "CertConf", "PollReq", "PollReq"]
    assert _story(hand, plain) == _story(hand, forgetful) == expected
    forgetful.revive()
    assert plain.tx.state is forgetful.tx.state is State.DONE
    assert plain.tx.issued is not None
    assert forgetful.tx.issued is not None
    assert forgetful.tx.issued.chain == plain.tx.issued.chain == of(hand.issuing)


def test_a_refusal_survives_its_worker(hand: Hand, talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], key=an_ec_key().public_key())
    conversation.hear(hand.grants(conversation.sent[-1], certificate))
    tx = conversation.tx

    conversation.tx = revived(tx)
    message = conversation.say()

    assert isinstance(message.body, CertConf)
    assert message.body.statuses[0].cert_hash == certificate.fingerprint(hashes.SHA256())
    with pytest.raises(Unacceptable, match="for another public key"):
        conversation.hear(PkiConf())


def test_answers_to_general_questions_survive_their_worker(talk: Begin) -> None:
    conversation = talk(REQUESTS[GenP])
    conversation.say()
    items = (
        InfoTypeAndValue(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"),
        InfoTypeAndValue(x509.ObjectIdentifier("1.2.4")),
    )
    conversation.hear(GenP(items))
    tx = conversation.tx

    assert revived(tx).answers == tx.answers == items


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 0},
        {"version": None},
        {"request": "Update"},
        {"whose": "MAC 00"},
        {"state": "dreaming"},
        {"nonce": "?"},
        {"awaited": "Ir"},
        {"until": 5},
        {"issued": []},
        {"signer": "AAAA"},
    ],
)
def test_a_snapshot_of_something_else_is_refused(talk: Begin, damage: dict[str, Any]) -> None:
    tx = talk().tx

    with pytest.raises(LocalError):
        Transaction.restore(
            tx.snapshot() | damage,
            request=tx.request,
            credentials=tx.credentials,
            trust=tx.trust,
            profile=tx.profile,
        )


# Hostile answers


@pytest.mark.parametrize("by", [MAC, None], ids=["mac", "signature"])
def test_no_damage_to_an_answer_makes_anything_else_of_it(
    hand: Hand, talk: Begin, identity: SignatureCredentials, by: Credentials | None
) -> None:
    conversation = talk(by=by or identity)
    conversation.say()
    kept = conversation.tx.snapshot()
    certificate = hand.issue(conversation.sent[-1])
    body = hand.grants(conversation.sent[-1], certificate)
    answer = hand.answer(conversation.sent[-1], body, by=hand.by_mac if by else None)
    chance = Random(4711)

    for _ in range(200):
        damaged = bytearray(answer)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(answer))] ^= chance.randint(1, 255)
        conversation.tx = restored(kept, conversation.tx)
        try:
            conversation.tx.receive(bytes(damaged), now=NOW)
        except RemoteError:
            assert conversation.tx.snapshot() == kept
        else:  # extraCerts are not protected, and may be damaged
            tx = conversation.tx
            assert tx.state in {State.GRANTED, State.REFUSING}
            assert tx.issued is None or tx.issued.certificate == certificate
