"""What is said comes out as it went in, in DER that strict peers read."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from cryptography import x509
from cryptography.hazmat.asn1 import TLV, decode_der
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from cmp import asn1, codec
from cmp.bodies import LONGEST_WAIT
from cmp.errors import LocalError, Malformed
from cmp.messages import (
    AlgorithmIdentifier,
    Body,
    CertConf,
    CertReqMessages,
    CertReqMsg,
    CertRequest,
    CertResponse,
    CertStatus,
    CertTemplate,
    ErrorMsg,
    GenM,
    InfoTypeAndValue,
    Ip,
    Ir,
    PkiConf,
    PKIHeader,
    PKIMessage,
    PKIStatus,
    PKIStatusInfo,
    PollRep,
    PollRepEntry,
    PollReq,
    ProofOfPossession,
    RevDetails,
    Rr,
)
from cmp.parts import FAIL_INFO, MAX_CERTIFICATES
from tests.cmp import values, vectors

DONE = PkiConf()
NOBODY = x509.DirectoryName(x509.Name([]))
HEADER = PKIHeader(NOBODY, NOBODY)
NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
NETWORK = ipaddress.ip_network("10.0.0.0/8")
ISSUED = vectors.certificate("recorded/siemens-ir-sig/cert.pem")
FULL_WIDTH = {ord("0") + digit: 0xFF10 + digit for digit in range(10)}
ACCEPTED = PKIStatusInfo(PKIStatus.accepted)


def written(body: Body = DONE, /, **header: Any) -> bytes:
    return codec.encode(replace(HEADER, **header), body, protect=None)


def heard(body: Body = DONE, /, **header: Any) -> PKIMessage:
    return codec.decode(written(body, **header))


def with_body(tag: int, content: bytes) -> bytes:
    """Return a message around a body that `encode` would not write."""
    envelope = decode_der(asn1.Envelope, written())
    return asn1.sequence_of(asn1.bytes_of(envelope.header) + asn1.wrap(0xA0 | tag, content))


def with_header(old: bytes, new: bytes, **header: Any) -> bytes:
    """Return a message with something else in its header."""
    envelope = decode_der(asn1.Envelope, written(**header))
    content = bytes(envelope.header.data)
    assert content.count(old) == 1
    changed = asn1.sequence_of(content.replace(old, new))
    return asn1.sequence_of(changed + asn1.bytes_of(envelope.body))


# Everything, both ways


def test_every_body_has_its_values() -> None:
    assert set(values.BODIES) == set(get_args(Body))


@pytest.mark.parametrize("kind", list(values.BODIES))
@given(data=st.data())
def test_a_message_comes_out_as_it_went_in(kind: type[Body], data: st.DataObject) -> None:
    header, body = data.draw(values.headers), data.draw(values.BODIES[kind])
    certificates, protection = data.draw(values.certificates), data.draw(values.octets)
    parts: list[bytes] = []

    der = codec.encode(
        header,
        body,
        protect=lambda part: parts.append(part) or protection,  # type: ignore[func-returns-value]
        extra_certs=certificates,
    )

    if isinstance(body, CertConf) and any(one.hash_alg for one in body.statuses):
        header = replace(header, pvno=3)
    expected = PKIMessage(header, as_received(body), protection, certificates, *parts)
    assert codec.decode(der) == expected


def as_received(body: Body) -> Body:
    if not isinstance(body, CertReqMessages):
        return body
    return type(body)(
        tuple(
            replace(one, cert_req_der=codec.encode_cert_request(one.cert_req))
            for one in body.requests
        )
    )


@given(values.cert_ids)
def test_a_cert_id_comes_out_as_it_went_in(cert_id: Any) -> None:
    assert codec.decode_cert_id(codec.encode_cert_id(cert_id)) == cert_id


def test_a_cert_id_that_does_not_decode_is_malformed() -> None:
    for der in (b"", b"\x30\x00", b"\x30\x05\xa3\x00\x02\x01\x01", b"\x30\x03\x30"):
        with pytest.raises(Malformed):
            codec.decode_cert_id(der)


# How it looks


def test_an_unprotected_message_has_two_elements() -> None:
    message = heard()

    assert (message.protection, message.extra_certs) == (None, ())
    assert message.protected_part == written()


@pytest.mark.field_note(9)
def test_time_goes_out_in_utc_and_whole_seconds() -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 1, 2, 17, 30, 0, 999999, tzinfo=there)

    assert b"\xa0\x11\x18\x0f20260102120000Z" in written(message_time=moment)
    assert heard(message_time=moment).header.message_time == NOON


def test_a_time_without_a_zone_is_not_sent() -> None:
    with pytest.raises(LocalError, match="without a zone"):
        written(message_time=datetime(2026, 1, 2))  # noqa: DTZ001 - the point


@pytest.mark.parametrize(
    ("spelled", "moment"),
    [
        (b"20260102120000.5Z", NOON + timedelta(seconds=0.5)),
        (b"20260102120000.500Z", NOON + timedelta(seconds=0.5)),
        (b"20260102120000,25Z", NOON + timedelta(seconds=0.25)),
        (b"202601021200Z", NOON),
        (b"2026010212Z", NOON),
        (b"2026010211.5Z", NOON - timedelta(minutes=30)),
        (b"20260102140000+0200", NOON),
        (b"20260102083000-0330", NOON),
        (b"2026010213+01", NOON),
        (b"20260102120000", None),  # whose local time?
        (b"20261302120000Z", None),
        (b"99991231235959-2300", None),
        (b"yesterday", None),
        (b"", None),
        ("20260102120000Z".translate(FULL_WIDTH).encode(), None),
    ],
)
def test_a_time_that_der_would_write_otherwise_does_not_cost_the_answer(
    spelled: bytes, moment: datetime | None
) -> None:
    usual = asn1.wrap(0xA0, asn1.wrap(0x18, b"20260102120000Z"))
    odd = asn1.wrap(0xA0, asn1.wrap(0x18, spelled))

    message = codec.decode(with_header(usual, odd, message_time=NOON))

    assert message.header.message_time == moment


@pytest.mark.parametrize("odd", [b"\xa0\x00", b"\xa0\x02\x05\x00", b"\xa0\x04\x05\x00\x05\x00"])
def test_a_time_of_another_type_does_not_cost_the_answer(odd: bytes) -> None:
    usual = asn1.wrap(0xA0, asn1.wrap(0x18, b"20260102120000Z"))

    message = codec.decode(with_header(usual, odd, message_time=NOON))

    assert message.header.message_time is None


@pytest.mark.field_note(33)
def test_failure_bits_are_a_named_bit_list() -> None:
    def bits(*names: str) -> bytes:
        return written(ErrorMsg(PKIStatusInfo(PKIStatus.rejection, (), frozenset(names))))

    assert b"\x03\x02\x07\x80" in bits("badAlg")
    assert b"\x03\x02\x05\xa0" in bits("badAlg", "badRequest")
    assert b"\x03\x03\x06\x00\x40" in bits("badPOP")
    assert b"\x03\x05\x05\x00\x00\x00\x20" in bits("duplicateCertReq")
    assert bits().endswith(b"\x30\x05\x30\x03\x02\x01\x02")


@pytest.mark.field_note(33)
@pytest.mark.parametrize("number", range(len(FAIL_INFO)))
def test_every_failure_bit_has_its_name(number: int) -> None:
    octets = bytearray(4)
    octets[number // 8] = 0x80 >> number % 8
    status = b"\x02\x01\x02" + asn1.wrap(0x03, b"\x00" + octets)  # trailing zeros are read, too

    body = codec.decode(with_body(23, asn1.sequence_of(asn1.sequence_of(status)))).body

    assert isinstance(body, ErrorMsg)
    assert body.status.fail_info == {FAIL_INFO[number]}


def test_failure_bits_of_the_future_are_shown_by_number() -> None:
    status = b"\x02\x01\x02" + asn1.wrap(0x03, b"\x00\x00\x00\x00\x00\x80" + b"\xff" * 1000)

    body = codec.decode(with_body(23, asn1.sequence_of(asn1.sequence_of(status)))).body

    assert isinstance(body, ErrorMsg)
    assert "bit32" in body.status.fail_info
    assert len(body.status.fail_info) < 64


@pytest.mark.field_note(23)
@pytest.mark.parametrize(
    ("parameters", "der"),
    [
        (None, "300a06082a8648ce3d040302"),
        (b"\x05\x00", "300c06082a8648ce3d0403020500"),
    ],
)
def test_parameters_of_algorithms_are_present_or_absent_as_given(
    parameters: bytes | None, der: str
) -> None:
    algorithm = AlgorithmIdentifier(x509.ObjectIdentifier("1.2.840.10045.4.3.2"), parameters)

    assert codec.encode_algorithm(algorithm).hex() == der
    assert bytes.fromhex("a1" + f"{len(der) // 2:02x}" + der) in written(protection_alg=algorithm)


@pytest.mark.field_note(22)
def test_names_in_a_template_are_tagged_explicitly_and_the_rest_implicitly() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nrf")])
    template = CertTemplate(
        subject=name,
        issuer=name,
        serial_number=7,
        not_before=datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
        not_after=datetime(2050, 1, 1, tzinfo=UTC),
    )

    der = codec.encode_cert_request(CertRequest(0, template))

    rdns = name.public_bytes()
    validity = b"\xa0\x0f\x17\x0d491231235959Z\xa1\x11\x18\x0f20500101000000Z"
    inside = b"\x81\x01\x07" + asn1.wrap(0xA3, rdns) + asn1.wrap(0xA4, validity)
    inside += asn1.wrap(0xA5, rdns)
    assert der == asn1.sequence_of(b"\x02\x01\x00" + asn1.sequence_of(inside))


@pytest.mark.field_note(22)
def test_a_proof_of_possession_signs_the_request_as_it_goes_out() -> None:
    request = CertRequest(0, CertTemplate(subject=x509.Name([]), public_key=values.KEYS[0]))
    signed = codec.encode_cert_request(request)
    ecdsa = AlgorithmIdentifier(x509.ObjectIdentifier("1.2.840.10045.4.3.2"))

    message = heard(Ir((CertReqMsg(request, ProofOfPossession(ecdsa, b"?")),)))

    assert isinstance(message.body, Ir)
    assert message.body.requests[0].cert_req_der == signed
    assert signed in message.protected_part


def test_extensions_keep_their_meaning() -> None:
    san = x509.SubjectAlternativeName([x509.DNSName("nrf.example")])
    extension = x509.Extension(san.oid, True, san)

    message = heard(Rr((RevDetails(CertTemplate(extensions=(extension,))),)))

    assert isinstance(message.body, Rr)
    (received,) = message.body.details[0].cert_details.extensions
    assert (received.oid, received.critical) == (san.oid, True)
    assert received.value.public_bytes() == san.public_bytes()


# Versions


@pytest.mark.field_note(8)
def test_version_3_is_said_where_its_syntax_is_used() -> None:
    sha256 = AlgorithmIdentifier(x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1"))

    assert heard().header.pvno == 2
    assert heard(CertConf((CertStatus(b"#", 0),))).header.pvno == 2
    assert heard(CertConf((CertStatus(b"#", 0, hash_alg=sha256),))).header.pvno == 3


@pytest.mark.field_note(8)
@pytest.mark.parametrize("pvno", [0, 1, 4, -1, 2**70])
def test_a_strange_version_is_reported_and_not_refused(pvno: int) -> None:
    message = heard(ErrorMsg(PKIStatusInfo(PKIStatus.rejection, ("go away",))), pvno=pvno)

    assert message.header.pvno == pvno
    assert message.body == ErrorMsg(PKIStatusInfo(PKIStatus.rejection, ("go away",)))


# What may be absent, and what is odd


def test_everything_but_the_parties_may_be_absent() -> None:
    assert heard().header == HEADER


@pytest.mark.field_note(32)
def test_free_text_is_read_whole() -> None:
    texts = ("line\nline\r\n", "", "ü" * 5000, "\0")

    message = heard(ErrorMsg(PKIStatusInfo(PKIStatus.rejection, texts), 7, texts), free_text=texts)

    assert isinstance(message.body, ErrorMsg)
    assert message.header.free_text == message.body.details == texts
    assert message.body.status.status_string == texts


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [
        (0, timedelta(0)),
        (60, timedelta(minutes=1)),
        (-5, timedelta(0)),
        (2**31, LONGEST_WAIT),
        (2**300, LONGEST_WAIT),
    ],
)
def test_waiting_times_fit_a_calendar(seconds: int, wait: timedelta) -> None:
    entry = asn1.PollRepEntry(cert_req_id=0, check_after=seconds, reason=None)
    content = asn1.encode_list(asn1.PollRepContent(items=[entry]))

    body = codec.decode(with_body(26, content)).body

    assert isinstance(body, PollRep)
    assert [one.check_after for one in body.entries] == [wait]


def test_what_cannot_be_read_among_the_helping_certificates_is_left_out() -> None:
    der = ISSUED.public_bytes(Encoding.DER)
    unreadable_name = der.replace(b"\x0c\x03nf2", b"\x0c\x03\xff\xff\xff")
    assert unreadable_name != der
    every = b"".join((b"\x30\x00", der, unreadable_name, b"\xa1\x00", b"\x02\x01\x01", der))

    message = codec.decode(with_extra_certs(every))

    assert message.extra_certs == (ISSUED, ISSUED)


def test_the_first_of_very_many_certificates_are_read() -> None:
    der = ISSUED.public_bytes(Encoding.DER)

    message = codec.decode(with_extra_certs(der * (MAX_CERTIFICATES + 10)))

    assert len(message.extra_certs) == MAX_CERTIFICATES


def with_extra_certs(ders: bytes) -> bytes:
    return asn1.sequence_of(
        decode_der(TLV, written()).data.tobytes() + asn1.wrap(0xA1, asn1.sequence_of(ders))
    )


def test_an_issued_certificate_whose_names_cannot_be_read_is_malformed() -> None:
    der = written(Ip((CertResponse(0, ACCEPTED, ISSUED),)))
    spoiled = der.replace(b"\x0c\x03nf2", b"\x0c\x03\xff\xff\xff")
    assert spoiled != der

    with pytest.raises(Malformed, match="body of type ip cannot be read"):
        codec.decode(spoiled)


@pytest.mark.field_note(35)
def test_an_encrypted_certificate_is_seen_and_not_opened() -> None:
    pair = asn1.sequence_of(asn1.wrap(0xA1, asn1.sequence_of(b"")))
    response = asn1.sequence_of(b"\x02\x01\x00" + asn1.sequence_of(b"\x02\x01\x00") + pair)
    content = asn1.sequence_of(asn1.sequence_of(response))

    body = codec.decode(with_body(1, content)).body

    assert body == Ip((CertResponse(0, ACCEPTED, None, encrypted=True),))
    with pytest.raises(LocalError, match="encrypted"):
        written(body)


@pytest.mark.field_note(24)
def test_a_proof_that_the_ra_verified_is_no_proof() -> None:
    request = codec.encode_cert_request(CertRequest(0, CertTemplate()))
    ra_verified = asn1.sequence_of(request + b"\x80\x00")

    body = codec.decode(with_body(0, asn1.sequence_of(ra_verified))).body

    assert isinstance(body, Ir)
    assert body.requests[0].popo is None


# Refusals


def test_a_message_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(Malformed, match=r"is 1048577 bytes long, the limit is 1048576"):
        codec.decode(b"\x30" * (codec.MAX_MESSAGE + 1))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "begins with b''"),
        (b"<html>Service Unavailable</html>", "begins with b'<html>Se'"),
        (b"\x30\x00", "the message cannot be read: it ends too early"),
        (written()[:-1], "cut off"),
        (written() + b"\x00", "1 bytes follow after the message"),
        (written() + written(), "bytes follow after the message"),
        (with_body(19, b"\x05\x00\x05\x00"), "pkiconf cannot be read: something follows"),
        (with_body(19, b""), "pkiconf cannot be read: it ends too early"),
        (with_body(19, b"\x30\x00"), "pkiconf cannot be read: an element is missing or out"),
        (with_body(20, b"\x30\x00"), "a body of type nested is not read here"),
        (with_body(10, b"\x30\x00"), "a body of type krp is not read here"),
        (with_body(27, b"\x05\x00"), "a body with the identifier bb is not read here"),
        (with_header(b"\x02\x01\x02", b"\x02\x01\x02\x02\x01\x02"), "the header cannot be read"),
        (with_header(b"\x02\x01\x02", b"\x02\x02\x00\x02"), "a value is not what its type allows"),
        (
            with_header(b"\x02\x01\x02\xa4\x02\x30\x00", b"\x02\x01\x02\xa3\x02\x30\x00"),
            "GeneralName with the identifier octet 0xa3",
        ),
        (
            with_header(b"\x02\x01\x02\xa4\x02\x30\x00", b"\x02\x01\x02\x87\x03abc"),
            "the header cannot be read: .* does not appear to be an IPv4 or IPv6 address",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(message: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        codec.decode(message)


def test_a_body_of_another_class_is_refused() -> None:
    for identifier in (b"\x30", b"\x93", b"\x53", b"\xd3", b"\xbf\x81\x13"):
        envelope = decode_der(asn1.Envelope, written())
        body = identifier + b"\x02\x05\x00"
        message = asn1.sequence_of(asn1.bytes_of(envelope.header) + body)
        with pytest.raises(Malformed, match=f"identifier {identifier.hex()} is not read here"):
            codec.decode(message)


def test_an_unknown_status_is_refused() -> None:
    content = asn1.sequence_of(asn1.sequence_of(b"\x02\x01\x07"))

    with pytest.raises(Malformed, match="7 is not a valid PKIStatus"):
        codec.decode(with_body(23, content))


def test_a_proof_over_something_else_is_refused() -> None:
    request = codec.encode_cert_request(CertRequest(0, CertTemplate()))
    algorithm = codec.encode_algorithm(AlgorithmIdentifier(x509.ObjectIdentifier("2.999.1")))
    popo = asn1.wrap(0xA1, asn1.wrap(0xA0, b"") + algorithm + b"\x03\x01\x00")

    with pytest.raises(Malformed, match="poposkInput is not read here"):
        codec.decode(with_body(0, asn1.sequence_of(asn1.sequence_of(request + popo))))


@pytest.mark.parametrize("where", ["protection", "proof of possession"])
def test_a_signature_is_whole_bytes(where: str) -> None:
    message = written()
    if where == "protection":
        inside = bytes(decode_der(TLV, message).data)
        message = asn1.sequence_of(inside + asn1.wrap(0xA0, b"\x03\x02\x01\x80"))
    else:
        request = codec.encode_cert_request(CertRequest(0, CertTemplate()))
        algorithm = codec.encode_algorithm(AlgorithmIdentifier(x509.ObjectIdentifier("2.999.1")))
        popo = asn1.wrap(0xA1, algorithm + b"\x03\x02\x01\x80")
        message = with_body(0, asn1.sequence_of(asn1.sequence_of(request + popo)))

    with pytest.raises(Malformed, match=f"the {where} is not a whole number of bytes"):
        codec.decode(message)


@pytest.mark.parametrize("parts", [[], [b"\x06\x02\x88\x37", b"\x05\x00", b"\x05\x00"]])
def test_an_algorithm_of_none_or_three_elements_is_refused(parts: list[bytes]) -> None:
    algorithm = AlgorithmIdentifier(x509.ObjectIdentifier("2.999"))
    usual = asn1.wrap(0xA1, codec.encode_algorithm(algorithm))
    odd = asn1.wrap(0xA1, asn1.sequence_of(b"".join(parts)))

    with pytest.raises(Malformed, match=f"one or two elements, not {len(parts)}"):
        codec.decode(with_header(usual, odd, protection_alg=algorithm))


@pytest.mark.parametrize(
    "act",
    [
        lambda: written(free_text=("\ud800",)),
        lambda: written(sender=x509.IPAddress(NETWORK)),
        lambda: written(GenM((InfoTypeAndValue(x509.ObjectIdentifier("2.999"), b"?"),))),
        lambda: written(ErrorMsg(PKIStatusInfo(PKIStatus.rejection, (), frozenset({"sulk"})))),
        lambda: written(PollReq(("one",))),  # type: ignore[arg-type]
        lambda: codec.encode_cert_request(CertRequest(0, CertTemplate(serial_number="7"))),  # type: ignore[arg-type]
    ],
)
def test_what_has_no_encoding_is_our_own_mistake(act: Callable[[], bytes]) -> None:
    with pytest.raises(LocalError):
        act()


@pytest.mark.parametrize(
    "body",
    [
        PollReq((2**256,)),
        PollRep((PollRepEntry(-(2**256) - 1, timedelta(0)),)),
        CertConf((CertStatus(b"#", 2**20000),)),
        Ip((CertResponse(2**256, PKIStatusInfo(PKIStatus.waiting)),)),
        ErrorMsg(PKIStatusInfo(PKIStatus.rejection), 2**256),
        Ir((CertReqMsg(CertRequest(2**256, CertTemplate())),)),
    ],
    ids=lambda body: type(body).__name__,
)
def test_a_number_too_long_to_be_told_is_refused(body: Body) -> None:
    with pytest.raises(Malformed, match=r"an integer has \d+ bits, the limit is 256"):
        heard(body)
    with pytest.raises(Malformed, match="the limit is 256"):
        heard(pvno=2**20000)
