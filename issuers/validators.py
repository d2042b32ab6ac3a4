"""What the fields that operators fill in may contain, one value at a time.

Which fields go together is decided in `domain.editing`. Names of Kubernetes objects follow its own
rules (RFC 1123 labels and subdomains), so that a typing error shows here and not in a worker's log.
"""

import ipaddress
import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError

from cmp import LocalError, parse_name

MAX_KEYS = 100  # more keys of one secret than anyone lists by hand

_OBJECT_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_SECRET_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
_URL_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def object_name(value: str) -> None:
    """Accept the name of an issuer or a certificate: it also stands in the API's paths."""
    if not _OBJECT_NAME.fullmatch(value):
        raise _error(value, "use 1 to 63 letters, digits, hyphens, underscores and dots")
    if value in {".", ".."}:  # URL libraries remove these path segments: RFC 3986, 5.2.4
        raise _error(
            value, "add a letter or a digit: dots alone have a meaning of their own in URLs"
        )


def namespace(value: str) -> None:
    """Accept the name of a Kubernetes namespace whose secrets this deployment may use."""
    if not _LABEL.fullmatch(value):
        raise _error(
            value,
            "use 1 to 63 lower case letters, digits and hyphens, with a letter or a digit at both "
            "ends, as Kubernetes names its namespaces",
        )
    accessed = settings.OCCM_ACCESSED_NAMESPACES
    if accessed and value not in accessed:
        raise _error(
            value,
            f"OCCM may use the secrets of {', '.join(accessed)} and of no other namespace; name one"
            " of these, or have it granted (accessedNamespaces of the Helm chart)",
        )


def secret_name(value: str) -> None:
    """Accept the name of a Kubernetes Secret."""
    if len(value) > 253 or not _SUBDOMAIN.fullmatch(value):
        raise _error(
            value,
            "use 1 to 253 lower case letters, digits, hyphens and dots, with a letter or a digit "
            "at both ends and around each dot, as Kubernetes names its secrets",
        )


def secret_key(value: str) -> None:
    """Accept a data key of a Kubernetes Secret."""
    if not _SECRET_KEY.fullmatch(value) or value == "." or value.startswith(".."):
        raise _error(
            value,
            "use 1 to 253 letters, digits, hyphens, underscores and dots that do not begin with "
            "two dots, as Kubernetes names the keys of a secret",
        )


def secret_keys(value: Any) -> None:
    """Accept a list of data keys, each named once."""
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise _error(value, "give a list of keys of the secret")
    if len(value) > MAX_KEYS:
        raise ValidationError(
            "%(count)s keys are too many: give at most %(limit)s.",
            code="invalid",
            params={"count": len(value), "limit": MAX_KEYS},
        )
    for key in value:
        secret_key(key)
    for key in value:
        if value.count(key) > 1:
            raise _error(key, "name each key once")


def distinguished_name(value: str) -> None:
    """Accept a distinguished name in OpenSSL's notation, as `cmp.parse_name` reads it."""
    try:
        parse_name(value)
    except LocalError as error:
        raise ValidationError("%(reason)s", code="invalid", params={"reason": error}) from None
    if "\x00" in value:  # PostgreSQL's texts hold none
        raise _error(value.replace("\x00", "␀"), "remove the NUL character")


def profile_name(value: str) -> None:
    """Accept the name of a certificate profile: any text of one line (RFC 9810, 5.1.1.4)."""
    if not value.isprintable() or value != value.strip():
        raise _error(value, "use printable characters, without a space at the beginning or the end")


def server_url(value: str) -> None:
    """Accept the http or https URL of a CMP endpoint: host, optional port, path (RFC 6712, 3.6)."""
    if not _URL_CHARACTERS.fullmatch(value):  # before urlsplit, which drops some silently
        raise _error(
            value, "use only the characters of a URL, without spaces; encode others as %XX"
        )
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise _error(value, "write http://host:port/path with a port from 1 to 65535") from None
    if url.scheme not in {"http", "https"}:
        raise _error(value, "begin it with http:// or https://")
    if url.username is not None:
        raise _error(value, "leave out what stands before the @: CMP authenticates its messages")
    if "?" in value or "#" in value:
        raise _error(value, "leave out what begins with ? or #")
    if port == 0 or url.netloc.endswith(":"):
        raise _error(value, "give a port from 1 to 65535 after the colon, or leave both out")
    _host(value, url)


def _host(value: str, url: SplitResult) -> None:
    host = url.hostname or ""
    labels = host.removesuffix(".").split(".")
    if url.netloc.startswith("[") or labels[-1].isdigit():
        try:
            ipaddress.ip_address("" if "%" in host else host)
        except ValueError:
            raise _error(value, "the host is not a valid IP address: correct it") from None
    elif len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise _error(value, "give a host name or an IP address after the two slashes")


def _error(value: Any, advice: str) -> ValidationError:
    return ValidationError(
        "“%(value)s” cannot be used here: %(advice)s.",
        code="invalid",
        params={"value": value, "advice": advice},
    )
