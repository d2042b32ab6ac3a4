"""`./occm up` as its user has it: one command, and certificates of two CAs lie in their secrets."""

import os
import re
import stat
import subprocess
import sys
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

from tests import settings
from tests.parts import need
from tests.peers import openssl
from tests.peers.process import Process, free_port, says

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(300)]


class Up:
    """It, on a data folder and ports of its own; up while the block lasts."""

    def __init__(self, data: Path, *options: str) -> None:
        port, flower = free_port(), free_port()
        self.data = data
        self.url = f"http://127.0.0.1:{port}"
        self.flower = f"http://127.0.0.1:{flower}"
        ours = {"DJANGO_SETTINGS_MODULE", *settings.defaults}
        outside = {name: value for name, value in os.environ.items() if name not in ours}
        ports = ("--port", str(port), "--flower-port", str(flower))
        self.command = [sys.executable, str(ROOT / "manage.py"), "up", *ports, *options]
        self.environ = outside | {"OCCM_EMBEDDED": "1", "OCCM_DATA": str(data)}
        self.process = Process(
            command=self.command,
            log=data.with_suffix(f".{port}.log"),
            ready=says("Ctrl-C"),  # stands in the last line of what it shows once all is there
            environ=self.environ,
            grace=60,
        )

    def __enter__(self) -> "Up":
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    @property
    def said(self) -> str:
        return self.process.log.read_text()

    @property
    def password(self) -> str | None:
        shown = re.search(r"admin, password (\S+) \(shown this once", self.said)
        return shown and shown[1]


class Operator:
    """Who has logged in to the API."""

    def __init__(self, url: str, password: str) -> None:
        self.api = f"{url}/api/v1"
        self.session = requests.Session()
        answer = self.session.post(
            f"{self.api}/login/", json={"username": "admin", "password": password}, timeout=10
        )
        assert answer.status_code == 200, answer.text
        self.session.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def get(self, path: str) -> Any:
        answer = self.session.get(f"{self.api}/{path}", timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def certificates(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("certificates/?page_size=1000")["results"]
        return found

    def certificates_once_ready(self, *, within: float) -> list[dict[str, Any]]:
        deadline = time.monotonic() + within
        while True:
            found = self.certificates()
            waiting = {
                it["name"]: it["status"]
                for it in found
                if it["status"]["readiness"] != "READY" or it["status"]["under_way"]
            }
            if found and not waiting:
                return found
            assert time.monotonic() < deadline, waiting
            time.sleep(0.5)


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
    return up.data / "secrets" / namespace / name / key


def test_pages_and_flower_are_there(up: Up) -> None:
    login = requests.get(f"{up.url}/admin/", timeout=10)
    style = re.search(r'href="(/static/[^"]+\.css[^"]*)"', login.text)
    tasks = requests.get(f"{up.flower}/tasks", timeout=10)

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


def slack() -> float:
    """How much slower than a machine of one's own: the other tests run beside this one."""
    return 3 if "PYTEST_XDIST_WORKER" in os.environ else 1
