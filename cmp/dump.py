"""A PKIMessage in words, for people who look into a case together with a CA's vendor.

What is inside is read by pyasn1-modules' schema of RFC 4210, not by our codec: a second opinion,
which also shows messages that the codec refuses. Whatever may be secret, or helps to guess a
secret, is left out: keys, encrypted or not, passphrases, and the value of the protection.
"""

from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.asn1 import TLV, decode_der
from pyasn1.codec.der import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import char, univ, useful
from pyasn1_modules import rfc2459, rfc3280, rfc4210, rfc4211, rfc5280

from cmp import ber, codec
from cmp.errors import Malformed
from cmp.names import format_name
from cmp.text import one_line

Theirs = Any  # pyasn1 brings no types

UNREADABLE = (ValueError, TypeError, PyAsn1Error, Warning, x509.InvalidVersion)
SHOWN_OCTETS = 32  # of a value that has no other form
SHOWN_CHARACTERS = 2000
OPENED = frozenset({"parameters", "infoValue", "extnValue", "value"})
HIDDEN = frozenset(
    {"protection", "privateKey", "thisMessage", "dhMAC", "encValue", "encSymmKey"}
    | {"value", "infoValue", "vals"}  # of controls, questions, attributes; some are passwords
)
NAMES = {
    "1.2.840.113533.7.66.13": "PasswordBasedMac",
    "1.2.840.113549.1.5.14": "PBMAC1",
    "1.3.6.1.5.5.8.1.2": "hmac-SHA1",
    "1.2.840.113549.2.9": "hmacWithSHA256",
    "1.3.6.1.5.5.7.4.13": "id-it-implicitConfirm",
    "1.3.6.1.5.5.7.4.14": "id-it-confirmWaitTime",
    "1.3.6.1.5.5.7.4.17": "id-it-caCerts",
    "1.3.6.1.5.5.7.4.21": "id-it-certProfile",
    "1.3.6.1.5.5.7.5.1.5": "regCtrl-oldCertID",
}
VALUES: dict[str, Theirs] = {  # what is beside one of these identifiers, and harmless
    "1.2.840.113533.7.66.13": rfc4210.PBMParameter(),
    "1.3.6.1.5.5.7.4.13": univ.Null(),
    "1.3.6.1.5.5.7.4.14": useful.GeneralizedTime(),
    "1.3.6.1.5.5.7.4.17": univ.SequenceOf(rfc4210.CMPCertificate()),
    "1.3.6.1.5.5.7.4.21": univ.SequenceOf(char.UTF8String()),
    "1.3.6.1.5.5.7.5.1.5": rfc4211.CertId(),
    **{str(oid): kind for oid, kind in rfc5280.certificateExtensionsMap.items()},
}


def dump(message: bytes) -> Iterator[str]:
    """Yield the lines that describe a message in DER or BER. Raises Malformed if it is neither."""
    try:
        codec.decode(message)
        yield f"PKIMessage of {len(message)} bytes, which OCCM can read"
    except Malformed as error:
        yield f"{len(message)} bytes, which OCCM refuses: {error}"
    if len(message) > codec.MAX_MESSAGE:
        return
    der = ber.to_der(message)
    if der != message:
        yield "It is BER; shown is the DER that it stands for."
    try:
        found, _ = decoder.decode(der, asn1Spec=rfc4210.PKIMessage())
    except PyAsn1Error as error:
        yield f"It does not fit the schema of RFC 4210: {one_line(str(error), 300)}"
        return
    yield from _fields(found, 0)


def _fields(value: Theirs, depth: int) -> Iterator[str]:
    """Go through what a SEQUENCE or CHOICE has in it."""
    oid = ""
    for name, part in value.items():
        if not part.isValue:
            continue
        if isinstance(part, univ.ObjectIdentifier):
            oid = str(part)
        inside = _inside(part, oid) if name in OPENED else None
        shown = part if name not in HIDDEN else None
        yield from _named(name, shown if inside is None else inside, depth)


def _inside(part: Theirs, oid: str) -> Theirs | None:
    """Read what an ANY or an OCTET STRING holds, if the identifier beside it tells what it is."""
    if oid not in VALUES:
        return None
    try:
        return decoder.decode(bytes(part), asn1Spec=VALUES[oid])[0]
    except PyAsn1Error:
        return None


def _named(name: str, value: Theirs, depth: int) -> Iterator[str]:
    margin = "  " * depth
    try:
        text = "(not shown)" if value is None else _text(value)
    except UNREADABLE as error:
        text = f"(cannot be read: {one_line(str(error), 200)})"
    if text is not None:
        yield f"{margin}{name}: {text}"
    elif isinstance(value, univ.SequenceOfAndSetOfBase):
        for number, item in enumerate(value):
            yield from _named(f"{name} {number + 1}", item, depth)
    else:
        yield f"{margin}{name}:"
        yield from _fields(value, depth + 1)


def _text(value: Theirs) -> str | None:  # noqa: PLR0911 - one for each type
    """Return what fits on a line, None for what has parts."""
    match value:
        case rfc2459.Certificate():
            return _certificate(_der(value))
        case rfc2459.Name() | rfc3280.Name() | rfc5280.Name():
            return _name(_der(value[0]))
        case univ.ObjectIdentifier():
            return f"{value} ({_oid(str(value))})"
        case univ.BitString() if value.namedValues:
            bits = [str(value.namedValues.getName(n)) for n, bit in enumerate(value) if bit]
            return ", ".join(bits) or "none"
        case univ.BitString():
            return f"{len(value)} bits"
        case char.AbstractCharacterString() | useful.TimeMixIn() | univ.Integer() | univ.Null():
            return one_line(value.prettyPrint() or "NULL", SHOWN_CHARACTERS)
        case univ.OctetString():
            return _hex(bytes(value))
    return None


def _der(value: Theirs) -> bytes:
    """Return the DER of a SEQUENCE without the tag that its place gives it."""
    der = bytes(encoder.encode(value))
    return der if der[0] == 0x30 else bytes(decode_der(TLV, der).data)


def _oid(dotted: str) -> str:
    return NAMES.get(dotted) or str(getattr(x509.ObjectIdentifier(dotted), "_name", ""))


def _hex(octets: bytes) -> str:
    text = octets.decode("ascii", "replace")
    if text and len(text) <= SHOWN_OCTETS and text.isprintable() and text.isascii():
        return f"{octets.hex(' ')} ({text})"
    more = f"… ({len(octets)} bytes)" if len(octets) > SHOWN_OCTETS else ""
    return octets[:SHOWN_OCTETS].hex(" ") + more


def _name(der: bytes) -> str:
    return one_line(format_name(decode_der(x509.Name, der)), SHOWN_CHARACTERS)


def _certificate(der: bytes) -> str:
    one = x509.load_der_x509_certificate(der)
    begins, ends = one.not_valid_before_utc, one.not_valid_after_utc
    return one_line(
        f"{format_name(one.subject)}, issued by {format_name(one.issuer)},"
        f" serial {one.serial_number:x}, {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC",
        SHOWN_CHARACTERS,
    )
