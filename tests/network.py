"""No network but loopback: a test that reaches farther fails, whatever library it reaches through.

Names under .invalid do not resolve, as anywhere (RFC 6761, 6.4), and without asking anybody.
"""

import ipaddress
import socket
import sys
from typing import Any


class OutOfBounds(Exception):
    """The test reached for the network."""


def keep_to_loopback() -> None:
    """Watch over this process from now on; an audit hook cannot be taken back."""
    sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    match event:
        case "socket.connect" | "socket.sendto":
            address = arguments[1]
            if isinstance(address, tuple) and not _is_loopback(address[0]):
                raise OutOfBounds(f"{event} to {address}")
        case "socket.getaddrinfo" | "socket.gethostbyname":
            host = arguments[0]
            if isinstance(host, bytes):
                host = host.decode(errors="replace")
            if host is not None and host.endswith(".invalid"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            if host and not _is_loopback(host):
                raise OutOfBounds(f"look-up of {host}")


def _is_loopback(host: str) -> bool:
    if host in {"localhost", "0.0.0.0", "::", ""}:  # the last three: wherever this machine listens
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
