"""Distinguished names as operators write them: OpenSSL's `/type=value/type=value+type=value`.

A backslash escapes the next character, white space is kept, a type without a value is left out, and
a lone `/` is the NULL-DN. Types go by short name, long name or dotted OID. The DER is OpenSSL's;
what OpenSSL skips with a warning (an unknown type) is refused.
"""

import string
import unicodedata
from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from cmp.errors import LocalError
from cmp.text import one_line

_OID = x509.ObjectIdentifier
_TYPES: dict[str, tuple[str, x509.ObjectIdentifier]] = {  # short name: (long name, OID)
    "C": ("countryName", NameOID.COUNTRY_NAME),
    "ST": ("stateOrProvinceName", NameOID.STATE_OR_PROVINCE_NAME),
    "L": ("localityName", NameOID.LOCALITY_NAME),
    "O": ("organizationName", NameOID.ORGANIZATION_NAME),
    "OU": ("organizationalUnitName", NameOID.ORGANIZATIONAL_UNIT_NAME),
    "CN": ("commonName", NameOID.COMMON_NAME),
    "SN": ("surname", NameOID.SURNAME),
    "GN": ("givenName", NameOID.GIVEN_NAME),
    "DC": ("domainComponent", NameOID.DOMAIN_COMPONENT),
    "UID": ("userId", NameOID.USER_ID),
    "serialNumber": ("serialNumber", NameOID.SERIAL_NUMBER),
    "emailAddress": ("emailAddress", NameOID.EMAIL_ADDRESS),
    "title": ("title", NameOID.TITLE),
    "name": ("name", _OID("2.5.4.41")),
    "description": ("description", _OID("2.5.4.13")),
    "telephoneNumber": ("telephoneNumber", _OID("2.5.4.20")),
    "street": ("streetAddress", NameOID.STREET_ADDRESS),
    "postalCode": ("postalCode", NameOID.POSTAL_CODE),
    "postalAddress": ("postalAddress", NameOID.POSTAL_ADDRESS),
    "houseIdentifier": ("houseIdentifier", _OID("2.5.4.51")),
    "initials": ("initials", NameOID.INITIALS),
    "generationQualifier": ("generationQualifier", NameOID.GENERATION_QUALIFIER),
    "dnQualifier": ("dnQualifier", NameOID.DN_QUALIFIER),
    "pseudonym": ("pseudonym", NameOID.PSEUDONYM),
    "role": ("role", _OID("2.5.4.72")),
    "businessCategory": ("businessCategory", NameOID.BUSINESS_CATEGORY),
    "organizationIdentifier": ("organizationIdentifier", NameOID.ORGANIZATION_IDENTIFIER),
    "unstructuredName": ("unstructuredName", NameOID.UNSTRUCTURED_NAME),
    "x500UniqueIdentifier": ("x500UniqueIdentifier", NameOID.X500_UNIQUE_IDENTIFIER),
    "jurisdictionC": ("jurisdictionCountryName", NameOID.JURISDICTION_COUNTRY_NAME),
    "jurisdictionST": (
        "jurisdictionStateOrProvinceName",
        NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME,
    ),
    "jurisdictionL": ("jurisdictionLocalityName", NameOID.JURISDICTION_LOCALITY_NAME),
}
_BY_NAME = {name: oid for short, (long, oid) in _TYPES.items() for name in (short, long)}
_SHORT = {oid: short for short, (_, oid) in _TYPES.items()}
_ALPHABETS = {  # other types are UTF8String, which knows every character
    _ASN1Type.PrintableString: frozenset(string.ascii_letters + string.digits + " '()+,-./:=?"),
    _ASN1Type.IA5String: frozenset(map(chr, range(128))),
}
_KINDS = {
    NameOID.COUNTRY_NAME: _ASN1Type.PrintableString,
    NameOID.JURISDICTION_COUNTRY_NAME: _ASN1Type.PrintableString,
    NameOID.SERIAL_NUMBER: _ASN1Type.PrintableString,
    NameOID.DN_QUALIFIER: _ASN1Type.PrintableString,
    NameOID.DOMAIN_COMPONENT: _ASN1Type.IA5String,
    NameOID.EMAIL_ADDRESS: _ASN1Type.IA5String,
}
_TWO_LETTERS = {NameOID.COUNTRY_NAME, NameOID.JURISDICTION_COUNTRY_NAME}
_LONGEST = {  # upper bounds of RFC 5280, appendix A, in characters
    NameOID.STATE_OR_PROVINCE_NAME: 128,
    NameOID.LOCALITY_NAME: 128,
    NameOID.ORGANIZATION_NAME: 64,
    NameOID.ORGANIZATIONAL_UNIT_NAME: 64,
    NameOID.COMMON_NAME: 64,
    NameOID.TITLE: 64,
    NameOID.SERIAL_NUMBER: 64,
    NameOID.PSEUDONYM: 128,
    NameOID.EMAIL_ADDRESS: 255,
}
_OTHERS_LONGEST = 32768
LONGEST_FOLDED = 1024  # characters: more than any name that is used


