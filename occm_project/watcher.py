"""Threads of a worker that notice what others change in secrets, and have it looked at.

One reads each namespace that certificates are written to; one writes down what they tell, a moment
later, so that our own writes are known by then. Several workers that do so do no harm, and what is
missed while none does is found by the looks that come anyway.
"""

import logging
import queue
import threading
from collections.abc import Callable
from random import uniform
from time import monotonic
from typing import Final

from django.db import DatabaseError, connection

from certificates.domain import noticing
from issuers.domain import channel
from issuers.domain.clock import DatabaseClock
from secretstore import Change, Listed, SecretStoreError, WatchableStore

HELD_S: Final = 2.0  # until a change is written down: by then our own delivery is committed
NAMESPACES_S: Final = 30.0  # how often it is asked which namespaces matter
LONGEST_PAUSE_S: Final = 60.0  # between two tries at a store that is away

Told = Change | Listed

log = logging.getLogger(__name__)


class Reader(threading.Thread):
    """Reads the changes of one namespace into a queue until it is stopped."""

    def __init__(self, namespace: str, store: WatchableStore, into: "queue.Queue[Told]") -> None:
        super().__init__(name=f"watch {namespace}", daemon=True)
        self.namespace, self._into = namespace, into
        self._watch = store.watch(namespace)
        self._ended = threading.Event()

    def run(self) -> None:
        failures, said = 0, ""
        while not self._ended.is_set():
            pause = self._watch.pause
            try:
                for told in self._watch.changes():
                    self._into.put(told)
                    failures, said = 0, ""
                    if self._ended.is_set():
                        return
            except SecretStoreError as error:
                failures += 1
                pause = min(LONGEST_PAUSE_S, 2.0**failures) * uniform(0.5, 1)  # noqa: S311
                if str(error) != said:
                    said = str(error)
                    log.warning("changes are not noticed: %s", said)
            except Exception:  # the thread's boundary: it goes on
                pause = LONGEST_PAUSE_S
                log.exception("changes in namespace %s are not noticed", self.namespace)
            self._ended.wait(pause)

    def stop(self) -> None:
        self._ended.set()


class Watcher(threading.Thread):
    """Keeps a reader for each namespace, and writes down what they tell."""

    def __init__(self, store: Callable[[], WatchableStore] = channel.secret_store) -> None:
        super().__init__(name="watcher", daemon=True)
        self._store = store
        self._told: queue.Queue[Told] = queue.Queue(maxsize=100_000)
        self._waiting: list[Told] = []
        self._readers: dict[str, Reader] = {}
        self._asked_at: float | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(HELD_S):
            try:
                self.tick()
            except (DatabaseError, SecretStoreError) as error:  # what waits is kept
                log.warning("changes of secrets are not written down: %s", error)
            except Exception:  # the thread's boundary: it goes on
                log.exception("changes of secrets are not written down")
            finally:
                connection.close()
        for reader in self._readers.values():
            reader.stop()

    def tick(self) -> None:
        """Write down what was told before the last tick; begin and end readers now and then."""
        ripe = self._waiting
        if ripe:
            self._note(ripe)
        self._waiting = self._drained()
        if self._asked_at is None or monotonic() - self._asked_at >= NAMESPACES_S:
            self._follow(noticing.namespaces())
            self._asked_at = monotonic()

    def stop(self) -> None:
        self._ended.set()
        self.join(timeout=5)

    def _note(self, told: list[Told]) -> None:
        now = DatabaseClock()()
        due = noticing.note((one for one in told if isinstance(one, Change)), now=now)
        for one in told:
            if isinstance(one, Listed):
                due += noticing.note_missing(one.namespace, one.secrets, now=now)
        if due:
            log.info("secrets of %d certificates were changed: they are looked at", due)

    def _drained(self) -> list[Told]:
        found: list[Told] = []
        while True:
            try:
                found.append(self._told.get_nowait())
            except queue.Empty:
                return found

    def _follow(self, namespaces: set[str]) -> None:
        for gone in self._readers.keys() - namespaces:
            self._readers.pop(gone).stop()
        for new in sorted(namespaces - self._readers.keys()):
            reader = Reader(new, self._store(), self._told)
            self._readers[new] = reader
            reader.start()
