"""What is known of CMP servers in the field, where no other test shows how we bear it.

docs/field-notes.md lists all the notes with the tests that show them.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from cmp import Rejected, State, TrustStore, Unprotected, Update
from cmp.http import HttpTransport, TlsTrust
from cmp.messages import Body, CertReqMessages, Cp, Ip, Kup
from cmp.request import Enroll
from cmp.testing import Pki, serve, tls_context
from cmp.testing.behaviour import Refusal
from cmp.testing.keys import generate_key
from cmp.transaction import Transaction
from tests.cmp import certs
from tests.cmp.certs import NOW
from tests.cmp.hand import REFERENCE, Hand
from tests.cmp.talk import MAC, PROFILE, REQUESTS, Begin, of
from tests.cmp.test_stories import a_ca, a_pki, an_identity, held, tell, template


@pytest.mark.field_note(2)
def test_a_ca_may_be_addressed_without_its_name() -> None:
    ca = a_ca(a_pki())

    done = tell(ca, Enroll(template("occm"), generate_key()), MAC, recipient=x509.Name([]))

    assert done.state is State.DONE


@pytest.mark.field_note(4)
@pytest.mark.parametrize("kid", [None, b"", REFERENCE, b"somebody else"])
def test_under_a_mac_the_key_identifier_of_an_answer_does_not_matter(
    hand: Hand, talk: Begin, kid: bytes | None
) -> None:
    conversation = talk(by=MAC)
    conversation.say()
    body = hand.grants(conversation.sent[-1], ca_pubs=of(hand.issuing))

    conversation.hear(body, by=hand.by_mac, sender_kid=kid)

    assert conversation.state() is State.GRANTED


@pytest.mark.field_note(9)
@pytest.mark.parametrize("minutes", [-10, 10])
def test_clocks_too_far_apart_are_told_by_what_each_says(minutes: int) -> None:
    ca = a_ca(a_pki())
    theirs = NOW + timedelta(minutes=minutes)

    with pytest.raises(Rejected) as caught:
        tell(
            ca,
            Enroll(template("occm"), generate_key()),
            MAC,
            post=lambda der: ca.answer(der, now=theirs),
        )

    assert caught.value.failures == {"badTime"}
    assert f"our clock says {NOW:%Y-%m-%d %H:%M:%S} UTC" in caught.value.text
    assert f"the CA's {theirs:%Y-%m-%d %H:%M:%S} UTC" in caught.value.text


@pytest.mark.field_note(13, 33)
def test_an_unprotected_no_of_a_ca_is_shown_as_unauthenticated() -> None:
    failures = frozenset({"badMessageCheck", "wrongAuthority", "systemFailure"})
    ca = a_ca(a_pki(), unprotected_errors=True, error_body=True, refuse=Refusal(failures))
    tx = Transaction.begin(
        Enroll(template("occm"), generate_key()),
        credentials=MAC,
        trust=TrustStore(roots=(ca.pki.root,)),
        profile=replace(PROFILE, recipient=ca.pki.issuing.certificate.subject),
        now=NOW,
    )
    message = tx.outgoing(now=NOW)
    assert message is not None

    with pytest.raises(Rejected) as caught:
        tx.receive(ca.answer(message, now=NOW), now=NOW)

    assert caught.value.failures == failures
    assert not caught.value.authenticated
    assert tx.state is State.REQUESTED


@pytest.mark.field_note(22, 24)
@pytest.mark.parametrize("kind", [Ip, Cp, Kup])
def test_every_request_proves_possession_by_a_signature(talk: Begin, kind: type[Body]) -> None:
    body = talk(REQUESTS[kind]).say().body

    assert isinstance(body, CertReqMessages)
    (request,) = body.requests
    assert request.popo is not None
    assert request.popo.signature


@pytest.mark.field_note(29)
def test_an_update_with_the_old_key_may_be_refused_and_is_said_so() -> None:
    ca = a_ca(a_pki())
    identity = an_identity(ca)
    key = generate_key()
    old = held(tell(ca, Enroll(template("nrf"), key), identity), key)

    with pytest.raises(Rejected) as caught:
        tell(ca, Update(template("nrf"), key, old.certificate), identity)

    assert caught.value.authenticated
    assert caught.value.failures


@pytest.mark.field_note(32)
def test_a_page_of_text_from_a_ca_stays_one_line() -> None:
    page = "\n".join(f"    line {number} of the certificate: ünïcödé" for number in range(60))
    ca = a_ca(a_pki(), refuse=Refusal(text=("not acceptable", page)))

    with pytest.raises(Rejected) as caught:
        tell(ca, Enroll(template("occm"), generate_key()), MAC)

    assert caught.value.text.startswith("not acceptable; line 0 of")
    assert caught.value.text.endswith("line 59 of the certificate: ünïcödé")
    assert "\n" not in caught.value.text


@pytest.mark.field_note(44)
def test_https_replaces_no_protection() -> None:
    now = datetime.now(UTC)
    pki = Pki.generate("Served", now=now - certs.DAY)
    ca = a_ca(pki, unprotected_answers=True)

    with serve(ca, tls=tls_context(pki)) as server:
        trust, patience = TlsTrust((pki.root,)), timedelta(seconds=10)
        with HttpTransport(server.url, tls=trust, message_timeout=patience) as transport:
            request = Enroll(template("occm"), generate_key())
            with pytest.raises(Unprotected, match="not protected"):
                tell(ca, request, MAC, post=transport.post, now=now)
