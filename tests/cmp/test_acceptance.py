"""What is issued is accepted only if it is what was asked for."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from cmp.errors import (
    OutOfSequence,
    Unacceptable,
)
from cmp.messages import (
    Body,
    CertConf,
    CertResponse,
    Cp,
    ErrorMsg,
    Ip,
    Kup,
    P10cr,
    PkiConf,
    PKIStatus,
    PKIStatusInfo,
)
from cmp.request import Enroll, SignCsr
from cmp.states import State
from tests.cmp import certs
from tests.cmp.certs import DAY, NOW, a_name, a_root, an_ec_key
from tests.cmp.hand import Hand
from tests.cmp.talk import (
    KEY,
    MAC,
    NO,
    REQUESTS,
    SECOND,
    TEMPLATE,
    WAIT,
    Begin,
    a_csr,
    of,
    shuffled,
)


@pytest.mark.field_note(25)
@pytest.mark.parametrize(
    "body",
    [
        Ip(()),
        Ip((CertResponse(0, WAIT), CertResponse(0, WAIT))),
        Ip((CertResponse(1, WAIT),)),
        Ip((CertResponse(-1, WAIT),)),
    ],
)
def test_exactly_the_one_request_is_answered(talk: Begin, body: Body) -> None:
    conversation = talk()
    conversation.say()
    before = conversation.tx.snapshot()

    with pytest.raises(OutOfSequence):
        conversation.hear(body)

    assert conversation.tx.snapshot() == before


@pytest.mark.field_note(25)
@pytest.mark.parametrize("cert_req_id", [-1, 0])
def test_a_pkcs_10_request_is_answered_by_the_number_the_ca_likes_and_it_is_echoed(
    hand: Hand, talk: Begin, cert_req_id: int
) -> None:
    conversation = talk(SignCsr(a_csr()))
    question = conversation.say()
    assert isinstance(question.body, P10cr)
    granted = hand.grants(conversation.sent[-1], body=Cp, cert_req_id=cert_req_id)
    conversation.hear(granted)

    confirmation = conversation.say()

    assert isinstance(confirmation.body, CertConf)
    assert confirmation.body.statuses[0].cert_req_id == cert_req_id


@pytest.mark.field_note(31)
def test_a_certificate_for_another_key_is_refused_with_a_certconf(hand: Hand, talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    tx = conversation.tx
    certificate = hand.issue(conversation.sent[-1], key=an_ec_key().public_key())

    conversation.hear(hand.grants(conversation.sent[-1], certificate))

    assert conversation.state() is State.REFUSING
    assert isinstance(tx.refusal, Unacceptable)
    assert tx.issued is None
    message = conversation.say()
    assert conversation.state() is State.REFUSED
    assert isinstance(message.body, CertConf)
    (status,) = message.body.statuses
    assert status.cert_hash == certificate.fingerprint(hashes.SHA256())
    assert status.status_info == PKIStatusInfo(
        PKIStatus.rejection,
        ("the issued certificate is for another public key",),
        frozenset({"incorrectData"}),
    )
    with pytest.raises(Unacceptable, match="for another public key"):
        conversation.hear(PkiConf())
    assert conversation.state() is State.FAILED


def test_an_error_in_answer_to_a_refusal_still_tells_why_we_refused(
    hand: Hand, talk: Begin
) -> None:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], key=an_ec_key().public_key())
    conversation.hear(hand.grants(conversation.sent[-1], certificate))
    conversation.say()

    with pytest.raises(Unacceptable, match="for another public key"):
        conversation.hear(ErrorMsg(NO))

    assert conversation.state() is State.FAILED


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@pytest.mark.parametrize(
    ("number", "state"),
    [
        (0, State.REFUSING),
        (1, State.GRANTED),
        ((1 << 160) - 1, State.GRANTED),
        (1 << 160, State.REFUSING),
        (1 << 20000, State.REFUSING),
    ],
    ids=["0", "1", "20 octets", "21 octets", "2.5 KiB"],
)
def test_serial_numbers_are_positive_and_of_up_to_20_octets(
    hand: Hand, talk: Begin, number: int, state: State
) -> None:
    conversation = talk()
    conversation.say()
    issued = hand.issue(conversation.sent[-1])
    certificate = certs.renumbered(issued, number, hand.issuing.key)

    conversation.hear(hand.grants(conversation.sent[-1], certificate))

    assert conversation.state() is state
    refused = "is none that a CA may give" in str(conversation.tx.refusal)
    assert refused is (state is State.REFUSING)


def test_a_certificate_that_leads_to_no_anchor_is_refused(hand: Hand, talk: Begin) -> None:
    stranger = a_root("Stranger")
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], by=stranger)

    conversation.hear(
        hand.grants(conversation.sent[-1], certificate, ca_pubs=of(stranger)),
        extra_certs=(*hand.by_signature.sent_certs, stranger.certificate),
    )

    assert conversation.state() is State.REFUSING
    assert "CN=Stranger is self-signed and no configured trust anchor" in str(
        conversation.tx.refusal
    )


@pytest.mark.field_note(12)
def test_ca_pubs_are_no_anchors_even_under_a_mac(hand: Hand, talk: Begin) -> None:
    stranger = a_root("Stranger")
    conversation = talk(by=MAC)
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], by=stranger)

    conversation.hear(
        hand.grants(conversation.sent[-1], certificate, ca_pubs=of(stranger)), by=hand.by_mac
    )

    assert conversation.state() is State.REFUSING


@pytest.mark.field_note(12)
def test_ca_pubs_help_to_build_the_chain(hand: Hand, talk: Begin) -> None:
    conversation = talk(by=MAC)
    conversation.say()

    conversation.hear(hand.grants(conversation.sent[-1], ca_pubs=of(hand.issuing)), by=hand.by_mac)

    assert conversation.tx.issued is not None
    assert conversation.tx.issued.chain == of(hand.issuing)


@pytest.mark.field_note(35)
def test_an_encrypted_certificate_is_refused(hand: Hand, talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1])
    der = certificate.public_bytes(certs.DER)
    plain, encrypted = (bytes([tag, 0x82]) + len(der).to_bytes(2, "big") for tag in (0xA0, 0xA1))

    conversation.hear(
        hand.grants(conversation.sent[-1], certificate), patch=(plain + der, encrypted + der)
    )

    assert conversation.state() is State.REFUSING
    assert "encrypted" in str(conversation.tx.refusal)
    assert conversation.say().body == CertConf(())  # accepts none
    with pytest.raises(Unacceptable):
        conversation.hear(PkiConf())


def test_a_grant_without_a_certificate_is_none(talk: Begin) -> None:
    conversation = talk()
    conversation.say()

    with pytest.raises(Unacceptable, match="said accepted and sent no certificate"):
        conversation.hear(Ip((CertResponse(0, PKIStatusInfo(PKIStatus.accepted)),)))

    assert conversation.state() is State.FAILED


@pytest.mark.field_note(30)
@pytest.mark.parametrize(
    ("status", "request_", "accepted"),
    [
        (PKIStatus.accepted, Ip, True),
        (PKIStatus.grantedWithMods, Ip, True),
        (PKIStatus.revocationWarning, Ip, True),
        (PKIStatus.revocationNotification, Ip, True),
        (PKIStatus.keyUpdateWarning, Ip, False),
        (PKIStatus.keyUpdateWarning, Cp, False),
        (PKIStatus.keyUpdateWarning, Kup, True),
    ],
)
def test_statuses_that_carry_a_certificate(
    hand: Hand, talk: Begin, status: PKIStatus, request_: Any, accepted: bool
) -> None:
    conversation = talk(REQUESTS[request_])
    conversation.say()

    conversation.hear(hand.grants(conversation.sent[-1], status=status, body=request_))

    tx = conversation.tx
    if accepted:
        assert conversation.state() is State.GRANTED
        assert tx.issued is not None
        assert tx.issued.status is status
    else:
        assert conversation.state() is State.REFUSING


def test_differences_to_what_was_asked_are_told(hand: Hand, talk: Begin) -> None:
    extensions = (
        certs.key_usage("digital_signature"),
        certs.hosts("nrf.example", "10.0.0.1"),
        certs.purposes(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
        certs.constraints(ca=False),
    )
    conversation = talk(Enroll(replace(TEMPLATE, extensions=extensions), KEY))
    conversation.say()
    granted = (
        certs.key_usage("digital_signature", "key_agreement"),
        certs.hosts("nrf.example", "amf.example"),
    )
    certificate = hand.issue(
        conversation.sent[-1],
        template=TEMPLATE,
        key=KEY.public_key(),
        subject=a_name("amf"),
        not_after=NOW + 30 * DAY,
        extensions=granted,
    )

    conversation.hear(
        hand.grants(conversation.sent[-1], certificate, status=PKIStatus.grantedWithMods)
    )

    assert conversation.tx.issued is not None
    assert conversation.tx.issued.modifications == (
        "subject is /O=Example/CN=amf",
        "validity ends 2026-07-01 instead of 2026-12-01",
        "keyUsage differs",
        "subjectAltName lacks 10.0.0.1",
        "subjectAltName adds amf.example",
        "extendedKeyUsage is missing",
    )


def test_what_only_looks_different_is_no_difference(hand: Hand, talk: Begin) -> None:
    both = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    wanted = replace(TEMPLATE, extensions=(certs.purposes(*both), certs.constraints(ca=False)))
    conversation = talk(Enroll(wanted, KEY))
    conversation.say()
    certificate = hand.issue(
        conversation.sent[-1],
        template=wanted,
        key=KEY.public_key(),
        subject=shuffled(a_name("NRF")),
        not_before=NOW - timedelta(hours=1),
        extensions=(certs.purposes(*reversed(both)), certs.key_usage("digital_signature")),
    )

    conversation.hear(hand.grants(conversation.sent[-1], certificate))

    assert conversation.tx.issued is not None
    assert conversation.tx.issued.modifications == ()


@pytest.mark.parametrize(
    ("begins", "state"),
    [(NOW + 2 * SECOND, State.GRANTED), (NOW + timedelta(hours=1), State.REFUSING)],
)
def test_a_ca_whose_clock_is_a_little_ahead_is_forgiven(
    hand: Hand, talk: Begin, begins: Any, state: State
) -> None:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], not_before=begins)

    conversation.hear(hand.grants(conversation.sent[-1], certificate))

    assert conversation.state() is state
