"""Which loopback ports `./occm up` listens on."""

import contextlib
from collections.abc import Container
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer


class Taken(Exception):
    """Another program listens there; the message says what to do."""


def free_from(first: int, *, besides: Container[int] = ()) -> int:
    """Return the first free port from `first` on."""
    some = range(first, first + 100)
    for port in some:
        if port not in besides and is_free(port):
            return port
    raise Taken(f"ports {some[0]} to {some[-1]} are all taken")


def asked(port: int, *, option: str) -> int:
    """Return the port the operator asked for, if it is free."""
    if not is_free(port):
        raise Taken(f"port {port} is taken: choose another with {option}")
    return port


def remembered(file: Path, *, preferred: int) -> int:
    """Return the port in `file`, once chosen and kept since: it stands in somebody's URLs."""
    with contextlib.suppress(FileNotFoundError):
        port = int(file.read_text())
        if not is_free(port):
            raise Taken(f"port {port} is taken, and {file} says that it has to be that one")
        return port
    port = free_from(preferred)
    file.write_text(f"{port}\n")
    return port


def is_free(port: int) -> bool:
    """Tell whether nobody listens on this loopback port."""
    try:
        with _Probe(("127.0.0.1", port), BaseRequestHandler):
            return True
    except OSError:
        return False


class _Probe(TCPServer):
    allow_reuse_address = True  # as the servers do that are to listen there
