"""Between the values of `messages` and DER, both ways and for both sides of the protocol.

Decoding is strict where bytes decide (DER, no trailing bytes, a size limit) and lenient where RFC
9810 lets a field be absent. It raises Malformed and nothing else. Whether a message is authentic
or in turn is not decided here.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.asn1 import (
    TLV,
    BitString,
    GeneralizedTime,
    Null,
    UTCTime,
    decode_der,
    encode_der,
)
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from cmp import asn1
from cmp.errors import Malformed
from cmp.messages import (
    AlgorithmIdentifier,
    Body,
    CertConf,
    CertId,
    CertRepMessage,
    CertReqMessages,
    CertReqMsg,
    CertRequest,
    CertResponse,
    CertStatus,
    CertTemplate,
    Control,
    Cp,
    Cr,
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
    PKIHeader,
    PKIMessage,
    PKIStatus,
    PKIStatusInfo,
    PollRep,
    PollRepEntry,
    PollReq,
    ProofOfPossession,
    RevDetails,
    Rp,
    Rr,
)
from cmp.text import one_line

MAX_MESSAGE = 1 << 20  # bytes; the largest answers seen run to some tens of KiB

FAIL_INFO = (  # PKIFailureInfo, RFC 9810, 5.2.3: bit 0 first
    "badAlg", "badMessageCheck", "badRequest", "badTime", "badCertId", "badDataFormat",
    "wrongAuthority", "incorrectData", "missingTimeStamp", "badPOP", "certRevoked",
    "certConfirmed", "wrongIntegrity", "badRecipientNonce", "timeNotAvailable",
    "unacceptedPolicy", "unacceptedExtension", "addInfoNotAvailable", "badSenderNonce",
    "badCertTemplate", "signerNotTrusted", "transactionIdInUse", "unsupportedVersion",
    "notAuthorized", "systemUnavail", "systemFailure", "duplicateCertReq",
)  # fmt: skip

_OID, _Certificate = x509.ObjectIdentifier, x509.Certificate
# What leaks out of the parsers below us on hostile input.
_PARSER_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError,
    UnsupportedAlgorithm, x509.UnsupportedGeneralNameType, x509.InvalidVersion,
)  # fmt: skip


# --- messages


def encode(
    header: PKIHeader,
    body: Body,
    *,
    protect: Callable[[bytes], bytes] | None,
    extra_certs: Sequence[x509.Certificate] = (),
) -> bytes:
    """Return the DER of a PKIMessage.

    `protect` is given the DER of header and body (RFC 9810, 5.1.3) and returns the protection;
    None leaves the message unprotected. `header.protection_alg` must say which it is.
    """
    inside = encode_der(_header(header)) + _encode_body(body)
    message = inside
    if protect is not None:
        protection = b"\0" + protect(asn1.sequence_of(inside))
        message += asn1.wrap(0xA0, asn1.wrap(0x03, protection))
    if extra_certs:
        certificates = b"".join(c.public_bytes(Encoding.DER) for c in extra_certs)
        message += asn1.wrap(0xA1, asn1.sequence_of(certificates))
    return asn1.sequence_of(message)


def decode(der: bytes) -> PKIMessage:
    """Return the message, or raise Malformed saying what does not fit."""
    if len(der) > MAX_MESSAGE:
        raise Malformed(f"the message is {len(der)} bytes long, the limit is {MAX_MESSAGE}")
    try:
        envelope = decode_der(asn1.Envelope, der)
        header_der, body_der = asn1.bytes_of(envelope.header), asn1.bytes_of(envelope.body)
        return PKIMessage(
            header=_read_header(envelope.header.parse(asn1.Header)),
            body=_decode_body(body_der),
            protection=_bits(envelope.protection, "protection"),
            extra_certs=_readable(envelope.extra_certs),
            protected_part=asn1.sequence_of(header_der + body_der),
        )
    except _PARSER_ERRORS as error:
        raise Malformed(f"not a PKIMessage in DER: {one_line(str(error), 200)}") from error


def encode_cert_request(request: CertRequest) -> bytes:
    """Return the DER of a CertRequest: what its proof of possession signs (RFC 4211, 4.1)."""
    return encode_der(
        asn1.CertRequest(
            cert_req_id=request.cert_req_id,
            cert_template=_template(request.template),
            controls=_controls(request.controls),
        )
    )


def encode_algorithm(algorithm: AlgorithmIdentifier) -> bytes:
    """Return the DER of an AlgorithmIdentifier."""
    parts = encode_der(algorithm.algorithm) + (algorithm.parameters or b"")
    return asn1.sequence_of(parts)


def encode_cert_id(cert_id: CertId) -> bytes:
    """Return the DER of a CertId: the value of the oldCertId control (RFC 4211, 6.5)."""
    return encode_der(_cert_id(cert_id))


def decode_cert_id(der: bytes) -> CertId:
    """Read the value of an oldCertId control. Raises Malformed."""
    try:
        return _read_cert_id(decode_der(asn1.CertId, der))
    except _PARSER_ERRORS as error:
        raise Malformed(f"not a CertId in DER: {one_line(str(error), 200)}") from error


# --- bodies: (tag, value type, to DER, from DER)


def _encode_body(body: Body) -> bytes:
    tag, encoder = _ENCODERS[type(body)]
    return asn1.wrap(0xA0 | tag, encoder(body))


def _decode_body(der: bytes) -> Body:
    tag = der[0] & 0x1F
    if der[0] >> 5 != 0b101 or tag not in _DECODERS:
        raise Malformed(
            f"no PKIBody has the identifier octet {der[0]:#04x}, or it is not read here"
        )
    content = bytes(asn1.raw(der).data)
    return _DECODERS[tag](content)


def _cert_req_messages(body: CertReqMessages) -> bytes:
    return asn1.encode_list(asn1.CertReqMessages(items=[_cert_req_msg(m) for m in body.requests]))


def _cert_req_msg(message: CertReqMsg) -> asn1.CertReqMsg:
    request = message.cert_req_der or encode_cert_request(message.cert_req)
    popo = None
    if message.popo:
        popo = asn1.POPOSigningKey(
            poposk_input=None,
            algorithm_identifier=_algorithm(message.popo.algorithm),
            signature=BitString(message.popo.signature, 0),
        )
    return asn1.CertReqMsg(
        cert_req=asn1.raw(request), popo=popo, reg_info=_controls(message.reg_info)
    )


def _read_cert_req_messages(kind: type[CertReqMessages]) -> Callable[[bytes], Any]:
    def read(content: bytes) -> CertReqMessages:
        return kind(
            tuple(map(_read_cert_req_msg, asn1.decode_list(asn1.CertReqMessages, content).items))
        )

    return read


def _read_cert_req_msg(message: asn1.CertReqMsg) -> CertReqMsg:
    request = message.cert_req.parse(asn1.CertRequest)
    popo = None
    if isinstance(message.popo, asn1.POPOSigningKey):
        if message.popo.poposk_input is not None:
            raise Malformed("a proof of possession over poposkInput is not read here")
        popo = ProofOfPossession(
            _read_algorithm(message.popo.algorithm_identifier),
            _bits(message.popo.signature, "proof of possession") or b"",
        )
    return CertReqMsg(
        cert_req=CertRequest(
            request.cert_req_id,
            _read_template(request.cert_template),
            _read_controls(request.controls),
        ),
        popo=popo,
        reg_info=_read_controls(message.reg_info),
        cert_req_der=asn1.bytes_of(message.cert_req),
    )


def _cert_rep(body: CertRepMessage) -> bytes:
    return encode_der(
        asn1.CertRepMessage(
            ca_pubs=list(body.ca_pubs) or None,
            response=[_cert_response(r) for r in body.responses],
        )
    )


def _cert_response(response: CertResponse) -> asn1.CertResponse:
    pair = None
    if response.certificate:
        pair = asn1.CertifiedKeyPair(
            cert_or_enc_cert=response.certificate, private_key=None, publication_info=None
        )
    return asn1.CertResponse(
        cert_req_id=response.cert_req_id,
        status=_status(response.status),
        certified_key_pair=pair,
        rsp_info=None,
    )


def _read_cert_rep(kind: type[CertRepMessage]) -> Callable[[bytes], Any]:
    def read(content: bytes) -> CertRepMessage:
        message = decode_der(asn1.CertRepMessage, content)
        return kind(
            tuple(_read_cert_response(r) for r in message.response), tuple(message.ca_pubs or ())
        )

    return read


def _read_cert_response(response: asn1.CertResponse) -> CertResponse:
    pair = response.certified_key_pair
    granted = pair.cert_or_enc_cert if pair else None
    certificate = granted if isinstance(granted, _Certificate) else None
    return CertResponse(
        response.cert_req_id,
        _read_status(response.status),
        certificate,
        encrypted=granted is not None and certificate is None,
    )


def _cert_conf(body: CertConf) -> bytes:
    return asn1.encode_list(
        asn1.CertConfirmContent(
            items=[
                asn1.CertStatus(
                    cert_hash=s.cert_hash,
                    cert_req_id=s.cert_req_id,
                    status_info=_status(s.status_info) if s.status_info else None,
                    hash_alg=_algorithm(s.hash_alg) if s.hash_alg else None,
                )
                for s in body.statuses
            ]
        )
    )


def _read_cert_conf(content: bytes) -> CertConf:
    return CertConf(
        tuple(
            CertStatus(
                s.cert_hash,
                s.cert_req_id,
                _read_status(s.status_info) if s.status_info else None,
                _read_algorithm(s.hash_alg) if s.hash_alg else None,
            )
            for s in asn1.decode_list(asn1.CertConfirmContent, content).items
        )
    )


def _read_pki_conf(content: bytes) -> PkiConf:
    decode_der(Null, content)
    return PkiConf()


def _poll_req(body: PollReq) -> bytes:
    entries = [asn1.PollReqEntry(cert_req_id=i) for i in body.cert_req_ids]
    return asn1.encode_list(asn1.PollReqContent(items=entries))


def _read_poll_req(content: bytes) -> PollReq:
    return PollReq(
        tuple(e.cert_req_id for e in asn1.decode_list(asn1.PollReqContent, content).items)
    )


def _poll_rep(body: PollRep) -> bytes:
    entries = [
        asn1.PollRepEntry(
            cert_req_id=e.cert_req_id,
            check_after=int(e.check_after.total_seconds()),
            reason=list(e.reason) or None,
        )
        for e in body.entries
    ]
    return asn1.encode_list(asn1.PollRepContent(items=entries))


def _read_poll_rep(content: bytes) -> PollRep:
    return PollRep(
        tuple(
            PollRepEntry(e.cert_req_id, timedelta(seconds=e.check_after), tuple(e.reason or ()))
            for e in asn1.decode_list(asn1.PollRepContent, content).items
        )
    )


def _rr(body: Rr) -> bytes:
    details = [
        asn1.RevDetails(
            cert_details=_template(d.cert_details), crl_entry_details=_extensions(d.extensions)
        )
        for d in body.details
    ]
    return asn1.encode_list(asn1.RevReqContent(items=details))


def _read_rr(content: bytes) -> Rr:
    return Rr(
        tuple(
            RevDetails(_read_template(d.cert_details), _read_extensions(d.crl_entry_details))
            for d in asn1.decode_list(asn1.RevReqContent, content).items
        )
    )


def _rp(body: Rp) -> bytes:
    certs = [_cert_id(c) for c in body.rev_certs]
    return encode_der(
        asn1.RevRepContent(
            status=[_status(s) for s in body.statuses], rev_certs=certs or None, crls=None
        )
    )


def _cert_id(cert_id: CertId) -> asn1.CertId:
    issuer = asn1.raw(_general_name(cert_id.issuer))
    return asn1.CertId(issuer=issuer, serial_number=cert_id.serial_number)


def _read_cert_id(cert_id: asn1.CertId) -> CertId:
    return CertId(_read_general_name(cert_id.issuer), cert_id.serial_number)


def _read_rp(content: bytes) -> Rp:
    reply = decode_der(asn1.RevRepContent, content)
    certs = (_read_cert_id(c) for c in reply.rev_certs or ())
    return Rp(tuple(_read_status(s) for s in reply.status), tuple(certs))


def _gen(body: GenM | GenP) -> bytes:
    return asn1.encode_list(asn1.GenContent(items=[_info(i) for i in body.items]))


def _read_gen(kind: type[GenM | GenP]) -> Callable[[bytes], Any]:
    def read(content: bytes) -> GenM | GenP:
        return kind(tuple(_read_info(i) for i in asn1.decode_list(asn1.GenContent, content).items))

    return read


def _error(body: ErrorMsg) -> bytes:
    return encode_der(
        asn1.ErrorMsgContent(
            pki_status_info=_status(body.status),
            error_code=body.error_code,
            error_details=list(body.details) or None,
        )
    )


def _read_error(content: bytes) -> ErrorMsg:
    message = decode_der(asn1.ErrorMsgContent, content)
    status = _read_status(message.pki_status_info)
    return ErrorMsg(status, message.error_code, tuple(message.error_details or ()))


_ENCODERS: dict[type, tuple[int, Callable[[Any], bytes]]] = {  # PKIBody, RFC 9810, 5.1.2
    Ir: (0, _cert_req_messages),
    Ip: (1, _cert_rep),
    Cr: (2, _cert_req_messages),
    Cp: (3, _cert_rep),
    P10cr: (4, lambda body: body.csr),
    Kur: (7, _cert_req_messages),
    Kup: (8, _cert_rep),
    Rr: (11, _rr),
    Rp: (12, _rp),
    PkiConf: (19, lambda _: encode_der(Null())),
    GenM: (21, _gen),
    GenP: (22, _gen),
    ErrorMsg: (23, _error),
    CertConf: (24, _cert_conf),
    PollReq: (25, _poll_req),
    PollRep: (26, _poll_rep),
}
_DECODERS: dict[int, Callable[[bytes], Body]] = {
    0: _read_cert_req_messages(Ir),
    1: _read_cert_rep(Ip),
    2: _read_cert_req_messages(Cr),
    3: _read_cert_rep(Cp),
    4: P10cr,
    7: _read_cert_req_messages(Kur),
    8: _read_cert_rep(Kup),
    11: _read_rr,
    12: _read_rp,
    19: _read_pki_conf,
    21: _read_gen(GenM),
    22: _read_gen(GenP),
    23: _read_error,
    24: _read_cert_conf,
    25: _read_poll_req,
    26: _read_poll_rep,
}


# --- the parts


def _header(header: PKIHeader) -> asn1.Header:
    time = header.message_time
    return asn1.Header(
        pvno=header.pvno,
        sender=asn1.raw(_general_name(header.sender)),
        recipient=asn1.raw(_general_name(header.recipient)),
        # UTC without a fraction: what every peer reads (RFC 9810, 5.1.1)
        message_time=GeneralizedTime(time.astimezone(UTC).replace(microsecond=0)) if time else None,
        protection_alg=_algorithm(header.protection_alg) if header.protection_alg else None,
        sender_kid=header.sender_kid,
        recip_kid=header.recip_kid,
        transaction_id=header.transaction_id,
        sender_nonce=header.sender_nonce,
        recip_nonce=header.recip_nonce,
        free_text=list(header.free_text) or None,
        general_info=[_info(i) for i in header.general_info] or None,
    )


def _read_header(header: asn1.Header) -> PKIHeader:
    return PKIHeader(
        sender=_read_general_name(header.sender),
        recipient=_read_general_name(header.recipient),
        transaction_id=header.transaction_id,
        sender_nonce=header.sender_nonce,
        recip_nonce=header.recip_nonce,
        message_time=header.message_time.as_datetime() if header.message_time else None,
        protection_alg=_read_algorithm(header.protection_alg) if header.protection_alg else None,
        sender_kid=header.sender_kid,
        recip_kid=header.recip_kid,
        free_text=tuple(header.free_text or ()),
        general_info=tuple(_read_info(i) for i in header.general_info or ()),
        pvno=header.pvno,
    )


_SIMPLE_NAMES: dict[int, type[x509.RFC822Name | x509.DNSName | x509.UniformResourceIdentifier]] = {
    0x81: x509.RFC822Name,
    0x82: x509.DNSName,
    0x86: x509.UniformResourceIdentifier,
}


def _general_name(name: x509.GeneralName) -> bytes:
    match name:
        case x509.DirectoryName():
            return asn1.wrap(0xA4, name.value.public_bytes())
        case x509.RFC822Name():
            return asn1.wrap(0x81, name.value.encode("ascii"))
        case x509.DNSName():
            return asn1.wrap(0x82, name.value.encode("ascii"))
        case x509.UniformResourceIdentifier():
            return asn1.wrap(0x86, name.value.encode("ascii"))
    raise Malformed(f"a {type(name).__name__} cannot stand for a CMP entity")


def _read_general_name(tlv: TLV) -> x509.GeneralName:
    tag, content = bytes(tlv.tag_bytes)[0], bytes(tlv.data)
    if tag == 0xA4:
        return x509.DirectoryName(decode_der(x509.Name, content))
    if tag in _SIMPLE_NAMES:
        return _SIMPLE_NAMES[tag](content.decode("ascii"))
    raise Malformed(f"a GeneralName with the identifier octet {tag:#04x} is not read here")


def _algorithm(algorithm: AlgorithmIdentifier) -> list[TLV]:
    oid = asn1.raw(encode_der(algorithm.algorithm))
    return [oid] if algorithm.parameters is None else [oid, asn1.raw(algorithm.parameters)]


def _read_algorithm(parts: list[TLV]) -> AlgorithmIdentifier:
    oid, parameters = _read_pair(parts)
    return AlgorithmIdentifier(oid, parameters)


def _info(info: InfoTypeAndValue) -> list[TLV]:
    oid = asn1.raw(encode_der(info.type))
    return [oid] if info.value is None else [oid, asn1.raw(info.value)]


def _read_info(parts: list[TLV]) -> InfoTypeAndValue:
    oid, value = _read_pair(parts)
    return InfoTypeAndValue(oid, value)


def _read_pair(parts: list[TLV]) -> tuple[x509.ObjectIdentifier, bytes | None]:
    if not 1 <= len(parts) <= 2:
        raise Malformed(f"one or two elements belong in an AlgorithmIdentifier, not {len(parts)}")
    return parts[0].parse(_OID), asn1.bytes_of(parts[1]) if len(parts) == 2 else None


def _template(template: CertTemplate) -> asn1.CertTemplate:
    begins, ends, validity = template.not_before, template.not_after, None
    if begins or ends:
        validity = asn1.OptionalValidity(
            not_before=_time(begins) if begins else None, not_after=_time(ends) if ends else None
        )
    return asn1.CertTemplate(
        version=None,
        serial_number=template.serial_number,
        signing_alg=None,
        issuer=template.issuer,
        validity=validity,
        subject=template.subject,
        public_key=_public_key(template.public_key) if template.public_key else None,
        issuer_uid=None,
        subject_uid=None,
        extensions=_extensions(template.extensions),
    )


def _public_key(key: PublicKeyTypes) -> asn1.SubjectPublicKeyInfo:
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return decode_der(asn1.SubjectPublicKeyInfo, spki)


def _read_template(template: asn1.CertTemplate) -> CertTemplate:
    key, validity = template.public_key, template.validity
    return CertTemplate(
        subject=template.subject,
        public_key=load_der_public_key(encode_der(key)) if key else None,
        issuer=template.issuer,
        serial_number=template.serial_number,
        not_before=_read_time(validity.not_before) if validity else None,
        not_after=_read_time(validity.not_after) if validity else None,
        extensions=_read_extensions(template.extensions),
    )


def _time(moment: datetime) -> UTCTime | GeneralizedTime:
    """RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on."""
    moment = moment.astimezone(UTC).replace(microsecond=0)
    return UTCTime(moment) if moment.year < 2050 else GeneralizedTime(moment)


def _read_time(moment: UTCTime | GeneralizedTime | None) -> datetime | None:
    return moment.as_datetime() if moment else None


def _extensions(
    extensions: Sequence[x509.Extension[x509.ExtensionType]],
) -> list[asn1.Extension] | None:
    return [
        asn1.Extension(extn_id=e.oid, critical=e.critical, extn_value=e.value.public_bytes())
        for e in extensions
    ] or None


def _read_extensions(
    extensions: list[asn1.Extension] | None,
) -> tuple[x509.Extension[x509.ExtensionType], ...]:
    """Extensions as received: `UnrecognizedExtension`s, whatever their type."""
    return tuple(
        x509.Extension(e.extn_id, e.critical, x509.UnrecognizedExtension(e.extn_id, e.extn_value))
        for e in extensions or ()
    )


def _controls(controls: Sequence[Control]) -> list[asn1.AttributeTypeAndValue] | None:
    return [
        asn1.AttributeTypeAndValue(type=c.type, value=asn1.raw(c.value)) for c in controls
    ] or None


def _read_controls(controls: list[asn1.AttributeTypeAndValue] | None) -> tuple[Control, ...]:
    return tuple(Control(c.type, asn1.bytes_of(c.value)) for c in controls or ())


def _status(status: PKIStatusInfo) -> asn1.PKIStatusInfo:
    return asn1.PKIStatusInfo(
        status=int(status.status),
        status_string=list(status.status_string) or None,
        fail_info=_named_bits(status.fail_info),
    )


def _read_status(status: asn1.PKIStatusInfo) -> PKIStatusInfo:
    bits = status.fail_info
    octets = bits.as_bytes() if bits else b""
    names = frozenset(
        FAIL_INFO[i] if i < len(FAIL_INFO) else f"bit{i}"
        for i in range(len(octets) * 8)
        if octets[i // 8] & (0x80 >> i % 8)
    )
    return PKIStatusInfo(PKIStatus(status.status), tuple(status.status_string or ()), names)


def _named_bits(names: frozenset[str]) -> BitString | None:
    """DER of a NamedBitList: trailing zero bits are not sent (X.690, 11.2.2)."""
    if not names:
        return None
    last = max(FAIL_INFO.index(name) for name in names)
    octets = bytearray(last // 8 + 1)
    for name in names:
        i = FAIL_INFO.index(name)
        octets[i // 8] |= 0x80 >> i % 8
    return BitString(bytes(octets), 7 - last % 8)


def _bits(bits: BitString | None, what: str) -> bytes | None:
    if bits is None:
        return None
    if bits.padding_bits():
        raise Malformed(f"the {what} is not a whole number of bytes")
    return bits.as_bytes()


def _readable(certificates: list[TLV] | None) -> tuple[x509.Certificate, ...]:
    """extraCerts are hints and not protected: one that cannot be read is left out."""
    found = []
    for tlv in certificates or ():
        try:
            found.append(x509.load_der_x509_certificate(asn1.bytes_of(tlv)))
        except (ValueError, x509.InvalidVersion):
            continue
    return tuple(found)
