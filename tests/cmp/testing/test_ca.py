import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from cmp import asn1, codec
from cmp.errors import Unprotected
from cmp.messages import (
    CertConf,
    CertRepMessage,
    CertReqMsg,
    CertStatus,
    CertTemplate,
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
    PollReq,
    RevDetails,
    Rp,
    Rr,
)
from cmp.protection import (
    MacCredentials,
    SignatureCredentials,
    is_mac,
    verify_mac,
    verify_signature,
)
from cmp.testing import DemoCA, Design, Pki, Refusal, Register, State, When
from cmp.testing.certification import IMPLICIT_CONFIRM
from cmp.testing.genm import CA_CERTS, CRL_STATUS_LIST, ROOT_CA_CERT, ROOT_CA_KEY_UPDATE
from cmp.testing.keys import Identity, generate_key
from tests.cmp.testing.client import (
    Client,
    an_identity,
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

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SECRET = MacCredentials(b"nobody knows it", b"nf1")


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki.generate("Demo CA 1", now=NOW, design=Design(intermediates=2))


@pytest.fixture
def ca(pki: Pki) -> DemoCA:
    return DemoCA(pki=pki, secrets={SECRET.reference: SECRET.secret})


@pytest.fixture
def client(ca: DemoCA) -> Client:
    return by_mac(ca, now=NOW)


@pytest.fixture
def occm(ca: DemoCA) -> Identity:
    return an_identity(ca, now=NOW)


def a_csr(common_name: str = "nrf") -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.DER)


# --- what a healthy CA does


def test_first_enrollment_is_protected_by_mac_both_ways(ca: DemoCA, client: Client) -> None:
    ip = client.ask(ir(generate_key()))
    verify_mac(ip, SECRET.secret)
    pkiconf = client.ask(confirmation(granted(ip)))

    verify_mac(pkiconf, SECRET.secret)
    assert isinstance(ip.body, Ip)
    assert pkiconf.body == PkiConf()
    assert list(ca.asked) == ["ir", "certConf"]
    assert [each.state for each in ca.issued] == [State.VALID]
    assert ca.open_transactions == []


def test_answers_refer_to_the_question(ca: DemoCA, client: Client) -> None:
    ip = client.ask(ir(generate_key()))

    assert ip.header.transaction_id == client.id
    assert ip.header.recip_nonce == client.nonce
    assert ip.header.recipient == client.credentials.sender
    assert ip.header.message_time == NOW
    assert ip.extra_certs == ca.pki.chain


def test_signed_requests_get_signed_answers(ca: DemoCA, occm: Identity) -> None:
    client = Client(ca, occm, now=NOW)

    ip = client.ask(ir(generate_key()))

    verify_signature(ip, ca.pki.signer.certificate)
    assert ip.extra_certs == (ca.pki.signer.certificate, *ca.pki.chain)
    assert granted(ip).issuer == ca.pki.issuing.certificate.subject


def test_vendor_certificate_may_ask_for_the_first_one(pki: Pki) -> None:
    vendor = Pki.generate("Vendor", now=NOW)
    ca = DemoCA(pki=pki, vendor_roots=(vendor.root,))
    key = generate_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device 7")])
    template = CertTemplate(subject=name, public_key=key.public_key())
    device = vendor.issuing.issue(template, now=NOW, validity=timedelta(days=1))
    client = Client(ca, SignatureCredentials(key, device, extra_certs=vendor.chain), now=NOW)

    certificate = client.enroll(ir(generate_key(), subject="/CN=occm"))

    assert ca.register.find(certificate) is not None


def test_kur_supersedes_the_old_certificate_once_the_new_one_is_confirmed(
    ca: DemoCA, occm: Identity
) -> None:
    client = Client(ca, occm, now=NOW)
    kup = client.ask(kur(generate_key(), old=occm.certificate, subject="/CN=occm"))
    assert isinstance(kup.body, Kup)
    old, new = ca.issued
    assert (old.state, new.state) == (State.VALID, State.UNCONFIRMED)

    client.ask(confirmation(granted(kup)))

    assert (old.state, new.state) == (State.SUPERSEDED, State.VALID)


