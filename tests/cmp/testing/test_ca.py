"""What a healthy demo CA does, message by message."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from cmp.messages import (
    CertConf,
    CertStatus,
    CertTemplate,
    ErrorMsg,
    Ip,
    Kup,
    P10cr,
    PkiConf,
    PKIStatus,
    PKIStatusInfo,
    PollRep,
    PollReq,
    RevDetails,
    Rp,
    Rr,
)
from cmp.protection import (
    SignatureCredentials,
    verify_mac,
    verify_signature,
)
from cmp.testing import DemoCA, Design, Pki, Register, State
from cmp.testing.certification import IMPLICIT_CONFIRM
from cmp.testing.keys import Identity, generate_key
from tests.cmp.testing.client import (
    NOW,
    SECRET,
    Client,
    a_csr,
    an_identity,
    by_mac,
    confirmation,
    failure,
    granted,
    ir,
    kur,
    rr,
    status,
)

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


@pytest.mark.field_note(37)
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


@pytest.mark.field_note(38)
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


def test_certconf_that_has_to_wait_came_in_time(ca: DemoCA, client: Client) -> None:
    ca.polls, ca.polls_on, ca.confirm_wait = 1, frozenset({"certConf"}), timedelta(seconds=60)
    certificate = granted(client.ask(ir(generate_key())))
    client.ask(confirmation(certificate))

    client.now = NOW + timedelta(seconds=90)

    assert client.ask(PollReq((-1,))).body == PkiConf()
    assert ca.issued[0].state is State.VALID


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
