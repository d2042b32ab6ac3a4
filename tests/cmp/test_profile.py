"""A CA's habits: what an operator chooses for one CA, and what is different on the wire then."""

import pytest
from cryptography import x509

from cmp import SignatureCredentials
from cmp.acceptance import IMPLICIT_CONFIRM
from cmp.asn1 import sequence_of, wrap
from cmp.messages import Body, Cp, GenP, Ip, Kup, Rp
from cmp.profile import CERT_PROFILE
from cmp.protection import verify_mac, verify_signature
from cmp.request import SignCsr
from tests.cmp.certs import a_root
from tests.cmp.hand import Hand
from tests.cmp.talk import MAC, REQUESTS, Begin, a_csr, of

NULL_DN = x509.DirectoryName(x509.Name([]))
IN_UTF8 = sequence_of(wrap(0x0C, "nf-tls-ü".encode()))


@pytest.mark.field_note(28)
@pytest.mark.parametrize(
    "request_", [*(REQUESTS[kind] for kind in (Ip, Cp, Kup)), SignCsr(a_csr())]
)
def test_the_name_of_a_profile_goes_with_each_request_for_a_certificate(
    talk: Begin, request_: object
) -> None:
    named = talk(request_, cert_profile="nf-tls-ü").say().header.general_info
    unnamed = talk(request_).say().header.general_info

    assert {item.type: item.value for item in named} == {CERT_PROFILE: IN_UTF8}
    assert unnamed == ()


@pytest.mark.field_note(28)
@pytest.mark.parametrize("kind", [Rp, GenP])
def test_no_other_request_names_a_profile(talk: Begin, kind: type[Body]) -> None:
    assert talk(REQUESTS[kind], cert_profile="nf-tls").say().header.general_info == ()


@pytest.mark.field_note(28)
def test_polls_and_confirmations_name_no_profile(hand: Hand, talk: Begin) -> None:
    told = talk(cert_profile="nf-tls", implicit_confirm=True)
    assert len(told.say().header.general_info) == 2
    told.hear(hand.grants(told.sent[-1]))

    assert told.say().header.general_info == ()


@pytest.mark.field_note(37)
def test_implicit_confirmation_is_asked_for_only_where_it_is_wanted(talk: Begin) -> None:
    (asked,) = talk(implicit_confirm=True).say().header.general_info

    assert asked.type == IMPLICIT_CONFIRM
    assert talk().say().header.general_info == ()


@pytest.mark.field_note(2)
def test_under_a_mac_the_sender_may_be_the_null_dn_and_the_reference_still_says_who(
    hand: Hand, talk: Begin
) -> None:
    told = talk(by=MAC, null_dn_sender=True)
    asked = told.say()
    told.hear(hand.grants(told.sent[-1]), by=MAC)
    confirmed = told.say()

    for message in (asked, confirmed):
        assert message.header.sender == NULL_DN
        assert message.header.sender_kid == MAC.reference
        verify_mac(message, MAC.secret)


@pytest.mark.field_note(3)
def test_a_signatures_sender_is_the_subject_of_its_certificate_whatever_was_chosen(
    talk: Begin, identity: SignatureCredentials
) -> None:
    asked = talk(null_dn_sender=True).say()

    assert asked.header.sender == x509.DirectoryName(identity.certificate.subject)
    verify_signature(asked, identity.certificate)


@pytest.mark.field_note(21)
def test_the_root_goes_after_our_chain_in_every_message_to_a_ca_that_wants_it(
    hand: Hand, talk: Begin, identity: SignatureCredentials
) -> None:
    told = talk(send_root=True)
    asked = told.say()
    told.hear(hand.grants(told.sent[-1]))
    confirmed = told.say()

    whole = (identity.certificate, *of(hand.issuing, hand.root))
    assert asked.extra_certs == confirmed.extra_certs == whole


@pytest.mark.field_note(21)
def test_the_root_stays_here_unless_it_is_wanted(
    talk: Begin, hand: Hand, identity: SignatureCredentials
) -> None:
    assert talk().say().extra_certs == (identity.certificate, *of(hand.issuing))


@pytest.mark.field_note(21)
def test_only_the_root_that_our_chain_leads_to_is_sent_and_only_once(
    hand: Hand, talk: Begin, identity: SignatureCredentials
) -> None:
    namesake, stranger = a_root("Root"), a_root("Another")
    whole = of(hand.issuing, hand.root)
    with_root = SignatureCredentials(identity.private_key, identity.certificate, whole)
    trust = hand.trust.__class__(roots=of(namesake, stranger, hand.root))

    completed = talk(send_root=True, trust=trust).say().extra_certs
    complete_already = talk(send_root=True, trust=trust, by=with_root).say().extra_certs

    assert completed == complete_already == (identity.certificate, *whole)


@pytest.mark.field_note(21)
def test_a_mac_needs_no_root(talk: Begin) -> None:
    assert talk(send_root=True, by=MAC).say().extra_certs == ()
