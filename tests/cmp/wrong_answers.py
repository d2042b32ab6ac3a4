"""Conversations in which an answer is wrong in one way: for `test_every_check_counts`."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cryptography import x509

from cmp.messages import (
    Body,
    CertResponse,
    Ip,
    PKIStatus,
    PKIStatusInfo,
    PollRep,
    PollRepEntry,
)
from cmp.protection import SignatureCredentials
from cmp.request import Ask
from cmp.trust import TrustStore
from tests.cmp import certs
from tests.cmp.certs import NOW, YEAR, Holder, a_name, a_root, a_signer, an_ec_key
from tests.cmp.hand import Hand
from tests.cmp.talk import MAC, NO, WAIT, Begin, Talk, of

Story = Callable[[Hand, Begin], Talk]

YES = PKIStatusInfo(PKIStatus.accepted)
SOON = timedelta(seconds=1)
EXPECTED: dict[str, Any] = {"expected_sender": a_name("CMP signer")}
ELSE = x509.DirectoryName(a_name("Somebody"))


def granted(**how: Any) -> Story:
    """A good certificate, in an answer that is wrong in one way."""

    def story(_: Hand, talk: Begin) -> Talk:
        conversation = talk()
        conversation.grant(**how)
        return conversation

    return story


def answered(body: Body, request: Any = None) -> Story:
    def story(_: Hand, talk: Begin) -> Talk:
        conversation = talk(request)
        conversation.say()
        conversation.hear(body)
        return conversation

    return story


def granting(**how: Any) -> Story:
    """A good message that grants in a wrong way."""

    def story(hand: Hand, talk: Begin) -> Talk:
        conversation = talk()
        conversation.say()
        conversation.hear(hand.grants(conversation.sent[-1], **how))
        return conversation

    return story


def signed_by(signer: Callable[[Hand], Holder], **profile: Any) -> Story:
    def story(hand: Hand, talk: Begin) -> Talk:
        holder = signer(hand)
        conversation = talk(**profile)
        conversation.grant(
            by=SignatureCredentials(holder.key, holder.certificate, of(hand.issuing)),
            **({"sender": x509.DirectoryName(a_name("CMP signer"))} if profile else {}),
        )
        return conversation

    return story


def two_responses(hand: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.say()
    (response,) = hand.grants(conversation.sent[-1]).responses
    conversation.hear(Ip((response, response)))
    return conversation


def poll_answered_about_another(_: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.say()
    conversation.hear(Ip((CertResponse(0, WAIT),)))
    conversation.say()
    conversation.hear(PollRep((PollRepEntry(7, SOON),)))
    return conversation


def encrypted(hand: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1])
    der = certificate.public_bytes(certs.DER)
    plain, sealed = (bytes([tag, 0x82]) + len(der).to_bytes(2, "big") for tag in (0xA0, 0xA1))
    conversation.hear(
        hand.grants(conversation.sent[-1], certificate), patch=(plain + der, sealed + der)
    )
    return conversation


def another_key(hand: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], key=an_ec_key().public_key())
    conversation.hear(hand.grants(conversation.sent[-1], certificate))
    return conversation


def numbered_at_length(hand: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.say()
    certificate = certs.renumbered(hand.issue(conversation.sent[-1]), 1 << 160, hand.issuing.key)
    conversation.hear(hand.grants(conversation.sent[-1], certificate))
    return conversation


def issued_for_the_past(hand: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], not_before=NOW - YEAR / 2, not_after=NOW - SOON)
    conversation.hear(hand.grants(conversation.sent[-1], certificate))
    return conversation


def issued_by_a_stranger(hand: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], by=a_root("Stranger"))
    conversation.hear(hand.grants(conversation.sent[-1], certificate))
    return conversation


def anchored_in_ca_pubs(hand: Hand, talk: Begin) -> Talk:
    stranger = a_root("Stranger")
    conversation = talk(by=MAC)
    conversation.say()
    certificate = hand.issue(conversation.sent[-1], by=stranger)
    body = hand.grants(conversation.sent[-1], certificate, ca_pubs=of(stranger))
    conversation.hear(body, by=hand.by_mac)
    return conversation


def signer_anchored_in_extra_certs(hand: Hand, talk: Begin) -> Talk:
    stranger = a_root("Stranger")
    signer = a_signer(stranger)
    brought = of(signer, stranger, hand.issuing)
    conversation = talk()
    conversation.grant(by=SignatureCredentials(signer.key, signer.certificate), extra_certs=brought)
    return conversation


def mac_for_a_signature(hand: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.say()
    body = hand.grants(conversation.sent[-1], ca_pubs=of(hand.issuing))
    conversation.hear(body, by=hand.by_mac)
    return conversation


def signature_for_a_mac(**choice: Any) -> Story:
    def story(hand: Hand, talk: Begin) -> Talk:
        conversation = talk(by=MAC, **choice)
        conversation.grant()
        return conversation

    return story


def nothing_anchors_the_signer(hand: Hand, talk: Begin) -> Talk:
    conversation = talk(by=MAC, trust=TrustStore(intermediates=of(hand.issuing)))
    conversation.grant()
    return conversation


def guessed_secret(hand: Hand, talk: Begin) -> Talk:
    conversation = talk(by=MAC)
    conversation.say()
    body = hand.grants(conversation.sent[-1], ca_pubs=of(hand.issuing))
    conversation.hear(body, by=replace(MAC, secret=b"guessed"))
    return conversation


def signed_in_the_signers_name(hand: Hand, talk: Begin) -> Talk:
    holder = a_signer(hand.issuing, "Thief")
    thief = SignatureCredentials(holder.key, holder.certificate)
    true = hand.by_signature
    conversation = talk()
    conversation.grant(
        by=thief, extra_certs=true.sent_certs, sender=true.sender, sender_kid=true.sender_kid
    )
    return conversation


def not_the_server_cert(hand: Hand, talk: Begin) -> Talk:
    other = a_signer(hand.issuing)  # of the same name
    pinned = TrustStore(intermediates=of(hand.issuing), server_cert=hand.signer.certificate)
    conversation = talk(trust=pinned)
    conversation.grant(by=SignatureCredentials(other.key, other.certificate, of(hand.issuing)))
    return conversation


def another_sender(_: Hand, talk: Begin) -> Talk:
    conversation = talk(**EXPECTED)
    conversation.grant(sender=ELSE)
    return conversation


def unasked(hand: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.grant()
    conversation.hear(hand.grants(conversation.sent[-1]))
    return conversation


def certificate_for_a_question(hand: Hand, talk: Begin) -> Talk:
    conversation = talk(Ask(()))
    conversation.say()
    conversation.hear(Ip((CertResponse(0, YES, hand.signer.certificate),)))
    return conversation


def refused_with_a_certificate(hand: Hand, talk: Begin) -> Talk:
    conversation = talk()
    conversation.say()
    certificate = hand.issue(conversation.sent[-1])
    conversation.hear(Ip((CertResponse(0, NO, certificate),)))
    return conversation