def test_p10cr_is_answered_by_cp_without_a_request_id(ca: DemoCA, occm: Identity) -> None:
    client = Client(ca, occm, now=NOW)

    cp = client.ask(P10cr(a_csr("amf")))
    pkiconf = client.ask(confirmation(granted(cp), cert_req_id=-1))

    assert granted(cp).subject.rfc4514_string() == "CN=amf"
    assert pkiconf.body == PkiConf()


def test_rr_revokes(ca: DemoCA, occm: Identity) -> None:
    certificate = Client(ca, occm, now=NOW).enroll(ir(generate_key()))

    first = Client(ca, occm, now=NOW).ask(rr(certificate))
    second = Client(ca, occm, now=NOW).ask(rr(certificate))

    assert isinstance(first.body, Rp)
    assert status(first).status is PKIStatus.accepted
    assert failure(second) == "certRevoked"
    entry = ca.register.find(certificate)
    assert entry is not None
    assert entry.state is State.REVOKED


def test_rr_names_one_certificate_of_this_ca(ca: DemoCA, occm: Identity) -> None:
    mine = rr(occm.certificate)

    two = Client(ca, occm, now=NOW).ask(Rr(mine.details * 2))
    unknown = Client(ca, occm, now=NOW).ask(rr(ca.pki.signer.certificate))
    of_another = Client(ca, occm, now=NOW).ask(
        Rr((RevDetails(CertTemplate(serial_number=occm.certificate.serial_number)),))
    )

    assert [failure(each) for each in (two, unknown, of_another)] == [
        "badRequest",
        "badCertId",
        "badCertId",
    ]
    assert ca.issued[0].state is State.VALID


@pytest.mark.parametrize("key", ["EC384", "ED25519", "RSA"])
def test_certconf_hash_is_that_of_the_certificates_signature(key: str) -> None:
    pki = Pki.generate("Any", now=NOW, design=Design(key=key, digest=hashes.SHA384()))  # type: ignore[arg-type]
    ca = DemoCA(pki=pki, secrets={SECRET.reference: SECRET.secret})
    client = by_mac(ca, now=NOW)
    certificate = granted(client.ask(ir(generate_key())))
    right = hashes.SHA512() if key == "ED25519" else hashes.SHA384()  # RFC 9481, 3.3

    wrong = client.ask(CertConf((CertStatus(certificate.fingerprint(hashes.SHA256()), 0),)))
    good = client.ask(CertConf((CertStatus(certificate.fingerprint(right), 0),)))

    assert failure(wrong) == "badCertId"
    assert good.body == PkiConf()


def test_client_may_reject_what_it_was_given(ca: DemoCA, client: Client) -> None:
    certificate = granted(client.ask(ir(generate_key())))
    no = PKIStatusInfo(PKIStatus.rejection, ("another key",), frozenset({"badCertTemplate"}))

    pkiconf = client.ask(confirmation(certificate, status=no))

    assert pkiconf.body == PkiConf()
    assert ca.issued[0].state is State.REVOKED
    assert ca.issued[0].reason == "rejected by the client: another key"


def test_empty_certconf_rejects(ca: DemoCA, client: Client) -> None:
    client.ask(ir(generate_key()))

    client.ask(CertConf(()))

    assert ca.issued[0].state is State.REVOKED


def test_unconfirmed_certificates_are_revoked_in_time(ca: DemoCA, client: Client) -> None:
    ca.confirm_wait = timedelta(seconds=60)
    certificate = granted(client.ask(ir(generate_key())))

    ca.sweep(now=NOW + timedelta(seconds=59))
    assert ca.issued[0].state is State.UNCONFIRMED
    client.now = NOW + timedelta(seconds=61)
    late = client.ask(confirmation(certificate))

    assert failure(late) == "certRevoked"
    assert ca.issued[0].reason == "not confirmed in time"


