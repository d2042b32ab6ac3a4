"""What the demo CA does wrong when it is told to."""

import pytest
from cryptography import x509

from cmp.errors import Unprotected
from cmp.messages import (
    CertRepMessage,
    ErrorMsg,
    Ip,
    PkiConf,
    PKIMessage,
    PKIStatus,
    PKIStatusInfo,
    PollReq,
)
from cmp.protection import (
    is_mac,
    verify_mac,
    verify_signature,
)
from cmp.testing import DemoCA, Refusal, When
from cmp.testing.keys import generate_key
from tests.cmp.testing.client import (
    NOW,
    SECRET,
    Client,
    by_mac,
    confirmation,
    failure,
    granted,
    ir,
    status,
)


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


def test_nonce_left_out_is_not_expected_back(ca: DemoCA, client: Client) -> None:
    ca.omit_header = frozenset({"sender_nonce"})
    certificate = granted(client.ask(ir(generate_key())))
    assert client.their_nonce is None

    assert client.ask(confirmation(certificate)).body == PkiConf()


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
