"""The faults of `benchmarks/faults.py`, and one run with one of them in a process of its own.

When a fault's `during` returns, it is over, and all has to come right by itself.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import redis

from benchmarks._site import Site
from tests.peers.process import Process

PATIENCE_S = 1200.0  # after the fault is over
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
THIRD = 1 / 3
CERTIFICATES = ("ir", "kur", "certConf")


@dataclass
class Run:
    """One installation, one fault, and what chance decides in it."""

    site: Site
    random: random.Random
    seed: int
    left: Callable[[], int]  # certificates that are not READY
    workers: list[Process] = field(default_factory=list)

    def pause(self, shortest: float, longest: float) -> None:
        time.sleep(self.random.uniform(shortest, longest))


def nothing(_: Run) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong while certificates are worked on, and what processes there are to do it."""

    during: Callable[[Run], None] = nothing
    workers: int = 2
    dispatchers: int = 1
    beats: int = 1
    app: str = "occm_project"
    environ: Mapping[str, str] = field(default_factory=dict)  # of the first worker and dispatcher


def kill_workers(run: Run) -> None:
    """Kill one of all processes at random moments, and start it again at once."""
    for _ in range(15):
        run.pause(0.5, 4)
        if not run.left():
            return
        run.site.replace(run.random.choice(run.workers))


def empty_redis(run: Run) -> None:
    for _ in range(10):
        run.pause(0.5, 2)
        redis.Redis.from_url(run.site.valkey.url).flushall()


def stop_redis(run: Run) -> None:
    run.pause(1, 4)
    run.site.valkey.process.stop()
    time.sleep(60)
    run.site.valkey.process.start()


def restart_postgresql(run: Run) -> None:
    for _ in range(3):
        run.pause(1, 5)
        run.site.postgresql.process.stop()
        run.pause(1, 5)
        run.site.postgresql.process.start()


def ca_that(knob: str) -> Callable[[Run], None]:
    """Have the CA do so to a third of the questions, until all is done or for five minutes."""

    def misbehave(run: Run) -> None:
        fault = {"chance": THIRD, "seed": run.seed, "bodies": list(CERTIFICATES)}
        run.site.ca.control(**{knob: fault})
        deadline = time.monotonic() + 300
        while run.left() and time.monotonic() < deadline:
            time.sleep(1)
        run.site.ca.control(**{knob: False})

    return misbehave


CLOCK = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+120s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
FAULTS = {
    "none": Fault(),
    "kill": Fault(during=kill_workers),
    "redis-emptied": Fault(during=empty_redis),
    "redis-stopped": Fault(during=stop_redis),
    "postgresql-restarted": Fault(during=restart_postgresql),
    "ca-drops": Fault(during=ca_that("drop_connection")),
    "ca-503": Fault(during=ca_that("http_503_html")),
    "ca-stalls": Fault(during=ca_that("stall")),
    "ca-garbage": Fault(during=ca_that("garbage")),
    "store-refuses": Fault(app="benchmarks._refusing", environ={"OCCM_BENCH_REFUSES": f"{THIRD}"}),
    "two-beats": Fault(dispatchers=2, beats=2),
    "clock": Fault(environ=CLOCK),
}


@dataclass
class Outcome:
    """What a run ended with; `unused` certificates are the CA's that nobody holds."""

    fault: str
    seconds: float = 0
    restarts: int = 0  # of processes that ended by themselves
    failed_tries: int = 0
    issued: int = 0
    unused: int = 0
    listed: int = 0
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--certificates", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--retry-interval", type=int, default=30)
    parser.add_argument("--renew", action="store_true")
    options = parser.parse_args()
    if options.fault == "clock" and FAKETIME is None:
        sys.exit("libfaketime is missing: apt-get install faketime")
    folder = Path(tempfile.mkdtemp(prefix=f"occm-{options.fault}-"))
    interval = str(options.retry_interval)
    with Site(folder, OCCM_RETRY_INTERVAL_S=interval, OCCM_BENCH_SEED=str(options.seed)) as site:
        os.environ.update(site.environ, OCCM_LOG_LEVEL="ERROR")
        rows = import_module("benchmarks._rows")
        outcome = endure(site, rows, options)
    if outcome.wrong:
        outcome.wrong.append(f"logs: {folder}")
    else:
        shutil.rmtree(folder)
    json.dump(asdict(outcome), sys.stdout)


def endure(site: Site, rows: Any, options: argparse.Namespace) -> Outcome:
    """Run the fault, wait until all is well again, and look at what it left."""
    fault = FAULTS[options.fault]
    rows.migrate()
    authorities = rows.certificates_in(site.ca.folder)
    issuer = rows.an_issuer(site.secrets, authorities, server_url=site.ca.url, message_timeout_s=10)
    run = Run(
        site, random.Random(options.seed), options.seed, lambda: rows.patiently(rows.unfinished)
    )
    for number in range(options.certificates):
        rows.ask_for(issuer, f"nf{number}")
    start(run, fault)
    rows.ask_for_identity(issuer)  # which all of them wait for, and then go ahead together
    while not rows.ready():
        time.sleep(0.05)
    if options.renew:
        wait(run)
        rows.make_renewals_due()
    began = time.monotonic()
    fault.during(run)
    outcome = Outcome(options.fault)
    if not wait(run):
        outcome.wrong.append(f"{run.left()} are not READY: {rows.errors_shown()}")
    outcome.seconds = round(time.monotonic() - began, 1)
    outcome.restarts, outcome.failed_tries = site.restarts, rows.failed_tries()
    outcome.wrong += [
        f"{name}: key and certificate differ" for name in rows.mismatches(site.secrets)
    ]
    account(site, rows, outcome)
    return outcome


def start(run: Run, fault: Fault) -> None:
    for kind, count in (("worker", fault.workers), ("dispatch", fault.dispatchers)):
        for number in range(count):
            spoilt = fault.environ if number == 0 or fault.app != "occm_project" else {}
            run.workers.append(run.site.start(kind, app=fault.app, **spoilt))
    for _ in range(fault.beats):
        run.site.start("beat")


def wait(run: Run) -> bool:
    """Wait until every certificate is READY and no errand is open."""
    deadline = time.monotonic() + PATIENCE_S
    while run.left():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def account(site: Site, rows: Any, outcome: Outcome) -> None:
    """Compare what the CA issued with what is held and what is listed as maybe issued."""
    held, listed = rows.serials(), rows.maybe_issued()
    issued = site.ca.issued()
    report = site.ca.control()
    outcome.issued, outcome.listed = len(issued), len(listed)
    for one in issued:
        transaction = one.transaction_id.hex()
        if one.serial in held or one.state == "superseded":
            if one.state == "revoked":
                outcome.wrong.append(
                    f"{held[one.serial]}: its certificate is revoked ({one.reason})"
                )
            continue
        outcome.unused += 1
        if transaction not in listed:
            outcome.wrong.append(f"{one.subject}: issued twice, and not listed as maybe issued")
        elif listed[transaction]:
            outcome.wrong.append(f"{one.subject}: was held, and thrown away")
    lost = {transaction for transaction, serial in listed.items() if not serial}
    for each in report["open_transactions"]:
        if each["id"] not in lost:
            outcome.wrong.append(f"transaction {each['id']} is open at the CA")


if __name__ == "__main__":
    main()
