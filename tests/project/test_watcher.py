"""The threads of a worker that notice what others change in secrets."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from time import monotonic, sleep

import pytest
from django.utils import timezone

from certificates.models import Certificate, Output
from occm_project.watcher import Watcher
from secretstore import MemorySecretStore, Unavailable
from secretstore.watches import PolledWatch
from tests.certificates.standings import ready

pytestmark = pytest.mark.django_db
PLACE = ("ns1", "nf-tls")


class Quick(MemorySecretStore):
    """Is looked at all the time."""

    def watch(self, namespace: str) -> PolledWatch:
        watch = super().watch(namespace)
        watch.pause = 0.02
        return watch


def wait_for(watcher: Watcher, condition: Callable[[], bool]) -> None:
    """Let the watcher tick until something is so."""
    until = monotonic() + 60
    while not condition():
        assert monotonic() < until
        watcher.tick()
        sleep(0.02)


@pytest.fixture
def store() -> MemorySecretStore:
    return Quick()


@pytest.fixture
def certificate(store: MemorySecretStore) -> Certificate:
    """A certificate whose secret was delivered, and that is looked at in an hour."""
    certificate = ready(secret="nf-tls")
    version = store.write(*PLACE, {"tls.key": b"1"}, version=None)
    Output.objects.filter(certificate=certificate).update(version=version)
    later = timezone.now() + timedelta(hours=1)
    Certificate.objects.filter(pk=certificate.pk).update(look_due_at=later)
    return certificate


@pytest.fixture
def watcher(store: MemorySecretStore) -> Iterator[Watcher]:
    watcher = Watcher(lambda: store)
    yield watcher
    for reader in watcher._readers.values():
        reader.stop()
        reader.join(timeout=30)


def is_due(certificate: Certificate) -> bool:
    certificate.refresh_from_db()
    assert certificate.look_due_at is not None
    return certificate.look_due_at <= timezone.now()


def test_what_somebody_else_changes_has_a_look(
    watcher: Watcher, store: MemorySecretStore, certificate: Certificate
) -> None:
    wait_for(watcher, lambda: len(watcher._waiting) > 0)
    watcher.tick()
    assert not is_due(certificate)  # as it was delivered

    store.write(*PLACE, {"tls.key": b"2"}, version=store.read(*PLACE).version)

    wait_for(watcher, lambda: is_due(certificate))


def test_a_secret_that_was_deleted_while_nobody_watched_has_a_look(
    watcher: Watcher, store: MemorySecretStore, certificate: Certificate
) -> None:
    del store.secrets[PLACE]
    wait_for(watcher, lambda: is_due(certificate))


def test_a_store_that_is_away_is_tried_again(
    watcher: Watcher,
    store: MemorySecretStore,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("occm_project.watcher.LONGEST_PAUSE_S", 0.02)
    store.outage = Unavailable("the API server is down")
    watcher.tick()
    store.outage = None
    del store.secrets[PLACE]
    wait_for(watcher, lambda: is_due(certificate))
