"""How tests put a question on the wire: over a kept connection, or raw and alone."""

import http.client
import socket

from cmp.testing import DemoCA, Server
from cmp.testing.keys import generate_key
from tests.cmp.testing.client import NOW, by_mac, ir

PKIXCMP = {"Content-Type": "application/pkixcmp"}


def address(server: Server) -> tuple[str, int]:
    host, port = server.server_address[:2]
    return str(host), int(port)


def an_ir(ca: DemoCA) -> bytes:
    return by_mac(ca, now=NOW).write(ir(generate_key()))


def raw(server: Server, der: bytes, *, version: str = "1.0", more: str = "") -> bytes:
    """Send one request over a connection of its own; return all that comes until it closes."""
    head = f"POST /pkix/ HTTP/{version}\r\nHost: ca\r\nContent-Type: application/pkixcmp\r\n"
    head += f"Content-Length: {len(der)}\r\n{more}\r\n"
    with socket.create_connection(address(server), timeout=10) as client:
        client.sendall(head.encode() + der)
        return b"".join(iter(lambda: client.recv(65536), b""))


def post(connection: http.client.HTTPConnection, der: bytes) -> bytes:
    connection.request("POST", "/pkix/", der, PKIXCMP)
    response = connection.getresponse()
    body = response.read()
    assert (response.status, response.headers["Content-Type"]) == (200, PKIXCMP["Content-Type"])
    return body
