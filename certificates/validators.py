"""What a certificate's fields may contain, one field at a time: names that go into certificates.

Which fields go together is decided in `domain.rules`. Each error names the value that is wrong.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.core.exceptions import ValidationError

MAX_NAMES: Final = 100  # of one kind: more than any network function has
LONGEST_COMMON_NAME: Final = 64  # RFC 5280, appendix A; cryptography counts bytes
KEY_USAGES: Final = ("DIGITAL_SIGNATURE",)
EXTENDED_KEY_USAGES: Final = ("CLIENT_AUTH", "SERVER_AUTH")

_COUNTRY = re.compile(r"[A-Za-z]{2}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_SERIAL_NUMBER = re.compile(r"[1-9a-f][0-9a-f]{0,41}|0")  # RFC 5280, 4.1.2.2: 20 octets
_URI = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")


def default_key_usage() -> list[str]:
    return list(KEY_USAGES)


def default_extended_key_usage() -> list[str]:
    return list(EXTENDED_KEY_USAGES)


def key_usage(value: Any) -> None:
    _choices(value, KEY_USAGES)


def extended_key_usage(value: Any) -> None:
    _choices(value, EXTENDED_KEY_USAGES)


def text(value: str) -> None:
    """Accept one line of printable text."""
    if not value.isprintable():
        raise _error(repr(value), "use printable characters on one line")


def common_name(value: str) -> None:
    """Accept a text that an attribute of this type holds: 64 characters, and no more bytes."""
    text(value)
    size = len(value.encode())
    if len(value) <= LONGEST_COMMON_NAME < size:
        raise _error(
            value,
            f"shorten it: it takes {size} bytes in UTF-8, and a common name at most"
            f" {LONGEST_COMMON_NAME}",
        )


def serial_number(value: str) -> None:
    """Accept a serial number as OCCM writes them."""
    if not _SERIAL_NUMBER.fullmatch(value):
        raise _error(value, "give it in hexadecimal, without leading zeros, such as 1f0a9c")


def country(value: str) -> None:
    """Accept a country code of two letters (ISO 3166-1)."""
    if not _COUNTRY.fullmatch(value):
        raise _error(value, "give the two letters of the country, such as DE")


def ip_addresses(value: Any) -> None:
    """Accept a list of IPv4 and IPv6 addresses."""
    _each(value, _ip_address)
    _distinct(value, lambda item: str(ipaddress.ip_address(item)))


def dns_names(value: Any) -> None:
    """Accept a list of DNS names; a wildcard may stand for the whole left-most label."""
    _each(value, _dns_name)
    _distinct(value, str.lower)


def api_roots(value: Any) -> None:
    """Accept a list of API roots: absolute http or https URIs (TS 29.501, 4.4.1)."""
    _each(value, _api_root)
    _distinct(value, str)


def urns(value: Any) -> None:
    """Accept a list of NF instance ids as `urn:uuid:` names (RFC 9562, 4)."""
    _each(value, _urn)
    _distinct(value, str.lower)


def _ip_address(item: str) -> None:
    try:
        address = ipaddress.ip_address(item)
    except ValueError:
        raise _error(item, "give an IPv4 or IPv6 address, without a prefix length") from None
    if "%" in str(address):
        raise _error(item, "leave out the zone after the %: a certificate cannot carry it")


def _dns_name(item: str) -> None:
    labels = item.removeprefix("*.").split(".")
    if "*" in item.removeprefix("*."):
        raise _error(item, "a wildcard stands alone in the left-most label, as in *.example.org")
    if len(item) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _error(
            item,
            "use labels of 1 to 63 letters, digits and hyphens, joined by dots; international"
            " names in their xn-- form",
        )
    if labels[-1].isdigit():
        raise _error(item, "this is a number or an address: put addresses under IP addresses")


def _api_root(item: str) -> None:
    advice = "give an absolute http:// or https:// URI, as in https://amf1.example.org/prefix"
    if not _URI.fullmatch(item):
        raise _error(item, "use only the characters of a URI, and encode others as %XX")
    try:
        uri = urlsplit(item)
        port = uri.port
    except ValueError:
        raise _error(item, advice) from None
    if uri.scheme not in {"http", "https"} or not uri.hostname or port == 0:
        raise _error(item, advice)
    if uri.username is not None or "?" in item or "#" in item:
        raise _error(item, "an API root has no user, no query and no fragment: leave them out")


def _urn(item: str) -> None:
    uuid = item[len("urn:uuid:") :]
    try:
        canonical = str(UUID(uuid))
    except ValueError:
        canonical = ""
    if not item.lower().startswith("urn:uuid:") or canonical != uuid.lower():
        raise _error(item, "write urn:uuid: and the UUID of the NF instance")


def _each(value: Any, check: Callable[[str], None]) -> None:
    """Apply a check to each item of a list of strings, and raise everything it finds."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _error(value, "give a list of strings")
    if len(value) > MAX_NAMES:
        raise ValidationError(
            "%(count)s are too many: give at most %(limit)s.",
            code="invalid",
            params={"count": len(value), "limit": MAX_NAMES},
        )
    found: list[ValidationError] = []
    for item in value:
        try:
            check(item)
        except ValidationError as error:
            found.append(error)
    if found:
        raise ValidationError(found)


def _distinct(value: list[str], canonical: Callable[[str], str]) -> None:
    seen: set[str] = set()
    for item in value:
        if canonical(item) in seen:
            raise _error(item, "name it once")
        seen.add(canonical(item))


def _choices(value: Any, allowed: tuple[str, ...]) -> None:
    def choice(item: str) -> None:
        if item not in allowed:
            raise _error(item, f"choose among {', '.join(allowed)}")

    _each(value, choice)
    _distinct(value, str)


def _error(value: Any, advice: str) -> ValidationError:
    return ValidationError(
        "“%(value)s” cannot be used here: %(advice)s.",
        code="invalid",
        params={"value": value, "advice": advice},
    )
