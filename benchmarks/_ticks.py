"""What `benchmarks/scan.py` measures, inside a process whose database is its own: it fills it."""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Model

import benchmarks._django  # noqa: F401 - before models can be imported
from certificates import tasks
from certificates.domain import dispatch, lifecycle, looks
from certificates.models import Certificate, Enrollment
from secretstore import MemorySecretStore
from tests.factories import a_certificate, an_identity, an_issuer

YEAR_S = 365 * 24 * 3600


def fill(count: int, *, issuers: int, now: datetime) -> None:
    """Make `count` certificates that were delivered during the last year, by copying one."""
    ours = [an_issuer() for _ in range(issuers)]
    for issuer in ours:
        a_ready_identity(issuer=issuer, now=now)
    first = a_certificate(
        now=now, name="nf0", issuer=ours[0], country="DE", organization="operator"
    )
    done = first.enrollments.get()
    der = b"\x30" * 650  # as long as one is
    span = f"({YEAR_S}.0 * n / {count})"  # seconds ago that it was delivered
    delivered = f"now() - interval '1 second' * {span}"
    copy(
        first,
        count,
        id=f"{first.pk} + n",
        name="'nf' || n",
        common_name="'nf' || n",
        issuer_id=f"(ARRAY{[it.pk for it in ours]})[1 + n % {issuers}]",
        private_key_output_secret="'nf' || n",
        certificate_output_secret="'nf' || n",
        certificate_der=f"'\\x{der.hex()}'::bytea",
        serial_number="md5(n::text)",
        fingerprint="md5(n::text) || md5(n::text)",
        not_before=delivered,
        not_after=f"{delivered} + interval '400 days'",
        delivered_at=delivered,
        renew_at=f"{delivered} + interval '370 days'",
        in_place="true",
    )
    copy(
        done,
        count,
        id=f"{done.pk} + n",
        certificate_id=f"{first.pk} + n",
        issuer_id=f"(ARRAY{[it.pk for it in ours]})[1 + n % {issuers}]",
        phase="'DELIVERED'",
        due_at="NULL",
        closed_at=delivered,
        created_at=delivered,
        issued_fingerprint="md5(n::text) || md5(n::text)",
        chain_der="'[]'",
    )
    lifecycle.stop(first, now=now)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")  # not later, meanwhile


def a_ready_identity(*, issuer: Any, now: datetime) -> None:
    identity = an_identity(now=now, issuer=issuer)
    identity.enrollments.update(phase="DELIVERED", due_at=None)
    Certificate.objects.filter(pk=identity.pk).update(
        in_place=True, not_before=now - timedelta(days=1), not_after=now + timedelta(days=300)
    )


def copy(template: Model, count: int, **expressions: str) -> None:
    """Insert copies of a row; `expressions` are SQL, where n counts from 1."""
    meta = template._meta  # noqa: SLF001 - public all the same
    columns = [str(field.column) for field in meta.concrete_fields]
    chosen = [expressions.get(column, f"it.{column}") for column in columns]
    table = meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(chosen)}"
            f" FROM {table} it, generate_series(1, {count}) n WHERE it.id = {template.pk}"
        )
        sequence = f"pg_get_serial_sequence('{table}', 'id')"
        cursor.execute(f"SELECT setval({sequence}, (SELECT max(id) FROM {table}))")


def make_due(count: int, *, now: datetime) -> None:
    """Have the time to renew come for some that are spread all over the table."""
    later = list(Certificate.objects.filter(renew_at__gt=now).values_list("pk", flat=True))
    pks = random.Random(1).sample(later, count)
    Certificate.objects.filter(pk__in=pks).update(renew_at=now - timedelta(minutes=5))


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds: on the clock, and of CPU here and in PostgreSQL's process for us."""

    wall: float
    here: float
    there: float


