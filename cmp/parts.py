"""What several messages have in common, between the values of `messages` and those of `asn1`.

A `read_…` turns what came into a value; its counterpart without the prefix goes the other way.
Reading raises Malformed, or what the parsers below raise: `codec` catches that.
"""

import ipaddress
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice

from cryptography import x509
from cryptography.hazmat.asn1 import TLV, BitString, GeneralizedTime, decode_der, encode_der
from cryptography.hazmat.primitives.serialization import Encoding

from cmp import asn1
from cmp.errors import LocalError, Malformed
from cmp.messages import (
    AlgorithmIdentifier,
    CertId,
    InfoTypeAndValue,
    PKIStatus,
    PKIStatusInfo,
)

FAIL_INFO = (  # PKIFailureInfo, RFC 9810, 5.2.3: bit 0 first
    "badAlg", "badMessageCheck", "badRequest", "badTime", "badCertId", "badDataFormat",
    "wrongAuthority", "incorrectData", "missingTimeStamp", "badPOP", "certRevoked",
    "certConfirmed", "wrongIntegrity", "badRecipientNonce", "timeNotAvailable",
    "unacceptedPolicy", "unacceptedExtension", "addInfoNotAvailable", "badSenderNonce",
    "badCertTemplate", "signerNotTrusted", "transactionIdInUse", "unsupportedVersion",
    "notAuthorized", "systemUnavail", "systemFailure", "duplicateCertReq",
)  # fmt: skip

_GENERALIZED_TIME = b"\x18"
_TIME = re.compile(r"(\d{10}(?:\d\d){0,2})(?:[.,](\d{1,12}))?(Z|[+-]\d\d(?:\d\d)?)", re.ASCII)
_FAIL_INFO_BYTES = 8  # room for bits that later RFCs add
MAX_CERTIFICATES = 256  # in extraCerts, and in caPubs; chains have a handful
MAX_BITS = 256  # of an integer; certificates have serial numbers of up to 160
_Extensions = tuple[x509.Extension[x509.ExtensionType], ...]
_CACHED_NAME = 512  # bytes; names and CA certificates recur from message to message
_CACHED_CERTIFICATE = 4096


# --- names

_TextName = type[x509.RFC822Name | x509.DNSName | x509.UniformResourceIdentifier]
_TEXT_NAMES: dict[int, _TextName] = {
    0x81: x509.RFC822Name,
    0x82: x509.DNSName,
    0x86: x509.UniformResourceIdentifier,
}
_TEXT_TAGS: dict[type, int] = {kind: tag for tag, kind in _TEXT_NAMES.items()}


def general_name(name: x509.GeneralName) -> bytes:
    """Return the DER of a GeneralName. Raises LocalError for a kind that cannot be written."""
    match name:
        case x509.DirectoryName():
            return asn1.wrap(0xA4, name.value.public_bytes())
        case x509.RFC822Name() | x509.DNSName() | x509.UniformResourceIdentifier():
            return asn1.wrap(_TEXT_TAGS[type(name)], name.value.encode("ascii"))
        case x509.IPAddress(value=ipaddress.IPv4Address() | ipaddress.IPv6Address() as address):
            return asn1.wrap(0x87, address.packed)
        case x509.RegisteredID():
            return b"\x88" + encode_der(name.value)[1:]
        case x509.OtherName():
            other = asn1.OtherName(type_id=name.type_id, value=asn1.raw(name.value))
            return b"\xa0" + encode_der(other)[1:]
    raise LocalError(f"a {type(name).__name__} cannot name a CMP entity")


def read_general_name(tlv: TLV) -> x509.GeneralName:
    der = asn1.bytes_of(tlv)
    return _recurring_name(der) if len(der) <= _CACHED_NAME else _read_general_name(der)


