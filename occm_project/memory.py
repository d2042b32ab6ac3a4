"""Memory that is free again goes back to the operating system.

glibc keeps it, in gaps between what is in use, and with many threads there are many: a worker that
had renewed some thousand certificates held more than twice what it used.
"""

import ctypes
import threading
from typing import Final

EVERY_S: Final = 60.0


class Trimmer(threading.Thread):
    """Has the C library give back what is free, every minute; not all of them can (musl)."""

    def __init__(self, *, every: float = EVERY_S) -> None:
        super().__init__(name="trimmer", daemon=True)
        self.every = every
        self._ended = threading.Event()

    def run(self) -> None:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        while trim is not None and not self._ended.wait(self.every):
            trim(0)

    def stop(self) -> None:
        self._ended.set()