def test_certificates_may_be_good_without_confirmation(ca: DemoCA, client: Client) -> None:
    ca.require_confirm = False
    certificate = granted(client.ask(ir(generate_key())))
    before = ca.issued[0].state

    pkiconf = client.ask(confirmation(certificate))

    assert (before, ca.issued[0].state) == (State.VALID, State.VALID)
    assert pkiconf.body == PkiConf()


def test_implicit_confirmation_is_granted_only_to_who_asks_and_if_allowed(ca: DemoCA) -> None:
    asking = {"general_info": (IMPLICIT_CONFIRM,)}
    refused = by_mac(ca, now=NOW).ask(ir(generate_key()), **asking)
    ca.implicit_confirm = True
    granted_ = by_mac(ca, now=NOW).ask(ir(generate_key()), **asking)
    not_asked = by_mac(ca, now=NOW).ask(ir(generate_key()))

    assert [
        IMPLICIT_CONFIRM in each.header.general_info for each in (refused, granted_, not_asked)
    ] == [
        False,
        True,
        False,
    ]
    assert [each.state for each in ca.issued] == [
        State.UNCONFIRMED,
        State.VALID,
        State.UNCONFIRMED,
    ]


def test_lost_pkiconf_may_be_asked_for_again(ca: DemoCA, client: Client) -> None:
    certificate = granted(client.ask(ir(generate_key())))
    client.ask(confirmation(certificate))

    again = client.ask(confirmation(certificate))
    ca.forget_finished = True
    forgotten = client.ask(confirmation(certificate))

    assert again.body == PkiConf()
    assert failure(forgotten) == "badRequest"


# --- polling


def test_polling_takes_as_many_rounds_as_told(ca: DemoCA, client: Client) -> None:
    ca.polls, ca.check_after = 2, timedelta(seconds=7)

    waiting = client.ask(ir(generate_key()))
    pollrep = client.ask(PollReq((0,)))
    ip = client.ask(PollReq((0,)))
    client.ask(confirmation(granted(ip)))

    assert status(waiting).status is PKIStatus.waiting
    assert isinstance(pollrep.body, PollRep)
    assert pollrep.body.entries[0].check_after == timedelta(seconds=7)
    assert list(ca.asked) == ["ir", "pollReq", "pollReq", "certConf"]


def test_polls_that_come_too_early_are_counted(ca: DemoCA) -> None:
    ca.polls, ca.check_after = 3, timedelta(seconds=7)
    client = by_mac(ca, now=NOW)
    client.ask(ir(generate_key()))

    for seconds in (0, 6, 13):
        client.now = NOW + timedelta(seconds=seconds)
        client.ask(PollReq((0,)))

    assert ca.count("pollReq too early") == 1


def test_pollreq_names_what_is_waited_for(ca: DemoCA, client: Client) -> None:
    ca.polls = 1
    client.ask(ir(generate_key()))

    wrong = client.ask(PollReq((1,)))
    unknown = by_mac(ca, now=NOW).ask(PollReq((0,)))

    assert [failure(wrong), failure(unknown)] == ["badRequest"] * 2
    assert ca.issued == []


def test_final_answer_may_carry_the_nonce_of_the_request(ca: DemoCA, client: Client) -> None:
    ca.polls, ca.original_nonce = 1, True
    client.ask(ir(generate_key()))
    of_request = client.nonce

    ip = client.ask(PollReq((0,)))

    assert ip.header.recip_nonce == of_request != client.nonce


def test_lost_answer_to_a_poll_is_given_again(ca: DemoCA, client: Client) -> None:
    ca.polls = 1
    waiting = client.ask(ir(generate_key()))
    first = client.ask(PollReq((0,)))

    second = client.ask(PollReq((0,)), recip_nonce=waiting.header.sender_nonce)

    assert granted(second) == granted(first)
    assert len(ca.issued) == 1


