"""What holds when several do it at once: one migration, and pairs that match at every moment."""

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

import secretstore
from certificates.models import Certificate
from issuers.models import Issuer
from migrations_bulk.models import BulkMigration
from secretstore import FolderSecretStore, SecretKeyRef
from tests.factories import a_certificate
from tests.fakes.site import Site
from tests.migrations_bulk.conftest import with_identity
from tests.migrations_bulk.moving import finish, start, states

ROOT = Path(__file__).parents[2]
ROUNDS = 100


@pytest.mark.django_db(transaction=True)
def test_of_two_processes_that_start_one_at_once_one_wins_each_time() -> None:
    """From and to other issuers each, so that no lock on an issuer's row keeps them apart."""
    site = Site()
    issuers = [with_identity(site, f"CA{number}") for number in range(1, 5)]
    for source in issuers[::2]:
        a_certificate(issuer=source)
    site.run()
    outcomes: Counter[tuple[str, ...]] = Counter()

    with starter("CA1", "CA2") as one, starter("CA3", "CA4") as other:
        for _ in range(ROUNDS):
            for each in (one, other):
                say(each, site.clock().isoformat())
            outcomes[tuple(sorted(heard(each) for each in (one, other)))] += 1
            assert BulkMigration.objects.count() == 1
            BulkMigration.objects.all().delete()

    assert outcomes == {("MIGRATION_RUNNING", "STARTED"): ROUNDS}


@contextlib.contextmanager
def starter(source: str, destination: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that starts migrations in this test's database."""
    connection.close()  # SQLite: what the processes hold is theirs
    with subprocess.Popen(
        [sys.executable, "-m", "tests.migrations_bulk.starter", source, destination],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert heard(process) == "ready"
        yield process
        assert process.stdin
        process.stdin.close()


def database_url() -> str:
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


class Watched:
    """A secret store at which somebody looks before and after each write, as a kubelet would."""

    def __init__(self, store: Any) -> None:
        self.store, self.looks = store, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def write(
        self, namespace: str, secret: str, changes: Mapping[str, bytes], **options: Any
    ) -> str:
        self._look(namespace, secret)
        version = str(self.store.write(namespace, secret, changes, **options))
        self._look(namespace, secret)
        return version

    def _look(self, namespace: str, secret: str) -> None:
        try:
            found = self.store.read(namespace, secret)
        except secretstore.SecretMissing:
            return
        if not {"tls.key", "tls.crt"} <= found.data.keys():
            return
        key, leaf = (SecretKeyRef(namespace, secret, each) for each in ("tls.key", "tls.crt"))
        pair = secretstore.private_key(found, key), secretstore.certificates(found, leaf)[0]
        assert secretstore.is_pair(*pair)
        self.looks += 1


@pytest.mark.parametrize("folder", [True, False], ids=["folder", "memory"])
def test_key_and_certificate_match_at_every_moment_and_stay_served(
    site: Site, source: Issuer, destination: Issuer, tmp_path: Path, folder: bool
) -> None:
    made = [a_certificate(issuer=source, name=name) for name in ("amf", "nrf", "smf")]
    store = site.secrets
    if folder:
        store = FolderSecretStore(tmp_path)
        for place in {(row.namespace, row.secret) for row in secrets_of(source, destination)}:
            store.write(*place, site.secrets.read(*place).data, version=None)
    site.secrets = Watched(store)
    site.run()
    assert {site.readiness(one) for one in made} == {"READY"}
    site.secrets.looks = 0

    migration = finish(site, start(site, source, destination))

    assert states(migration) == {"DONE": 3}
    assert site.secrets.looks == 6
    assert {site.readiness(one) for one in made} == {"READY"}


def secrets_of(*issuers: Issuer) -> list[SecretKeyRef]:
    """Return one key in each secret that the issuers refer to."""
    return [
        SecretKeyRef(getattr(one, f"{kind}_namespace"), getattr(one, f"{kind}_secret"), "any")
        for one in issuers
        for kind in ("mac", "trust_store", "other_signature")
    ]


@pytest.mark.django_db
def test_ticks_of_two_beats_do_nothing_twice(
    site: Site, source: Issuer, destination: Issuer, three: list[Certificate]
) -> None:
    migration = start(site, source, destination)
    asked = site.cas[destination.pk].count("ir")
    for _ in range(5):
        finish(site, migration)

    assert site.cas[destination.pk].count("ir") == asked + 3
    assert three[0].enrollments.filter(kind="MIGRATE").count() == 1
