"""What may be asked beside certificates, of the demo CA; RFC 9483, 4.3."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from cryptography import x509

from cmp import (
    Ask,
    Certify,
    InfoTypeAndValue,
    Revoke,
    Unacceptable,
    ask_ca_certificates,
    ask_certificate_template,
    ask_crl,
    ask_root_update,
    asn1,
    parse_name,
    read_ca_certificates,
    read_certificate_template,
    read_crls,
    read_root_update,
)
from cmp.errors import Malformed
from cmp.support import CA_CERTS, CERT_REQ_TEMPLATE, CRLS, ROOT_CA_KEY_UPDATE
from cmp.testing import DemoCA
from cmp.testing.keys import generate_key
from tests.cmp import certs
from tests.cmp.certs import NOW, a_root, a_sub_ca
from tests.cmp.test_stories import a_ca, a_pki, an_identity, tell, template

Answers = tuple[InfoTypeAndValue, ...]


def asked(ca: DemoCA, question: Ask) -> Answers:
    return tell(ca, question, an_identity(ca)).answers


def test_the_cas_certificates_are_read() -> None:
    ca = a_ca(a_pki())

    assert read_ca_certificates(asked(ca, ask_ca_certificates())) == ca.pki.chain
    assert read_ca_certificates((InfoTypeAndValue(CA_CERTS),)) == ()


def test_a_new_root_is_accepted_where_the_old_one_vouches_for_it() -> None:
    ca = a_ca(a_pki())
    none_yet = asked(ca, ask_root_update(ca.pki.root))
    ca.root_update = ca.pki.successor(now=NOW)

    answers = asked(ca, ask_root_update(ca.pki.root))
    update = read_root_update(answers, ca.pki.root, now=NOW)

    assert read_root_update(none_yet, ca.pki.root, now=NOW) is None
    assert update is not None
    assert update.new_root == ca.root_update.root.certificate
    assert update.new_with_old == ca.root_update.new_with_old
    assert update.old_with_new == ca.root_update.old_with_new


def an_update(new: certs.Holder, link: certs.Holder | None) -> Answers:
    der = new.certificate.public_bytes(certs.DER)
    if link:
        der += asn1.wrap(0xA0, link.certificate.public_bytes(certs.DER))
    return (InfoTypeAndValue(ROOT_CA_KEY_UPDATE, asn1.sequence_of(der)),)


def test_a_new_root_that_the_old_one_does_not_vouch_for_is_refused() -> None:
    old, stranger = a_root("Root"), a_root("Root")
    new = a_root("Next root")
    link = a_sub_ca("Next root", old, key=new.key)
    assert read_root_update(an_update(new, link), old.certificate, now=NOW)

    def refused(new: certs.Holder, link: certs.Holder | None) -> str:
        with pytest.raises(Unacceptable) as caught:
            read_root_update(an_update(new, link), old.certificate, now=NOW)
        return str(caught.value)

    assert "no newWithOld" in refused(new, None)
    assert "no newWithOld of its own" in refused(new, a_sub_ca("Next root", old))
    assert "no newWithOld of its own" in refused(new, a_sub_ca("Other root", old, key=new.key))
    by_stranger = a_sub_ca("Next root", stranger, key=new.key)
    assert "does not vouch" in refused(new, by_stranger)
    expired = a_sub_ca("Next root", old, key=new.key, ends=NOW - certs.DAY)
    assert "does not vouch" in refused(new, expired)
    not_self_signed = a_sub_ca("Next root", stranger, key=new.key)
    assert "not self-signed" in refused(not_self_signed, link)
    over = a_root("Next root", key=new.key, ends=NOW - certs.DAY)
    assert "not valid" in refused(over, link)


def test_a_ca_without_requirements_has_no_template() -> None:
    assert read_certificate_template(asked(a_ca(a_pki()), ask_certificate_template())) is None


def test_a_template_says_what_a_request_has_to_look_like() -> None:
    subject = parse_name("/O=Operator").public_bytes()
    key_length = bytes.fromhex("300f 0609 2b06010505070501 0c 0202 0800".replace(" ", ""))
    specs = asn1.sequence_of(key_length)
    value = asn1.sequence_of(asn1.sequence_of(asn1.wrap(0xA5, subject)) + specs)

    found = read_certificate_template((InfoTypeAndValue(CERT_REQ_TEMPLATE, value),))

    assert found is not None
    assert found.template.subject == parse_name("/O=Operator")
    (spec,) = found.key_specs
    assert spec.type == x509.ObjectIdentifier("1.3.6.1.5.5.7.5.1.12")  # regCtrl-rsaKeyLen
    assert spec.value == bytes.fromhex("02020800")


def test_the_revocation_list_of_an_issuer_is_read() -> None:
    ca = a_ca(a_pki())
    identity = an_identity(ca)
    gone = tell(ca, Certify(template("amf"), generate_key()), identity).issued
    assert gone is not None
    tell(ca, Revoke.of(gone.certificate), identity)

    (crl,) = read_crls(asked(ca, ask_crl(ca.pki.issuing.certificate.subject, newer_than=NOW)))

    assert [entry.serial_number for entry in crl] == [gone.certificate.serial_number]


def test_a_list_is_asked_for_by_issuer_and_age() -> None:
    issuer = parse_name("/CN=x")

    (item,) = ask_crl(issuer, newer_than=NOW).items
    (bare,) = ask_crl(issuer).items

    assert item.value is not None
    assert bare.value is not None
    (status,) = asn1.elements(item.value)
    source, since = asn1.elements(asn1.bytes_of(status))
    names = asn1.sequence_of(asn1.wrap(0xA4, issuer.public_bytes()))
    assert asn1.bytes_of(source) == asn1.wrap(0xA1, names)
    assert bytes(since.data) == f"{NOW:%y%m%d%H%M%SZ}".encode()
    assert asn1.elements(asn1.bytes_of(asn1.elements(bare.value)[0]))[1:] == []


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        (CA_CERTS, read_ca_certificates),
        (CRLS, read_crls),
        (CERT_REQ_TEMPLATE, read_certificate_template),
        (ROOT_CA_KEY_UPDATE, partial(read_root_update, root=a_root().certificate, now=NOW)),
    ],
)
def test_what_does_not_read_is_malformed(
    kind: x509.ObjectIdentifier, read: Callable[[Answers], object]
) -> None:
    with pytest.raises(Malformed, match="cannot be read"):
        read((InfoTypeAndValue(kind, asn1.sequence_of(b"\x02\x01\x00")),))
