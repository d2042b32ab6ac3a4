"""Parts of a supervisor that runs, as `up` does, in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAYS = "import time; print('hello', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAYS}"
FORKS = f"import subprocess; subprocess.Popen(['sleep', '60']); {STAYS}"
RUN = """
import os, sys
from pathlib import Path
from occm_project.supervisor import GaveUp, Part, Supervisor

def say(name, line):
    print(f"{name}: {line}", flush=True)

try:
    with Supervisor(say, Path.cwd(), os.environ, backoff=0.01) as supervisor:
        for number, program in enumerate(sys.argv[1:], start=1):
            command = (sys.executable, "-c", program)
            announces = "hello" if "hello" in program else ""
            part = Part(name=f"part{number}", command=command, announces=announces, grace=20)
            supervisor.start(part)
            pid = supervisor.children[-1].process.pid
            say("pid", pid)
        supervisor.watch()
except GaveUp as error:
    sys.exit(f"gave up: {error}")
print("over", flush=True)
"""


class Supervised:
    def __init__(self, *programs: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *programs],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def until(self, text: str) -> None:
        """Read what is said until the text has come."""
        self._read(lambda: text in self.lines[-1])

    def until_up(self, parts: int) -> None:
        """Read until so many parts run, their process ids known."""
        self._read(lambda: len(self.pids) == len(self.hellos) == parts)

    def _read(self, enough: Callable[[], bool]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if enough():
                return
        raise AssertionError(f"it has ended: {self.lines}")

    def rest(self) -> list[str]:
        """End with the supervisor and return what it said last."""
        assert self.process.stdout is not None
        last = [line.rstrip() for line in self.process.stdout]
        self.process.wait(10)
        return last

    @property
    def hellos(self) -> list[str]:
        return [line for line in self.lines if line.endswith(": hello")]

    @property
    def pids(self) -> list[int]:
        return [int(line.removeprefix("pid: ")) for line in self.lines if line.startswith("pid: ")]


Starts = Callable[..., Supervised]


@pytest.fixture
def supervised() -> Iterator[Starts]:
    with contextlib.ExitStack() as ends:

        def start(*programs: str) -> Supervised:
            one = Supervised(*programs)
            ends.enter_context(one.process)  # closes its output and waits, once it is killed
            ends.callback(one.process.kill)
            return one

        yield start


def test_parts_end_in_reverse_order_when_asked_to(supervised: Starts) -> None:
    run = supervised(STAYS, STAYS)
    run.until_up(2)

    run.process.send_signal(signal.SIGTERM)

    assert run.rest() == ["up: ending part2", "up: ending part1", "over"]
    assert run.process.returncode == 0


def test_part_that_is_killed_is_started_again(supervised: Starts) -> None:
    run = supervised(STAYS, STAYS)
    run.until_up(2)

    os.kill(run.pids[0], signal.SIGKILL)

    run.until("up: part1: killed by SIGKILL; starting it again")
    run.until("part1: hello")


def test_part_that_does_not_stay_up_ends_all_and_is_named(supervised: Starts) -> None:
    run = supervised(STAYS, "print('no disk'); raise SystemExit(3)")

    last = run.rest()

    assert last.count("part2: no disk") == 5
    assert "up: ending part1" in last
    assert (
        last[-1]
        == "gave up: part2 does not stay up: ended by itself with exit status 3, for the 5th time"
    )
    assert run.process.returncode == 1


def test_part_that_ends_before_it_is_ready_ends_all_at_once(supervised: Starts) -> None:
    run = supervised(STAYS, "raise SystemExit(3)  # before it says hello", STAYS)

    last = run.rest()

    assert last[-1] == "gave up: part2 did not start: ended by itself with exit status 3"
    assert "up: ending part1" in last
    assert "part3: hello" not in last


def test_no_part_outlives_a_supervisor_that_is_killed(supervised: Starts) -> None:
    run = supervised(STAYS, STUBBORN)
    run.until_up(2)

    run.process.kill()
    run.process.wait()

    for pid in run.pids:
        assert ends_within(5, pid)


def test_what_a_part_has_started_ends_with_it(supervised: Starts) -> None:
    run = supervised(FORKS)
    run.until_up(1)
    (leader,) = run.pids
    family = [pid for pid in every_pid() if group_of(pid) == leader]
    assert len(family) == 2

    run.process.send_signal(signal.SIGTERM)  # a background job would not hear SIGINT

    assert run.rest()[-1] == "over"
    assert all(ends_within(5, pid) for pid in family)


def test_second_ctrl_c_waits_for_nobody(supervised: Starts) -> None:
    run = supervised(STUBBORN)
    run.until_up(1)

    run.process.send_signal(signal.SIGTERM)  # a background job would not hear SIGINT
    run.until("ending part1")
    run.process.send_signal(signal.SIGTERM)  # a background job would not hear SIGINT

    began = time.monotonic()
    assert run.rest() == ["over"]
    assert time.monotonic() - began < 10  # half its grace


def every_pid() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def group_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None


def ends_within(seconds: float, pid: int) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z":  # a zombie has ended: whoever inherited it has not noticed yet
                time.sleep(0.05)
                continue
        return True
    return False
