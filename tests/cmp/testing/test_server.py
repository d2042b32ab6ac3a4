import http.client
import socket
import ssl
import threading
import time
from datetime import timedelta

import pytest

from cmp import codec
from cmp.errors import Malformed
from cmp.messages import PkiConf
from cmp.testing import DemoCA, Refusal, Server, When, serve, tls_context
from cmp.testing.keys import generate_key
from cmp.testing.pki import pem
from tests.cmp.testing.client import NOW, by_mac, confirmation, granted, ir
from tests.cmp.testing.wire import PKIXCMP, address, an_ir, post, raw

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
    assert (list(ca.asked), ca.count("turned away")) == ([], 1)


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
