"""What `./occm up` shows: the lines of every part with its name in front, and keeps in a file."""

import os
import sys
import threading
from collections.abc import Mapping
from logging import makeLogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Self

WIDTH = 9  # of the longest name
COLOURS = range(31, 37)
MIB = 1024 * 1024


class Console:
    """Used as a context; `say` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = RotatingFileHandler(path, maxBytes=10 * MIB, backupCount=3, encoding="utf-8")
        self._colourful = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._colours: dict[str, int] = {}
        self._lock = threading.Lock()
        self._watched = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._file.close()

    def say(self, name: str, line: str) -> None:
        with self._lock:
            self._file.emit(makeLogRecord({"msg": f"{name:>{WIDTH}} | {line}"}))
            self._show(f"{self._coloured(name)} | {line}\n")

    def banner(self, entries: Mapping[str, str]) -> None:
        """Show what the operator needs to know; it may hold a password, so it is not kept."""
        width = max(map(len, entries))
        lines = [f"  {name:<{width}}   {text}\n" for name, text in entries.items()]
        with self._lock:
            self._show("\n" + "".join(lines) + "\n")

    def _coloured(self, name: str) -> str:
        padded = f"{name:>{WIDTH}}"
        if not self._colourful:
            return padded
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\033[{colour}m{padded}\033[0m"

    def _show(self, text: str) -> None:
        if not self._watched:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:  # the terminal or the pipe is gone; the file has it all
            self._watched = False
