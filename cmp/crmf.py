"""Requests for certificates, RFC 4211 (CRMF), between values and DER: the bodies ir, cr and kur.

Reading raises Malformed, or what the parsers below raise: `codec` catches that.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from cryptography.hazmat.asn1 import BitString, GeneralizedTime, UTCTime, decode_der, encode_der
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from cmp import asn1, parts
from cmp.errors import Malformed
from cmp.messages import (
    CertReqMessages,
    CertReqMsg,
    CertRequest,
    CertTemplate,
    Control,
    ProofOfPossession,
)

_Requests = TypeVar("_Requests", bound=CertReqMessages)


def encode_request(request: CertRequest) -> bytes:
    """Return the DER of a CertRequest: what its proof of possession signs (RFC 4211, 4.1)."""
    return encode_der(
        asn1.CertRequest(
            cert_req_id=request.cert_req_id,
            cert_template=template(request.template),
            controls=controls(request.controls),
        )
    )


def messages(body: CertReqMessages) -> bytes:
    return asn1.encode_list(asn1.CertReqMessages(items=[_cert_req_msg(m) for m in body.requests]))


def _cert_req_msg(message: CertReqMsg) -> asn1.CertReqMsg:
    request = message.cert_req_der or encode_request(message.cert_req)
    popo = None
    if message.popo:
        popo = asn1.POPOSigningKey(
            poposk_input=None,
            algorithm_identifier=parts.algorithm(message.popo.algorithm),
            signature=BitString(message.popo.signature, 0),
        )
    return asn1.CertReqMsg(
        cert_req=asn1.raw(request), popo=popo, reg_info=controls(message.reg_info)
    )


def reader(kind: type[_Requests]) -> Callable[[bytes], _Requests]:
    """Return what reads the content of one of the three bodies."""

    def read(content: bytes) -> _Requests:
        found = asn1.decode_list(asn1.CertReqMessages, content).items
        return kind(tuple(_read_cert_req_msg(m) for m in found))

    return read


def _read_cert_req_msg(message: asn1.CertReqMsg) -> CertReqMsg:
    request = message.cert_req.parse(asn1.CertRequest)
    popo = None
    if isinstance(message.popo, asn1.POPOSigningKey):
        if message.popo.poposk_input is not None:
            raise Malformed("a proof of possession over poposkInput is not read here")
        popo = ProofOfPossession(
            parts.read_algorithm(message.popo.algorithm_identifier),
            parts.whole_bytes(message.popo.signature, "proof of possession"),
        )
    return CertReqMsg(
        cert_req=CertRequest(
            parts.number(request.cert_req_id),
            read_template(request.cert_template),
            read_controls(request.controls),
        ),
        popo=popo,
        reg_info=read_controls(message.reg_info),
        cert_req_der=asn1.bytes_of(message.cert_req),
    )


def controls(values: Iterable[Control]) -> list[asn1.AttributeTypeAndValue] | None:
    return [
        asn1.AttributeTypeAndValue(type=c.type, value=asn1.raw(c.value)) for c in values
    ] or None


def read_controls(values: list[asn1.AttributeTypeAndValue] | None) -> tuple[Control, ...]:
    return tuple(Control(c.type, asn1.bytes_of(c.value)) for c in values or ())


def template(value: CertTemplate) -> asn1.CertTemplate:
    begins, ends, validity = value.not_before, value.not_after, None
    if begins or ends:
        validity = asn1.OptionalValidity(
            not_before=time(begins) if begins else None, not_after=time(ends) if ends else None
        )
    return asn1.CertTemplate(
        version=None,
        serial_number=value.serial_number,
        signing_alg=None,
        issuer=value.issuer,
        validity=validity,
        subject=value.subject,
        public_key=_public_key(value.public_key) if value.public_key else None,
        issuer_uid=None,
        subject_uid=None,
        extensions=parts.extensions(value.extensions),
    )


def read_template(value: asn1.CertTemplate) -> CertTemplate:
    key, validity = value.public_key, value.validity
    return CertTemplate(
        subject=value.subject,
        public_key=load_der_public_key(encode_der(key)) if key else None,
        issuer=value.issuer,
        serial_number=value.serial_number,
        not_before=_read_time(validity.not_before) if validity else None,
        not_after=_read_time(validity.not_after) if validity else None,
        extensions=parts.read_extensions(value.extensions),
    )


def _public_key(key: PublicKeyTypes) -> asn1.SubjectPublicKeyInfo:
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return decode_der(asn1.SubjectPublicKeyInfo, spki)


def time(moment: datetime) -> UTCTime | GeneralizedTime:
    """RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on."""
    moment = parts.whole_seconds(moment)
    return UTCTime(moment) if 1950 <= moment.year < 2050 else GeneralizedTime(moment)


def _read_time(moment: UTCTime | GeneralizedTime | None) -> datetime | None:
    return moment.as_datetime() if moment else None
