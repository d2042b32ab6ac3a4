"""The time is the database's word: no step that workers take reads a clock of their host."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKERS = [
    ROOT / "certificates" / "tasks.py",
    ROOT / "migrations_bulk" / "tasks.py",
    *ROOT.glob("*/domain/*.py"),
]
WALL_CLOCK = re.compile(r"timezone\.now|datetime\.now|\btime\.time\b|utcnow|localtime")


@pytest.mark.parametrize("file", WORKERS, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_step_of_a_worker_reads_its_hosts_clock(file: Path) -> None:
    assert WALL_CLOCK.search(file.read_text()) is None