def test_what_has_no_certificate_response_waits_by_an_error_body(
    ca: DemoCA, occm: Identity
) -> None:
    ca.polls, ca.polls_on = 1, frozenset({"rr", "certConf"})
    client = Client(ca, occm, now=NOW)
    certificate = granted(client.ask(ir(generate_key())))

    waiting = client.ask(confirmation(certificate))
    pkiconf = client.ask(PollReq((-1,)))
    revoking = Client(ca, occm, now=NOW)
    waiting_too = revoking.ask(rr(certificate))
    rp = revoking.ask(PollReq((-1,)))

    for answer in (waiting, waiting_too):
        assert isinstance(answer.body, ErrorMsg)
        assert answer.body.status.status is PKIStatus.waiting
    assert pkiconf.body == PkiConf()
    assert status(rp).status is PKIStatus.accepted


# --- what a strict CA refuses


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


def test_signer_has_to_come_along_with_every_message(ca: DemoCA, occm: Identity) -> None:
    client = Client(ca, occm, now=NOW)
    certificate = granted(client.ask(ir(generate_key())))
    client.certs = ()

    assert failure(client.ask(confirmation(certificate))) == "addInfoNotAvailable"


def test_recipient_may_be_left_open(client: Client) -> None:
    nobody = x509.DirectoryName(x509.Name([]))

    granted(client.ask(ir(generate_key()), recipient=nobody))


def test_wrong_secret_gets_a_signed_error(ca: DemoCA) -> None:
    guess = MacCredentials(b"a guess", SECRET.reference)

    answer = Client(ca, guess, now=NOW).ask(ir(generate_key()))

    assert failure(answer) == "badMessageCheck"
    verify_signature(answer, ca.pki.signer.certificate)


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


# --- general messages, RFC 9483, 4.3


def ask_genm(ca: DemoCA, occm: Identity, item: InfoTypeAndValue) -> InfoTypeAndValue:
    answer = Client(ca, occm, now=NOW).ask(GenM((item,)))
    assert isinstance(answer.body, GenP)
    (info,) = answer.body.items
    return info


def test_genm_gets_the_ca_certificates(ca: DemoCA, occm: Identity) -> None:
    info = ask_genm(ca, occm, InfoTypeAndValue(CA_CERTS))

    assert info.value == asn1.sequence_of(
        b"".join(each.public_bytes(serialization.Encoding.DER) for each in ca.pki.chain)
    )


def test_genm_gets_a_new_root_when_there_is_one(ca: DemoCA, occm: Identity) -> None:
    asking = InfoTypeAndValue(ROOT_CA_CERT, ca.pki.root.public_bytes(serialization.Encoding.DER))

    none_yet = ask_genm(ca, occm, asking)
    ca.root_update = ca.pki.successor(now=NOW)
    update = ask_genm(ca, occm, asking)
    of_another = ask_genm(ca, occm, InfoTypeAndValue(ROOT_CA_CERT, b"\x05\x00"))

    assert none_yet == of_another == InfoTypeAndValue(ROOT_CA_KEY_UPDATE)
    assert update.value is not None
    new_root, new_with_old, old_with_new = asn1.elements(update.value)
    assert new_root.parse(x509.Certificate) == ca.root_update.root.certificate
    assert bytes(new_with_old.data) == ca.root_update.new_with_old.public_bytes(
        serialization.Encoding.DER
    )
    assert bytes(old_with_new.tag_bytes) == b"\xa1"


def test_genm_gets_the_revocation_list(ca: DemoCA, occm: Identity) -> None:
    gone = Client(ca, occm, now=NOW).enroll(ir(generate_key()))
    Client(ca, occm, now=NOW).ask(rr(gone))

    info = ask_genm(ca, occm, InfoTypeAndValue(CRL_STATUS_LIST))

    assert info.value is not None
    (crl,) = asn1.elements(info.value)
    serials = [entry.serial_number for entry in x509.load_der_x509_crl(asn1.bytes_of(crl))]
    assert serials == [gone.serial_number]


