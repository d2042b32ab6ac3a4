"""HTTP/1.0 and 1.1 as far as a CMP server needs it: read a request, build an answer.

Bytes and streams only; sockets, threads and what is answered are for `server`. Written out rather
than borrowed from http.server, so that one answer is one write and every fault can be acted out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BufferedIOBase
from typing import Literal

Version = Literal["1.0", "1.1"]
LINE_LIMIT = 8192
HEADER_LIMIT = 100  # lines
BODY_LIMIT = 1 << 20


class Refused(Exception):
    """The request is answered by this status and the connection closed."""

    def __init__(self, status: HTTPStatus, version: Version = "1.1") -> None:
        super().__init__(status.phrase)
        self.status = status
        self.version = version


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    version: Version
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)

    @property
    def keeps_alive(self) -> bool:
        wish = self.headers.get("connection", "").lower()
        return wish == "keep-alive" if self.version == "1.0" else wish != "close"


def read_request(stream: BufferedIOBase) -> Request | None:
    """Read one request; None when the client has gone. Raises Refused for what is none."""
    first = stream.readline(LINE_LIMIT)
    if not first:
        return None
    method, path, version = _request_line(first)
    headers = _headers(stream)
    if version == "1.1" and "host" not in headers:
        raise Refused(HTTPStatus.BAD_REQUEST)
    if "transfer-encoding" in headers:
        raise Refused(HTTPStatus.LENGTH_REQUIRED, version)
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise Refused(HTTPStatus.BAD_REQUEST, version)
    if int(length) > BODY_LIMIT:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, version)
    body = stream.read(int(length))
    if len(body) < int(length):
        return None
    return Request(method, path, version, headers, body)


def _request_line(line: bytes) -> tuple[str, str, Version]:
    try:
        method, path, protocol = line.decode("ascii").split()
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST) from None
    match protocol:
        case "HTTP/1.0":
            return method, path, "1.0"
        case "HTTP/1.1":
            return method, path, "1.1"
    raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)


def _headers(stream: BufferedIOBase) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(HEADER_LIMIT):
        line = stream.readline(LINE_LIMIT)
        if not line.strip():
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise Refused(HTTPStatus.BAD_REQUEST)
        headers[name.strip().lower()] = value.strip()
    raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Response:
    status: HTTPStatus
    content_type: str = "text/plain"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self, *, version: Version, keep_alive: bool, chunked: bool = False) -> bytes:
        """Return head and body as the one string of bytes to send."""
        chunked = chunked and version == "1.1"  # HTTP/1.0 does not know it
        length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": len(self.body)}
        headers = {
            "Content-Type": self.content_type,
            **length,
            "Connection": "keep-alive" if keep_alive else "close",
            **self.headers,
        }
        lines = [f"HTTP/{version} {self.status.value} {self.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("ascii")
        return head + (_in_chunks(self.body) if chunked else self.body)


def _in_chunks(body: bytes, size: int = 700) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
