"""How stores notice what others change: by a stream of events, or by looking every few seconds.

Both tell names and versions only. What comes from a cluster is metadata alone, and even of that
nothing is kept: annotations may repeat a secret's content.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from secretstore.base import Change, Listed, Unavailable

EVERY: Final = 10.0  # seconds between two looks
LONGEST: Final = 4 << 20  # bytes of an event: metadata is 256 KiB of annotations, at most


class Gone(Exception):
    """The cluster no longer knows what has changed since: it is to be listed anew."""


@dataclass
class EventWatch:
    """The watch of a Kubernetes API: goes on from the version it has seen, without listing.

    A watch that names no version begins with every secret there is, and the first bookmark says
    that these were all.
    """

    namespace: str
    events: Callable[[str, str], Iterator[bytes]] = field(repr=False)
    pause: float = 1.0
    _version: str = ""
    _listing: set[str] | None = None

    def changes(self) -> Iterator[Change | Listed]:
        """Yield changes for as long as one request lasts."""
        if not self._version:
            self._listing = set()
        try:
            for line in _lines(self.events(self.namespace, self._version)):
                yield from self._told(line)
        except Gone:
            self._version = ""

    def _told(self, line: bytes) -> Iterator[Change | Listed]:
        try:
            event = json.loads(line)
            kind, about = event["type"], event["object"]
            if kind == "ERROR":
                raise _failure(self.namespace, about)
            name, version = about["metadata"].get("name", ""), about["metadata"]["resourceVersion"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unavailable(
                f"secrets of namespace {self.namespace}: what answered is not the Kubernetes API"
            ) from None
        if kind == "BOOKMARK":
            if self._listing is not None:
                yield Listed(self.namespace, frozenset(self._listing))
            self._listing = None
        else:
            if self._listing is not None:
                (self._listing.discard if kind == "DELETED" else self._listing.add)(name)
            yield Change(self.namespace, name, None if kind == "DELETED" else version)
        self._version = version  # only now: what was not taken is told again


@dataclass
class PolledWatch:
    """Compares `stamps` with those of the last call; asks for a version only where one differs."""

    namespace: str
    stamps: Callable[[], Mapping[str, object]] = field(repr=False)
    version: Callable[[str, str], str | None] = field(repr=False)
    pause: float = EVERY
    _known: dict[str, object] | None = None

    def changes(self) -> Iterator[Change | Listed]:
        """Yield what is another than at the last call."""
        stamps, known = dict(self.stamps()), self._known
        before = known or {}
        for name, stamp in sorted(stamps.items()):
            if before.get(name) != stamp:
                yield Change(self.namespace, name, self.version(self.namespace, name))
        for name in sorted(before.keys() - stamps.keys()):
            yield Change(self.namespace, name, None)
        if known is None:
            yield Listed(self.namespace, frozenset(stamps))
        self._known = stamps


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(None, lines)
        if len(rest) > LONGEST:
            raise Unavailable("an event of the Kubernetes API is longer than any can be")


def _failure(namespace: str, status: Mapping[str, Any]) -> Exception:
    code = status.get("code")
    if code == 410:
        return Gone()
    return Unavailable(f"secrets of namespace {namespace}: the watch ended ({code}): it is resumed")
