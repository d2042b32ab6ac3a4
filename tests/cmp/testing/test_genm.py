"""What a client may ask beside certificates: RFC 9483, 4.3."""

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cmp import asn1
from cmp.messages import (
    GenM,
    GenP,
    InfoTypeAndValue,
)
from cmp.support import CA_CERTS, CRL_STATUS_LIST, ROOT_CA_CERT, ROOT_CA_KEY_UPDATE
from cmp.testing import DemoCA
from cmp.testing.keys import Identity, generate_key
from tests.cmp.testing.client import (
    NOW,
    Client,
    ir,
    rr,
)


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
