"""What the demo CA refuses, as the strictest CA in the field would, and by which failInfo."""

import os
from datetime import timedelta
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from cmp import codec
from cmp.messages import (
    CertReqMsg,
    ErrorMsg,
    Ip,
    Ir,
    Kur,
    P10cr,
    PkiConf,
    PollReq,
)
from cmp.protection import (
    MacCredentials,
    verify_signature,
)
from cmp.testing import DemoCA, Design, Pki, State
from cmp.testing.keys import Identity, generate_key
from tests.cmp.testing.client import (
    NOW,
    SECRET,
    Client,
    a_csr,
    by_mac,
    confirmation,
    failure,
    granted,
    ir,
    kur,
    request,
    rr,
    status,
)


@pytest.mark.field_note(38)
def test_transaction_ids_are_used_once(ca: DemoCA, client: Client) -> None:
    client.ask(ir(generate_key()))
    while_open = client.ask(ir(generate_key()))
    after_restart = DemoCA(pki=ca.pki, secrets=ca.secrets, register=ca.register)
    client.ca = after_restart

    later = client.ask(ir(generate_key()))

    assert [failure(while_open), failure(later)] == ["transactionIdInUse"] * 2


def test_transaction_ids_are_not_reused_while_waiting(ca: DemoCA, client: Client) -> None:
    ca.polls = 1
    client.ask(ir(generate_key()))

    again = client.ask(ir(generate_key()))

    assert failure(again) == "transactionIdInUse"
    assert len(ca.open_transactions) == 1


@pytest.mark.field_note(29)
def test_keys_are_certified_once(ca: DemoCA) -> None:
    key = generate_key()
    by_mac(ca, now=NOW).enroll(ir(key))

    again = by_mac(ca, now=NOW).ask(ir(key))

    assert isinstance(again.body, Ip)
    assert failure(again) == "badCertTemplate"


@pytest.mark.parametrize(
    ("header", "bit"),
    [
        ({"pvno": 1}, "unsupportedVersion"),
        ({"transaction_id": b"short"}, "badDataFormat"),
        ({"transaction_id": None}, "badDataFormat"),
        ({"sender_nonce": None}, "badSenderNonce"),
        ({"message_time": NOW - timedelta(seconds=301)}, "badTime"),
        ({"message_time": NOW + timedelta(seconds=301)}, "badTime"),
        ({"message_time": None}, "badTime"),
        ({"recipient": x509.DNSName("another.example")}, "wrongAuthority"),
        ({"sender_kid": b"nobody"}, "badMessageCheck"),
    ],
)
def test_headers_are_checked(client: Client, header: dict[str, object], bit: str) -> None:
    answer = client.ask(ir(generate_key()), **header)

    assert isinstance(answer.body, ErrorMsg)
    assert failure(answer) == bit


@pytest.mark.parametrize("protection", ["none", "spoiled"])
def test_requests_are_protected(
    ca: DemoCA, occm: Identity, protection: Literal["none", "spoiled"]
) -> None:
    answers = []
    for client in (by_mac(ca, now=NOW), Client(ca, occm, now=NOW)):
        client.protection = protection
        answers.append(client.ask(ir(generate_key())))

    assert [failure(each) for each in answers] == ["badMessageCheck"] * 2
    told = " ".join(status(each).status_string[0] for each in answers)
    assert ("unprotected messages are not accepted" in told) == (protection == "none")
    assert [each.asked_by for each in ca.issued] == ["ir"]  # occm's own


@pytest.mark.field_note(21)
def test_signer_has_to_come_along_with_every_message(ca: DemoCA, occm: Identity) -> None:
    client = Client(ca, occm, now=NOW)
    certificate = granted(client.ask(ir(generate_key())))
    client.certs = ()

    assert failure(client.ask(confirmation(certificate))) == "addInfoNotAvailable"


@pytest.mark.field_note(2)
def test_recipient_may_be_left_open(client: Client) -> None:
    nobody = x509.DirectoryName(x509.Name([]))

    granted(client.ask(ir(generate_key()), recipient=nobody))


def test_wrong_secret_gets_a_signed_error(ca: DemoCA) -> None:
    guess = MacCredentials(b"a guess", SECRET.reference)

    answer = Client(ca, guess, now=NOW).ask(ir(generate_key()))

    assert failure(answer) == "badMessageCheck"
    verify_signature(answer, ca.pki.signer.certificate)


