"""The HTTP(S) shell around a demo CA: a thread for each connection, HTTP/1.0 and 1.1, keep-alive.

It decides nothing about CMP: the CA says what to answer and what mishap befalls it, the shell
acts it out. For demos and tests on the loopback interface; it is no hardened web server.
"""

import contextlib
import json
import os
import socket
import socketserver
import ssl
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from cmp.testing import control
from cmp.testing.behaviour import Mishap
from cmp.testing.ca import DemoCA
from cmp.testing.http1 import Refused, Request, Response, Version, read_request
from cmp.testing.pki import Pki, pem, private_pem

PKIXCMP = "application/pkixcmp"
IDLE_S = 65
DRIP_S = 0.1  # a byte
BUSY_PAGE = b"<html><head><title>503</title></head><body>Too many requests</body></html>\n"


@dataclass(frozen=True, slots=True)
class Visit:
    """One request as the shell saw it. `connection` tells kept connections from new ones."""

    connection: int
    version: Version
    method: str
    path: str


@contextlib.contextmanager
def serve(
    ca: DemoCA,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> "Iterator[Server]":
    """Answer CMP over HTTP, or HTTPS given `tls`, until the block ends. Port 0 takes a free one."""
    server = Server((host, port), ca, tls, clock)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name=f"CA {server.url}")
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def tls_context(
    pki: Pki, *, maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
) -> ssl.SSLContext:
    """Present the PKI's TLS certificate and its chain; TLS 1.2 at least."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = maximum
    with tempfile.TemporaryDirectory() as folder:  # ssl reads keys from files only; 0700
        path = Path(folder) / "tls.pem"
        chain = [pki.tls.certificate, *pki.chain]
        path.write_bytes(b"".join([private_pem(pki.tls.key), *map(pem, chain)]))
        context.load_cert_chain(path)
    return context


class Server(socketserver.ThreadingTCPServer):
    """`visits` lists what came in; `url` is where to send to."""

    allow_reuse_address = True
    request_queue_size = 1024
    daemon_threads = False  # joined when it stops

    def __init__(
        self,
        address: tuple[str, int],
        ca: DemoCA,
        tls: ssl.SSLContext | None,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(address, Conversation)
        self.ca = ca
        self.clock = clock
        self.tls = tls
        self.stopping = threading.Event()
        self.visits: deque[Visit] = deque(maxlen=100_000)
        self.connections = 0  # ever made
        self.numbers: dict[socket.socket, int] = {}  # of those open

    @property
    def url(self) -> str:
        host, port = cast("tuple[str, int]", self.server_address)
        return f"{'https' if self.tls else 'http'}://{host}:{port}/pkix/"

    def get_request(self) -> tuple[socket.socket, object]:
        connection, client = self.socket.accept()
        if self.tls is not None:  # the handshake is made in the connection's own thread
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        self.connections += 1
        self.numbers[connection] = self.connections
        return connection, client

    def close_request(self, request: object) -> None:
        connection = cast("socket.socket", request)
        self.numbers.pop(connection, None)
        connection.close()

    def stop(self) -> None:
        """End every conversation, stalled ones too, and free the port."""
        self.stopping.set()
        self.shutdown()
        for connection in list(self.numbers):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self.server_close()


class Conversation(socketserver.StreamRequestHandler):
    """One connection, request after request."""

    disable_nagle_algorithm = True
    timeout = IDLE_S
    server: Server
    request: socket.socket

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client went away, or never spoke TLS
            if isinstance(self.request, ssl.SSLSocket):
                self.request.do_handshake()
            while not self.server.stopping.is_set() and self._exchange():
                pass

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def _exchange(self) -> bool:
        """Answer one request; say whether the connection lives on."""
        try:
            request = read_request(self.rfile)
        except Refused as refused:
            answer = Response(refused.status).encode(version=refused.version, keep_alive=False)
            self.request.sendall(answer)
            return False
        if request is None:
            return False
        visit = Visit(
            self.server.numbers[self.request], request.version, request.method, request.path
        )
        self.server.visits.append(visit)
        if self.server.ca.http11_only and request.version == "1.0":
            return self._refuse_http10()
        if request.path == "/control":
            return self._send(request, self._control(request))
        return self._cmp(request)

    def _cmp(self, request: Request) -> bool:
        if request.method != "POST":
            return self._send(request, Response(HTTPStatus.METHOD_NOT_ALLOWED))
        if request.headers.get("content-type", "").lower() != PKIXCMP:
            return self._send(request, Response(HTTPStatus.UNSUPPORTED_MEDIA_TYPE))
        ca = self.server.ca
        reply = ca.respond(request.body, now=self.server.clock())
        self.server.stopping.wait(reply.delay.total_seconds())
        status = HTTPStatus(ca.refusal_status) if reply.refused else HTTPStatus.OK
        answer = Response(status, PKIXCMP, reply.der)
        match reply.mishap:
            case None:
                return self._send(request, answer)
            case Mishap.HTML_503:
                wait = ca.retry_after
                headers = {"Retry-After": f"{wait.total_seconds():.0f}"} if wait else {}
                busy = HTTPStatus.SERVICE_UNAVAILABLE
                return self._send(request, Response(busy, "text/html", BUSY_PAGE, headers))
            case Mishap.GARBAGE:
                return self._send(request, Response(HTTPStatus.OK, PKIXCMP, os.urandom(400)))
            case Mishap.TRUNCATION:
                sent = answer.encode(version=request.version, keep_alive=False)
                self.request.sendall(sent[: -len(reply.der) // 2])
            case Mishap.STALL:
                self.request.settimeout(None)
                while self.request.recv(4096):  # until the client gives up or the server stops
                    pass
            case Mishap.DRIP:
                for byte in answer.encode(version=request.version, keep_alive=False):
                    self.request.sendall(bytes([byte]))
                    if self.server.stopping.wait(DRIP_S):
                        break
            case Mishap.DROP:
                pass
        return False

    def _send(self, request: Request, response: Response) -> bool:
        ca = self.server.ca
        self.request.sendall(
            response.encode(
                version=request.version, keep_alive=request.keeps_alive, chunked=ca.chunked
            )
        )
        return request.keeps_alive and not ca.close_always

    def _refuse_http10(self) -> bool:
        if status := self.server.ca.http10_refusal:
            answer = Response(HTTPStatus(status)).encode(version="1.1", keep_alive=False)
            self.request.sendall(answer)
        return False

    def _control(self, request: Request) -> Response:
        """Show the knobs and the register, or turn knobs; only to this machine."""
        if not ip_address(self.client_address[0]).is_loopback:
            return Response(HTTPStatus.FORBIDDEN)
        ca = self.server.ca
        if request.method == "POST":
            if request.headers.get("content-type", "") != "application/json":  # no web page's form
                return Response(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            try:
                control.change(ca, json.loads(request.body))
            except (ValueError, TypeError) as error:
                return Response(HTTPStatus.BAD_REQUEST, body=f"{error}\n".encode())
        report = control.report(ca, now=self.server.clock())
        return Response(HTTPStatus.OK, "application/json", json.dumps(report).encode())