# --- faults on request


def test_refusals_come_in_the_response_or_as_an_error_body(ca: DemoCA) -> None:
    ca.refuse = Refusal(frozenset({"badCertTemplate", "badPOP"}), ("no", "never"))

    in_response = by_mac(ca, now=NOW).ask(ir(generate_key()))
    ca.error_body = True
    as_error = by_mac(ca, now=NOW).ask(ir(generate_key()))

    info = PKIStatusInfo(PKIStatus.rejection, ("no", "never"), ca.refuse.failures)
    assert isinstance(in_response.body, Ip)
    assert status(in_response) == info
    assert as_error.body == ErrorMsg(info)
    assert ca.issued == []
    assert ca.open_transactions == []


def test_refusal_may_come_after_polling_or_for_the_certconf_alone(ca: DemoCA) -> None:
    ca.refuse, ca.refuse_when, ca.polls = Refusal(), When(bodies=frozenset({"certConf"})), 1
    client = by_mac(ca, now=NOW)
    client.ask(ir(generate_key()))
    certificate = granted(client.ask(PollReq((0,))))

    refused = client.ask(confirmation(certificate))
    ca.refuse_when = True
    late = by_mac(ca, now=NOW)
    late.ask(ir(generate_key()))

    assert failure(refused) == "badRequest"
    assert failure(late.ask(PollReq((0,)))) == "badRequest"


def test_errors_may_come_unprotected(ca: DemoCA, client: Client) -> None:
    ca.refuse, ca.unprotected_errors = Refusal(), True
    refused = client.ask(ir(generate_key()))
    ca.refuse = None

    accepted = by_mac(ca, now=NOW).ask(ir(generate_key()))

    assert (refused.protection, refused.header.protection_alg) == (None, None)
    assert accepted.protection is not None


def test_mac_may_be_answered_by_a_signature(ca: DemoCA, client: Client) -> None:
    ca.sign_mac_answers = True

    ip = client.ask(ir(generate_key()))

    assert not is_mac(ip.header)
    verify_signature(ip, ca.pki.signer.certificate)


def test_protection_may_be_pbmac1(ca: DemoCA, client: Client) -> None:
    ca.pbmac1 = True

    ip = client.ask(ir(generate_key()))

    verify_mac(ip, SECRET.secret)
    assert ip.header.protection_alg is not None
    assert ip.header.protection_alg.algorithm.dotted_string == "1.2.840.113549.1.5.14"


def test_spoiled_protection_does_not_verify(ca: DemoCA, client: Client) -> None:
    ca.spoil_protection = True

    ip = client.ask(ir(generate_key()))

    with pytest.raises(Unprotected):
        verify_mac(ip, SECRET.secret)


def test_answers_may_belong_to_something_else(ca: DemoCA) -> None:
    def ip() -> tuple[PKIMessage, Client]:
        client = by_mac(ca, now=NOW)
        return client.ask(ir(generate_key())), client

    ca.wrong_nonce = True
    answer, client = ip()
    assert answer.header.recip_nonce != client.nonce
    ca.wrong_nonce, ca.answer_another_transaction = False, True
    answer, client = ip()
    assert answer.header.transaction_id != client.id
    ca.answer_another_transaction, ca.wrong_cert_req_id = False, True
    answer, client = ip()
    assert isinstance(answer.body, CertRepMessage)
    assert answer.body.responses[0].cert_req_id == 1
    ca.wrong_cert_req_id, ca.omit_header = False, frozenset({"sender_nonce", "message_time"})
    answer, client = ip()
    assert (answer.header.sender_nonce, answer.header.message_time) == (None, None)


