import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cmp import codec
from cmp.errors import Malformed
from cmp.messages import PkiConf
from cmp.protection import MacCredentials, verify_mac
from cmp.testing import DemoCA, Pki, Refusal, Server, State, When, serve, tls_context
from cmp.testing.keys import generate_key
from cmp.testing.pki import pem
from tests.cmp.testing.client import Client, by_mac, confirmation, granted, ir

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
PKIXCMP = {"Content-Type": "application/pkixcmp"}


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki.generate("Demo CA 1", now=NOW)


@pytest.fixture
def ca(pki: Pki) -> DemoCA:
    return DemoCA(pki=pki, secrets={b"nf1": b"a secret"})


@pytest.fixture
def server(ca: DemoCA) -> Iterator[Server]:
    with serve(ca, clock=lambda: NOW) as server:
        yield server


@pytest.fixture
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(*address(server), timeout=10)
    yield connection
    connection.close()


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


# --- HTTP as it should be


def test_http11_connection_serves_a_whole_transaction(
    connection: http.client.HTTPConnection, ca: DemoCA, server: Server
) -> None:
    client = by_mac(ca, now=NOW)

    ip = codec.decode(post(connection, client.write(ir(generate_key()))))
    client.their_nonce = ip.header.sender_nonce
    pkiconf = codec.decode(post(connection, client.write(confirmation(granted(ip)))))

    assert pkiconf.body == PkiConf()
    assert [(visit.connection, visit.version) for visit in server.visits] == [(1, "1.1")] * 2


def test_http10_closes_unless_asked_to_keep_alive(ca: DemoCA, server: Server) -> None:
    answer = raw(server, an_ir(ca))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Connection: close" in head
    granted(codec.decode(body))


def test_http10_connection_is_kept_when_asked(ca: DemoCA, server: Server) -> None:
    der = an_ir(ca)
    head = "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: application/pkixcmp\r\n"
    request = f"{head}Content-Length: {len(der)}\r\n\r\n".encode() + der
    with socket.create_connection(address(server), timeout=10) as client:
        stream = client.makefile("rb")
        for _ in range(2):
            client.sendall(request)
            assert stream.readline() == b"HTTP/1.0 200 OK\r\n"
            headers = dict(line.split(b": ") for line in iter(stream.readline, b"\r\n"))
            codec.decode(stream.read(int(headers[b"Content-Length"])))
        stream.close()

    assert headers[b"Connection"] == b"keep-alive\r\n"
    assert [visit.connection for visit in server.visits] == [1, 1]


