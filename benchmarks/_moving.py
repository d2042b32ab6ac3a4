"""What `benchmarks/migration.py` does to the rows, in a process whose environment names them."""

import random
import time
from collections import Counter
from collections.abc import Callable

import redis
from django.db import connection, transaction

import benchmarks._django  # noqa: F401 - before models can be imported
import secretstore
from benchmarks import _rows as rows
from benchmarks._site import Site
from certificates.domain import lifecycle
from certificates.models import Certificate, Enrollment
from issuers.domain.clock import DatabaseClock
from issuers.models import Issuer
from migrations_bulk.domain import migrate
from migrations_bulk.models import BulkMigration, MigrationItem
from secretstore import FolderSecretStore
from tests.peers.demo_ca import DemoCaProcess

PATIENCE_S = 3600.0
EVERY_S = 1.0  # an operator renews something


class Moving:
    """Two issuers, and certificates that go from one to the other."""

    def __init__(self, site: Site, other: DemoCaProcess) -> None:
        self.site, self.cas = site, (site.ca, other)

    def prepare(self) -> None:
        rows.migrate()
        for name, ca in zip(("source", "destination"), self.cas, strict=True):
            issuer = rows.an_issuer(
                self.site.secrets,
                rows.certificates_in(ca.folder),
                name=name,
                server_url=ca.url,
                message_timeout_s=10,
            )
            rows.ask_for_identity(issuer)
        _until(lambda: not rows.unfinished())

    @property
    def source(self) -> Issuer:
        return Issuer.objects.get(name="source")

    @property
    def destination(self) -> Issuer:
        return Issuer.objects.get(name="destination")

    def create(self, prefix: str, count: int, *, at: Issuer | None = None) -> float:
        """Have certificates created, all due at once; return the seconds it took."""
        issuer = at or self.source
        for number in range(count):
            with transaction.atomic():
                rows.ask_for(issuer, f"{prefix}{number}").enrollments.update(due_at=None)
        errands = Enrollment.objects.filter(certificate__name__startswith=prefix)
        began = time.monotonic()
        errands.update(due_at=DatabaseClock()())
        _until(lambda: not errands.open().exists())
        return time.monotonic() - began

    def migrate(self) -> tuple[float, int]:
        """Migrate everything; others are renewed meanwhile. Return the seconds, and how many."""
        began = time.monotonic()
        migration = self._start()
        others = list(self.destination.certificates.filter(name__startswith="other"))
        turn = 0
        while not _ended(migration):
            chosen = others[turn % len(others)]
            if turn % 2:  # the time of its renewal comes
                Certificate.objects.filter(pk=chosen.pk).update(renew_at=DatabaseClock()())
            elif not chosen.enrollments.open().exists():
                lifecycle.renew(chosen, now=DatabaseClock()())
            turn += 1
            time.sleep(EVERY_S)
        took = time.monotonic() - began
        _until(lambda: not Enrollment.objects.open().exists())
        return took, Enrollment.objects.filter(kind__in=("MIGRATE", "RENEW")).count()

    def _start(self) -> BulkMigration:
        return migrate.start(
            now=DatabaseClock()(), source=self.source, destination=self.destination
        )

    def waits(self) -> list[float]:
        """Return the seconds that renewals waited for their first message, in order."""
        errands = Enrollment.objects.filter(kind="RENEW")
        moments = errands.values_list("created_at", "sent_at")
        waits = [(sent - opened).total_seconds() for opened, sent in moments if sent]
        return sorted(waits) or [0.0]

    def endure(self, count: int, *, seed: int) -> list[str]:
        """Migrate while workers die, the broker forgets and the CA is busy."""
        site, chance = self.site, random.Random(seed)
        workers = [site.start(kind) for kind in ("worker", "worker", "dispatch")]
        site.start("beat")
        self.prepare()
        self.create("nf", count)
        migration = self._start()
        fault = {"chance": 1 / 3, "seed": seed, "bodies": ["ir", "certConf"]}
        self.cas[1].control(http_503_html=fault)
        began, faults = time.monotonic(), Counter[str]()
        while not _ended(migration):
            time.sleep(chance.uniform(1, 4))
            if chance.random() < 0.5:
                site.replace(chance.choice(workers))
                faults["processes killed"] += 1
            else:
                redis.Redis.from_url(site.valkey.url).flushall()
                faults["times the broker was emptied"] += 1
        took = time.monotonic() - began
        self.cas[1].control(http_503_html=False)
        _until(lambda: not Enrollment.objects.open().exists())
        _until(lambda: not migration.items.filter(state="ISSUED").exists())
        states = dict(Counter(migration.items.values_list("state", flat=True)))
        tries = rows.failed_tries()
        print(f"{count} migrated in {took:.0f} s under faults: {states}; {tries} failed tries,")
        print("  " + ", ".join(f"{number} {what}" for what, number in faults.items()))
        return self.mistakes()

    def mistakes(self) -> list[str]:
        """Name what is neither wholly at the source nor wholly at the destination."""
        issued = {
            name: {one.serial: one.transaction_id.hex() for one in ca.issued()}
            for name, ca in zip(("source", "destination"), self.cas, strict=True)
        }
        differ = rows.mismatches(self.site.secrets)
        wrong = [f"{name}: its secret is not the row's" for name in differ]
        items = MigrationItem.objects.select_related("certificate__issuer")
        for item in items:
            wrong += self._mistakes(item, issued)
        done = items.filter(state="DONE").count()
        moved = self.destination.certificates.filter(cert_type="OTHER")
        there = moved.exclude(name__startswith="other").count()
        if done != there:
            wrong.append(f"{done} are DONE, and {there} at the destination")
        if not Enrollment.objects.filter(kind="RENEW").exists():  # these supersede others, too
            wrong += self._unaccounted(issued)
        return wrong

    def _unaccounted(self, issued: dict[str, dict[int, str]]) -> list[str]:
        """Name certificates that a CA has issued and that are not held, replaced or listed."""
        old = MigrationItem.objects.filter(state="DONE").values_list("old_serial_number", flat=True)
        known = {int(serial, 16) for serial in old if serial} | rows.serials().keys()
        listed = rows.maybe_issued()
        return [
            f"{serial:x} was issued by the {name}, and is neither held nor listed"
            for name, found in issued.items()
            for serial, transaction_id in found.items()
            if serial not in known and transaction_id not in listed
        ]

    def _mistakes(self, item: MigrationItem, issued: dict[str, dict[int, str]]) -> list[str]:
        row = item.certificate
        if row is None:
            return [f"{item.certificate_name} is gone"]
        where = "destination" if item.state == "DONE" else "source"
        wrong = []
        if row.issuer.name != where:
            wrong.append(f"{row}: {item.state}, and its issuer is {row.issuer}")
        if int(row.serial_number, 16) not in issued[row.issuer.name]:
            wrong.append(f"{row}: {row.issuer} has not issued its certificate")
        if item.state not in {"DONE", "FAILED"}:
            wrong.append(f"{row}: {item.state} in the end")
        secret = FolderSecretStore(self.site.secrets).read(
            rows.NAMESPACE, row.certificate_output_secret
        )
        leaf = secretstore.certificates(secret, rows.ref(row, "tls.crt"))[0]
        if leaf.serial_number not in issued[where]:
            wrong.append(f"{row}: {item.state}, and its secret holds another CA's certificate")
        return wrong


def _ended(migration: BulkMigration) -> bool:
    return rows.patiently(
        lambda: BulkMigration.objects.filter(pk=migration.pk, state="ENDED").exists()
    )


def _until(done: Callable[[], bool]) -> None:
    """Wait for something, an hour at most."""
    deadline = time.monotonic() + PATIENCE_S
    while not rows.patiently(done):
        if time.monotonic() > deadline:
            raise TimeoutError("it does not come to an end")
        time.sleep(0.2)
    connection.close()
