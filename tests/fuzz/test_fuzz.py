"""Fuzzing as far as every change can afford it: twenty million bytes each, guided by coverage.

Longer runs are for a free evening: see `tests/fuzz/__main__.py`. What they find goes to `found/`,
by the name of its target, and is tried again here, without atheris.
"""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cmp import vectors
from tests.fuzz import elements, targets
from tests.parts import need

ROOT = Path(__file__).parents[2]
FOUND = sorted((Path(__file__).parent / "found").iterdir())
BYTES = 20_000_000


@pytest.fixture(scope="module")
def receive() -> targets.Receive:
    return targets.Receive()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("target", ["decode", "receive"])
def test_twenty_million_hostile_bytes_raise_nothing_but_cmp_errors(
    target: str, tmp_path: Path
) -> None:
    need(
        importlib.util.find_spec("atheris") is not None,
        "atheris (wheels for Linux on x86-64 and Python 3.11 to 3.13)",
    )
    command = [sys.executable, "-m", "tests.fuzz", target, "--bytes", str(BYTES)]
    command += ["-seed=1", "-verbosity=0", "-print_final_stats=0", f"-artifact_prefix={tmp_path}/"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-4000:]
    assert "nothing found" in done.stdout


@pytest.mark.parametrize("found", FOUND, ids=lambda path: path.name)
def test_what_was_found_stays_mended(found: Path, receive: targets.Receive) -> None:
    target = receive if found.name.startswith("receive") else targets.decode

    target(found.read_bytes())


def test_every_answer_of_a_ca_reaches_its_transaction(receive: targets.Receive) -> None:
    """Else the fuzzer would stop at the protection, and find nothing behind it."""
    states = set()
    for number, case in enumerate(receive.cases):
        for answer in case.answers:
            states.add(receive.state_after(bytes((number,)) + answer))

    assert {"waiting", "granted", "refusing", "done", "failed"} <= states


@pytest.mark.parametrize("name", vectors.message_names()[::10])
def test_a_message_that_is_not_spoiled_is_the_same_in_der_and_can_be_spoiled(name: str) -> None:
    der = vectors.named(name)
    tree = elements.message(der)
    assert tree is not None

    assert tree.der() == der
    dice = random.Random(name)
    spoiled = {elements.spoil(der, dice, [der]) for _ in range(50)}
    assert len(spoiled - {der}) > 30
