"""Every check of a response is the one thing that stands between a story and its acceptance.

Each story is told twice: it is refused for its reason, and with that one check taken out of the
code it is not. So no check is dead, none hides behind another, and whoever removes one sees red.
Taking it out means patching our own code, which tests here never do otherwise: only the absence of
a check can show what the check is worth, and nothing is put in the place of what is tested.
"""

import ast
import inspect
from dataclasses import dataclass
from typing import Any

import pytest

from cmp import acceptance, algorithms, authentication, protection, transaction, trust
from cmp.errors import RemoteError
from cmp.messages import CertResponse, Cp, ErrorMsg, Ip, PKIStatus, PollRep, PollRepEntry, Rp
from cmp.protection import verify_mac
from cmp.request import Revoke
from cmp.states import TRANSITIONS, State
from cmp.transaction import Transaction
from cmp.trust import TrustStore
from tests.cmp import certs
from tests.cmp.certs import NOW, a_root, a_signer
from tests.cmp.hand import SECRET, Hand
from tests.cmp.taking_out import (
    Patch,
    Removal,
    at_any_time,
    both,
    instead,
    raises,
    with_helpers_as_anchors,
    without,
)
from tests.cmp.talk import NO, OLD, WAIT, Begin
from tests.cmp.wrong_answers import (
    EXPECTED,
    SOON,
    YES,
    Story,
    anchored_in_ca_pubs,
    another_key,
    another_sender,
    answered,
    certificate_for_a_question,
    encrypted,
    granted,
    granting,
    guessed_secret,
    issued_by_a_stranger,
    issued_for_the_past,
    mac_for_a_signature,
    not_the_server_cert,
    nothing_anchors_the_signer,
    numbered_at_length,
    poll_answered_about_another,
    refused_with_a_certificate,
    signature_for_a_mac,
    signed_by,
    signed_in_the_signers_name,
    signer_anchored_in_extra_certs,
    two_responses,
    unasked,
)


@dataclass(frozen=True)
class Check:
    """`reason` is a piece of the words it refuses with, `then` of the next check's, if any."""

    name: str
    reason: str
    story: Story
    removal: Removal
    then: str | None = None


