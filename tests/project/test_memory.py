"""Memory that is free again goes back, although something behind it is in use."""

import subprocess
import sys

from occm_project.memory import Trimmer

HELD_AND_FREED = """
import time
from pathlib import Path
from occm_project.memory import Trimmer

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

held = [bytes(2000) for _ in range(50_000)]
last = held.pop()  # above all others, which glibc therefore keeps
held.clear()
before = resident()
trimmer = Trimmer(every=0.01)
trimmer.start()
deadline = time.monotonic() + 10
while resident() > before - 50 and time.monotonic() < deadline:
    time.sleep(0.02)
print(before - resident())
"""


def test_what_is_free_goes_back() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HELD_AND_FREED], capture_output=True, text=True, check=True
    )

    assert float(ran.stdout) > 50


def test_it_ends_when_it_is_told_to() -> None:
    trimmer = Trimmer()
    trimmer.start()
    trimmer.stop()
    trimmer.join(timeout=10)

    assert not trimmer.is_alive()
