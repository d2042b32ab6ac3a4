"""Whose word an answer is: what is not shown to be the CA's changes nothing."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509

from cmp import codec
from cmp.errors import (
    LocalError,
    Malformed,
    OutOfSequence,
    Rejected,
    Unprotected,
)
from cmp.messages import (
    Body,
    CertResponse,
    ErrorMsg,
    Ip,
    PkiConf,
    PKIStatus,
    PKIStatusInfo,
    Rp,
)
from cmp.protection import (
    Credentials,
    MacCredentials,
    SignatureCredentials,
    subject_key_identifier,
)
from cmp.request import Revoke
from cmp.states import State
from cmp.trust import TrustStore
from tests.cmp.certs import DAY, NOW, a_name, a_root, a_signer
from tests.cmp.hand import REFERENCE, Hand
from tests.cmp.talk import (
    MAC,
    NO,
    OLD,
    SECOND,
    WAIT,
    Begin,
    of,
    shuffled,
)

# The header, A9


@pytest.mark.field_note(6)
@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"transaction_id": b"another transaction"}, "transactionID"),
        ({"transaction_id": None}, "transactionID"),
        ({"recip_nonce": b"another nonce"}, "recipNonce"),
        ({"recip_nonce": None}, "recipNonce"),
        ({"pvno": 1}, "pvno"),
    ],
)
def test_an_answer_to_something_else_is_refused_and_the_real_one_still_counts(
    talk: Begin, header: dict[str, Any], reason: str
) -> None:
    conversation = talk()
    conversation.say()
    before = conversation.tx.snapshot()
    body = conversation.hand.grants(conversation.sent[-1])

    with pytest.raises(OutOfSequence, match=reason):
        conversation.hear(body, **header)

    assert conversation.tx.snapshot() == before
    conversation.hear(body)
    assert conversation.tx.state is State.GRANTED


def test_the_answer_to_an_earlier_message_of_the_transaction_is_refused(
    hand: Hand, talk: Begin
) -> None:
    conversation = talk()
    conversation.grant()
    granted = codec.decode(conversation.sent[0]).header.sender_nonce
    conversation.say()

    with pytest.raises(OutOfSequence, match="recipNonce"):
        conversation.hear(PkiConf(), recip_nonce=granted)


# Protection


@pytest.mark.parametrize("by", [MAC, None], ids=["mac", "signature"])
def test_an_unprotected_answer_is_refused(
    talk: Begin, identity: SignatureCredentials, by: Credentials | None
) -> None:
    conversation = talk(by=by or identity, mac_only=True)
    conversation.say()
    before = conversation.tx.snapshot()

    with pytest.raises(Unprotected, match="not protected"):
        conversation.hear(conversation.hand.grants(conversation.sent[-1]), protected=False)

    assert conversation.tx.snapshot() == before


@pytest.mark.parametrize("by", [MAC, None], ids=["mac", "signature"])
def test_an_answer_changed_on_its_way_is_refused(
    hand: Hand, talk: Begin, identity: SignatureCredentials, by: Credentials | None
) -> None:
    conversation = talk(by=by or identity)
    conversation.say()
    certificate = hand.issue(conversation.sent[-1])
    answer = hand.answer(
        conversation.sent[-1],
        hand.grants(conversation.sent[-1], certificate),
        by=hand.by_mac if by else None,
    )
    serial = certificate.serial_number.to_bytes(20, "big")
    changed = answer.replace(serial, serial[:-1] + bytes([serial[-1] ^ 1]))
    assert changed != answer

    with pytest.raises(Unprotected, match="does not verify"):
        conversation.tx.receive(changed, now=NOW)


def test_a_mac_by_another_secret_is_refused(talk: Begin) -> None:
    conversation = talk(by=MAC)
    conversation.say()

    with pytest.raises(Unprotected, match="secret"):
        conversation.hear(
            conversation.hand.grants(conversation.sent[-1]), by=replace(MAC, secret=b"guessed")
        )


def test_a_signature_by_a_stranger_is_refused_with_the_reason(hand: Hand, talk: Begin) -> None:
    stranger = a_signer(a_root("Stranger"))
    conversation = talk()
    conversation.say()

    with pytest.raises(Unprotected, match=r"CN=CMP signer leads to no trust anchor: .*Stranger"):
        conversation.hear(
            hand.grants(conversation.sent[-1]),
            by=SignatureCredentials(stranger.key, stranger.certificate),
        )


def test_a_signature_by_an_expired_signer_is_refused(hand: Hand, talk: Begin) -> None:
    expired = a_signer(hand.issuing, ends=NOW - DAY)
    conversation = talk()
    conversation.say()

    with pytest.raises(Unprotected, match="expired on 2026-05-31"):
        conversation.hear(
            hand.grants(conversation.sent[-1]),
            by=SignatureCredentials(expired.key, expired.certificate, of(hand.issuing)),
        )


@pytest.mark.field_note(11)
@pytest.mark.parametrize(
    ("mac_only", "by", "anchored", "accepted"),
    [
        (False, "mac", True, True),
        (False, "mac", False, True),
        (False, "signature", True, True),
        (False, "signature", False, False),
        (True, "mac", True, True),
        (True, "signature", True, False),
    ],
)
def test_initial_response_authentication(  # noqa: PLR0913, PLR0917 - A4's whole truth table
    hand: Hand, talk: Begin, mac_only: bool, by: str, anchored: bool, accepted: bool
) -> None:
    trust = hand.trust if anchored else TrustStore(intermediates=of(hand.issuing))
    conversation = talk(by=MAC, trust=trust, mac_only=mac_only)
    conversation.say()
    body = hand.grants(conversation.sent[-1], ca_pubs=of(hand.issuing))
    credentials = hand.by_mac if by == "mac" else hand.by_signature

    if accepted:
        conversation.hear(body, by=credentials)
        assert conversation.tx.state is State.GRANTED
    else:
        with pytest.raises(Unprotected):
            conversation.hear(body, by=credentials)
        assert conversation.tx.state is State.REQUESTED


@pytest.mark.field_note(11)
def test_a_mac_never_answers_a_signed_request(hand: Hand, talk: Begin) -> None:
    conversation = talk()
    conversation.say()

    with pytest.raises(Unprotected, match="the answer to a signed request is protected by a MAC"):
        conversation.hear(hand.grants(conversation.sent[-1]), by=hand.by_mac)


def test_our_own_message_sent_back_to_us_is_no_answer(talk: Begin) -> None:
    conversation = talk(by=MAC)
    conversation.say()

    with pytest.raises(OutOfSequence):
        conversation.tx.receive(conversation.sent[-1], now=NOW)


# The signer


@pytest.mark.field_note(4, 20)
def test_later_answers_may_leave_the_signer_out(talk: Begin) -> None:
    conversation = talk()
    conversation.grant()
    conversation.say()

    conversation.hear(PkiConf(), extra_certs=(), sender_kid=None)

    assert conversation.tx.state is State.DONE


@pytest.mark.field_note(20)
def test_the_first_answer_may_not_leave_the_signer_out(hand: Hand, talk: Begin) -> None:
    conversation = talk()
    conversation.say()

    with pytest.raises(Unprotected, match="did not come with it"):
        conversation.hear(hand.grants(conversation.sent[-1]), extra_certs=())


def test_later_answers_may_have_another_signer_that_is_trusted(hand: Hand, talk: Begin) -> None:
    other = a_signer(hand.issuing, "Second signer")
    conversation = talk()
    conversation.grant()
    conversation.say()

    conversation.hear(
        PkiConf(), by=SignatureCredentials(other.key, other.certificate, of(hand.issuing))
    )

    assert conversation.tx.state is State.DONE


def test_a_signer_that_has_expired_since_is_checked_again(hand: Hand, talk: Begin) -> None:
    brief = a_signer(hand.issuing, ends=NOW + SECOND)
    by = SignatureCredentials(brief.key, brief.certificate, of(hand.issuing))
    conversation = talk()
    conversation.grant(by=by)
    conversation.say()

    with pytest.raises(Unprotected, match="expired"):
        conversation.hear(PkiConf(), by=by, now=NOW + 2 * SECOND)


@pytest.mark.field_note(4)
@pytest.mark.parametrize("kid", [None, b"reflected", "right"])
@pytest.mark.parametrize("place", [0, 1])
def test_signer_is_found_whatever_sender_kid_says_and_wherever_it_stands(
    hand: Hand, talk: Begin, kid: bytes | str | None, place: int
) -> None:
    brought = [hand.issuing.certificate, a_signer(hand.issuing, "Unrelated").certificate]
    brought.insert(place, hand.signer.certificate)
    right = subject_key_identifier(hand.signer.certificate)
    conversation = talk()

    conversation.grant(extra_certs=brought, sender_kid=right if kid == "right" else kid)

    assert conversation.tx.state is State.GRANTED


@pytest.mark.field_note(19)
def test_a_configured_server_cert_is_the_only_signer_and_need_not_come_along(
    hand: Hand, talk: Begin
) -> None:
    pinned = TrustStore(intermediates=of(hand.issuing), server_cert=hand.signer.certificate)
    conversation = talk(trust=pinned)
    conversation.say()
    body = hand.grants(conversation.sent[-1])
    other = a_signer(hand.issuing, "CMP signer")

    with pytest.raises(Unprotected):
        conversation.hear(
            body, by=SignatureCredentials(other.key, other.certificate, of(hand.issuing))
        )
    conversation.hear(body, extra_certs=())

    assert conversation.tx.state is State.GRANTED


# The sender, A15


@pytest.mark.field_note(3)
def test_sender_is_compared_by_meaning(hand: Hand, talk: Begin) -> None:
    expected = hand.signer.certificate.subject
    conversation = talk(expected_sender=expected)

    conversation.grant(sender=x509.DirectoryName(shuffled(expected)))

    assert conversation.tx.state is State.GRANTED


@pytest.mark.parametrize("by", ["mac", "signature"])
@pytest.mark.parametrize(
    "sender",
    [x509.DirectoryName(a_name("Somebody")), x509.DNSName("ca.example")],
    ids=["another name", "no distinguished name"],
)
def test_an_answer_of_another_sender_is_refused(
    hand: Hand, talk: Begin, identity: SignatureCredentials, by: str, sender: x509.GeneralName
) -> None:
    conversation = talk(
        by=MAC if by == "mac" else identity, expected_sender=hand.signer.certificate.subject
    )
    conversation.say()

    with pytest.raises(Unprotected, match=r"sender is .*, expected is /O=Example/CN=CMP signer"):
        conversation.hear(
            hand.grants(conversation.sent[-1]),
            by=hand.by_mac if by == "mac" else None,
            sender=sender,
        )


@pytest.mark.field_note(19)
def test_naming_the_expected_sender_does_not_help_another_holder_of_a_certificate(
    hand: Hand, talk: Begin, identity: SignatureCredentials
) -> None:
    expected = hand.signer.certificate.subject
    conversation = talk(expected_sender=expected)
    conversation.say()

    with pytest.raises(Unprotected, match="signer is /O=Example/CN=occm, expected is"):
        conversation.hear(
            hand.grants(conversation.sent[-1]), by=identity, sender=x509.DirectoryName(expected)
        )


@pytest.mark.field_note(19)
def test_by_default_a_signed_answer_is_bound_to_the_server_certs_subject(
    hand: Hand, talk: Begin
) -> None:
    pinned = TrustStore(intermediates=of(hand.issuing), server_cert=hand.signer.certificate)
    elsewhere = x509.DirectoryName(a_name("Somebody"))
    signed, by_mac = talk(trust=pinned), talk(trust=pinned, by=MAC)
    signed.say()

    with pytest.raises(Unprotected, match="sender is /O=Example/CN=Somebody"):
        signed.hear(hand.grants(signed.sent[-1]), sender=elsewhere)
    by_mac.grant(by=hand.by_mac, sender=elsewhere)

    assert by_mac.tx.state is State.GRANTED


# Who says no


@pytest.mark.field_note(8, 10, 13)
@pytest.mark.parametrize(
    "how",
    [
        {"protected": False},
        {"by": MacCredentials(b"guessed", REFERENCE)},
        {"transaction_id": b"another"},
        {"transaction_id": None},
        {"recip_nonce": b"another"},
        {"pvno": 1, "protected": False},
    ],
)
@pytest.mark.parametrize("body", [ErrorMsg(NO), Ip((CertResponse(0, NO),))], ids=["error", "ip"])
def test_a_no_without_proof_is_reported_and_changes_nothing(
    talk: Begin, how: dict[str, Any], body: Body
) -> None:
    conversation = talk(by=MAC)
    conversation.say()
    before = conversation.tx.snapshot()

    with pytest.raises(Rejected) as caught:
        conversation.hear(body, **{"by": conversation.hand.by_mac} | how)

    assert not caught.value.authenticated
    assert caught.value.failures == {"badRequest"}
    assert "not today" in caught.value.text
    assert conversation.tx.snapshot() == before
    conversation.hear(conversation.hand.grants(conversation.sent[-1]))
    assert conversation.tx.state is State.GRANTED


@pytest.mark.field_note(13)
def test_patience_asked_for_without_proof_changes_nothing(talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    before = conversation.tx.snapshot()

    with pytest.raises(Unprotected):
        conversation.hear(ErrorMsg(WAIT), protected=False)

    assert conversation.tx.snapshot() == before


@pytest.mark.field_note(30)
@pytest.mark.parametrize("body", [ErrorMsg(NO), Ip((CertResponse(0, NO),))], ids=["error", "ip"])
def test_a_no_of_the_ca_ends_the_transaction(talk: Begin, body: Body) -> None:
    conversation = talk()
    conversation.say()

    with pytest.raises(Rejected) as caught:
        conversation.hear(body)

    rejected = caught.value
    assert (rejected.authenticated, rejected.status, rejected.text) == (
        True,
        "rejection",
        "not today",
    )
    assert rejected.failures == {"badRequest"}
    assert conversation.tx.state is State.FAILED
    with pytest.raises(LocalError, match="nothing to send while failed"):
        conversation.tx.outgoing(now=NOW)


def test_a_no_to_the_certconf_ends_the_transaction(talk: Begin) -> None:
    conversation = talk()
    conversation.grant()
    conversation.say()

    with pytest.raises(Rejected):
        conversation.hear(ErrorMsg(NO))

    assert conversation.tx.state is State.FAILED


def test_a_no_to_a_revocation_ends_the_transaction(talk: Begin) -> None:
    conversation = talk(Revoke.of(OLD.certificate))
    conversation.say()

    with pytest.raises(Rejected):
        conversation.hear(Rp((NO,)))

    assert conversation.tx.state is State.FAILED


@pytest.mark.field_note(32)
def test_what_the_ca_says_is_one_line_and_not_endless(talk: Begin) -> None:
    strings = ("first\r\nline", "\x1b[2Jsecond \u202e", "x" * 20_000)
    body = ErrorMsg(PKIStatusInfo(PKIStatus.rejection, strings), 42, ("a detail",))
    conversation = talk()
    conversation.say()

    with pytest.raises(Rejected) as caught:
        conversation.hear(body)

    text = caught.value.text
    assert text.startswith(r"first\r\nline; \x1b[2Jsecond \u202e; xxx")
    assert text.isprintable()
    assert len(text) == 8192


@pytest.mark.field_note(32)
def test_error_code_and_details_are_part_of_what_the_ca_says(talk: Begin) -> None:
    conversation = talk()
    conversation.say()

    with pytest.raises(Rejected) as caught:
        conversation.hear(ErrorMsg(NO, 42, ("a detail", "another")))

    assert caught.value.text == "not today; a detail; another; error code 42"


@pytest.mark.field_note(9)
def test_bad_time_is_explained_by_both_clocks(talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    bad_time = PKIStatusInfo(PKIStatus.rejection, (), frozenset({"badTime"}))

    with pytest.raises(Rejected) as caught:
        conversation.hear(ErrorMsg(bad_time), message_time=NOW + 600 * SECOND)

    assert caught.value.text == (
        "our clock says 2026-06-01 12:00:00 UTC, the CA's 2026-06-01 12:10:00 UTC"
    )


def test_garbage_changes_nothing(talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    before = conversation.tx.snapshot()

    for garbage in (b"", b"0", b"<html>", conversation.sent[-1][:-1]):
        with pytest.raises(Malformed):
            conversation.tx.receive(garbage, now=NOW)

    assert conversation.tx.snapshot() == before
