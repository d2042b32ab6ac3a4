"""One connection to a CA, as `requests` needs it: for `cmp.http`, with which it does all I/O here.

It speaks HTTP/1.0 or 1.1, writes a request as one segment, keeps to a wall-clock deadline from the
name look-up to the last byte of the answer, verifies TLS with the certificates it is given and no
others, and knows how far a round trip came: Unreachable means that the CA cannot have the message.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import SplitResult

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from cmp.errors import LocalError, Unreachable
from cmp.text import one_line

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HttpVersion = Literal["1.0", "1.1"]

PORTS = {"http": 80, "https": 443}
TlsVersion = Literal["1.2", "1.3"]
TLS_GROUPS = {  # by IANA's names; `ssl` knows OpenSSL's
    "secp256r1": "prime256v1",
    "secp384r1": "secp384r1",
    "secp521r1": "secp521r1",
    "x25519": "X25519",
}
IGNORE_CRITICAL = ssl.VerifyFlags(0x10)  # X509_V_FLAG_IGNORE_CRITICAL, which `ssl` does not name


@dataclass(frozen=True, slots=True)
class TlsTrust:
    """What a CA's TLS server is checked with: these certificates and no others."""

    certificates: tuple[x509.Certificate, ...]
    strict: bool = False  # RFC 5280 to the letter
    ignore_critical: bool = False  # pass over critical extensions that OpenSSL does not know
    minimum: TlsVersion = "1.2"
    ciphers: str = ""  # of TLS 1.2, as OpenSSL writes a list of them; empty: its own choice
    group: str = ""  # the only one for the key exchange, by its IANA name; empty: OpenSSL's choice


class Trip:
    """One round trip: until when, and how far it came. Shared by everything that takes part."""

    ends = 0.0  # monotonic
    reused = False  # it went over a connection that had carried another before
    answered = False  # at least one byte came back

    def left(self) -> float:
        left = self.ends - monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Socket(socket.socket):
    trip: Trip

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(self.trip.left())
        received = super().recv_into(buffer, nbytes, flags)
        self.trip.answered |= received > 0
        return received


class _TlsSocket(ssl.SSLSocket):
    trip: Trip

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(self.trip.left())  # OpenSSL's part keeps to it as a whole
        received = super().recv_into(buffer, nbytes, flags)
        self.trip.answered |= received > 0
        return received


