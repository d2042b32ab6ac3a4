"""Debian's Prometheus and its promtool: the judges of our metrics, rules and queries."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import requests

from tests.peers.process import Process, free_port

REMEDY = "Prometheus is missing: apt-get install prometheus"


def program(name: str = "prometheus") -> str | None:
    return shutil.which(name)


def promtool(*words: str | Path) -> str:
    """Run promtool and return what it says. Raises AssertionError where it finds fault."""
    done = subprocess.run(
        [program("promtool") or "promtool", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus:
    """A server on a configuration and a loopback port of its own, keeping nothing afterwards."""

    def __init__(self, configuration: Path, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        words = {
            "config.file": configuration,
            "storage.tsdb.path": folder / "data",
            "web.listen-address": self.url.removeprefix("http://"),
            "log.level": "warn",
        }
        self.process = Process(
            command=[program() or "prometheus", *(f"--{k}={v}" for k, v in words.items())],
            log=folder / "log",
            ready=lambda _: self._is_ready(),
        )

    def __enter__(self) -> "Prometheus":
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def get(self, path: str, **parameters: str) -> Any:
        """Return what the API says. Raises AssertionError with its error."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10).json()
        assert answer["status"] == "success", (answer["error"], parameters)
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now."""
        data = self.get("query", query=expression)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        found: list[dict[str, Any]] = data["result"]
        return found

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        alerts = self.get("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=1).ok
        except requests.RequestException:
            return False