def measured(work: Callable[[], Any], *, rounds: int, before: Callable[[], Any]) -> list[Took]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    took = []
    for _ in range(rounds):
        before()
        began = time.perf_counter(), time.process_time(), cpu_seconds(backend)
        work()
        ended = time.perf_counter(), time.process_time(), cpu_seconds(backend)
        took.append(Took(*((b - a) * 1000 for a, b in zip(began, ended, strict=True))))
    return took


def cpu_seconds(pid: int) -> float:
    """Return what a process has used, to the nanosecond (proc_pid_schedstat(5))."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def listening(found: list[tuple[str, Any]]) -> Iterator[None]:
    """Note the queries of a block."""

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield


def explain(queries: list[tuple[str, Any]], *, whole: bool) -> None:
    """Show how PostgreSQL goes about each kind of query, once."""
    for sql, params in {sql: (sql, params) for sql, params in queries}.values():
        if not sql.startswith(("SELECT", "UPDATE", "INSERT")):
            continue
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, SUMMARY ON) {sql}", params)
            plan = [str(line) for (line,) in cursor.fetchall()]
            transaction.set_rollback(True)
        print(f"      {sql[:60]} … {sql[-40:]}")
        for line in plan:
            if whole or "Scan" in line or "Execution Time" in line:
                print(f"        {line}")


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("certificates", "due", "issuers", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--explain", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    call_command("migrate", verbosity=0)
    now = datetime.now(UTC)
    fill(options.certificates, issuers=options.issuers, now=now)
    print(f"\n{options.certificates:,} certificates (made in {time.monotonic() - began:.0f} s)")
    print(f"  {'ms':42} {'median':>8} {'least':>8} {'CPU here':>8} {'CPU PostgreSQL':>8}")
    make_due(options.due, now=now)
    first_errand = Enrollment.objects.order_by("-pk").values_list("pk", flat=True)[0]

    def none_opened() -> None:
        Enrollment.objects.filter(pk__gt=first_errand).delete()

    def uncalled() -> None:
        Enrollment.objects.filter(pk__gt=first_errand).update(called_until=None)

    def scan() -> None:
        lifecycle.open_due_renewals(now=now, limit=tasks.SCAN)

    def scan_all() -> None:
        while lifecycle.open_due_renewals(now=now, limit=tasks.SCAN):
            pass

    def tick() -> None:
        dispatch.tick(now=now + timedelta(seconds=1))

    def all_called() -> None:
        rows = Enrollment.objects.filter(pk__gt=first_errand)
        rows.update(called_until=now + timedelta(seconds=10))

    def stopped() -> None:
        Enrollment.objects.filter(pk__gt=first_errand).update(due_at=None)

    def nothing() -> None:
        pass

    secrets = MemorySecretStore()
    due = f"{options.due} due"
    ticks: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        (f"expiry scan, {due}: {tasks.SCAN} errands opened", scan, none_opened),
        (f"expiry scan, {due}: all opened", scan_all, none_opened),
        (f"expiry scan, the {due} have errands", scan, scan_all),
        (f"dispatch tick, {due}", tick, uncalled),
        (f"dispatch tick, the {due} are called", tick, all_called),
        ("dispatch tick, nothing due", tick, stopped),
        ("deletions to finish: none", lambda: lifecycle.finish_deletions(now=now), nothing),
        (
            "certificates to look at: none",
            lambda: looks.look(secrets=secrets, now=now),
            nothing,
        ),
    ]
    for what, work, before in ticks:
        took = measured(work, rounds=options.rounds, before=before)
        wall = statistics.median(it.wall for it in took)
        here = statistics.median(it.here for it in took)
        there = statistics.median(it.there for it in took)
        print(
            f"  {what:42} {wall:8.1f} {min(it.wall for it in took):8.1f} {here:8.1f} {there:8.1f}"
        )
        queries: list[tuple[str, Any]] = []
        before()
        with listening(queries):
            work()
        print(f"    {len(queries)} queries")
        before()
        explain(queries, whole=options.explain)


if __name__ == "__main__":
    main()