class Adapter(BaseAdapter):
    """The way of `requests` to one CA: one connection, which HTTP/1.1 keeps and 1.0 does not.

    The response's `raw` is to be read before `settle` decides what becomes of the connection.
    """

    version: HttpVersion = "1.0"

    def __init__(self, url: SplitResult, tls: ssl.SSLContext | None, trip: Trip) -> None:
        super().__init__()
        self._host, self._port = url.hostname or "", url.port or PORTS[url.scheme]
        self._tls = tls
        self._trip = trip
        self._sock: socket.socket | None = None
        self._raw: HTTPResponse | None = None

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        """Raises Unreachable if the CA cannot have the request, OSError or HTTPException later."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        head = f"{request.method} {request.path_url} HTTP/{self.version}\r\n{fields}\r\n"
        sock = self._sent(head.encode("ascii") + cast("bytes", request.body))
        self._raw = HTTPResponse(sock, method=request.method)
        self._raw.begin()
        response = Response()
        response.request, response.raw = request, self._raw
        response.status_code = self._raw.status
        response.headers = CaseInsensitiveDict(self._raw.headers.items())
        return response

    def settle(self) -> None:
        """Keep the connection if it may carry another request, else close it."""
        raw = self._raw
        if self.version == "1.0" or raw is None or not raw.isclosed() or raw.will_close:
            self.close()
        self._raw = None

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()
        if self._sock is not None:
            self._sock.close()
        self._raw = self._sock = None

    def _sent(self, message: bytes) -> socket.socket:
        """Write the request as one segment, over the kept connection if it is still good."""
        self._trip.reused = self._sock is not None and not _readable(self._sock)
        if self._sock is not None and self._trip.reused:
            try:
                return self._write(self._sock, message)
            except (ConnectionError, ssl.SSLError):  # closed meanwhile: what arrived is no request
                self._trip.reused = False
        self.close()
        with self._nothing_sent_yet():
            return self._write(self._open(), message)

    def greet(self) -> tuple[str, x509.Certificate | None]:
        """Connect without sending a request; return the TLS version and certificate, if any.

        Raises Unreachable.
        """
        with self._nothing_sent_yet():
            sock = self._open()
            if not isinstance(sock, ssl.SSLSocket):
                return "", None
            der = sock.getpeercert(binary_form=True) or b""
            return sock.version() or "", x509.load_der_x509_certificate(der)

    def _open(self) -> socket.socket:
        self._sock = _connected(self._host, self._port, self._trip)
        if self._tls is not None:
            self._sock = _secured(self._sock, self._host, self._tls, self._trip)
        return self._sock

    def _write(self, sock: socket.socket, message: bytes) -> socket.socket:
        rest = memoryview(message)
        while rest:
            sock.settimeout(self._trip.left())
            rest = rest[sock.send(rest) :]
        return sock

    @contextmanager
    def _nothing_sent_yet(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise self._unreachable("it did not take the connection in time") from None
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
            raise self._unreachable(words(error)) from error

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(f"{self._host}:{self._port}: {why}")


def _readable(sock: socket.socket) -> bool:
    """An idle connection with something to read was closed, or is out of step."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _connected(host: str, port: int, trip: Trip) -> socket.socket:
    addresses = _resolved(host, port, trip)
    failure: OSError = socket.gaierror("no address")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = _Socket(family, kind, protocol)
        sock.trip = trip
        try:
            sock.settimeout(trip.left() / (len(addresses) - tried))  # a fair share for each
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _resolved(host: str, port: int, trip: Trip) -> list[Any]:
    """Look the name up in a thread of its own: the resolver knows no deadline."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:
            found.set_exception(error)

    Thread(target=look_up, name=f"look up {host}", daemon=True).start()
    try:
        return found.result(trip.left())
    except TimeoutError:
        raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None


def _secured(plain: socket.socket, host: str, tls: ssl.SSLContext, trip: Trip) -> socket.socket:
    try:
        plain.settimeout(trip.left())  # for the handshake as a whole
        secured = tls.wrap_socket(plain, server_hostname=host)
    except (OSError, ValueError):
        plain.close()
        raise
    if isinstance(secured, _TlsSocket):
        secured.trip = trip
    return secured


@lru_cache(maxsize=256)
def tls_context(tls: TlsTrust) -> ssl.SSLContext:
    """Make a context of these certificates alone: loading the system's would cost 18 ms, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks path and host name
    context.sslsocket_class = _TlsSocket
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if tls.minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    if tls.strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    if tls.ignore_critical:
        context.verify_flags |= IGNORE_CRITICAL
    _limit_algorithms(context, tls)
    if any(one.subject != one.issuer for one in tls.certificates):  # an intermediate as anchor
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(
            cadata=b"".join(one.public_bytes(Encoding.DER) for one in tls.certificates)
        )
    except (ssl.SSLError, ValueError) as error:
        raise LocalError(f"the TLS trust store cannot be used: {error}") from None
    return context


def _limit_algorithms(context: ssl.SSLContext, tls: TlsTrust) -> None:
    """Leave out what the deployment does not want. Raises LocalError for what OpenSSL lacks."""
    try:
        if tls.ciphers:
            context.set_ciphers(tls.ciphers)
        if tls.group:
            context.set_ecdh_curve(TLS_GROUPS[tls.group])
    except (ssl.SSLError, ValueError, KeyError):
        raise LocalError(
            f"TLS ciphers {tls.ciphers!r} or group {tls.group!r} are none that OpenSSL knows"
        ) from None


def words(error: BaseException) -> str:
    """Say in a few words why a connection or an answer failed."""
    match error:
        case TimeoutError():
            text = "nothing, or not all of it, came within the message timeout"
        case ssl.SSLCertVerificationError():
            text = f"its TLS certificate is refused: {error.verify_message}"
        case ssl.SSLError():
            text = f"TLS fails: {(error.reason or str(error)).replace('_', ' ').lower()}"
        case socket.gaierror():
            text = f"its name does not resolve ({error.strerror or error})"
        case RemoteDisconnected():
            text = "it closed the connection without an answer"
        case IncompleteRead():
            text = "it closed the connection in the middle of its answer"
        case HTTPException():
            text = f"what it answered is not HTTP: {error}"
        case OSError(strerror=str(strerror)):
            text = strerror.lower()
        case _:
            text = str(error)
    return one_line(text, 300)
