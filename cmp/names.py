"""Distinguished names as operators write them: OpenSSL's `/type=value/type=value+type=value`.

A backslash escapes the next character, white space is kept, a type without a value is left out, and
a lone `/` is the NULL-DN. Types go by short name, long name or dotted OID.
"""

from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from cmp.errors import LocalError

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
    "street": ("streetAddress", NameOID.STREET_ADDRESS),
    "postalCode": ("postalCode", NameOID.POSTAL_CODE),
    "postalAddress": ("postalAddress", NameOID.POSTAL_ADDRESS),
    "initials": ("initials", NameOID.INITIALS),
    "generationQualifier": ("generationQualifier", NameOID.GENERATION_QUALIFIER),
    "dnQualifier": ("dnQualifier", NameOID.DN_QUALIFIER),
    "pseudonym": ("pseudonym", NameOID.PSEUDONYM),
    "businessCategory": ("businessCategory", NameOID.BUSINESS_CATEGORY),
    "organizationIdentifier": ("organizationIdentifier", NameOID.ORGANIZATION_IDENTIFIER),
    "unstructuredName": ("unstructuredName", NameOID.UNSTRUCTURED_NAME),
    "x500UniqueIdentifier": ("x500UniqueIdentifier", NameOID.X500_UNIQUE_IDENTIFIER),
}
_BY_NAME = {name: oid for short, (long, oid) in _TYPES.items() for name in (short, long)}
_SHORT = {oid: short for short, (_, oid) in _TYPES.items()}
_PRINTABLE = {NameOID.COUNTRY_NAME, NameOID.SERIAL_NUMBER, NameOID.DN_QUALIFIER}
_IA5 = {NameOID.DOMAIN_COMPONENT, NameOID.EMAIL_ADDRESS}
_LONGEST = {  # upper bounds of RFC 5280, appendix A
    NameOID.COUNTRY_NAME: 2,
    NameOID.STATE_OR_PROVINCE_NAME: 128,
    NameOID.LOCALITY_NAME: 128,
    NameOID.ORGANIZATION_NAME: 64,
    NameOID.ORGANIZATIONAL_UNIT_NAME: 64,
    NameOID.COMMON_NAME: 64,
    NameOID.TITLE: 64,
    NameOID.SERIAL_NUMBER: 64,
    NameOID.EMAIL_ADDRESS: 255,
}


def parse_name(text: str) -> x509.Name:
    """Return the name that `text` spells. Raises LocalError that says which part is wrong."""
    if not text.startswith("/"):
        raise LocalError(f"{text!r} does not start with '/': write it as /type=value/type=value")
    rdns: list[list[x509.NameAttribute[str]]] = []
    for separator, part in _split(text):
        attribute = _attribute(part) if part else None
        if attribute is None:
            continue
        if separator == "+" and rdns:
            rdns[-1].append(attribute)
        else:
            rdns.append([attribute])
    try:
        return x509.Name(x509.RelativeDistinguishedName(rdn) for rdn in rdns)
    except ValueError as error:
        raise LocalError(f"{text!r}: {error}") from None


def format_name(name: x509.Name) -> str:
    """Return the text that `parse_name` reads as this name."""
    rdns = ("+".join(_spelled(a) for a in rdn) for rdn in name.rdns)
    return "/" + "/".join(rdns)


def same_name(one: x509.Name, other: x509.Name) -> bool:
    """Compare names by meaning: case, white space, string type and the order of RDNs aside.

    CAs re-encode names and some (EJBCA) turn the order of the RDNs round.
    """
    return _meaning(one) == _meaning(other)


def _meaning(name: x509.Name) -> list[frozenset[tuple[str, str]]]:
    return sorted(
        (
            frozenset((a.oid.dotted_string, " ".join(str(a.value).split()).casefold()) for a in rdn)
            for rdn in name.rdns
        ),
        key=sorted,
    )


def _split(text: str) -> Iterator[tuple[str, str]]:
    """Yield (separator before it, part) with escapes still in place."""
    start, i = 1, 1
    separator = "/"
    while i < len(text):
        if text[i] == "\\":
            i += 2
            continue
        # As in OpenSSL, a + separates only within a value: types hold none.
        if text[i] in "/+":
            yield separator, text[start:i]
            separator, start = text[i], i + 1
        i += 1
    if i > len(text):
        raise LocalError(f"{text!r} ends with a backslash that escapes nothing")
    yield separator, text[start:]


def _attribute(part: str) -> x509.NameAttribute[str] | None:
    spelled, equals, value = part.partition("=")
    spelled, value = _unescape(spelled), _unescape(value)
    if not equals:
        raise LocalError(f"{part!r} has no '=': write type=value")
    oid = _oid(spelled)
    if not value:
        return None
    longest = _LONGEST.get(oid)
    if longest and len(value) > longest:
        raise LocalError(f"{spelled}={value[:20]}… is longer than {longest} characters")
    kind = _ASN1Type.UTF8String
    if oid in _PRINTABLE:
        kind = _ASN1Type.PrintableString
    elif oid in _IA5:
        kind = _ASN1Type.IA5String
    try:
        attribute = x509.NameAttribute(oid, value, kind)
        x509.Name([attribute]).public_bytes()
    except (ValueError, TypeError) as error:
        raise LocalError(f"{spelled}={value} cannot stand in a name: {error}") from None
    return attribute


def _oid(spelled: str) -> x509.ObjectIdentifier:
    if spelled in _BY_NAME:
        return _BY_NAME[spelled]
    try:
        return x509.ObjectIdentifier(spelled)
    except ValueError:
        known = ", ".join(_TYPES)
        raise LocalError(f"{spelled!r} is no attribute type; known: {known}, dotted OIDs") from None


def _unescape(text: str) -> str:
    characters = iter(text)
    return "".join(next(characters) if c == "\\" else c for c in characters)


def _spelled(attribute: x509.NameAttribute[str | bytes]) -> str:
    value = attribute.value
    text = value if isinstance(value, str) else value.hex()
    escaped = "".join("\\" + c if c in "\\/+" else c for c in text)
    return f"{_SHORT.get(attribute.oid, attribute.oid.dotted_string)}={escaped}"
