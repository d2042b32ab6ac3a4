"""`python -m cmp.testing`: a demo CA as a process of its own."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cmp import codec
from cmp.protection import MacCredentials, verify_mac
from cmp.testing import DemoCA, Pki, State
from cmp.testing.keys import generate_key
from tests.cmp.testing.client import Client, confirmation, granted, ir
from tests.cmp.testing.wire import PKIXCMP


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
