"""What a client sends: header, request, proof, protection."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cmp import codec
from cmp.errors import (
    LocalError,
)
from cmp.messages import (
    CertConf,
    CertResponse,
    CertStatus,
    CertTemplate,
    Ip,
    Ir,
    Kup,
    Kur,
    Rr,
)
from cmp.protection import (
    SignatureCredentials,
    subject_key_identifier,
    verify_mac,
    verify_signature,
)
from cmp.request import Enroll, Request, Revoke, SignCsr
from tests.cmp import certs
from tests.cmp.certs import NOW, YEAR, a_name, an_ec_key
from tests.cmp.hand import REFERENCE, SECRET, Hand
from tests.cmp.talk import (
    KEY,
    MAC,
    OLD,
    REQUESTS,
    TEMPLATE,
    WAIT,
    Begin,
    a_csr,
)


@pytest.mark.field_note(3)
def test_request_is_addressed_signed_and_dated(talk: Begin, identity: SignatureCredentials) -> None:
    conversation = talk()

    message = conversation.say()

    header = message.header
    assert header.pvno == 2
    assert header.sender == x509.DirectoryName(identity.certificate.subject)
    assert header.recipient == x509.DirectoryName(a_name("Issuing CA"))
    assert header.sender_kid == subject_key_identifier(identity.certificate)
    assert header.message_time == NOW
    assert header.transaction_id == conversation.tx.id
    assert len(conversation.tx.id) == 16
    assert len(header.sender_nonce or b"") == 16
    assert header.recip_nonce is None
    assert header.general_info == ()
    assert message.extra_certs == identity.sent_certs
    verify_signature(message, identity.certificate)


@pytest.mark.field_note(1)
def test_mac_request_names_the_reference_and_brings_no_certificates(talk: Begin) -> None:
    message = talk(by=MAC).say()

    assert message.header.sender_kid == REFERENCE
    assert message.extra_certs == ()
    verify_mac(message, SECRET)


@pytest.mark.field_note(22)
def test_request_carries_the_template_and_proves_possession_with_the_new_key(talk: Begin) -> None:
    message = talk().say()

    assert isinstance(message.body, Ir)
    (request,) = message.body.requests
    template = request.cert_req.template
    assert request.cert_req.cert_req_id == 0
    assert request.cert_req.controls == ()
    assert (template.subject, template.public_key) == (a_name("nrf"), KEY.public_key())
    assert (template.not_before, template.not_after) == (NOW, NOW + YEAR / 2)
    assert [extension.oid for extension in template.extensions] == [
        extension.oid for extension in TEMPLATE.extensions
    ]
    assert request.popo is not None
    KEY.public_key().verify(request.popo.signature, request.cert_req_der, ec.ECDSA(hashes.SHA256()))


@pytest.mark.field_note(23)
def test_proof_is_by_the_new_key_and_protection_by_the_signers(hand: Hand, talk: Begin) -> None:
    identity = hand.identity(key=certs.an_rsa_key())

    message = talk(by=replace(identity, digest="SHA384")).say()

    assert isinstance(message.body, Ir)
    popo = message.body.requests[0].popo
    assert popo is not None
    assert popo.algorithm.algorithm.dotted_string == "1.2.840.10045.4.3.3"  # ecdsa-with-SHA384
    assert message.header.protection_alg is not None
    assert message.header.protection_alg.algorithm.dotted_string == "1.2.840.113549.1.1.12"


@pytest.mark.field_note(26)
def test_update_names_the_certificate_it_replaces(talk: Begin) -> None:
    message = talk(REQUESTS[Kup]).say()

    assert isinstance(message.body, Kur)
    (control,) = message.body.requests[0].cert_req.controls
    old = codec.decode_cert_id(control.value)
    assert control.type.dotted_string == "1.3.6.1.5.5.7.5.1.5"
    assert old.issuer == x509.DirectoryName(OLD.certificate.issuer)
    assert old.serial_number == OLD.certificate.serial_number


def test_revocation_names_certificate_and_reason(talk: Begin) -> None:
    message = talk(Revoke.of(OLD.certificate, x509.ReasonFlags.superseded)).say()

    assert isinstance(message.body, Rr)
    (details,) = message.body.details
    assert details.cert_details.issuer == OLD.certificate.issuer
    assert details.cert_details.serial_number == OLD.certificate.serial_number
    (reason,) = details.extensions
    assert reason.oid == x509.CRLReason.oid
    assert reason.value.public_bytes() == b"\x0a\x01\x04"


@pytest.mark.field_note(6)
def test_nonces_are_fresh_and_the_transaction_id_stays(hand: Hand, talk: Begin) -> None:
    conversation = talk()
    conversation.say()
    conversation.hear(Ip((CertResponse(0, WAIT),)), sender_nonce=b"theirs 1")
    poll = conversation.say()
    granted = hand.grants(conversation.sent[0])
    conversation.hear(granted, sender_nonce=b"theirs 2")
    confirmation = conversation.say()

    headers = [codec.decode(der).header for der in conversation.sent]
    assert len({header.sender_nonce for header in headers}) == 3
    assert {header.transaction_id for header in headers} == {conversation.tx.id}
    assert poll.header.recip_nonce == b"theirs 1"
    assert confirmation.header.recip_nonce == b"theirs 2"


@pytest.mark.field_note(6)
def test_two_transactions_share_neither_id_nor_nonce(talk: Begin) -> None:
    one, other = talk().say().header, talk().say().header

    assert one.transaction_id != other.transaction_id
    assert one.sender_nonce != other.sender_nonce


@pytest.mark.field_note(5)
def test_certconf_goes_without_recip_nonce_to_a_ca_that_sent_none(talk: Begin) -> None:
    conversation = talk()
    conversation.grant(sender_nonce=None)

    assert conversation.say().header.recip_nonce is None


@pytest.mark.field_note(36)
def test_certconf_holds_the_hash_of_the_certificates_own_algorithm(hand: Hand, talk: Begin) -> None:
    conversation = talk()
    question = conversation.say()
    certificate = hand.issue(conversation.sent[-1], digest=hashes.SHA384())
    conversation.hear(hand.grants(conversation.sent[-1], certificate))

    message = conversation.say()

    assert question.header.pvno == message.header.pvno == 2
    expected = CertStatus(certificate.fingerprint(hashes.SHA384()), 0)
    assert message.body == CertConf((expected,))


@pytest.mark.field_note(21)
@pytest.mark.parametrize("by", ["mac", "signature"])
def test_later_messages_are_protected_as_the_first_was(
    hand: Hand, talk: Begin, identity: SignatureCredentials, by: str
) -> None:
    conversation = talk(by=MAC if by == "mac" else identity)
    conversation.say()
    conversation.hear(Ip((CertResponse(0, WAIT),)))  # signed, either way
    conversation.say()
    conversation.hear(hand.grants(conversation.sent[0]))
    conversation.say()

    for der in conversation.sent:
        message = codec.decode(der)
        if by == "mac":
            verify_mac(message, SECRET)
        else:
            verify_signature(message, identity.certificate)
            assert message.extra_certs == identity.sent_certs


@pytest.mark.parametrize(
    "make",
    [
        lambda: Enroll(CertTemplate(), KEY),
        lambda: Enroll(CertTemplate(subject=a_name("x"), public_key=an_ec_key().public_key()), KEY),
        lambda: SignCsr(
            x509.load_der_x509_csr(a_csr("abc").public_bytes(certs.DER).replace(b"abc", b"abd"))
        ),
    ],
    ids=["no subject", "another key", "a forged PKCS #10 request"],
)
def test_a_request_that_cannot_succeed_is_not_made(make: Callable[[], Request]) -> None:
    with pytest.raises(LocalError):
        make()