CHECKS = [
    # the header
    Check(
        "transactionID",
        "belongs to another transaction",
        granted(transaction_id=b"another"),
        instead(acceptance, "require_transaction", lambda *_: None),
    ),
    Check(
        "recipNonce",
        "belongs to another message",
        granted(recip_nonce=b"another"),
        instead(acceptance, "require_nonce", lambda *_: None),
    ),
    Check(
        "recipNonce there",
        "belongs to another message",
        granted(recip_nonce=None),
        instead(acceptance, "require_nonce", lambda *_: None),
    ),
    Check(
        "pvno",
        "the answer's pvno is",
        granted(pvno=1),
        instead(acceptance, "require_version", lambda *_: None),
    ),
    # protection
    Check(
        "protected at all",
        "the answer is not protected",
        granted(protected=False),
        both(
            without(authentication.authenticate, "the answer is not protected"),
            instead(authentication, "verify_signature", lambda *_: None),
        ),
    ),
    Check(
        "MAC verifies",
        "the MAC does not verify",
        guessed_secret,
        without(protection.verify_mac, "the MAC does not verify"),
    ),
    Check(
        "signature verifies",
        "the signature does not verify",
        signed_in_the_signers_name,
        without(algorithms.verify, "the signature does not verify"),
    ),
    Check(
        "no MAC for a signed request",
        "the answer to a signed request is protected by a MAC",
        mac_for_a_signature,
        instead(authentication, "_require_mac", lambda message, _: verify_mac(message, SECRET)),
    ),
    Check(
        "MAC only",
        "only a MAC is accepted",
        signature_for_a_mac(mac_only=True),
        without(authentication._require_signature_allowed, "only a MAC is accepted"),
    ),
    Check(
        "anchor for signers",
        "no root or server cert is configured",
        nothing_anchors_the_signer,
        without(authentication._require_signature_allowed, "no root or server cert is configured"),
        then="signer is not trusted",
    ),
    # the signer
    Check(
        "signer's certificate",
        "its signer's certificate did not come with it",
        granted(extra_certs=()),
        instead(authentication, "_signer", lambda *_: None),
        then="the issued certificate is not trusted",  # whose issuer did not come either
    ),
    Check(
        "signer's path",
        "the response's signer is not trusted",
        signed_by(lambda _: a_signer(a_root("Stranger"))),
        without(TrustStore.check_signer, "the response's signer is not trusted"),
    ),
    Check(
        "signer's validity",
        "expired on",
        signed_by(lambda hand: a_signer(hand.issuing, ends=NOW - SOON)),
        at_any_time(),
    ),
    Check(
        "extraCerts are no anchors",
        "the response's signer is not trusted",
        signer_anchored_in_extra_certs,
        with_helpers_as_anchors("check_signer"),
    ),
    Check(
        "digitalSignature",
        "its keyUsage lacks digitalSignature",
        signed_by(lambda hand: a_signer(hand.issuing, extensions=[certs.key_usage("crl_sign")])),
        without(trust._require_digital_signature, "its keyUsage lacks digitalSignature"),
    ),
    Check(
        "server cert",
        "the signature does not verify",
        not_the_server_cert,
        both(
            instead(authentication, "_candidates", lambda message, *_: iter(message.extra_certs)),
            without(trust._require_same, "is not the configured server cert"),
        ),
    ),
    Check(
        "server cert, once more",
        "the signature does not verify",
        not_the_server_cert,
        instead(authentication, "_candidates", lambda message, *_: iter(message.extra_certs)),
        then="is not the configured server cert",
    ),
    Check(
        "sender",
        ", expected is ",
        another_sender,
        without(authentication._require_name, ", expected is "),
    ),
    Check(
        "signer's name",
        ", expected is ",
        signed_by(lambda hand: a_signer(hand.issuing, "occm"), **EXPECTED),
        without(authentication._require_name, ", expected is "),
    ),
    # whose turn it is
    Check(
        "an answer is awaited",
        "no answer is awaited",
        unasked,
        without(Transaction.receive, "no answer is awaited"),
        then=" does not answer ",
    ),
    Check(
        "body for the request",
        " does not answer ",
        granting(body=Cp),
        without(Transaction._require_turn, " does not answer "),
    ),
    Check(
        "body in its turn",
        " does not answer ",
        answered(PollRep((PollRepEntry(-1, SOON),))),
        lambda patch: patch.setitem(
            TRANSITIONS, (State.REQUESTED, PollRep), frozenset({State.WAITING})
        ),
    ),
    Check(
        "certificate for who asked for none",
        " does not answer ",
        certificate_for_a_question,
        without(Transaction._require_turn, " does not answer "),
        then="a certificate was not asked for",
    ),
    Check(
        "state it may lead to",
        " does not lead from ",
        answered(Rp((WAIT,)), Revoke.of(OLD.certificate)),
        instead(Transaction, "_move", lambda tx, state, _: setattr(tx, "state", state)),
    ),
    # the body
    Check(
        "one response",
        "responses answer one request",
        two_responses,
        instead(acceptance, "only_response", lambda body, _: body.responses[0]),
    ),
    Check(
        "certReqId",
        "was not requested",
        granting(cert_req_id=1),
        without(acceptance.only_response, "was not requested"),
    ),
    Check(
        "one revocation status",
        "statuses answer one revocation request",
        answered(Rp((YES, YES)), Revoke.of(OLD.certificate)),
        without(acceptance.only_status, "statuses answer one revocation request"),
    ),
    Check(
        "certReqId of a pollRep",
        "pollRep says nothing about certReqId",
        poll_answered_about_another,
        instead(acceptance, "poll_entry", lambda body, _: body.entries[0]),
    ),
    Check(
        "PKIStatus of a certificate response",
        "not today",
        refused_with_a_certificate,
        instead(Transaction, "_fail", lambda *_: None),
    ),
    Check(
        "PKIStatus of a revocation response",
        "not today",
        answered(Rp((NO,)), Revoke.of(OLD.certificate)),
        instead(Transaction, "_fail", lambda *_: None),
    ),
    Check(
        "error body",
        "not today",
        answered(ErrorMsg(NO)),
        instead(Transaction, "_fail", lambda *_: None),
    ),
    # the certificate
    Check(
        "keyUpdateWarning",
        "keyUpdateWarning, and no update was asked for",
        granting(status=PKIStatus.keyUpdateWarning),
        instead(acceptance, "_require_no_earlier_update", lambda *_: None),
    ),
    Check(
        "not encrypted",
        "the CA encrypted the certificate",
        encrypted,
        without(acceptance._certificate, "the CA encrypted the certificate"),
        then="sent no certificate",
    ),
    Check(
        "certificate there",
        "sent no certificate",
        answered(Ip((CertResponse(0, YES),))),
        instead(acceptance, "_certificate", lambda _: OLD.certificate),
        then="for another public key",
    ),
    Check(
        "public key",
        "for another public key",
        another_key,
        instead(acceptance, "_require_key", lambda *_: None),
    ),
    Check(
        "serial number",
        "is none that a CA may give",
        numbered_at_length,
        instead(acceptance, "require_serial_number", lambda _: None),
    ),
    Check(
        "path of the certificate",
        "the issued certificate is not trusted",
        issued_by_a_stranger,
        instead(TrustStore, "check_issued", lambda *_: ()),
    ),
    Check(
        "validity of the certificate",
        "expired on",
        issued_for_the_past,
        at_any_time(),
    ),
    Check(
        "caPubs are no anchors",
        "the issued certificate is not trusted",
        anchored_in_ca_pubs,
        with_helpers_as_anchors("check_issued"),
    ),
]
BY_NAME = [pytest.param(check, id=check.name) for check in CHECKS]


def verdict(story: Story, hand: Hand, talk: Begin) -> str | None:
    """Return why the answer was refused, or None if it was not."""
    try:
        refusal = story(hand, talk).tx.refusal
    except RemoteError as error:
        return str(error)
    return str(refusal) if refusal else None


@pytest.mark.parametrize("check", BY_NAME)
def test_the_story_is_refused_for_its_reason(check: Check, hand: Hand, talk: Begin) -> None:
    assert check.reason in str(verdict(check.story, hand, talk))


@pytest.mark.parametrize("check", BY_NAME)
def test_without_that_one_check_it_is_not(
    check: Check, hand: Hand, talk: Begin, monkeypatch: Patch
) -> None:
    check.removal(monkeypatch)

    found = verdict(check.story, hand, talk)

    if check.then is None:
        assert found is None
    else:
        assert check.then in str(found)
        assert check.reason not in str(found)


ERRORS = ("Unprotected", "OutOfSequence", "Unacceptable")
SECOND_LINES = {"a certificate was not asked for"}  # reached by the `then` of a story


@pytest.mark.parametrize("module", [acceptance, authentication, transaction])
def test_whatever_refuses_an_answer_has_its_story(module: Any) -> None:
    told = {check.reason for check in CHECKS} | SECOND_LINES
    refusals = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if raises(node) and any(f"{error}(" in ast.unparse(node) for error in ERRORS)
    ]

    assert refusals
    assert not [text for text in refusals if not any(reason in text for reason in told)]
