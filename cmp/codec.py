"""Between the values of `messages` and DER, both ways and for both sides of the protocol.

Decoding is strict where bytes decide (DER, no trailing bytes, a size limit) and lenient where RFC
9810 lets a field be absent. It raises Malformed and nothing else. Whether a message is authentic
or in turn is not decided here. Bodies are in `bodies` and `crmf`, what they share in `parts`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.asn1 import decode_der, encode_der

from cmp import asn1, ber, bodies, crmf, parts
from cmp.errors import LocalError, Malformed
from cmp.messages import (
    AlgorithmIdentifier,
    Body,
    CertConf,
    CertId,
    CertRequest,
    PKIHeader,
    PKIMessage,
)
from cmp.text import one_line

MAX_MESSAGE = 1 << 20  # bytes; the largest answers seen run to some tens of KiB
CMP2021 = 3  # pvno, RFC 9810, 7
_SEQUENCE = b"\x30"

# What leaks out of the parsers below us on hostile input. Warnings are about doubtful certificates
# and names; who runs Python with -W error does not accept them.
_PARSER_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, Warning,
    UnsupportedAlgorithm, x509.UnsupportedGeneralNameType, x509.InvalidVersion,
)  # fmt: skip
_IN_WORDS = {
    "ShortData": "it ends too early",
    "ExtraData": "something follows where nothing belongs",
    "UnexpectedTag": "an element is missing or out of place",
    "InvalidLength": "a length is wrong",
    "InvalidTag": "an identifier is wrong",
    "InvalidValue": "a value is not what its type allows",
    "EncodedDefault": "a default value is written out, which DER forbids",
}


class _Unreadable(Exception):
    """Not DER, or not what the RFC says: another encoding of the same may still be."""


def encode(
    header: PKIHeader,
    body: Body,
    *,
    protect: Callable[[bytes], bytes] | None,
    extra_certs: Sequence[x509.Certificate] = (),
) -> bytes:
    """Return the DER of a PKIMessage.

    `protect` is given the DER of header and body (RFC 9810, 5.1.3) and returns the protection;
    None leaves the message unprotected. `header.protection_alg` must say which it is. Raises
    LocalError for values that have no encoding.
    """
    try:
        inside = encode_der(_header(header, body)) + bodies.encode_body(body)
    except _PARSER_ERRORS as error:
        raise LocalError(f"the message cannot be written: {one_line(str(error), 200)}") from error
    message = inside
    if protect is not None:
        protection = b"\0" + protect(asn1.sequence_of(inside))
        message += asn1.wrap(0xA0, asn1.wrap(0x03, protection))
    if extra_certs:
        message += asn1.wrap(0xA1, asn1.sequence_of(parts.certificates(extra_certs)))
    return asn1.sequence_of(message)


def decode(message: bytes) -> PKIMessage:
    """Return the message, or raise Malformed saying what does not fit.

    BER is put into DER first. `protected_part` is then cut out of the very bytes that were read.
    """
    if len(message) > MAX_MESSAGE:
        raise Malformed(f"the message is {len(message)} bytes long, the limit is {MAX_MESSAGE}")
    if not message.startswith(_SEQUENCE):
        raise Malformed(f"the message begins with {message[:8]!r}, which no PKIMessage does")
    try:
        try:
            return _decode(message)
        except _Unreadable:
            der = ber.to_der(message)
            if der == message:
                raise
            return _decode(der)
    except _Unreadable as error:
        raise Malformed(str(error)) from error.__cause__


def _decode(der: bytes) -> PKIMessage:
    part = "the message"
    try:
        envelope = decode_der(asn1.Envelope, der)
        part = "the header"
        header_der = asn1.bytes_of(envelope.header)
        header = _read_header(envelope.header.parse(asn1.Header))
        identifier = envelope.body.tag_bytes
        part = bodies.name_of(identifier)
        body_der = asn1.bytes_of(envelope.body)
        body = bodies.decode_body(identifier, bytes(envelope.body.data))
    except _PARSER_ERRORS as error:
        raise _Unreadable(f"{part} cannot be read: {_reason(error)}") from error
    bits = envelope.protection
    return PKIMessage(
        header=header,
        body=body,
        protection=None if bits is None else parts.whole_bytes(bits, "protection"),
        # hints, and not protected: see `read_certificates`
        extra_certs=parts.read_certificates(envelope.extra_certs),
        protected_part=asn1.sequence_of(header_der + body_der),
    )


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what the parsers below raise into Malformed."""
    try:
        yield
    except _PARSER_ERRORS as error:
        raise Malformed(f"{what} cannot be read: {_reason(error)}") from error


