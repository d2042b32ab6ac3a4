"""Watching secrets through a real API server: what others change, with no right but `watch`."""

import base64
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from secretstore import Change, Forbidden, Listed, SecretStoreError, WatchableStore, connect
from secretstore.kubernetes import KubernetesSecretStore
from secretstore.watches import EventWatch
from tests.kubernetes.cluster import Cluster

PATIENCE = 20.0


@pytest.fixture(scope="session")
def store(cluster: Cluster) -> WatchableStore:
    return connect(f"kubernetes:{cluster.kubeconfig('occm-watch')}")


@pytest.fixture
def namespace(cluster: Cluster, namespace: str) -> str:
    cluster.allow_secrets(namespace, "occm-watch")
    cluster.wait_until_allowed("occm-watch", namespace=namespace, verb="watch", resource="secrets")
    return namespace


class Told:
    """Reads a watch in a thread, as the product does; what it tells is waited for."""

    def __init__(self, watch: EventWatch) -> None:
        self.watch, self.errors = watch, list[Exception]()
        self._queue: queue.Queue[Change | Listed] = queue.Queue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            try:
                for told in self.watch.changes():
                    self._queue.put(told)
                    if self._ended.is_set():
                        return
            except SecretStoreError as error:  # as the product: it is tried again
                self.errors.append(error)

    def next(self) -> Change:
        """Return the next change; how many lists come in between is the server's choice."""
        while isinstance(told := self._queue.get(timeout=PATIENCE), Listed):
            pass
        return told

    def until(self, wanted: Change) -> None:
        while self.next() != wanted:
            pass


@contextmanager
def told_of(store: WatchableStore, namespace: str) -> Iterator[Told]:
    watch = store.watch(namespace)
    assert isinstance(watch, EventWatch)
    told = Told(watch)
    told._thread.start()
    yield told
    told._ended.set()  # the thread waits for an event, and ends with the tests


def version(cluster: Cluster, namespace: str, name: str) -> str:
    return str(cluster.secret(namespace, name)["metadata"]["resourceVersion"])


def test_what_there_is_and_what_others_change_is_told_without_the_right_to_list(
    cluster: Cluster, store: WatchableStore, namespace: str
) -> None:
    assert not cluster.may("occm-watch", namespace=namespace, verb="list", resource="secrets")
    cluster.put_secret(namespace, "there", {"a": b"1"})

    with told_of(store, namespace) as told:
        assert told.next() == Change(namespace, "there", version(cluster, namespace, "there"))
        cluster.put_secret(namespace, "there", {"a": b"2"})
        assert told.next() == Change(namespace, "there", version(cluster, namespace, "there"))
        ours = store.write(namespace, "ours", {"a": b"1"}, version=None)
        assert told.next() == Change(namespace, "ours", ours)
        cluster.delete_secret(namespace, "there")
        assert told.next() == Change(namespace, "there", None)


def test_no_content_of_a_secret_comes_here(
    cluster: Cluster, store: WatchableStore, namespace: str
) -> None:
    cluster.put_secret(namespace, "theirs", {"password": b"correct horse battery staple"})
    assert isinstance(store, KubernetesSecretStore)

    chunk = next(store._events(namespace, ""))

    assert b"theirs" in chunk
    assert base64.b64encode(b"correct horse battery staple") not in chunk


def test_after_the_api_server_was_away_it_goes_on_and_misses_nothing(
    cluster: Cluster, store: WatchableStore, namespace: str
) -> None:
    cluster.put_secret(namespace, "a", {"a": b"1"})
    with told_of(store, namespace) as told:
        told.next()
        with cluster.api_down():
            pass
        cluster.put_secret(namespace, "b", {"a": b"1"})
        told.until(Change(namespace, "b", version(cluster, namespace, "b")))


def test_a_version_that_is_too_old_begins_anew(
    cluster: Cluster, store: WatchableStore, namespace: str
) -> None:
    cluster.put_secret(namespace, "a", {"a": b"1"})
    with cluster.api_down():
        pass  # what it had in memory of the past is gone
    cluster.wait_until_allowed("occm-watch", namespace=namespace, verb="watch", resource="secrets")
    watch = store.watch(namespace)
    assert isinstance(watch, EventWatch)
    watch._version = "1"

    assert list(watch.changes()) == []
    assert watch._version == ""
    told = watch.changes()
    assert next(told) == Change(namespace, "a", version(cluster, namespace, "a"))


def test_a_namespace_that_was_not_granted_is_forbidden(
    cluster: Cluster, store: WatchableStore
) -> None:
    foreign = cluster.have_namespace("foreign-watch")
    with pytest.raises(Forbidden, match=f"namespace {foreign}: we may not watch"):
        next(iter(store.watch(foreign).changes()))