@pytest.mark.field_note(1)
def test_sender_of_a_mac_is_checked_when_told(ca: DemoCA, client: Client) -> None:
    ca.check_mac_sender = True
    nobody = x509.DirectoryName(x509.Name([]))

    refused = client.ask(ir(generate_key()), sender=nobody)

    assert failure(refused) == "badMessageCheck"
    granted(by_mac(ca, now=NOW).ask(ir(generate_key())))


def test_vendors_devices_may_ask_for_certificates_and_no_more(ca: DemoCA, occm: Identity) -> None:
    vendor, other = (Pki.generate(name, now=NOW, design=Design(intermediates=0)) for name in "AB")
    ca = DemoCA(pki=ca.pki, register=ca.register, vendor_roots=(vendor.root,))

    granted(Client(ca, vendor.signer, now=NOW).ask(ir(generate_key())))
    revoking = Client(ca, vendor.signer, now=NOW).ask(rr(occm.certificate))
    untrusted = Client(ca, other.signer, now=NOW).ask(ir(generate_key()))

    assert failure(revoking) == "notAuthorized"
    assert failure(untrusted) == "signerNotTrusted"


def test_certificate_forged_to_a_known_number_is_not_known(ca: DemoCA, occm: Identity) -> None:
    key = generate_key()
    forged = (
        x509.CertificateBuilder()
        .serial_number(occm.certificate.serial_number)
        .subject_name(occm.certificate.subject)
        .issuer_name(occm.certificate.issuer)
        .public_key(key.public_key())
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )

    answer = Client(ca, Identity(key, forged), now=NOW).ask(ir(generate_key()))

    assert failure(answer) == "signerNotTrusted"


def test_strangers_and_the_expired_may_not_sign(ca: DemoCA, occm: Identity) -> None:
    other = Pki.generate("Other", now=NOW).signer

    stranger = Client(ca, other, now=NOW).ask(ir(generate_key()))
    expired = Client(ca, occm, now=NOW + timedelta(days=366)).ask(ir(generate_key()))

    assert [failure(stranger), failure(expired)] == ["signerNotTrusted"] * 2


def test_signer_is_named_by_sender_and_key_identifier(ca: DemoCA, occm: Identity) -> None:
    other = x509.DirectoryName(ca.pki.root.subject)

    by_name = Client(ca, occm, now=NOW).ask(ir(generate_key()), sender=other)
    by_kid = Client(ca, occm, now=NOW).ask(ir(generate_key()), sender_kid=b"x")

    assert [failure(by_name), failure(by_kid)] == ["badMessageCheck"] * 2


def test_superseded_and_revoked_certificates_may_not_sign_anything_new(
    ca: DemoCA, occm: Identity
) -> None:
    begun = Client(ca, occm, now=NOW)
    certificate = granted(begun.ask(ir(generate_key())))
    key = generate_key()
    renewed = Identity(
        key,
        Client(ca, occm, now=NOW).enroll(kur(key, old=occm.certificate, subject="/CN=occm")),
    )

    superseded = Client(ca, occm, now=NOW).ask(ir(generate_key()))
    going_on = begun.ask(confirmation(certificate))
    Client(ca, renewed, now=NOW).ask(rr(renewed.certificate))
    revoked = Client(ca, renewed, now=NOW).ask(ir(generate_key()))

    assert [failure(superseded), failure(revoked)] == ["certRevoked"] * 2
    assert going_on.body == PkiConf()


def test_nobody_goes_on_with_anothers_transaction(ca: DemoCA, occm: Identity) -> None:
    client = by_mac(ca, now=NOW)
    certificate = granted(client.ask(ir(generate_key())))
    thief = Client(ca, occm, now=NOW)
    thief.id, thief.their_nonce = client.id, client.their_nonce

    answer = thief.ask(confirmation(certificate))

    assert failure(answer) == "badMessageCheck"
    assert ca.issued[-1].state is State.UNCONFIRMED


def test_recip_nonce_is_checked(client: Client) -> None:
    certificate = granted(client.ask(ir(generate_key())))

    answer = client.ask(confirmation(certificate), recip_nonce=os.urandom(16))

    assert failure(answer) == "badRecipientNonce"


