"""What other implementations wrote is read, to the byte, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cmp import codec
from cmp.algorithms import certificate_hash, verify
from cmp.asn1 import sequence_of
from cmp.errors import Malformed, Unprotected
from cmp.messages import (
    CertConf,
    CertRepMessage,
    CertReqMessages,
    CertTemplate,
    ErrorMsg,
    GenM,
    GenP,
    Ip,
    Kur,
    P10cr,
    PKIMessage,
    PKIStatus,
    PollRep,
    PollReq,
    Rp,
    Rr,
)
from cmp.names import parse_name
from cmp.protection import is_mac, verify_mac, verify_signature
from tests.cmp import vectors

OLD_CERT_ID = x509.ObjectIdentifier("1.3.6.1.5.5.7.5.1.5")
IMPLICIT_CONFIRM = x509.ObjectIdentifier("1.3.6.1.5.5.7.4.13")


def decoded(name: str) -> PKIMessage:
    return codec.decode(vectors.named(name))


def test_there_are_as_many_vectors_as_there_were() -> None:
    assert (len(vectors.names()), len(vectors.message_names())) == (111 + 17, 111)


@pytest.mark.parametrize("name", vectors.message_names())
def test_a_message_is_written_again_to_the_same_bytes(name: str) -> None:
    message = decoded(name)
    body = message.body
    if isinstance(body, CertReqMessages):  # written anew, not copied
        body = type(body)(tuple(replace(one, cert_req_der=b"") for one in body.requests))
    protection = message.protection

    again = codec.encode(
        message.header,
        body,
        protect=None if protection is None else lambda _: protection,
        extra_certs=message.extra_certs,
    )

    empty_extra_certs = b"\xa1\x02\x30\x00" if name.endswith("/IR_protected.der") else b""
    assert sequence_of(content(again) + empty_extra_certs) == vectors.named(name)


@pytest.mark.field_note(17)
@pytest.mark.parametrize("name", vectors.message_names())
def test_the_protected_part_is_what_came(name: str) -> None:
    der = vectors.named(name)

    assert content(der).startswith(content(codec.decode(der).protected_part))


def content(der: bytes) -> bytes:
    """Take away the identifier and the length."""
    return der[2:] if der[1] < 0x80 else der[2 + der[1] - 0x80 :]


@pytest.mark.field_note(14)
@pytest.mark.parametrize("name", vectors.message_names())
def test_what_protects_a_message_verifies(name: str) -> None:
    message = decoded(name)
    if name in vectors.UNPROTECTED:
        assert message.protection is None
        return

    def check(message: PKIMessage) -> None:
        if is_mac(message.header):
            verify_mac(message, vectors.secret(name))
        else:
            verify_signature(message, vectors.signer(name))

    if name in vectors.NOT_VERIFIABLE:
        with pytest.raises(Unprotected, match=vectors.NOT_VERIFIABLE[name]):
            check(message)
        return
    check(message)
    spoiled = bytearray(message.protected_part)
    spoiled[-1] ^= 1
    with pytest.raises(Unprotected, match="does not verify"):
        check(replace(message, protected_part=bytes(spoiled)))


@pytest.mark.field_note(42)
@pytest.mark.parametrize(("name", "why"), vectors.NOT_MESSAGES.items())
def test_what_is_no_message_is_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        codec.decode(vectors.named(name))


@pytest.mark.parametrize("kind", ["ir_req", "ir_rsp", "kur_req", "genm_req", "rr_rsp"])
def test_a_header_and_a_body_on_their_own_make_the_message(kind: str) -> None:
    header = vectors.named(f"crates-cmpv2/{kind}_header_01.bin")
    body = vectors.named(f"crates-cmpv2/{kind}_body_01.bin")
    whole = decoded(f"crates-cmpv2/{kind}_01.bin")

    alone = codec.decode(sequence_of(header + body))

    assert (alone.header, alone.body) == (whole.header, whole.body)
    assert alone.protected_part == whole.protected_part


@pytest.mark.field_note(22)
@pytest.mark.parametrize("name", [n for n in vectors.message_names() if "req" in n])
def test_every_proof_of_possession_verifies(name: str) -> None:
    body = decoded(name).body
    if not isinstance(body, CertReqMessages):
        return

    for message in body.requests:
        key, popo = message.cert_req.template.public_key, message.popo
        assert key is not None
        assert popo is not None
        verify(key, popo.algorithm, popo.signature, message.cert_req_der)
        assert codec.encode_cert_request(message.cert_req) == message.cert_req_der


def test_an_enrollment_is_read_value_by_value() -> None:
    asked, granted, confirmed, done = (
        decoded(f"recorded/siemens-ir-sig/{name}.der") for name in ("req1", "rsp1", "req2", "rsp2")
    )

    assert asked.header.sender == x509.DirectoryName(parse_name("/C=DE/O=Vendor/CN=NF-device-001"))
    assert asked.header.pvno == 2
    assert asked.header.message_time == datetime(2026, 11, 23, 17, 5, 45, tzinfo=UTC)
    device = vectors.certificate("recorded/keys/siemens/device.crt")
    ski = device.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert asked.header.sender_kid == ski
    assert {len(m.header.sender_nonce or b"") for m in (asked, granted, confirmed, done)} == {16}
    assert len({m.header.transaction_id for m in (asked, granted, confirmed, done)}) == 1
    assert granted.header.recip_nonce == asked.header.sender_nonce
    assert confirmed.header.recip_nonce == granted.header.sender_nonce
    assert done.header.recip_nonce == confirmed.header.sender_nonce

    template = _template(asked)
    assert template.subject == parse_name("/C=DE/O=NF/CN=nf2")
    assert isinstance(template.public_key, ec.EllipticCurvePublicKey)
    assert isinstance(granted.body, Ip)
    (response,) = granted.body.responses
    assert (response.cert_req_id, response.status.status) == (0, PKIStatus.accepted)
    issued = vectors.certificate("recorded/siemens-ir-sig/cert.pem")
    assert response.certificate == issued
    assert issued.public_key() == template.public_key
    assert granted.extra_certs[0] == vectors.certificate("recorded/keys/siemens/ra.crt")
    assert isinstance(confirmed.body, CertConf)
    assert confirmed.body.statuses[0].cert_hash == certificate_hash(issued)[0]
    assert confirmed.extra_certs[0] == device


@pytest.mark.parametrize(
    "name",
    ["ossl30-ir-mac", "ossl30-ir-sig", "ossl30-kur", "siemens-ir-mac", "siemens-kur"],
)
def test_certificate_hashes_are_what_openssl_sends(name: str) -> None:
    confirmed = decoded(f"recorded/{name}/req2.der").body
    issued = vectors.certificate(f"recorded/{name}/cert.pem")

    assert isinstance(confirmed, CertConf)
    assert confirmed.statuses[0].cert_hash == certificate_hash(issued)[0]


def test_an_update_names_the_old_certificate() -> None:
    old = vectors.certificate("recorded/siemens-ir-sig/cert.pem")
    body = decoded("recorded/siemens-kur/req1.der").body

    assert isinstance(body, Kur)
    (control,) = body.requests[0].cert_req.controls
    assert control.type == OLD_CERT_ID
    named = codec.decode_cert_id(control.value)
    assert (named.issuer.value, named.serial_number) == (old.issuer, old.serial_number)
    assert codec.encode_cert_id(named) == control.value


def test_polling_is_read() -> None:
    waiting, asks, patience = (
        decoded(f"recorded/siemens-poll-mac/{name}.der").body for name in ("rsp1", "req2", "rsp2")
    )

    assert isinstance(waiting, Ip)
    assert waiting.responses[0].status.status is PKIStatus.waiting
    assert asks == PollReq((0,))
    assert isinstance(patience, PollRep)
    assert patience.entries[0].check_after == timedelta(seconds=1)


def test_a_delayed_revocation_is_read() -> None:
    asked, waiting, polled, revoked = (
        decoded(f"recorded/siemens-rr-errorwaiting/{name}.der").body
        for name in ("req1", "rsp1", "req2", "rsp4")
    )

    assert isinstance(asked, Rr)
    assert asked.details[0].cert_details == CertTemplate(
        issuer=parse_name("/C=DE/O=PeerRA/CN=Peer Issuing CA"),
        serial_number=658363260903027720965949870929707300,
    )
    assert isinstance(waiting, ErrorMsg)
    assert waiting.status.status is PKIStatus.waiting
    assert polled == PollReq((-1,))
    assert isinstance(revoked, Rp)
    assert [one.status for one in revoked.statuses] == [PKIStatus.accepted]


@pytest.mark.field_note(33)
def test_refusals_are_read_with_bits_and_texts() -> None:
    by_ip = decoded("recorded/ossl30-rejection/rsp1.der").body
    by_error = decoded("recorded/ossl30-wrong-secret/rsp1.der").body

    assert isinstance(by_ip, Ip)
    status = by_ip.responses[0].status
    assert status.status is PKIStatus.rejection
    assert status.status_string == ("no way, José",)
    assert status.fail_info == {"badAlg", "badRequest", "certRevoked"}
    assert isinstance(by_error, ErrorMsg)
    assert by_error.status.fail_info == {"badRequest"}


def test_an_implicit_confirmation_is_granted_in_the_header() -> None:
    header = decoded("recorded/ossl30-grantedWithMods-implicit/rsp1.der").header

    assert IMPLICIT_CONFIRM in [info.type for info in header.general_info]


def test_a_csr_is_carried_as_it_is() -> None:
    body = decoded("crates-cmpv2/p10cr_req_01.bin").body

    assert isinstance(body, P10cr)
    assert x509.load_der_x509_csr(body.csr).is_signature_valid


def test_general_messages_are_read() -> None:
    question = decoded("crates-cmpv2/genm_req_01.bin").body
    answer = decoded("crates-cmpv2/genm_rsp_01.bin").body

    assert isinstance(question, GenM)
    assert isinstance(answer, GenP)
    assert [one.type.dotted_string for one in question.items] == ["1.3.6.1.5.5.7.4.2"]
    assert answer.items == ()


def test_a_hash_algorithm_comes_with_version_3() -> None:
    message = decoded("pyasn1/certconf-hashalg.der")

    assert message.header.pvno == 3
    assert isinstance(message.body, CertConf)
    (status,) = message.body.statuses
    assert status.hash_alg is not None
    assert status.hash_alg.algorithm == x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")


def test_an_answer_of_2005_is_read() -> None:
    message = decoded("pyasn1/cp-rsa-sha1.der")

    assert isinstance(message.body, CertRepMessage)
    certificate = message.body.responses[0].certificate
    assert certificate is not None
    assert isinstance(certificate.public_key(), rsa.RSAPublicKey)
    assert message.body.ca_pubs


def _template(message: PKIMessage) -> CertTemplate:
    assert isinstance(message.body, CertReqMessages)
    return message.body.requests[0].cert_req.template
