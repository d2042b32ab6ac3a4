import http.client
from collections.abc import Iterator

import pytest

from cmp.testing import DemoCA, Design, Pki, Server, serve
from cmp.testing.keys import Identity
from tests.cmp.testing.client import NOW, SECRET, Client, an_identity, by_mac
from tests.cmp.testing.wire import address


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki.generate("Demo CA 1", now=NOW, design=Design(intermediates=2))


@pytest.fixture
def ca(pki: Pki) -> DemoCA:
    return DemoCA(pki=pki, secrets={SECRET.reference: SECRET.secret})


@pytest.fixture
def client(ca: DemoCA) -> Client:
    """A client that knows the secret, at the beginning of a transaction."""
    return by_mac(ca, now=NOW)


@pytest.fixture
def occm(ca: DemoCA) -> Identity:
    """A certificate of the CA, to sign with."""
    return an_identity(ca, now=NOW)


@pytest.fixture
def server(ca: DemoCA) -> Iterator[Server]:
    with serve(ca, clock=lambda: NOW) as server:
        yield server


@pytest.fixture
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(*address(server), timeout=10)
    yield connection
    connection.close()
