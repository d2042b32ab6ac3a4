"""An HTTP endpoint that answers as told: what a real API server does not do on demand."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

STATUSES = {200: "OK", 201: "Created", 302: "Found"}


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What goes out: at once, then byte after byte; then the connection may be closed."""

    wire: bytes = b""
    dripping: bytes = b""
    drip: float = 0.0  # seconds between bytes
    close: bool = False


def answer(status: int, body: object = None, headers: dict[str, str] | None = None) -> Answer:
    """Compose an answer in JSON, or of plain text."""
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} {STATUSES.get(status, 'No')}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
        f"Content-Length: {len(content)}",
    ]
    return Answer("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


@dataclass
class Endpoint:
    """Answers one request after the other from `answers`, and keeps what it was asked."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Path) -> Path:
        cluster = {"server": self.url}
        config = {
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "sesame-token"}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as incoming, suppress(OSError):
            while (line := incoming.readline()) and not self._over.is_set():
                self.asked.append(_rest(line, incoming))
                if not self._send(connection, self.answers.pop(0)):
                    break

    def _send(self, connection: socket.socket, given: Answer) -> bool:
        connection.sendall(given.wire)
        for byte in given.dripping:
            if self._over.wait(given.drip):
                return False
            connection.sendall(bytes([byte]))
        if not (given.wire or given.dripping or given.close):
            self._over.wait()  # silence
        return not given.close

    def accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while not self._over.is_set():
                connection, _ = listener.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    @contextmanager
    def listening(self) -> Iterator["Endpoint"]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            thread = threading.Thread(target=self.accept, args=[listener])
            thread.start()
            try:
                yield self
            finally:
                self._over.set()
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()


def _rest(line: bytes, incoming: Any) -> Request:
    headers = {}
    while (header := incoming.readline().strip()) != b"":
        name, _, value = header.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = incoming.read(int(headers.get("content-length", 0)))
    return Request(line.decode().strip(), headers, body)