def test_answers_may_be_chunked_in_http11_only(
    connection: http.client.HTTPConnection, ca: DemoCA, server: Server
) -> None:
    ca.chunked = True

    connection.request("POST", "/", an_ir(ca), PKIXCMP)
    response = connection.getresponse()

    assert response.headers["Transfer-Encoding"] == "chunked"
    granted(codec.decode(response.read()))
    assert b"Content-Length" in raw(server, an_ir(ca))


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("GET / HTTP/1.1", "Host: ca", 405),
        ("POST / HTTP/1.1", "Host: ca\r\nContent-Type: text/plain", 415),
        ("POST / HTTP/1.1", "Host: ca\r\nContent-Type: application/pkixcmp; charset=utf-8", 415),
        ("POST / HTTP/1.1", "Host: ca\r\nTransfer-Encoding: chunked", 411),
        ("POST / HTTP/1.1", "Host: ca\r\nContent-Length: 9999999", 413),
        ("POST / HTTP/1.1", "Host: ca\r\nContent-Length: -1", 400),
        ("POST / HTTP/1.1", "Content-Length: 0", 400),
        ("POST / HTTP/2.0", "Host: ca", 505),
        ("nonsense", "Host: ca", 400),
    ],
)
def test_what_is_no_cmp_request_gets_a_status(
    server: Server, request_line: str, headers: str, status: int
) -> None:
    with socket.create_connection(address(server), timeout=10) as client:
        client.sendall(f"{request_line}\r\n{headers}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    assert answer.split()[1] == str(status).encode()


def test_http10_may_be_refused_openly_or_without_a_word(ca: DemoCA, server: Server) -> None:
    ca.http11_only = True
    assert raw(server, an_ir(ca)).startswith(b"HTTP/1.1 505 ")
    ca.http10_refusal = 426
    assert raw(server, an_ir(ca)).startswith(b"HTTP/1.1 426 ")
    ca.http10_refusal = 0
    assert raw(server, an_ir(ca)) == b""
    assert b" 200 " in raw(server, an_ir(ca), version="1.1", more="Connection: close\r\n")
    assert list(ca.asked) == ["ir"]


def test_connection_may_close_in_spite_of_the_promise(
    connection: http.client.HTTPConnection, ca: DemoCA
) -> None:
    ca.close_always = True
    connection.request("POST", "/", an_ir(ca), PKIXCMP)
    response = connection.getresponse()
    response.read()

    assert response.headers["Connection"] == "keep-alive"
    assert connection.sock is not None
    assert connection.sock.recv(1) == b""


# --- mishaps


def test_answers_may_be_garbage_or_cut_short(ca: DemoCA, server: Server) -> None:
    ca.garbage = True
    garbage = raw(server, an_ir(ca)).partition(b"\r\n\r\n")[2]
    with pytest.raises(Malformed):
        codec.decode(garbage)
    ca.garbage, ca.truncate = False, True
    head, _, body = raw(server, an_ir(ca)).partition(b"\r\n\r\n")

    assert int(head.partition(b"Content-Length: ")[2].split()[0]) > len(body) > 0


def test_connection_may_drop_after_the_request_was_processed(ca: DemoCA, server: Server) -> None:
    ca.drop_connection = When(times=1)

    assert raw(server, an_ir(ca)) == b""
    assert raw(server, an_ir(ca)) != b""
    assert len(ca.issued) == 2


def test_request_may_be_lost_before_it_was_processed(ca: DemoCA, server: Server) -> None:
    ca.lose_request = True

    assert raw(server, an_ir(ca)) == b""
    assert ca.issued == []


def test_refusals_may_come_with_a_status_of_their_own(ca: DemoCA, server: Server) -> None:
    ca.refuse, ca.refusal_status = Refusal(), 400

    refused = raw(server, an_ir(ca))
    ca.refuse = None

    assert refused.startswith(b"HTTP/1.0 400 Bad Request\r\nContent-Type: application/pkixcmp")
    assert raw(server, an_ir(ca)).startswith(b"HTTP/1.0 200 OK")


def test_503_turns_requests_away_before_the_ca_sees_them(ca: DemoCA, server: Server) -> None:
    ca.http_503_html, ca.retry_after = True, timedelta(seconds=7)

    answer = raw(server, an_ir(ca))

    assert answer.startswith(b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/html\r\n")
    assert b"Retry-After: 7\r\n" in answer
    assert b"<html>" in answer
    assert ca.issued == []


def test_slow_answers_hold_up_nobody_else(ca: DemoCA, server: Server) -> None:
    ca.delay = timedelta(seconds=0.5)
    begun = time.monotonic()

    threads = [threading.Thread(target=raw, args=(server, an_ir(ca))) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 0.5 < time.monotonic() - begun < 5
    assert len(ca.issued) == 40


def test_dripping_answer_comes_a_byte_at_a_time(ca: DemoCA, server: Server) -> None:
    ca.drip = True
    with socket.create_connection(address(server), timeout=10) as client:
        der = an_ir(ca)
        head = "POST / HTTP/1.0\r\nContent-Type: application/pkixcmp\r\n"
        client.sendall(f"{head}Content-Length: {len(der)}\r\n\r\n".encode() + der)
        pieces = [client.recv(100) for _ in range(5)]

    assert pieces == [b"H", b"T", b"T", b"P", b"/"]


def test_server_stops_while_it_stalls_drips_and_delays(ca: DemoCA) -> None:
    ca.stall = When(times=1)
    ca.delay = timedelta(milliseconds=1)
    with serve(ca, clock=lambda: NOW) as server:
        stalled = threading.Thread(target=raw, args=(server, an_ir(ca)))
        stalled.start()
        while not ca.issued:
            time.sleep(0.01)
        ca.stall, ca.delay = False, timedelta(hours=1)
        delayed = threading.Thread(target=raw, args=(server, an_ir(ca)))
        delayed.start()
        while len(ca.issued) < 2:
            time.sleep(0.01)
        begun = time.monotonic()
    stalled.join()
    delayed.join()

    assert time.monotonic() - begun < 3


# --- TLS


def test_https_presents_a_chain_to_the_root_for_the_host(ca: DemoCA) -> None:
    trust = ssl.create_default_context(cadata=pem(ca.pki.root).decode())
    with serve(ca, tls=tls_context(ca.pki), clock=lambda: NOW) as server:
        _, port = address(server)
        connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=trust)
        certificate = granted(codec.decode(post(connection, an_ir(ca))))
        connection.close()

    assert server.url == f"https://127.0.0.1:{port}/pkix/"
    assert ca.register.find(certificate) is not None


def test_tls_may_be_held_at_1_2(ca: DemoCA) -> None:
    trust = ssl.create_default_context(cadata=pem(ca.pki.root).decode())
    old = tls_context(ca.pki, maximum=ssl.TLSVersion.TLSv1_2)
    with serve(ca, tls=old) as server, socket.create_connection(address(server)) as plain:
        with trust.wrap_socket(plain, server_hostname="localhost") as client:
            assert client.version() == "TLSv1.2"


def test_who_speaks_no_tls_disturbs_nobody(ca: DemoCA) -> None:
    trust = ssl.create_default_context(cadata=pem(ca.pki.root).decode())
    with serve(ca, tls=tls_context(ca.pki), clock=lambda: NOW) as server:
        silent = socket.create_connection(address(server))
        assert raw(server, b"plain HTTP") == b""
        _, port = address(server)
        connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=trust)
        granted(codec.decode(post(connection, an_ir(ca))))
        connection.close()
        silent.close()


# --- the control path


def test_control_turns_knobs_and_reads_counters(
    connection: http.client.HTTPConnection, ca: DemoCA
) -> None:
    knobs = {
        "polls": 2,
        "check_after": 0.5,
        "stall": {"bodies": ["certConf"], "chance": 0.5, "times": 3},
        "refuse": {"failures": ["badPOP"], "text": ["no"]},
        "omit_header": ["message_time"],
        "retry_after": None,
        "extra_chain_order": "reversed",
        "chunked": True,
    }
    post(connection, an_ir(ca))

    connection.request("POST", "/control", json.dumps(knobs), {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.request("GET", "/control")
    report = json.loads(connection.getresponse().read())

    assert report["counts"] == {"ir": 1}
    assert [each["asked"] for each in report["open_transactions"]] == ["ir"]
    assert [each["serial"] for each in report["issued"]] == [f"{ca.issued[0].serial:x}"]
    assert (ca.polls, ca.check_after) == (2, timedelta(seconds=0.5))
    assert ca.stall == When(bodies=frozenset({"certConf"}), chance=0.5, times=3)
    assert report["knobs"]["refuse"] == {
        "failures": ["badPOP"],
        "text": ["no"],
        "status": "rejection",
    }
    assert {name: report["knobs"][name] for name in ("polls", "omit_header", "chunked")} == {
        "polls": 2,
        "omit_header": ["message_time"],
        "chunked": True,
    }


@pytest.mark.parametrize(
    ("knobs", "complaint"),
    [
        ({"pols": 2}, "no knob pols"),
        ({"polls": "2"}, "polls: int is expected"),
        ({"polls": 1, "chunked": 1}, "chunked: bool is expected"),
        ({"stall": {"body": "ir"}}, "stall: "),
        ({"extra_chain_order": "shuffled"}, "extra_chain_order: one of"),
        ([1], ""),
    ],
)
def test_knobs_that_do_not_fit_change_nothing(
    connection: http.client.HTTPConnection, ca: DemoCA, knobs: object, complaint: str
) -> None:
    connection.request("POST", "/control", json.dumps(knobs), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read().decode()

    assert response.status == 400
    assert complaint in answer
    assert ca.polls == 0


def test_control_shows_no_secret(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/control")

    assert b"a secret" not in connection.getresponse().read()


def test_web_pages_cannot_turn_knobs(connection: http.client.HTTPConnection) -> None:
    form = {"Content-Type": "text/plain"}  # all a page of another origin can send without asking
    connection.request("POST", "/control", '{"polls": 2}', form)

    assert connection.getresponse().status == 415


# --- as a process of its own


class DemoProcess:
    """`python -m cmp.testing` in a folder; `url` and `root` are what its READY line says."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cmp.testing", "--folder", str(folder), *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        ready, url, root = self.process.stdout.readline().split()
        assert ready == "READY"
        self.host, _, port = url.removeprefix("url=http://").removesuffix("/pkix/").partition(":")
        self.port = int(port)
        self.root = Path(root.removeprefix("root="))

    def post(self, path: str, body: bytes, content_type: str) -> bytes:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        connection.request("POST", path, body, {"Content-Type": content_type})
        answer = connection.getresponse().read()
        connection.close()
        return answer

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        _, code = self.process.communicate(timeout=10), self.process.returncode
        return code


def test_process_keeps_root_and_register_across_restarts(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret\n")
    folder = tmp_path / "ca"
    options = ("--name", "Kept", "--mac-secret-file", str(secret), "--validity", "10m")
    first = DemoProcess(folder, *options)
    pki = Pki.load(folder)
    credentials = MacCredentials(b"a secret", b"demo")
    now = datetime.now(UTC)
    client = Client(DemoCA(pki=pki), credentials, now=now)
    ip = codec.decode(first.post("/", client.write(ir(generate_key())), PKIXCMP["Content-Type"]))
    verify_mac(ip, b"a secret")
    client.their_nonce = ip.header.sender_nonce
    first.post("/", client.write(confirmation(granted(ip))), PKIXCMP["Content-Type"])
    root = first.root.read_bytes()
    assert first.stop() == 0

    second = DemoProcess(folder, *options, "--polls", "1")
    report = json.loads(second.post("/control", b'{"polls": 3}', "application/json"))
    assert second.stop() == 0

    assert second.root.read_bytes() == root
    assert (
        x509.load_pem_x509_certificate(root).subject.rfc4514_string() == "CN=Kept Root,O=OCCM demo"
    )
    assert [each["state"] for each in report["issued"]] == [State.VALID]
    assert report["states"] == {State.VALID: 1}
    assert report["knobs"]["polls"] == 3
    assert granted(ip).not_valid_after_utc - now < timedelta(minutes=10, seconds=5)
    assert granted(ip).public_bytes(Encoding.DER)


def test_process_stops_at_once_with_a_stalled_client(tmp_path: Path) -> None:
    process = DemoProcess(tmp_path / "ca", "--stall")
    client = socket.create_connection((process.host, process.port), timeout=10)
    client.sendall(
        b"POST / HTTP/1.0\r\nContent-Type: application/pkixcmp\r\nContent-Length: 1\r\n\r\nx"
    )
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.recv(1)

    begun = time.monotonic()
    code = process.stop()

    assert code == 0
    assert time.monotonic() - begun < 5
    client.close()
