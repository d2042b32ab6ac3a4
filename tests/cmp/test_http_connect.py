"""Trying the way to a CA without asking it anything: what "test connection" can do at least."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cmp import Unreachable
from cmp.http import HttpTransport, TlsTrust
from tests.cmp import certs
from tests.cmp.scripted import ANSWER, ScriptedCA, answering, http, scripted_ca

NOW = datetime.now(UTC)  # TLS verifies on the system's clock
LIFETIME: dict[str, Any] = {"starts": NOW - certs.DAY, "ends": NOW + certs.DAY}


def way(
    url: str, *, tls: TlsTrust | None = None, timeout: timedelta = timedelta(seconds=10)
) -> HttpTransport:
    return HttpTransport(url, tls=tls, message_timeout=timeout)


@pytest.fixture(scope="module")
def root() -> certs.Holder:
    return certs.a_root(**LIFETIME)


@pytest.fixture
def tls_ca(root: certs.Holder, tmp_path: Path) -> Iterator[ScriptedCA]:
    server = certs.a_tls_server(root, "127.0.0.1", **LIFETIME)
    key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "tls.pem").write_bytes(key + server.certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    with scripted_ca(answering(http()), tls=context) as ca:
        yield ca


def test_a_ca_on_http_takes_the_connection_and_is_asked_nothing() -> None:
    with scripted_ca(answering(http())) as ca, way(ca.url()) as transport:
        assert transport.connect() == f"127.0.0.1:{ca.port} takes connections"
        assert ca.asked == []

        assert transport.post(b"0\x00") == ANSWER  # and a transaction may follow


def test_a_ca_on_https_shows_its_certificate(tls_ca: ScriptedCA, root: certs.Holder) -> None:
    with way(tls_ca.url("https"), tls=TlsTrust((root.certificate,))) as transport:
        assert transport.connect() == (
            f"127.0.0.1:{tls_ca.port} speaks TLSv1.3 with a certificate of /O=Example/CN=TLS server"
            f" until {NOW + certs.DAY:%Y-%m-%d}"
        )
        assert tls_ca.asked == []


def test_a_ca_whose_tls_certificate_is_not_trusted_is_not_connected_to(tls_ca: ScriptedCA) -> None:
    stranger = TlsTrust((certs.a_root("Stranger", **LIFETIME).certificate,))

    with way(tls_ca.url("https"), tls=stranger) as transport:
        with pytest.raises(Unreachable, match="its TLS certificate is refused"):
            transport.connect()


def test_nobody_there_is_told() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]

    with way(f"http://127.0.0.1:{port}/") as transport:
        with pytest.raises(Unreachable, match="connection refused"):
            transport.connect()


def test_a_handshake_that_never_ends_is_left_after_the_message_timeout(
    root: certs.Holder,
) -> None:
    began = time.monotonic()
    with scripted_ca(lambda _: time.sleep(5)) as ca:
        trust = TlsTrust((root.certificate,))
        with way(ca.url("https"), tls=trust, timeout=timedelta(seconds=0.4)) as transport:
            with pytest.raises(Unreachable, match="in time"):
                transport.connect()

    assert 0.4 <= time.monotonic() - began < 3
