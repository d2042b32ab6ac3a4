"""Several processes as one foreground command: started in order, watched, ended in reverse.

A part that ends by itself is started again, a little later each time; one that keeps ending takes
the whole down with a word about which it was. No part outlives the supervisor, however that ends.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

ATTEMPTS = 5  # starts of a part that does not stay up, before all is ended
SETTLED_S = 60.0  # a part that lived this long starts again with a clean record
TICK_S = 0.1

# Run in front of every part: the kernel kills it when the supervisor is gone (prctl(2)), and if
# that has happened already it does not start. Linux only: elsewhere kill -9 leaves parts behind.
TETHER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class GaveUp(Exception):
    """A part does not start, or does not stay up."""


class Stopped(Exception):
    """The operator wants it to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process. The next one starts when this one is ready.

    That is when `ready` says so, and when it has said a line that begins with `announces`.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool] = lambda: True
    announces: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)  # beside what all parts have
    patience: float = 60.0  # seconds to get ready in
    grace: float = 10.0  # seconds to end in, once asked to


class Child:
    """A part that has been started, and how it has fared."""

    def __init__(self, part: Part, spawn: Callable[["Child"], subprocess.Popen[bytes]]) -> None:
        self.part = part
        self.announced = not part.announces
        self.failures = 0
        self.again_at: float | None = None  # it has ended and waits for its next start
        self._spawn = spawn
        self.run()

    def run(self) -> None:
        self.again_at = None
        self.started_at = time.monotonic()
        self.process = self._spawn(self)

    def ready(self) -> bool:
        return self.announced and self.part.ready()

    def ended(self) -> str | None:
        """Say how the process ended, or None while it runs."""
        match self.process.poll():
            case None:
                return None
            case code if code < 0:
                return f"killed by {signal.Signals(-code).name}"
            case code:
                return f"ended by itself with exit status {code}"

    def end(self, *, hurried: Callable[[], bool]) -> None:
        """Ask the process to end, wait for as long as it may take, and kill what is left."""
        deadline = time.monotonic() + self.part.grace
        self.process.terminate()
        while self.process.poll() is None and time.monotonic() < deadline and not hurried():
            time.sleep(TICK_S / 4)
        self.sweep()
        self.process.wait()

    def sweep(self) -> None:
        """Kill what the process has started and not ended, and itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(eq=False)
class Supervisor:
    """Used as a context: what has started in the block is ended when it is left.

    `say` gets every line of every part, with the part's name; `folder` is where they run.
    SIGINT or SIGTERM raise Stopped in the block, which the block's end swallows; a second one
    does not wait any longer for parts to end.
    """

    say: Callable[[str, str], None]
    folder: Path
    environ: Mapping[str, str]
    backoff: float = 1.0  # seconds before the first new start; twice as long each time
    children: list[Child] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)
    signals: int = 0

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
                signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> bool:
        heard = self.signals  # one more, and nobody is waited for any longer
        for child in reversed(self.children):
            if child.ended() is None:
                self.say("up", f"ending {child.part.name}")
                child.end(hurried=lambda: self.signals > heard)
        for reader in self.readers:
            reader.join(timeout=1)
        return kind is not None and issubclass(kind, Stopped)

    def start(self, part: Part) -> None:
        """Start a part and wait until it is ready. Raises GaveUp, or Stopped."""
        child = Child(part, self._spawn)
        self.children.append(child)
        deadline = child.started_at + part.patience
        while not child.ready():
            if ending := child.ended():
                raise GaveUp(f"{part.name} did not start: {ending}")
            if time.monotonic() > deadline:
                raise GaveUp(f"{part.name} did not get ready within {part.patience:.0f} s")
            self.pause()

    def watch(self) -> None:
        """Keep all parts running. Raises Stopped in the end, or GaveUp."""
        while True:
            for child in self.children:
                self._look_after(child)
            self.pause()

    def pause(self) -> None:
        """Wait a tick. Raises Stopped when the operator wants it."""
        if self.signals:
            raise Stopped
        time.sleep(TICK_S)

    def _on_signal(self, _: int, __: FrameType | None) -> None:
        self.signals += 1

    def _spawn(self, child: Child) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 - commands of our own making
            [sys.executable, "-ISc", TETHER, str(os.getpid()), *child.part.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={**self.environ, **child.part.environ},
            start_new_session=True,  # Ctrl-C reaches the supervisor only, which ends them in order
        )
        reader = threading.Thread(target=self._relay, args=(child, process.stdout), daemon=True)
        reader.start()
        self.readers.append(reader)
        return process

    def _relay(self, child: Child, output: IO[bytes]) -> None:
        for raw in output:
            line = raw.decode(errors="replace").rstrip()
            child.announced |= line.startswith(child.part.announces)
            if line:
                self.say(child.part.name, line)

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.again_at is not None:
            if now >= child.again_at:
                child.run()
        elif ending := child.ended():
            child.sweep()
            child.failures = 1 if now - child.started_at > SETTLED_S else child.failures + 1
            name = child.part.name
            if child.failures >= ATTEMPTS:
                raise GaveUp(f"{name} does not stay up: {ending}, for the {ATTEMPTS}th time")
            wait = self.backoff * 2 ** (child.failures - 1)
            child.again_at = now + wait
            self.say("up", f"{name}: {ending}; starting it again in {wait:.0f} s")