def test_certconf_before_there_is_a_certificate_disturbs_nothing(
    ca: DemoCA, client: Client
) -> None:
    ca.polls = 1
    client.ask(ir(generate_key()))

    early = client.ask(confirmation(ca.pki.root))

    assert failure(early) == "badRequest"
    granted(client.ask(PollReq((0,))))


def test_answers_are_no_questions(ca: DemoCA, client: Client) -> None:
    assert failure(client.ask(PkiConf())) == "badRequest"
    assert ca.open_transactions == []


def test_certconf_names_the_request(ca: DemoCA, client: Client) -> None:
    certificate = granted(client.ask(ir(generate_key())))

    answer = client.ask(confirmation(certificate, cert_req_id=1))

    assert failure(answer) == "badCertId"
    assert ca.issued[0].state is State.UNCONFIRMED


def test_possession_has_to_be_proven(ca: DemoCA) -> None:
    by_another = by_mac(ca, now=NOW).ask(ir(generate_key(), prove_by=generate_key()))
    unproven = CertReqMsg(request(generate_key()).cert_req)
    missing = by_mac(ca, now=NOW).ask(Ir((unproven,)))
    csr = bytearray(a_csr())
    csr[-1] ^= 1
    spoiled = by_mac(ca, now=NOW).ask(P10cr(bytes(csr)))

    assert [failure(each) for each in (by_another, missing, spoiled)] == ["badPOP"] * 3
    assert ca.issued == []


def test_one_certificate_is_asked_for_at_a_time_and_by_strong_keys(ca: DemoCA) -> None:
    weak = rsa.generate_private_key(65537, 1024)

    two = by_mac(ca, now=NOW).ask(Ir((request(generate_key()), request(generate_key()))))
    short = by_mac(ca, now=NOW).ask(ir(weak))
    nonsense = by_mac(ca, now=NOW).ask(P10cr(b"\x30\x00"))

    assert [failure(each) for each in (two, short, nonsense)] == [
        "badRequest",
        "badCertTemplate",
        "badDataFormat",
    ]


def test_request_for_another_issuer_is_refused(ca: DemoCA, client: Client) -> None:
    answer = client.ask(ir(generate_key(), issuer=ca.pki.root.subject))

    assert failure(answer) == "wrongAuthority"


def test_kur_has_to_be_signed_and_name_a_good_certificate(ca: DemoCA, occm: Identity) -> None:
    nrf = Client(ca, occm, now=NOW).enroll(ir(generate_key()))
    gone = Client(ca, occm, now=NOW).enroll(ir(generate_key()))
    Client(ca, occm, now=NOW).ask(rr(gone))
    later = Client(ca, occm, now=NOW + timedelta(hours=1))
    ca.validity = timedelta(minutes=10)
    expired = Client(ca, occm, now=NOW).enroll(ir(generate_key()))

    def refusal(body: Kur, client: Client | None = None) -> str:
        return failure((client or Client(ca, occm, now=NOW)).ask(body))

    assert refusal(kur(generate_key(), old=nrf), by_mac(ca, now=NOW)) == "wrongIntegrity"
    assert refusal(Kur((request(generate_key()),))) == "badCertId"
    assert refusal(kur(generate_key(), old=ca.pki.signer.certificate)) == "badCertId"
    assert refusal(kur(generate_key(), old=gone)) == "certRevoked"
    assert refusal(kur(generate_key(), old=expired), later) == "badCertId"
    assert refusal(kur(generate_key(), old=nrf, issuer=ca.pki.root.subject)) == "badCertId"
    assert refusal(kur(generate_key(), old=nrf, subject="/CN=amf")) == "badCertTemplate"
    granted(Client(ca, occm, now=NOW).ask(kur(generate_key(), old=nrf)))


@pytest.mark.field_note(27)
def test_client_mode_grants_the_signers_own_subject_only(ca: DemoCA, occm: Identity) -> None:
    ca.only_own_subject = True

    other = Client(ca, occm, now=NOW).ask(ir(generate_key()))

    assert failure(other) == "notAuthorized"
    granted(Client(ca, occm, now=NOW).ask(ir(generate_key(), subject="/CN=occm")))


def test_bytes_that_are_no_message_get_a_signed_error(ca: DemoCA) -> None:
    answer = codec.decode(ca.answer(b"GET me a certificate", now=NOW))

    assert failure(answer) == "badDataFormat"
    verify_signature(answer, ca.pki.signer.certificate)
    assert list(ca.asked) == ["malformed"]