def parse_name(text: str) -> x509.Name:
    """Return the name that `text` spells. Raises LocalError that says which part is wrong."""
    if not text.startswith("/"):
        raise LocalError(f"{_shown(text)} does not start with '/': write it as /type=value/…")
    rdns: list[list[x509.NameAttribute[str]]] = []
    parts = list(_split(text))
    if not parts[-1][1]:  # "/CN=x/" ends where "/CN=x" does, and "/" is the NULL-DN
        parts.pop()
    for separator, part in parts:
        attribute = _attribute(part)
        if attribute is None:
            continue
        if separator == "+" and rdns:
            rdns[-1].append(attribute)
        else:
            rdns.append([attribute])
    try:
        return x509.Name(x509.RelativeDistinguishedName(rdn) for rdn in rdns)
    except ValueError as error:
        raise LocalError(f"{_shown(text)}: {error}") from None


def format_name(name: x509.Name) -> str:
    """Return the text that `parse_name` reads as this name."""
    rdns = ("+".join(_spelled(a) for a in rdn) for rdn in name.rdns)
    return "/" + "/".join(rdns)


def same_name(one: x509.Name, other: x509.Name) -> bool:
    """Compare names by meaning: case, white space, string type and the order of RDNs aside.

    CAs re-encode names and some (EJBCA) turn the order of the RDNs round.
    """
    return one == other or _meaning(one) == _meaning(other)


def _meaning(name: x509.Name) -> list[list[tuple[str, str]]]:
    return sorted(
        sorted({(a.oid.dotted_string, _folded(a.value)) for a in rdn}) for rdn in name.rdns
    )


def _folded(value: str | bytes) -> str:
    """RFC 5280, 7.1: what of a string counts in comparisons; of a long one, all.

    Accents in disorder take the square of their number to sort, and no other thread runs meanwhile.
    """
    text = str(value)
    if len(text) > LONGEST_FOLDED:
        return text
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _split(text: str) -> Iterator[tuple[str, str]]:
    """Yield (separator before it, part) with escapes still in place."""
    start, i = 1, 1
    separator = "/"
    while i < len(text):
        if text[i] == "\\":
            i += 2
            continue
        if text[i] in "/+":
            yield separator, text[start:i]
            separator, start = text[i], i + 1
        i += 1
    if i > len(text):
        raise LocalError(f"{_shown(text)} ends with a backslash that escapes nothing: write \\\\")
    yield separator, text[start:]


def _attribute(part: str) -> x509.NameAttribute[str] | None:
    spelled, equals, escaped = part.partition("=")
    if not equals:
        what = f"{_shown(part)} has no '='" if part else "there is an empty part"
        raise LocalError(f"{what}: write type=value, and / or + inside a value as \\/ or \\+")
    oid, value = _oid(spelled), _unescape(escaped)
    if not value:
        return None
    kind = _KINDS.get(oid, _ASN1Type.UTF8String)
    _check(f"{spelled}={value}", oid, value, _ALPHABETS.get(kind))
    try:
        return x509.NameAttribute(oid, value, kind)
    except ValueError:
        raise LocalError(f"{_shown(part)} takes more than 64 bytes in UTF-8") from None


def _check(
    said: str, oid: x509.ObjectIdentifier, value: str, alphabet: frozenset[str] | None
) -> None:
    if oid in _TWO_LETTERS and len(value) != 2:
        raise LocalError(f"{_shown(said)} is not a country's code of two letters")
    longest = _LONGEST.get(oid, _OTHERS_LONGEST)
    if len(value) > longest:
        raise LocalError(f"{_shown(said)} is longer than {longest} characters")
    if alphabet is None:
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise LocalError(f"{_shown(said)} has half a character in it")
    elif not alphabet.issuperset(value):
        wrong = "".join(sorted(set(value) - alphabet))
        raise LocalError(f"{_shown(said)} may not contain {_shown(wrong)}")


def _oid(spelled: str) -> x509.ObjectIdentifier:
    if spelled in _BY_NAME:
        return _BY_NAME[spelled]
    try:
        return x509.ObjectIdentifier(spelled)
    except ValueError:
        raise LocalError(f"{_shown(spelled)} is no attribute type; {_advice(spelled)}") from None


def _advice(spelled: str) -> str:
    wanted = spelled.strip().casefold()
    for name in _BY_NAME:
        if name.casefold() == wanted:
            return f"write {name}"
    return f"known are {', '.join(_TYPES)}, their long names and dotted OIDs"


def _unescape(text: str) -> str:
    characters = iter(text)
    return "".join(next(characters) if c == "\\" else c for c in characters)


def _spelled(attribute: x509.NameAttribute[str | bytes]) -> str:
    value = attribute.value
    text = value if isinstance(value, str) else value.hex()
    escaped = "".join("\\" + c if c in "\\/+" else c for c in text)
    return f"{_SHORT.get(attribute.oid, attribute.oid.dotted_string)}={escaped}"


def _shown(text: str) -> str:
    return f"'{one_line(text, 60)}'"
