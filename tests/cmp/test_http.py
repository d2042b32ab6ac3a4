"""What travels to a CA and back, on real sockets: every CA here is a script behind a port."""

import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cmp.connection import tls_context
from cmp.errors import BadHttp, LocalError, Malformed, NoAnswer, Unreachable
from cmp.http import MAX_ANSWER, HttpTransport, HttpVersion, TlsTrust
from tests.cmp import certs
from tests.cmp.scripted import (
    ANSWER,
    PKIXCMP,
    Peer,
    Script,
    ScriptedCA,
    answering,
    http,
    scripted_ca,
)

PLENTY = timedelta(seconds=10)
SHORT = timedelta(seconds=0.4)
NOW = datetime.now(UTC)  # TLS verifies on the system's clock
MESSAGE = b"0\x03\x02\x01\x07"

Start = Callable[..., ScriptedCA]
Speak = Callable[..., HttpTransport]
Serve = Callable[[certs.Holder], tuple[ScriptedCA, TlsTrust]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a CA that lives as long as the test."""
    with ExitStack() as stack:
        yield lambda *args, **kw: stack.enter_context(scripted_ca(*args, **kw))


@pytest.fixture
def speak() -> Iterator[Speak]:
    """Make a transport that is closed after the test."""
    with ExitStack() as stack:

        def make(
            url: str,
            *,
            tls: TlsTrust | None = None,
            timeout: timedelta = PLENTY,
            version: HttpVersion | None = None,
        ) -> HttpTransport:
            transport = HttpTransport(url, tls=tls, message_timeout=timeout, http_version=version)
            return stack.enter_context(transport)

        yield make


@pytest.mark.field_note(40, 41)
def test_first_request_is_http_1_0_with_exactly_the_headers_it_needs(
    start: Start, speak: Speak
) -> None:
    ca = start(answering(http()))
    transport = speak(ca.url())

    assert transport.post(MESSAGE) == ANSWER

    assert ca.asked[0].line == "POST /pkix/?a=b HTTP/1.0"
    assert ca.asked[0].headers == {
        "Host": f"127.0.0.1:{ca.port}",
        "User-Agent": "OCCM",
        "Content-Type": "application/pkixcmp",
        "Content-Length": "5",
        "Connection": "close",
    }
    assert ca.asked[0].body == MESSAGE
    assert transport.http_version == "1.0"


@pytest.mark.field_note(28)
def test_what_no_url_may_hold_is_quoted_and_what_is_quoted_stays(
    start: Start, speak: Speak
) -> None:
    ca = start(answering(http()))

    speak(f"http://127.0.0.1:{ca.port}/gw ü%2F/p;x?a=b c#fragment").post(MESSAGE)

    assert ca.asked[0].line == "POST /gw%20%C3%BC%2F/p;x?a=b%20c HTTP/1.0"


@pytest.mark.field_note(43)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_header_and_body_arrive_in_one_piece(
    start: Start, speak: Speak, version: HttpVersion
) -> None:
    ca = start(answering(*[http(version="1.1")] * 3, keep=True))
    transport = speak(ca.url(), version=version)

    for _ in range(3):
        transport.post(b"\x30" * 5000)

    assert [len(request.pieces) for request in ca.asked] == [1, 1, 1]


@pytest.mark.field_note(40)
def test_request_asks_for_nothing_that_old_servers_stumble_over(start: Start, speak: Speak) -> None:
    ca = start(answering(http(version="1.1"), keep=True))

    speak(ca.url(), version="1.1").post(MESSAGE)

    assert set(ca.asked[0].headers) == {"Host", "User-Agent", "Content-Type", "Content-Length"}


# HTTP versions, A3


@pytest.mark.field_note(40)
@pytest.mark.parametrize(
    "refusal",
    [
        http("505 HTTP Version Not Supported", b"", version="1.1", fields=b""),
        http("426 Upgrade Required", b"", version="1.1", fields=b"Upgrade: HTTP/1.1\r\n"),
        http("400 Bad Request", b"<html>", version="1.1", fields=b"Content-Type: text/html\r\n"),
    ],
)
def test_the_same_message_goes_again_as_1_1_to_a_ca_that_refuses_1_0(
    start: Start, speak: Speak, refusal: bytes
) -> None:
    def script(peer: Peer) -> None:
        while request := peer.listen():
            is_1_1 = request.line.endswith("HTTP/1.1")
            peer.say(http(version="1.1") if is_1_1 else refusal)
            if not is_1_1:
                return

    ca = start(script)
    transport = speak(ca.url())

    answers = [transport.post(MESSAGE), transport.post(MESSAGE)]

    assert answers == [ANSWER, ANSWER]
    assert [request.line[-3:] for request in ca.asked] == ["1.0", "1.1", "1.1"]
    assert [request.body for request in ca.asked] == [MESSAGE] * 3
    assert [request.connection for request in ca.asked] == [0, 1, 1]
    assert transport.http_version == "1.1"


def test_a_bad_request_answered_in_http_1_0_is_no_refusal_of_1_0(
    start: Start, speak: Speak
) -> None:
    ca = start(answering(http("400 Bad Request", b"")))
    transport = speak(ca.url())

    with pytest.raises(BadHttp) as caught:
        transport.post(MESSAGE)

    assert caught.value.status == 400
    assert len(ca.asked) == 1
    assert transport.http_version is None


def test_a_ca_that_no_longer_takes_1_1_gets_the_message_as_1_0(start: Start, speak: Speak) -> None:
    ca = start(answering(http("505 No", b"")))
    transport = speak(ca.url(), version="1.1")

    with pytest.raises(BadHttp):
        transport.post(MESSAGE)

    assert [request.line[-3:] for request in ca.asked] == ["1.1", "1.0"]


@pytest.mark.parametrize(("spoken", "next_time"), [("1.0", "1.1"), ("1.1", "1.0")])
def test_after_a_ca_hung_up_the_next_transaction_begins_with_the_other_version(
    start: Start, speak: Speak, spoken: HttpVersion, next_time: HttpVersion
) -> None:
    ca = start(lambda peer: peer.listen() and None)
    transport = speak(ca.url(), version=spoken)

    with pytest.raises(NoAnswer, match="closed the connection without an answer"):
        transport.post(MESSAGE)

    assert len(ca.asked) == 1
    assert transport.http_version == next_time


def test_a_broken_answer_says_nothing_about_the_version(start: Start, speak: Speak) -> None:
    ca = start(answering(b"HTTP/1.0 200 OK\r\nContent-Type: appl"))
    transport = speak(ca.url(), version="1.0")

    with pytest.raises((NoAnswer, BadHttp)):
        transport.post(MESSAGE)

    assert transport.http_version == "1.0"


def test_with_1_1_the_connection_is_kept_for_the_whole_transaction(
    start: Start, speak: Speak
) -> None:
    ca = start(answering(*[http(version="1.1")] * 3, keep=True))

    with speak(ca.url(), version="1.1") as transport:
        for _ in range(3):
            transport.post(MESSAGE)

    assert ca.connections == 1


def test_with_1_0_each_message_has_its_own_connection_whatever_the_answer_claims(
    start: Start, speak: Speak
) -> None:
    ca = start(answering(http(version="1.1"), keep=True))
    transport = speak(ca.url(), version="1.0")

    for _ in range(3):
        transport.post(MESSAGE)

    assert [request.connection for request in ca.asked] == [0, 1, 2]


@pytest.mark.field_note(40)
def test_a_kept_connection_that_the_ca_has_closed_is_opened_again(
    start: Start, speak: Speak
) -> None:
    closed = Event()

    def script(peer: Peer) -> None:
        peer.listen()
        peer.say(http(version="1.1"))
        peer.socket.close()
        closed.set()

    ca = start(script)
    transport = speak(ca.url(), version="1.1")

    transport.post(MESSAGE)
    closed.wait(5)
    time.sleep(0.05)
    assert transport.post(b"0\x03\x02\x01\x08") == ANSWER

    assert [request.body for request in ca.asked] == [MESSAGE, b"0\x03\x02\x01\x08"]


def test_a_kept_connection_that_breaks_while_we_write_is_opened_again(
    start: Start, speak: Speak
) -> None:
    over = Event()

    def script(peer: Peer) -> None:
        peer.listen()
        peer.say(http(version="1.1"))
        if peer.number == 0:
            over.wait(5)  # it neither reads on nor closes

    ca = start(script)
    transport = speak(ca.url(), version="1.1")
    transport.post(MESSAGE)
    assert transport._adapter._sock is not None
    transport._adapter._sock.shutdown(socket.SHUT_WR)

    assert transport.post(MESSAGE) == ANSWER

    over.set()
    assert [request.connection for request in ca.asked] == [0, 1]


def test_a_message_taken_over_a_kept_connection_and_not_answered_is_not_sent_again(
    start: Start, speak: Speak
) -> None:
    def script(peer: Peer) -> None:
        peer.listen()
        peer.say(http(version="1.1"))
        peer.listen()

    ca = start(script)
    transport = speak(ca.url(), version="1.1")

    transport.post(MESSAGE)
    with pytest.raises(NoAnswer):
        transport.post(MESSAGE)

    assert len(ca.asked) == 2
    assert transport.http_version == "1.1"  # it had worked on this very connection


def test_a_ca_may_close_after_each_answer_in_spite_of_1_1(start: Start, speak: Speak) -> None:
    ca = start(answering(http(version="1.1", fields=PKIXCMP + b"Connection: close\r\n")))
    transport = speak(ca.url(), version="1.1")

    assert [transport.post(MESSAGE), transport.post(MESSAGE)] == [ANSWER, ANSWER]

    assert ca.connections == 2


# What is an answer


@pytest.mark.field_note(42)
@pytest.mark.parametrize("status", ["400 Bad Request", "500 Oops", "503 Busy"])
def test_a_pki_message_is_an_answer_whatever_the_status(
    start: Start, speak: Speak, status: str
) -> None:
    ca = start(answering(http(status, version="1.1")))

    assert speak(ca.url()).post(MESSAGE) == ANSWER


@pytest.mark.field_note(41)
@pytest.mark.parametrize(
    "media_type", [b"application/pkixcmp", b"Application/PKIXCMP ; charset=utf-8"]
)
def test_content_type_is_compared_without_case_and_parameters(
    start: Start, speak: Speak, media_type: bytes
) -> None:
    ca = start(answering(http(fields=b"content-type: " + media_type + b"\r\n")))

    assert speak(ca.url()).post(MESSAGE) == ANSWER


@pytest.mark.parametrize("fields", [b"", b"Content-Type: text/html\r\n"])
def test_another_content_type_is_no_answer_even_with_status_200(
    start: Start, speak: Speak, fields: bytes
) -> None:
    ca = start(answering(http(fields=fields)))

    with pytest.raises(BadHttp) as caught:
        speak(ca.url()).post(MESSAGE)

    assert caught.value.status == 200


def test_an_empty_pki_message_is_no_answer(start: Start, speak: Speak) -> None:
    ca = start(answering(http(content=b"")))

    with pytest.raises(BadHttp, match="HTTP 200 without content"):
        speak(ca.url()).post(MESSAGE)


@pytest.mark.field_note(40)
def test_chunked_answers_are_put_together(start: Start, speak: Speak) -> None:
    chunks = b"2\r\n" + ANSWER[:2] + b"\r\n3\r\n" + ANSWER[2:] + b"\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + PKIXCMP + b"\r\n"
    ca = start(answering(head + chunks, head + chunks, keep=True))
    transport = speak(ca.url(), version="1.1")

    assert [transport.post(MESSAGE), transport.post(MESSAGE)] == [ANSWER, ANSWER]

    assert ca.connections == 1


def test_an_answer_may_end_with_the_connection(start: Start, speak: Speak) -> None:
    ca = start(answering(b"HTTP/1.0 200 OK\r\n" + PKIXCMP + b"\r\n" + ANSWER))

    assert speak(ca.url()).post(MESSAGE) == ANSWER


@pytest.mark.field_note(42)
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 50\r\n" + PKIXCMP + b"\r\n" + ANSWER,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + PKIXCMP + b"\r\n5\r\n" + ANSWER,
    ],
)
def test_a_truncated_answer_is_none(start: Start, speak: Speak, answer: bytes) -> None:
    ca = start(answering(answer))

    with pytest.raises(NoAnswer, match="in the middle of its answer"):
        speak(ca.url()).post(MESSAGE)


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02F"])
def test_an_answer_that_is_not_http_is_none(start: Start, speak: Speak, garbage: bytes) -> None:
    ca = start(answering(garbage))

    with pytest.raises(NoAnswer, match="not HTTP"):
        speak(ca.url()).post(MESSAGE)


@pytest.mark.field_note(42)
def test_an_answer_of_a_mebibyte_is_read_and_one_byte_more_is_refused(
    start: Start, speak: Speak
) -> None:
    largest = b"0" * MAX_ANSWER
    ca = start(answering(http(content=largest)))
    assert speak(ca.url()).post(MESSAGE) == largest

    ca = start(answering(http(content=largest + b"0")))
    with pytest.raises(Malformed, match="more than 1048576 bytes"):
        speak(ca.url()).post(MESSAGE)


def test_an_endless_answer_is_refused_while_it_comes(start: Start, speak: Speak) -> None:
    def script(peer: Peer) -> None:
        peer.listen()
        peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + PKIXCMP + b"\r\n")
        while True:
            peer.say(b"10000\r\n" + b"0" * 65536 + b"\r\n")

    ca = start(script)

    with pytest.raises(Malformed):
        speak(ca.url()).post(MESSAGE)


def test_a_chunk_size_below_zero_does_not_lift_the_limit(start: Start, speak: Speak) -> None:
    chunks = 64
    said: list[int] = []

    def script(peer: Peer) -> None:
        peer.listen()
        peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + PKIXCMP + b"\r\n-1\r\n")
        while len(said) < chunks:
            peer.say(b"0" * MAX_ANSWER)
            said.append(MAX_ANSWER)

    ca = start(script)

    with pytest.raises(NoAnswer):
        speak(ca.url()).post(MESSAGE)

    assert len(said) < chunks / 2  # sockets hold some, too


@pytest.mark.field_note(41)
def test_html_is_reported_with_status_and_the_beginning_of_its_text_in_one_line(
    start: Start, speak: Speak
) -> None:
    html = b"<html>\r\n\x1b[31m<h1>Too many\trequests</h1>" + b"x" * 500
    ca = start(answering(http("503 Busy", html, fields=b"Content-Type: text/html\r\n")))

    with pytest.raises(BadHttp) as caught:
        speak(ca.url()).post(MESSAGE)

    report = str(caught.value)
    assert report.startswith(
        f"127.0.0.1:{ca.port} answered HTTP 503 (text/html): "
        r"<html> \x1b[31m<h1>Too many requests</h1>xxx"
    )
    assert len(report) < 200
    assert report.isprintable()
    assert caught.value.retry_after is None


@pytest.mark.field_note(41)
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"Retry-After: 120\r\n", timedelta(minutes=2)),
        (
            b"Date: Mon, 01 Jun 2020 12:00:00 GMT\r\n"
            b"Retry-After: Mon, 01 Jun 2020 12:05:00 GMT\r\n",
            timedelta(minutes=5),
        ),
        (b"Retry-After: Mon, 01 Jun 2020 12:05:00 GMT\r\n", timedelta(0)),
        (b"Retry-After: soon\r\n", None),
        (b"Retry-After: -5\r\n", None),
        (b"Retry-After: 99999999999999999999\r\n", None),
    ],
)
def test_retry_after_is_understood_in_both_forms(
    start: Start, speak: Speak, fields: bytes, expected: timedelta | None
) -> None:
    ca = start(answering(http("503 Busy", b"busy", fields=fields)))

    with pytest.raises(BadHttp) as caught:
        speak(ca.url()).post(MESSAGE)

    assert caught.value.retry_after == expected


@pytest.mark.field_note(42)
def test_a_redirect_is_reported_and_not_followed(start: Start, speak: Speak) -> None:
    elsewhere = start(answering(http()))
    location = b"Location: " + elsewhere.url().encode() + b"\r\n"
    ca = start(answering(http("302 Found", b"", fields=location)))

    with pytest.raises(BadHttp, match=f"302 and points to {elsewhere.url()[:20]}"):
        speak(ca.url()).post(MESSAGE)

    assert elsewhere.connections == 0


def test_cookies_are_not_kept(start: Start, speak: Speak) -> None:
    ca = start(
        answering(*[http(version="1.1", fields=PKIXCMP + b"Set-Cookie: a=b\r\n")] * 2, keep=True)
    )
    transport = speak(ca.url(), version="1.1")

    transport.post(MESSAGE)
    transport.post(MESSAGE)

    assert "Cookie" not in ca.asked[1].headers


def test_proxies_from_the_environment_are_ignored(
    start: Start, speak: Speak, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    ca = start(answering(http()))

    assert speak(ca.url()).post(MESSAGE) == ANSWER


# The deadline


def _drip(beginning: bytes, drop: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.listen()
        peer.say(beginning)
        while True:
            peer.say(drop)
            time.sleep(0.05)

    return script


@pytest.fixture(params=["http", "https"])
def hasten(
    request: pytest.FixtureRequest, start: Start, speak: Speak, tls_server: ssl.SSLContext
) -> Callable[[Script], HttpTransport]:
    """Make an impatient transport to a CA of that script, with TLS and without."""
    root: certs.Holder = request.getfixturevalue("root")
    secured = request.param == "https"

    def make(script: Script) -> HttpTransport:
        ca = start(script, tls=tls_server if secured else None)
        trust = TlsTrust((root.certificate,)) if secured else None
        return speak(ca.url(request.param), tls=trust, timeout=SHORT, version="1.0")

    return make


def _fall_silent(peer: Peer) -> None:
    peer.listen()
    time.sleep(5)


@pytest.mark.parametrize(
    "script",
    [
        _drip(b"", b"H"),
        _drip(b"HTTP/1.0 200 OK\r\nX: ", b"x"),
        _drip(b"HTTP/1.0 200 OK\r\nContent-Length: 9999\r\n" + PKIXCMP + b"\r\n", b"0"),
        _drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        _fall_silent,
    ],
    ids=["status line", "header", "body", "continue", "silence"],
)
def test_an_answer_that_takes_longer_than_the_message_timeout_is_none(
    hasten: Callable[[Script], HttpTransport], script: Script
) -> None:
    transport = hasten(script)

    began = time.monotonic()
    with pytest.raises(NoAnswer, match="within the message timeout"):
        transport.post(MESSAGE)

    assert 0.4 <= time.monotonic() - began < 3
    assert transport.http_version == "1.0"


def test_a_connection_that_is_never_taken_ends_with_the_message_timeout(speak: Speak) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener,
        ExitStack() as full,
    ):
        for _ in range(4):
            filler = full.enter_context(closing(socket.socket()))
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        transport = speak(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=SHORT)

        began = time.monotonic()
        with pytest.raises(Unreachable, match="did not take the connection in time"):
            transport.post(MESSAGE)

    assert 0.4 <= time.monotonic() - began < 3


def test_a_tls_handshake_that_never_ends_ends_with_the_message_timeout(
    start: Start, speak: Speak, root: certs.Holder
) -> None:
    ca = start(lambda peer: time.sleep(5))
    trust = TlsTrust((root.certificate,))

    began = time.monotonic()
    with pytest.raises(Unreachable, match="did not take the connection in time"):
        speak(ca.url("https"), tls=trust, timeout=SHORT).post(MESSAGE)

    assert 0.4 <= time.monotonic() - began < 3


# Not sent


def test_a_refused_connection_names_host_and_reason(speak: Speak) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(Unreachable, match=f"^127.0.0.1:{port}: connection refused$"):
        speak(f"http://127.0.0.1:{port}/").post(MESSAGE)


def test_a_name_that_does_not_resolve_is_named(speak: Speak) -> None:
    with pytest.raises(Unreachable, match=r"^ca\.invalid:80: its name does not resolve"):
        speak("http://ca.invalid/", timeout=timedelta(seconds=3)).post(MESSAGE)


def test_all_addresses_of_a_name_are_tried(start: Start, speak: Speak) -> None:
    ca = start(answering(http()))  # listens on 127.0.0.1 only, not on ::1

    assert speak(ca.url(host="localhost")).post(MESSAGE) == ANSWER


@pytest.mark.parametrize(
    "url",
    [
        "ftp://ca.example/",
        "http://",
        "http:///pkix",
        "ca.example/pkix",
        "http://user:secret@ca.example/",
        "http://ca.example:99999/",
        "http://[::1/",
        "http://ca..example/",
        "https://ca.example/",  # without a trust store
    ],
)
def test_a_url_that_names_no_ca_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(LocalError):
        HttpTransport(url, tls=None, message_timeout=PLENTY)


def test_a_tls_trust_store_without_https_is_refused(root: certs.Holder) -> None:
    with pytest.raises(LocalError):
        HttpTransport(
            "http://ca.example/", tls=TlsTrust((root.certificate,)), message_timeout=PLENTY
        )


# TLS


@pytest.fixture(scope="module")
def root() -> certs.Holder:
    return certs.a_root(starts=NOW - certs.YEAR, ends=NOW + certs.YEAR)


@pytest.fixture
def tls_server(root: certs.Holder, tmp_path: Path) -> ssl.SSLContext:
    return serving(tmp_path, a_server(root, "127.0.0.1", "localhost"))


@pytest.fixture
def serve(start: Start, root: certs.Holder, tmp_path: Path) -> Serve:
    """Start a TLS server with that certificate; return it and a trust store of the root."""

    def make(server: certs.Holder) -> tuple[ScriptedCA, TlsTrust]:
        ca = start(answering(http()), tls=serving(tmp_path, server))
        return ca, TlsTrust((root.certificate,))

    return make


def a_server(issuer: certs.Holder, *names: str, **fields: object) -> certs.Holder:
    lifetime = {"starts": NOW - certs.DAY, "ends": NOW + certs.DAY}
    return certs.a_tls_server(issuer, *names, **lifetime | fields)


def serving(folder: Path, server: certs.Holder) -> ssl.SSLContext:
    pem = server.certificate.public_bytes(Encoding.PEM)
    key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(key + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


@pytest.mark.field_note(44)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls_1_3_is_spoken_and_the_host_name_sent(
    start: Start, speak: Speak, tls_server: ssl.SSLContext, root: certs.Holder, host: str
) -> None:
    named: list[str | None] = []
    spoken: list[str | None] = []
    tls_server.sni_callback = lambda _, name, __: named.append(name)

    def script(peer: Peer) -> None:
        assert isinstance(peer.socket, ssl.SSLSocket)
        spoken.append(peer.socket.version())
        answering(http())(peer)

    ca = start(script, tls=tls_server)
    transport = speak(ca.url("https", host), tls=TlsTrust((root.certificate,)))

    assert transport.post(MESSAGE) == ANSWER

    assert spoken == ["TLSv1.3"]
    assert named == ["localhost" if host == "localhost" else None]
    assert len(ca.asked[0].pieces) == 1


def test_with_1_1_the_connection_is_kept_over_tls_as_well(
    start: Start, speak: Speak, tls_server: ssl.SSLContext, root: certs.Holder
) -> None:
    ca = start(answering(http(version="1.1"), keep=True), tls=tls_server)
    transport = speak(ca.url("https"), tls=TlsTrust((root.certificate,)), version="1.1")

    for _ in range(3):
        assert transport.post(MESSAGE) == ANSWER

    assert ca.connections == 1


def test_a_ca_without_tls_1_3_is_spoken_to_in_1_2(
    start: Start, speak: Speak, tls_server: ssl.SSLContext, root: certs.Holder
) -> None:
    tls_server.maximum_version = ssl.TLSVersion.TLSv1_2
    ca = start(answering(*[http(version="1.1")] * 2, keep=True), tls=tls_server)
    transport = speak(ca.url("https"), tls=TlsTrust((root.certificate,)), version="1.1")

    assert [transport.post(MESSAGE), transport.post(MESSAGE)] == [ANSWER, ANSWER]
    assert ca.connections == 1

    with pytest.raises(Unreachable, match="TLS fails"):
        speak(ca.url("https"), tls=TlsTrust((root.certificate,), minimum="1.3")).post(MESSAGE)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_below_1_2_is_refused(
    start: Start, speak: Speak, tls_server: ssl.SSLContext, root: certs.Holder
) -> None:
    tls_server.set_ciphers("DEFAULT@SECLEVEL=0")
    tls_server.minimum_version = tls_server.maximum_version = ssl.TLSVersion.TLSv1_1
    ca = start(answering(http()), tls=tls_server)

    with pytest.raises(Unreachable, match="TLS fails: tlsv1 alert protocol version"):
        speak(ca.url("https"), tls=TlsTrust((root.certificate,))).post(MESSAGE)

    assert ca.asked == []


@pytest.fixture
def impostors(root: certs.Holder) -> dict[str, certs.Holder]:
    other_root = certs.a_root(starts=NOW - certs.YEAR, ends=NOW + certs.YEAR)
    alone = (certs.hosts("127.0.0.1"),)
    return {
        "expired": a_server(root, "127.0.0.1", starts=NOW - 2 * certs.DAY, ends=NOW - certs.DAY),
        "another host": a_server(root, "ca.example"),
        "another CA": a_server(other_root, "127.0.0.1"),
        "self-signed": certs.a_certificate("self", extensions=alone, ends=NOW + certs.DAY),
    }


@pytest.mark.field_note(44)
@pytest.mark.parametrize(
    ("impostor", "reason"),
    [
        ("expired", "certificate has expired"),
        ("another host", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("another CA", "unable to get local issuer certificate"),
        ("self-signed", "self-signed certificate"),
    ],
)
def test_a_server_that_cannot_prove_who_it_is_gets_nothing(
    serve: Serve, speak: Speak, impostors: dict[str, certs.Holder], impostor: str, reason: str
) -> None:
    ca, trust = serve(impostors[impostor])

    with pytest.raises(Unreachable) as caught:
        speak(ca.url("https"), tls=trust).post(MESSAGE)

    assert f"127.0.0.1:{ca.port}: its TLS certificate is refused: {reason}" in str(caught.value)
    assert ca.asked == []


def test_an_intermediate_may_be_the_anchor_for_tls(
    serve: Serve, speak: Speak, root: certs.Holder
) -> None:
    sub = certs.a_sub_ca("Sub", root, starts=NOW - certs.DAY, ends=NOW + certs.DAY)
    ca, _ = serve(a_server(sub, "127.0.0.1"))

    transport = speak(ca.url("https"), tls=TlsTrust((sub.certificate,)))

    assert transport.post(MESSAGE) == ANSWER


def test_strict_check_refuses_what_rfc_5280_does_not_allow(
    start: Start, speak: Speak, root: certs.Holder, tmp_path: Path
) -> None:
    ca = start(answering(http()), tls=serving(tmp_path, a_server(root, "127.0.0.1", key_ids=False)))

    lenient = speak(ca.url("https"), tls=TlsTrust((root.certificate,)))
    strict = speak(ca.url("https"), tls=TlsTrust((root.certificate,), strict=True))

    assert lenient.post(MESSAGE) == ANSWER
    with pytest.raises(Unreachable, match="Missing Authority Key Identifier"):
        strict.post(MESSAGE)


def test_unknown_critical_extensions_are_passed_over_only_on_request(
    serve: Serve, speak: Speak, root: certs.Holder
) -> None:
    extensions = (certs.hosts("127.0.0.1"), certs.unknown_extension())
    ca, trust = serve(a_server(root, extensions=extensions))

    default = speak(ca.url("https"), tls=trust)
    ignoring = speak(ca.url("https"), tls=replace(trust, ignore_critical=True))

    with pytest.raises(Unreachable, match="unhandled critical extension"):
        default.post(MESSAGE)
    assert ignoring.post(MESSAGE) == ANSWER


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"ciphers": "ECDHE+AESGCM"}, {"ciphers": "ECDHE+CHACHA20"}),
        ({"group": "secp384r1"}, {"group": "prime256v1"}),
        ({"group": "x25519"}, {"group": "secp384r1"}),
    ],
)
def test_tls_is_spoken_only_with_the_algorithms_that_are_allowed(  # noqa: PLR0913, PLR0917
    start: Start,
    speak: Speak,
    tls_server: ssl.SSLContext,
    root: certs.Holder,
    ours: dict[str, Any],
    theirs: dict[str, str],
) -> None:
    tls_server.maximum_version = ssl.TLSVersion.TLSv1_2
    if "ciphers" in theirs:
        tls_server.set_ciphers(theirs["ciphers"])
    else:
        tls_server.set_ecdh_curve(theirs["group"])
    ca = start(answering(*[http(version="1.1")] * 2), tls=tls_server)
    anything = TlsTrust((root.certificate,))

    assert speak(ca.url("https"), tls=anything).post(MESSAGE) == ANSWER
    with pytest.raises(Unreachable, match="TLS fails"):
        speak(ca.url("https"), tls=replace(anything, **ours)).post(MESSAGE)


@pytest.mark.parametrize("unknown", [{"ciphers": "sesame"}, {"group": "P-256"}])
def test_algorithms_that_openssl_does_not_know_are_named(
    root: certs.Holder, unknown: dict[str, Any]
) -> None:
    with pytest.raises(LocalError, match=r"'(sesame|P-256)'.* are none that OpenSSL knows"):
        tls_context(TlsTrust((root.certificate,), **unknown))


def test_a_ca_that_speaks_plain_http_on_the_tls_port_is_reported(
    start: Start, speak: Speak, root: certs.Holder
) -> None:
    ca = start(lambda peer: peer.say(http("400 Bad Request")))

    with pytest.raises(Unreachable, match=r"TLS fails: (wrong version number|record layer)"):
        speak(ca.url("https"), tls=TlsTrust((root.certificate,))).post(MESSAGE)


def test_equal_trust_stores_share_a_context_and_other_settings_have_their_own(
    root: certs.Holder,
) -> None:
    store = TlsTrust((root.certificate,))

    assert tls_context(store) is tls_context(TlsTrust((root.certificate,)))
    assert tls_context(store) is not tls_context(TlsTrust((root.certificate,), strict=True))


def test_an_empty_tls_trust_store_is_refused() -> None:
    with pytest.raises(LocalError, match="TLS trust store"):
        HttpTransport("https://ca.example/", tls=TlsTrust(()), message_timeout=PLENTY)


def test_messages_are_logged_in_base64_where_debug_is_wanted(
    start: Start, speak: Speak, caplog: pytest.LogCaptureFixture
) -> None:
    ca = start(answering(http(), http()))

    with caplog.at_level("INFO", "cmp.http"):
        speak(ca.url()).post(MESSAGE)
    assert not caplog.records

    with caplog.at_level("DEBUG", "cmp.http"):
        speak(ca.url()).post(MESSAGE)
    asked, answered = (record.getMessage() for record in caplog.records)
    assert asked == f"127.0.0.1:{ca.port} is asked: {b64encode(MESSAGE).decode()}"
    assert answered == f"127.0.0.1:{ca.port} answered: {b64encode(ANSWER).decode()}"
