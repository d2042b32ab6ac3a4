"""Noticing what others change: names and versions, from the beginning and from then on."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from secretstore import (
    Change,
    FolderSecretStore,
    Forbidden,
    Listed,
    MemorySecretStore,
    Unavailable,
    WatchableStore,
)
from secretstore.watches import EventWatch, Gone
from tests.secretstore.conformance import set_keys


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WatchableStore:
    if request.param == "memory":
        return MemorySecretStore()
    return FolderSecretStore(tmp_path / "secrets")


class TestPolling:
    def test_begins_with_all_there_is(self, store: WatchableStore) -> None:
        versions = {name: set_keys(store, "ns1", name, key=b"1") for name in ("a", "b")}
        set_keys(store, "ns2", "c", key=b"1")

        told = list(store.watch("ns1").changes())

        changes = [one for one in told if isinstance(one, Change)]
        assert {one.secret: one.version for one in changes} == versions
        assert told[-1] == Listed("ns1", frozenset({"a", "b"}))

    def test_tells_what_is_another_since(self, store: WatchableStore) -> None:
        for name in ("a", "b"):
            set_keys(store, "ns1", name, key=b"1")
        watch = store.watch("ns1")
        list(watch.changes())
        assert list(watch.changes()) == []

        version = set_keys(store, "ns1", "a", key=b"2")
        new = set_keys(store, "ns1", "c", key=b"1")

        told = list(watch.changes())
        assert told == [Change("ns1", "a", version), Change("ns1", "c", new)]
        assert list(watch.changes()) == []

    def test_a_namespace_may_come_later(self, store: WatchableStore) -> None:
        watch = store.watch("ns1")
        assert list(watch.changes()) == [Listed("ns1", frozenset())]
        version = set_keys(store, "ns1", "a", key=b"1")
        assert list(watch.changes()) == [Change("ns1", "a", version)]


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "secrets" / "ns1" / "a"

    @pytest.mark.parametrize(
        "change",
        [
            lambda folder: (folder / "tls.key").write_bytes(b"by hand, in place"),
            lambda folder: (folder / "new").write_bytes(b"1"),
            lambda folder: (folder / "tls.key").unlink(),
        ],
        ids=["edited in place", "a file more", "a file less"],
    )
    def test_what_is_changed_by_hand_is_noticed(
        self, tmp_path: Path, folder: Path, change: Callable[[Path], Any]
    ) -> None:
        store = FolderSecretStore(tmp_path / "secrets")
        set_keys(store, "ns1", "a", **{"tls.key": b"1", "tls.crt": b"1"})
        watch = store.watch("ns1")
        list(watch.changes())

        change(folder)

        assert list(watch.changes()) == [Change("ns1", "a", store.read("ns1", "a").version)]

    def test_a_secret_that_is_gone_is_noticed(self, tmp_path: Path, folder: Path) -> None:
        store = FolderSecretStore(tmp_path / "secrets")
        set_keys(store, "ns1", "a", key=b"1")
        watch = store.watch("ns1")
        list(watch.changes())
        folder.rename(tmp_path / "elsewhere")
        assert list(watch.changes()) == [Change("ns1", "a", None)]

    def test_a_failure_loses_nothing(self, tmp_path: Path) -> None:
        store = FolderSecretStore(tmp_path / "secrets")
        set_keys(store, "ns1", "a", key=b"1")
        watch = store.watch("ns1")
        store.root.chmod(0o755)
        with pytest.raises(Forbidden):
            list(watch.changes())
        store.root.chmod(0o700)
        assert list(watch.changes())[-1] == Listed("ns1", frozenset({"a"}))


def event(kind: str, version: str, name: str = "") -> bytes:
    metadata = {"resourceVersion": version} | ({"name": name} if name else {})
    return json.dumps({"type": kind, "object": {"metadata": metadata}}).encode() + b"\n"


class Server:
    """Answers watches with what it is given, and remembers from where they were to go on."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), list[str]()

    def __call__(self, namespace: str, version: str) -> Iterator[bytes]:
        self.asked.append(version)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield from answer


class TestEvents:
    def test_names_and_versions_are_told_whatever_the_network_makes_of_the_lines(self) -> None:
        stream = event("ADDED", "5", "a") + event("MODIFIED", "7", "a") + event("DELETED", "8", "b")
        server = Server([bytes([byte]) for byte in stream])

        told = list(EventWatch("ns1", server).changes())

        assert told == [Change("ns1", "a", "5"), Change("ns1", "a", "7"), Change("ns1", "b", None)]

    def test_it_goes_on_where_the_last_event_was_or_the_bookmark(self) -> None:
        server = Server([event("ADDED", "5", "a")], [event("BOOKMARK", "9")], [], Unavailable(""))
        watch = EventWatch("ns1", server)
        for _ in range(3):
            list(watch.changes())
        with pytest.raises(Unavailable):
            list(watch.changes())
        assert server.asked == ["", "5", "9", "9"]

    def test_the_first_bookmark_says_what_there_is(self) -> None:
        first = event("ADDED", "5", "a") + event("ADDED", "6", "b") + event("DELETED", "7", "b")
        server = Server([first], [event("BOOKMARK", "9") + event("BOOKMARK", "10")])
        watch = EventWatch("ns1", server)
        list(watch.changes())
        assert list(watch.changes()) == [Listed("ns1", frozenset({"a"}))]

    @pytest.mark.parametrize(
        "gone", [Gone(), [b'{"type":"ERROR","object":{"kind":"Status","code":410}}\n']], ids=str
    )
    def test_a_version_that_is_too_old_begins_anew(self, gone: Any) -> None:
        server = Server([event("ADDED", "5", "a")], gone, [event("ADDED", "5", "a")])
        watch = EventWatch("ns1", server)
        told = [list(watch.changes()) for _ in range(3)]
        assert server.asked == ["", "5", ""]
        assert told == [[Change("ns1", "a", "5")], [], [Change("ns1", "a", "5")]]

    @pytest.mark.parametrize(
        "line",
        [b"<html>\n", b"[]\n", b"{}\n", b'{"type":"ADDED","object":{}}\n', b"null\n"],
    )
    def test_what_is_no_event_is_said_to_be_none(self, line: bytes) -> None:
        with pytest.raises(Unavailable, match="not the Kubernetes API"):
            list(EventWatch("ns1", Server([line])).changes())

    def test_another_error_is_told(self) -> None:
        line = b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"s3cret"}}\n'
        with pytest.raises(Unavailable, match="500") as caught:
            list(EventWatch("ns1", Server([line])).changes())
        assert "s3cret" not in str(caught.value)

    def test_a_line_without_an_end_is_not_waited_for(self) -> None:
        def endless() -> Iterator[bytes]:
            while True:
                yield b"x" * (1 << 20)

        with pytest.raises(Unavailable, match="longer"):
            list(EventWatch("ns1", Server(endless())).changes())
