"""Connections of urllib3 that keep to a wall-clock deadline.

urllib3's timeouts are per read: a server that sends a byte now and then holds its client for ever.
Here the time that `Timeout(total=…)` leaves to a connection is the time for connecting, TLS and
everything that is read, status line, headers and body, together.
"""

import io
import socket
from dataclasses import dataclass
from functools import partial
from http.client import HTTPResponse as RawResponse
from time import monotonic
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def keep_deadlines(manager: PoolManager) -> None:
    """Have the manager make connections of this kind."""
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        self._sock.settimeout(_left(self._until))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


@dataclass(frozen=True, slots=True)
class _Readable:
    """What http.client wants of a socket to read an answer from."""

    sock: socket.socket
    until: float

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self.sock, self.until))


def _answer(sock: socket.socket, *args: Any, until: float, **kwargs: Any) -> RawResponse:
    return RawResponse(_Readable(sock, until), *args, **kwargs)  # type: ignore[arg-type]


def _left(until: float) -> float:
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        until = monotonic() + (self.timeout or 0)
        sock = super()._new_conn()
        sock.settimeout(_left(until))  # what is left of it is for the TLS handshake
        return sock

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3
        until = monotonic() + (self.timeout or 0)
        self.response_class = partial(_answer, until=until)  # type: ignore[assignment]
        return super().getresponse()


class _TLSConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