def encode_cert_request(request: CertRequest) -> bytes:
    """Return the DER of a CertRequest: what its proof of possession signs (RFC 4211, 4.1)."""
    try:
        return crmf.encode_request(request)
    except _PARSER_ERRORS as error:
        raise LocalError(f"the request cannot be written: {one_line(str(error), 200)}") from error


def encode_algorithm(algorithm: AlgorithmIdentifier) -> bytes:
    """Return the DER of an AlgorithmIdentifier."""
    return asn1.sequence_of(encode_der(algorithm.algorithm) + (algorithm.parameters or b""))


def encode_cert_id(cert_id: CertId) -> bytes:
    """Return the DER of a CertId: the value of the oldCertId control (RFC 4211, 6.5)."""
    return encode_der(parts.cert_id(cert_id))


def decode_cert_id(der: bytes) -> CertId:
    """Read the value of an oldCertId control. Raises Malformed."""
    with reading("a CertId"):
        return parts.read_cert_id(decode_der(asn1.CertId, der))


def _header(header: PKIHeader, body: Body) -> asn1.Header:
    time, algorithm = header.message_time, header.protection_alg
    return asn1.Header(
        pvno=_version(header, body),
        sender=asn1.raw(parts.general_name(header.sender)),
        recipient=asn1.raw(parts.general_name(header.recipient)),
        message_time=parts.message_time(time) if time else None,
        protection_alg=parts.algorithm(algorithm) if algorithm else None,
        sender_kid=header.sender_kid,
        recip_kid=header.recip_kid,
        transaction_id=header.transaction_id,
        sender_nonce=header.sender_nonce,
        recip_nonce=header.recip_nonce,
        free_text=list(header.free_text) or None,
        general_info=[parts.info(i) for i in header.general_info] or None,
    )


def _version(header: PKIHeader, body: Body) -> int:
    """RFC 9810, 7: version 3 where its syntax is used, the older one otherwise."""
    if isinstance(body, CertConf) and any(status.hash_alg for status in body.statuses):
        return max(header.pvno, CMP2021)
    return header.pvno


def _read_header(header: asn1.Header) -> PKIHeader:
    time, algorithm = header.message_time, header.protection_alg
    return PKIHeader(
        sender=parts.read_general_name(header.sender),
        recipient=parts.read_general_name(header.recipient),
        transaction_id=header.transaction_id,
        sender_nonce=header.sender_nonce,
        recip_nonce=header.recip_nonce,
        message_time=None if time is None else parts.read_message_time(time),
        protection_alg=None if algorithm is None else parts.read_algorithm(algorithm),
        sender_kid=header.sender_kid,
        recip_kid=header.recip_kid,
        free_text=tuple(header.free_text or ()),
        general_info=tuple(parts.read_info(i) for i in header.general_info or ()),
        pvno=parts.number(header.pvno),
    )


def _reason(error: Exception) -> str:
    """Put a parser's error into words, with its own behind them."""
    text = one_line(str(error).removeprefix("error parsing asn1 value: "), 200)
    kind = re.search(r"kind: (\w+)", text)
    words = _IN_WORDS.get(kind[1]) if kind else None
    return f"{words} ({text})" if words else text
