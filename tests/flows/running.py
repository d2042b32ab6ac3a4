"""OCCM running as its users have it, in processes of its own, and an operator at its API."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests

from tests import settings
from tests.peers.process import Process, free_port, says

ROOT = Path(__file__).parents[2]


class Up:
    """It, on a data folder and ports of its own; up while the block lasts.

    `servers` names, in OCCM's settings, what it runs on in place of the embedded defaults.
    """

    def __init__(
        self, data: Path, *options: str, servers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        port, flower, metrics = free_port(), free_port(), free_port()
        self.data = data
        self.url = f"http://127.0.0.1:{port}"
        self.flower = f"http://127.0.0.1:{flower}"
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        ours = {"DJANGO_SETTINGS_MODULE", *settings.defaults}
        outside = {name: value for name, value in os.environ.items() if name not in ours}
        ports = ("--port", f"{port}", "--flower-port", f"{flower}", "--metrics-port", f"{metrics}")
        self.command = [sys.executable, str(ROOT / "manage.py"), "up", *ports, *options]
        self.environ = outside | {"OCCM_EMBEDDED": "1", "OCCM_DATA": str(data)} | dict(servers)
        self.process = Process(
            command=self.command,
            log=data.with_suffix(f".{port}.log"),
            ready=says("Ctrl-C"),  # stands in the last line of what it shows once all is there
            environ=self.environ,
            grace=60,
        )

    def __enter__(self) -> "Up":
        for number in (1, 2):  # of their own, for there may be several of us at a time
            port = self.data / "demo-ca" / str(number) / "port"
            port.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            if not port.exists():
                port.write_text(f"{free_port()}")
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    @property
    def said(self) -> str:
        return self.process.log.read_text()

    def pid_of(self, sign: str) -> int | None:
        """Return the process of ours with these letters in its command, if there is one."""
        assert self.process.popen is not None
        ours = ("ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.process.popen.pid))
        listed = subprocess.run(ours, capture_output=True, text=True, check=False).stdout
        return next((int(line.split()[0]) for line in listed.splitlines() if sign in line), None)

    def control(self, ca: int, **knobs: Any) -> Any:
        """Turn knobs of a demo CA (1 or 2), and return its report."""
        ready = re.search(rf"demo-ca-{ca} \| READY url=(http://[^/]+)", self.said)
        assert ready, self.said
        answer = requests.post(f"{ready[1]}/control", json=knobs, timeout=10)
        assert answer.ok, answer.text
        return requests.get(f"{ready[1]}/control", timeout=10).json()

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

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self.session.post(f"{self.api}/{path}", json=body or {}, timeout=30)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

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


def slack() -> float:
    """How much slower than a machine of one's own: the other tests run beside this one."""
    return 3 if "PYTEST_XDIST_WORKER" in os.environ else 1


def wanted(name: str, issuer: str) -> dict[str, Any]:
    """Return what an operator fills in for a certificate whose secret has its name."""
    return {
        "name": name,
        "cert_type": "OTHER",
        "network_function": "AMF",
        "purpose": "SBI",
        "issuer": issuer,
        "common_name": f"{name}.5gc.example",
        "private_key_output_namespace": "a1",
        "private_key_output_secret": name,
        "private_key_output_key": "tls.key",
        "certificate_output_namespace": "a1",
        "certificate_output_secret": name,
        "certificate_output_key": "tls.crt",
    }