def _read_general_name(der: bytes) -> x509.GeneralName:
    tlv = asn1.raw(der)
    content = bytes(tlv.data)
    match der[0]:
        case 0xA4:
            return x509.DirectoryName(decode_der(x509.Name, content))
        case tag if tag in _TEXT_NAMES:
            return _TEXT_NAMES[tag](content.decode("ascii"))
        case 0x87:
            return x509.IPAddress(ipaddress.ip_address(content))
        case 0x88:
            return x509.RegisteredID(decode_der(x509.ObjectIdentifier, asn1.wrap(6, content)))
        case 0xA0:
            other = asn1.decode_list(asn1.OtherName, content)
            return x509.OtherName(other.type_id, asn1.bytes_of(other.value))
    raise Malformed(f"a GeneralName with the identifier octet {der[0]:#04x} is not read here")


_recurring_name = lru_cache(maxsize=512)(_read_general_name)


def cert_id(value: CertId) -> asn1.CertId:
    issuer = asn1.raw(general_name(value.issuer))
    return asn1.CertId(issuer=issuer, serial_number=value.serial_number)


def read_cert_id(value: asn1.CertId) -> CertId:
    return CertId(read_general_name(value.issuer), value.serial_number)


# --- certificates


def certificates(every: Iterable[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(Encoding.DER) for one in every)


def read_certificates(every: list[TLV] | None) -> tuple[x509.Certificate, ...]:
    """Read what came along as help, the first of many. One that cannot be read is left out."""
    readable = (_read_helper(asn1.bytes_of(tlv)) for tlv in islice(every or (), MAX_CERTIFICATES))
    return tuple(one for one in readable if one is not None)


def require_names(certificate: x509.Certificate) -> x509.Certificate:
    """Return the certificate if its names can be read, so that nobody after us fails on them."""
    _ = certificate.subject, certificate.issuer
    return certificate


def _read_certificate(der: bytes) -> x509.Certificate | None:
    try:
        return require_names(x509.load_der_x509_certificate(der))
    except (ValueError, TypeError, x509.InvalidVersion, Warning):  # -W error: see `codec`
        return None


_recurring_certificate = lru_cache(maxsize=256)(_read_certificate)


def _read_helper(der: bytes) -> x509.Certificate | None:
    if len(der) <= _CACHED_CERTIFICATE:
        return _recurring_certificate(der)
    return _read_certificate(der)


# --- a type and what belongs to it


@lru_cache(maxsize=128)
def algorithm(value: AlgorithmIdentifier) -> list[TLV]:
    return _pair(value.algorithm, value.parameters)


def read_algorithm(parts: list[TLV]) -> AlgorithmIdentifier:
    return AlgorithmIdentifier(*_read_pair(parts))


def info(value: InfoTypeAndValue) -> list[TLV]:
    return _pair(value.type, value.value)


def read_info(parts: list[TLV]) -> InfoTypeAndValue:
    return InfoTypeAndValue(*_read_pair(parts))


def _pair(oid: x509.ObjectIdentifier, der: bytes | None) -> list[TLV]:
    first = asn1.raw(encode_der(oid))
    return [first] if der is None else [first, asn1.raw(der)]


def _read_pair(parts: list[TLV]) -> tuple[x509.ObjectIdentifier, bytes | None]:
    if not 1 <= len(parts) <= 2:
        raise Malformed(f"an AlgorithmIdentifier has one or two elements, not {len(parts)}")
    return parts[0].parse(x509.ObjectIdentifier), (
        asn1.bytes_of(parts[1]) if len(parts) == 2 else None
    )


# --- times and extensions


def message_time(moment: datetime) -> list[TLV]:
    return [asn1.raw(encode_der(GeneralizedTime(whole_seconds(moment))))]


def read_message_time(found: list[TLV]) -> datetime | None:
    """Read a GeneralizedTime, also one that DER would write otherwise; None if it is none.

    Only people and clock checks look at it, so an odd one does not cost the answer.
    """
    if len(found) != 1 or found[0].tag_bytes != _GENERALIZED_TIME:
        return None
    try:
        time: GeneralizedTime = found[0].parse(GeneralizedTime)
    except ValueError:
        return _odd_time(bytes(found[0].data))
    return time.as_datetime()


def _odd_time(content: bytes) -> datetime | None:
    """Read what X.680, 46 allows beyond DER: local offsets, no seconds, trailing zeros."""
    match = _TIME.fullmatch(content.decode("ascii", "replace"))
    if match is None:
        return None
    digits, fraction, zone = match.groups()
    try:
        moment = datetime.strptime(digits.ljust(14, "0") + "+0000", "%Y%m%d%H%M%S%z")
        if zone != "Z":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:] or 0))
            moment += offset if zone[0] == "-" else -offset
        unit = {14: 1, 12: 60, 10: 3600}[len(digits)]
        return moment + timedelta(seconds=unit * float(f"0.{fraction or 0}"))
    except (ValueError, OverflowError):
        return None


