"""A server process that a test started: ready when it says so, gone when the block ends.

It dies with the test run even if that is killed, and its log goes into the report of a failed test.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TAIL = 5000  # characters of a log that a report shows
running: list["Process"] = []


class NotReady(Exception):
    """The process ended, or went on without getting ready; the message holds its log."""


@dataclass(kw_only=True, eq=False)
class Process:
    """Runs `command` while the block lasts; entered once `ready` says so."""

    command: Sequence[str]
    log: Path
    ready: Callable[["Process"], bool]
    environ: Mapping[str, str] | None = None  # ours
    user: str | None = None  # whom to run it as, where we are root
    patience: float = 60
    farewell: signal.Signals = signal.SIGTERM
    grace: float = 10
    popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it is ready. Raises NotReady."""
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [*tether(self.user), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environ,
                cwd=self.log.parent,
                start_new_session=True,
            )
        running.append(self)
        deadline = time.monotonic() + self.patience
        while not self.ready(self):
            if self.popen.poll() is not None or time.monotonic() > deadline:
                log_so_far = self.tail()
                self.kill()
                raise NotReady(f"{' '.join(self.command)}\n{log_so_far}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask the process to end, and make it if it does not."""
        if self.popen is not None:
            self.popen.send_signal(self.farewell)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(self.grace)
        self.kill()

    def kill(self) -> None:
        """End the process as a power cut would."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()
            self.popen = None
            running.remove(self)

    def said(self, text: str) -> bool:
        """Tell whether the log has `text` in it yet."""
        return text in self.log.read_text(errors="replace")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-TAIL:]


def listens(port: int) -> Callable[[Process], bool]:
    """Ready when somebody accepts connections on the loopback port."""

    def ready(_: Process) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return ready


def says(text: str) -> Callable[[Process], bool]:
    """Ready when the log has `text` in it."""
    return lambda process: process.said(text)


def free_port() -> int:
    """Return a loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tether(user: str | None) -> list[str]:
    """The command that makes another die with us, and run as `user` where we may decide."""
    words = ["setpriv", "--pdeathsig", "KILL"]
    if user is not None and os.geteuid() == 0:
        words += ["--reuid", user, "--regid", user, "--init-groups"]
    return [*words, "--"]