def test_certificate_may_be_for_another_key(ca: DemoCA, client: Client) -> None:
    ca.issue_for_another_key = True
    key = generate_key()

    certificate = granted(client.ask(ir(key)))

    assert certificate.public_key() != key.public_key()


def test_grant_may_be_less_than_was_asked_for(ca: DemoCA, client: Client) -> None:
    ca.grant_with_mods = True

    ip = client.ask(ir(generate_key()))

    assert status(ip).status is PKIStatus.grantedWithMods
    with pytest.raises(x509.ExtensionNotFound):
        granted(ip).extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_extra_certs_come_in_any_order_or_not_at_all(ca: DemoCA) -> None:
    def extra_certs() -> tuple[x509.Certificate, ...]:
        return by_mac(ca, now=NOW).ask(ir(generate_key())).extra_certs

    chain = ca.pki.chain
    ca.extra_chain_order = "reversed"
    assert extra_certs() == chain[::-1]
    ca.extra_chain_order = "with unrelated"
    assert extra_certs() == (ca.pki.tls.certificate, *chain, ca.pki.signer.certificate)
    ca.extra_chain_order, ca.root_in_extra_certs = "ordered", True
    assert extra_certs() == (*chain, ca.pki.root)
    ca.omit_extra_certs = True
    assert extra_certs() == ()


def test_ca_pubs_carry_the_root(ca: DemoCA, client: Client) -> None:
    ca.ca_pubs = True

    ip = client.ask(ir(generate_key()))

    assert isinstance(ip.body, Ip)
    assert ip.body.ca_pubs == (ca.pki.root,)


def test_faults_befall_by_chance_and_the_same_ones_every_time(ca: DemoCA) -> None:
    def faults() -> list[bool]:
        ca.issue_for_another_key = When(chance=1 / 3, seed=7)
        keys = [generate_key() for _ in range(30)]
        certificates = [granted(by_mac(ca, now=NOW).ask(ir(key))) for key in keys]
        return [
            certificate.public_key() != key.public_key()
            for certificate, key in zip(certificates, keys, strict=True)
        ]

    first = faults()

    assert first == faults()
    assert 5 <= sum(first) <= 15


def test_faults_befall_the_bodies_named_after_some_and_so_many_times(ca: DemoCA) -> None:
    ca.wrong_nonce = When(bodies=frozenset({"certConf"}), skip=1, times=1)

    wrong = []
    for _ in range(4):
        client = by_mac(ca, now=NOW)
        ip = client.ask(ir(generate_key()))
        assert ip.header.recip_nonce == client.nonce
        pkiconf = client.ask(confirmation(granted(ip)))
        wrong.append(pkiconf.header.recip_nonce != client.nonce)

    assert wrong == [False, True, False, False]


# --- restarts


def test_register_survives_a_restart(pki: Pki, tmp_path: Path) -> None:
    journal = tmp_path / "register.jsonl"
    secrets = {SECRET.reference: SECRET.secret}
    with Register(journal) as register:
        before = DemoCA(pki=pki, secrets=secrets, register=register)
        occm = an_identity(before, now=NOW)
        by_mac(before, now=NOW).ask(ir(generate_key()))  # never confirmed
        revoked = Client(before, occm, now=NOW).enroll(ir(generate_key()))
        Client(before, occm, now=NOW).ask(rr(revoked))
    with journal.open("a") as file:
        file.write('{"event": "issu')  # killed in the middle of a line

    with Register(journal) as register:
        after = DemoCA(pki=pki, secrets=secrets, register=register)
        client = Client(after, occm, now=NOW)
        client.enroll(kur(generate_key(), old=occm.certificate, subject="/CN=occm"))

    with Register(journal) as register:
        assert [each.state for each in register] == [
            State.SUPERSEDED,
            State.REVOKED,
            State.REVOKED,
            State.VALID,
        ]


def test_secrets_do_not_show(ca: DemoCA) -> None:
    assert "nobody knows it" not in repr(ca)
