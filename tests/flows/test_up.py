"""`./occm up` as its user has it: one command, and certificates of two CAs lie in their secrets."""

import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_der_private_key,
    load_pem_private_key,
)

from tests.flows.running import Operator, Up, slack
from tests.parts import need
from tests.peers import openssl

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("up") / "data") as up:
        yield up


@pytest.fixture(scope="module")
def operator(up: Up) -> Operator:
    assert up.password is not None, up.said
    return Operator(up.url, up.password)


@pytest.fixture(scope="module")
def certificates(operator: Operator) -> list[dict[str, Any]]:
    return operator.certificates_once_ready(within=60)


def test_demo_certificates_get_ready(certificates: list[dict[str, Any]]) -> None:
    kinds = [it["cert_type"] for it in certificates]

    assert kinds.count("OCCM") == 2
    assert kinds.count("OTHER") >= 4
    assert len({it["issuer"] for it in certificates}) == 2


def test_openssl_verifies_every_demo_certificate_against_the_demo_root(
    up: Up, certificates: list[dict[str, Any]], tmp_path: Path
) -> None:
    need(openssl.program(), openssl.REMEDY)
    roots = tmp_path / "roots.pem"
    roots.write_bytes(b"".join(path.read_bytes() for path in up.data.glob("demo-ca/*/ca-00.pem")))

    for it in certificates:
        chain = tmp_path / "chain.pem"
        chain.write_bytes(b"".join(intermediates(up)))
        leaf = tmp_path / "leaf.pem"
        leaf.write_bytes(certificate(up, it).public_bytes(Encoding.PEM))
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", roots, "-untrusted", chain, leaf],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_key_and_certificate_match_and_are_private(
    up: Up, certificates: list[dict[str, Any]]
) -> None:
    for it in certificates:
        key = private_key(up, it)

        assert certificate(up, it).public_key() == key.public_key()
        for file in (secret(up, it, "certificate"), secret(up, it, "private_key")):
            assert stat.filemode(file.stat().st_mode) == "-rw-------"
            assert stat.filemode(file.resolve().parent.stat().st_mode) == "drwx------"


def intermediates(up: Up) -> list[bytes]:
    return [path.read_bytes() for path in up.data.glob("demo-ca/*/ca-*.pem")]


def certificate(up: Up, it: dict[str, Any]) -> x509.Certificate:
    found = secret(up, it, "certificate").read_bytes()
    if it["key_encoding"] == "DER":
        return x509.load_der_x509_certificate(found)
    return x509.load_pem_x509_certificate(found)


def private_key(up: Up, it: dict[str, Any]) -> PrivateKeyTypes:
    found = secret(up, it, "private_key").read_bytes()
    if it["key_encoding"] == "DER":
        return load_der_private_key(found, password=None)
    return load_pem_private_key(found, password=None)


def secret(up: Up, it: dict[str, Any], output: str) -> Path:
    namespace, name, key = (
        it[f"{output}_output_{part}"] for part in ("namespace", "secret", "key")
    )
    return up.data / "secrets" / str(namespace) / str(name) / str(key)


def once_listening(url: str, *, within: float) -> requests.Response:
    """Return the answer of what `up` starts, but does not wait for."""
    deadline = time.monotonic() + within
    while True:
        try:
            return requests.get(url, timeout=10)
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_pages_and_flower_are_there(up: Up) -> None:
    login = requests.get(f"{up.url}/admin/", timeout=10)
    style = re.search(r'href="(/static/[^"]+\.css[^"]*)"', login.text)
    tasks = once_listening(f"{up.flower}/tasks", within=60)

    assert login.status_code == 200
    assert style is not None
    assert requests.get(up.url + style[1], timeout=10).status_code == 200
    assert tasks.status_code == 200


def test_password_is_shown_to_the_operator_and_kept_nowhere(up: Up) -> None:
    assert up.password is not None
    password = up.password.encode()

    kept = [path for path in up.data.rglob("*") if path.is_file()]

    assert kept
    assert [path for path in kept if password in path.read_bytes()] == []


def test_second_up_on_the_same_data_is_refused(up: Up) -> None:
    done = subprocess.run(
        up.command, env=up.environ, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 1
    assert f"OCCM runs on {up.data} already, as process " in done.stderr


def test_state_survives_a_crash_and_the_next_start_takes_ten_seconds(tmp_path: Path) -> None:
    with Up(tmp_path / "data") as first:
        assert first.password is not None
        before = Operator(first.url, first.password).certificates_once_ready(within=60)
        first.process.kill()

    began = time.monotonic()
    with Up(tmp_path / "data") as second:
        assert time.monotonic() - began < 10 * slack()
        assert second.password is None
        after = Operator(second.url, first.password).certificates_once_ready(within=30)

    assert [it["status"]["fingerprint"] for it in after] == [
        it["status"]["fingerprint"] for it in before
    ]
    assert "all ended" in second.said
