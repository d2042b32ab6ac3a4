"""The HTTP side of a CA, played from a script on a real socket of the loopback interface."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from threading import Thread

ANSWER = b"0\x03\x02\x01\x05"
PKIXCMP = b"Content-Type: application/pkixcmp\r\n"


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes
    pieces: list[bytes]  # as the calls of recv brought them
    connection: int  # counted from 0


@dataclass
class Peer:
    """One connection, seen from the CA."""

    socket: socket.socket
    number: int
    asked: list[Request]

    def listen(self) -> Request | None:
        """Return the next request, or None when the client has closed."""
        pieces: list[bytes] = []
        while True:
            head, end, body = b"".join(pieces).partition(b"\r\n\r\n")
            line, *fields = head.decode().split("\r\n")
            headers = dict(field.split(": ", 1) for field in fields) if end else {}
            if end and len(body) >= int(headers["Content-Length"]):
                request = Request(line, headers, body, pieces, self.number)
                self.asked.append(request)
                return request
            piece = self.socket.recv(65536)
            if not piece:
                return None
            pieces.append(piece)

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)


Script = Callable[[Peer], None]


@dataclass
class ScriptedCA:
    port: int
    asked: list[Request] = field(default_factory=list)
    connections: int = 0

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}/pkix/?a=b"


def http(
    status: str = "200 OK",
    content: bytes = ANSWER,
    *,
    version: str = "1.0",
    fields: bytes = PKIXCMP,
) -> bytes:
    head = f"HTTP/{version} {status}\r\nContent-Length: {len(content)}\r\n".encode()
    return head + fields + b"\r\n" + content


def answering(*answers: bytes, keep: bool = False) -> Script:
    """Give one answer a request, over and over; close after each unless told to `keep`."""
    left = cycle(answers)

    def script(peer: Peer) -> None:
        while peer.listen() is not None:
            peer.say(next(left))
            if not keep:
                return

    return script


@contextmanager
def scripted_ca(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedCA]:
    """Serve every connection by `script` until the block ends."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        ca = ScriptedCA(listener.getsockname()[1])

        def serve(plain: socket.socket, number: int) -> None:
            with suppress(OSError), plain:
                if tls is None:
                    script(Peer(plain, number, ca.asked))
                    return
                with tls.wrap_socket(plain, server_side=True) as secured:
                    script(Peer(secured, number, ca.asked))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    plain, _ = listener.accept()
                    number, ca.connections = ca.connections, ca.connections + 1
                    Thread(target=serve, args=(plain, number), daemon=True).start()

        acceptor = Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield ca
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
