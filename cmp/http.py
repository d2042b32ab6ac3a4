"""How messages travel: one HTTP POST there, one PKIMessage back (RFC 9811).

Decides which HTTP version to speak, and what of an HTTP answer is a PKIMessage; `cmp.connection`
does the rest of the I/O. Errors tell what may be done next: after Unreachable the same message may
be sent again, after NoAnswer the CA may have processed it. Redirects, cookies and proxies from the
environment play no part.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.client import HTTPException, HTTPResponse, IncompleteRead
from time import monotonic, time
from typing import Self, cast
from urllib.parse import SplitResult, quote, urlsplit

from requests import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict

from cmp.connection import (
    PORTS,
    TLS_GROUPS,
    Adapter,
    HttpVersion,
    TlsTrust,
    TlsVersion,
    Trip,
    tls_context,
    words,
)
from cmp.errors import BadHttp, LocalError, Malformed, NoAnswer
from cmp.names import format_name
from cmp.text import one_line

__all__ = ["TLS_GROUPS", "HttpTransport", "HttpVersion", "TlsTrust", "TlsVersion"]

CONTENT_TYPE = "application/pkixcmp"  # exactly this, without parameters: RFC 9811, 3.4
MAX_ANSWER = 1 << 20  # bytes
PIECE = 16 << 10  # bytes of an answer read at a time
URL_SAFE = "/?:@!$&'()*+,;=~%"  # RFC 3986, 3.3 and 3.4; % because what is quoted stays so
EXCERPT = 120  # characters of an answer that is no PKIMessage

log = logging.getLogger(__name__)


class HttpTransport:
    """Carries one transaction's messages to one CA, on one connection if HTTP/1.1 is spoken.

    `http_version` is what to begin the next transaction with: what worked last, or the other one
    after a CA hung up on this one. An object of this class belongs to one thread.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: TlsTrust | None,
        message_timeout: timedelta,
        http_version: HttpVersion | None = None,
    ) -> None:
        self.http_version = http_version
        self._url = _checked(url, tls)
        self._timeout = message_timeout
        self._trip = Trip()
        self._adapter = Adapter(self._url, tls_context(tls) if tls else None, self._trip)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._adapter.close()

    def post(self, der: bytes) -> bytes:
        """Send a PKIMessage and return the one that answers it, or raise TransportError.

        A CA that refuses the HTTP version by an answer gets the same message in the other one; a
        CA that hangs up may have processed it, so there the next transaction does the switch.
        """
        self._trip.ends = monotonic() + self._timeout.total_seconds()
        self._log("is asked", der)
        version = self.http_version or "1.0"
        answer = self._ask(der, version)
        if answer.refuses(version):
            version = _other(version)
            answer = self._ask(der, version)
        message = answer.pki_message()
        self._log("answered", message)
        self.http_version = version
        return message

    def _log(self, what: str, der: bytes) -> None:
        """Log a message for `python -m cmp -`, where DEBUG is wanted."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s: %s", self._url.netloc, what, b64encode(der).decode())

    def connect(self) -> str:
        """Connect to the CA, ask it nothing, and say in words what is there.

        Raises Unreachable, also for a TLS certificate that is not to be trusted.
        """
        self._trip.ends = monotonic() + self._timeout.total_seconds()
        try:
            version, certificate = self._adapter.greet()
        finally:
            self._adapter.close()
        if certificate is None:
            return f"{self._url.netloc} takes connections"
        ends = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        subject = one_line(format_name(certificate.subject), 300)
        return f"{self._url.netloc} speaks {version} with a certificate of {subject} until {ends}"

    def _ask(self, der: bytes, version: HttpVersion) -> _Answer:
        self._trip.answered = False
        self._adapter.version = version
        try:
            response = self._adapter.send(_request(self._url, der, version))
            return _Answer.read(response, self._url)
        except (HTTPException, OSError) as error:
            if isinstance(error, ConnectionError) and not (
                self._trip.answered or self._trip.reused
            ):
                self.http_version = _other(version)  # it hung up on us at once
            raise NoAnswer(f"{self._url.netloc}: {words(error)}") from error
        finally:
            self._adapter.settle()


@dataclass(frozen=True, slots=True)
class _Answer:
    """An HTTP response, read to its end or to our limit."""

    origin: str
    status: int
    speaks_1_1: bool
    headers: CaseInsensitiveDict[str]
    content: bytes

    @classmethod
    def read(cls, response: Response, url: SplitResult) -> Self:
        raw = cast("HTTPResponse", response.raw)
        content, piece = bytearray(), memoryview(bytearray(PIECE))
        try:
            # Not `read`: in a chunk of -1 bytes that heeds no limit.
            while len(content) <= MAX_ANSWER and (count := raw.readinto(piece)):
                content += piece[:count]
            if len(content) <= MAX_ANSWER and raw.length:
                raise IncompleteRead(bytes(content), raw.length)
        except (HTTPException, OSError):
            if _is_pkixcmp(response.headers):
                raise
            content.clear()  # the status says enough
        version_1_1 = raw.version == 11
        return cls(url.netloc, response.status_code, version_1_1, response.headers, bytes(content))

    @property
    def is_pkixcmp(self) -> bool:
        return _is_pkixcmp(self.headers)

    def refuses(self, version: HttpVersion) -> bool:
        """Whether it says that the other HTTP version is wanted, which no CA processes first."""
        if self.status == 505 or (self.status == 426 and version == "1.0"):
            return True
        bad_request = self.status == 400 and not self.is_pkixcmp
        return bad_request and version == "1.0" and self.speaks_1_1

    def pki_message(self) -> bytes:
        """Return the PKIMessage, whatever the status: some CAs send their errors with 4xx, 5xx."""
        if self.is_pkixcmp and len(self.content) > MAX_ANSWER:
            raise Malformed(f"{self.origin} answered with more than {MAX_ANSWER} bytes")
        if self.is_pkixcmp and self.content:
            return self.content
        raise BadHttp(
            f"{self.origin} answered HTTP {self.status} {self._instead()}",
            status=self.status,
            retry_after=_retry_after(self.headers),
        )

    def _instead(self) -> str:
        """Say what came instead of a PKIMessage."""
        if 300 <= self.status < 400:
            target = one_line(self.headers.get("Location", "nowhere"), EXCERPT)
            return f"and points to {target}: redirects are not followed"
        if not self.content:
            return "without content"
        media_type = one_line(self.headers.get("Content-Type", "no content type"), EXCERPT)
        text = " ".join(self.content[: 8 * EXCERPT].decode("utf-8", "replace").split())
        return f"({media_type}): {one_line(text, EXCERPT)}"


def _is_pkixcmp(headers: CaseInsensitiveDict[str]) -> bool:
    media_type, _, _ = headers.get("Content-Type", "").partition(";")
    return media_type.strip().lower() == CONTENT_TYPE


def _request(url: SplitResult, der: bytes, version: HttpVersion) -> PreparedRequest:
    request = PreparedRequest()
    request.method, request.url, request.body = "POST", url.geturl(), der
    request.headers = CaseInsensitiveDict(
        {
            "Host": url.netloc,
            "User-Agent": "OCCM",
            "Content-Type": CONTENT_TYPE,
            "Content-Length": str(len(der)),
        }
    )
    if version == "1.0":
        request.headers["Connection"] = "close"
    return request


@lru_cache(maxsize=256)
def _checked(url: str, tls: TlsTrust | None) -> SplitResult:
    """Return the URL in ASCII, without what does not travel. Raises LocalError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except ValueError:
        raise LocalError(f"{one_line(url, 300)} is not a URL") from None
    if parts.scheme not in PORTS or not host or port == 0 or parts.username is not None:
        raise LocalError(f"{one_line(url, 300)} is not the http or https URL of a CA")
    if (parts.scheme == "https") != (tls is not None):
        raise LocalError(f"{one_line(url, 300)}: https and a TLS trust store go together")
    return parts._replace(
        netloc=f"{host}:{port}" if port else host,
        path=quote(parts.path, safe=URL_SAFE),
        query=quote(parts.query, safe=URL_SAFE),
        fragment="",
    )


def _other(version: HttpVersion) -> HttpVersion:
    return "1.1" if version == "1.0" else "1.0"


def _retry_after(headers: CaseInsensitiveDict[str]) -> timedelta | None:
    """RFC 9110, 10.2.3: seconds, or a date, which is read on the server's own clock."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return timedelta(seconds=int(value))
    when = _http_date(value)
    if when is None:
        return None
    sent = _http_date(headers.get("Date", "")) or datetime.fromtimestamp(time(), UTC)
    return max(when - sent, timedelta(0))


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