def whole_seconds(moment: datetime) -> datetime:
    """UTC without a fraction: what every peer reads (RFC 5280, 4.1.2.5.2)."""
    if moment.tzinfo is None:
        raise LocalError("a time without a zone cannot be sent")
    return moment.astimezone(UTC).replace(microsecond=0)


def extensions(
    values: Iterable[x509.Extension[x509.ExtensionType]],
) -> list[asn1.Extension] | None:
    return [
        asn1.Extension(extn_id=e.oid, critical=e.critical, extn_value=e.value.public_bytes())
        for e in values
    ] or None


def read_extensions(values: list[asn1.Extension] | None) -> _Extensions:
    """Extensions as received: `UnrecognizedExtension`s, whatever their type."""
    return tuple(
        x509.Extension(e.extn_id, e.critical, x509.UnrecognizedExtension(e.extn_id, e.extn_value))
        for e in values or ()
    )


# --- status and bits


def status(value: PKIStatusInfo) -> asn1.PKIStatusInfo:
    return asn1.PKIStatusInfo(
        status=int(value.status),
        status_string=list(value.status_string) or None,
        fail_info=_named_bits(value.fail_info),
    )


def read_status(value: asn1.PKIStatusInfo) -> PKIStatusInfo:
    bits = value.fail_info
    octets = bits.as_bytes()[:_FAIL_INFO_BYTES] if bits else b""
    names = frozenset(
        FAIL_INFO[i] if i < len(FAIL_INFO) else f"bit{i}"
        for i in range(len(octets) * 8)
        if octets[i // 8] & (0x80 >> i % 8)
    )
    return PKIStatusInfo(PKIStatus(value.status), tuple(value.status_string or ()), names)


def _named_bits(names: frozenset[str]) -> BitString | None:
    """DER of a NamedBitList: trailing zero bits are not sent (X.690, 11.2.2)."""
    if not names:
        return None
    unknown = names.difference(FAIL_INFO)
    if unknown:
        raise LocalError(f"PKIFailureInfo has no bit {', '.join(sorted(unknown))}")
    numbers = [FAIL_INFO.index(name) for name in names]
    last = max(numbers)
    octets = bytearray(last // 8 + 1)
    for i in numbers:
        octets[i // 8] |= 0x80 >> i % 8
    return BitString(bytes(octets), 7 - last % 8)


def number(value: int) -> int:
    """Return an INTEGER that people and databases can take. Raises Malformed for others.

    Python writes no number of more than 4300 digits, and who names one in an error would fail.
    """
    if value.bit_length() > MAX_BITS:
        raise Malformed(f"an integer has {value.bit_length()} bits, the limit is {MAX_BITS}")
    return value


def whole_bytes(bits: BitString, what: str) -> bytes:
    """Return a bit string's bytes. Raises Malformed when they are not whole."""
    if bits.padding_bits():
        raise Malformed(f"the {what} is not a whole number of bytes")
    return bits.as_bytes()
