"""A CA that hangs delays nobody else, says so, and all is well once it answers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.running import Operator, Up, slack, wanted

MANY, FEW = 200, 5

pytestmark = [pytest.mark.xdist_group("stalled_ca"), pytest.mark.timeout(400)]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with Up(tmp_path / "data") as up:
        yield up


def test_one_stalled_ca_leaves_the_other_its_five_seconds(up: Up) -> None:
    assert up.password is not None
    operator = Operator(up.url, up.password)
    operator.certificates_once_ready(within=60)
    up.control(1, stall=True)
    for n in range(MANY):
        operator.post("certificates/", wanted(f"stalled{n}", "demo-ca-1"))
    time.sleep(5)  # let it hang wherever it can

    for n in range(FEW):
        operator.post("certificates/", wanted(f"quick{n}", "demo-ca-2"))
    within(operator, "quick", FEW, seconds=5 * slack())

    stalled = [it for it in operator.certificates() if it["name"].startswith("stalled")]
    assert [it["status"]["readiness"] for it in stalled] == ["NOT_READY"] * MANY
    assert not any((up.data / "secrets" / "a1" / it["name"]).exists() for it in stalled)

    failing = failed(operator, within=45 * slack())
    assert failing["under_way"]["error_code"] == "CMP_NO_ANSWER"
    up.control(1, stall=False)
    within(operator, "stalled", MANY, seconds=120 * slack())


def within(operator: Operator, prefix: str, count: int, *, seconds: float) -> None:
    """Wait until these certificates are READY."""
    deadline = time.monotonic() + seconds
    while True:
        found = [it for it in operator.certificates() if it["name"].startswith(prefix)]
        states = [it["status"]["readiness"] for it in found]
        if states == ["READY"] * count:
            return
        assert time.monotonic() < deadline, [
            it["status"] for it in found if it["status"]["readiness"] != "READY"
        ][:3]
        time.sleep(0.2)


def failed(operator: Operator, *, within: float) -> dict[str, Any]:
    """Wait until the first of the stalled shows why, and return its status."""
    deadline = time.monotonic() + within
    while True:
        for it in operator.certificates():
            status: dict[str, Any] = it["status"]
            if status["under_way"] and status["under_way"]["error_code"]:
                return status
        assert time.monotonic() < deadline, "no error is shown"
        time.sleep(0.5)
