"""A bulk migration between two CAs: what it costs beside plain creation, and what it survives.

On PostgreSQL, Valkey, two demo CAs and the processes of an installation. First as many certificates
are created as are migrated afterwards: certificates a second, CPU time of each part. Meanwhile an
operator renews others at the destination every other second, and in between one comes due: how long
they wait for their first message. Then a migration of its own goes through everything at once:
workers killed, Valkey emptied, a CA that answers one of three with 503. Afterwards each certificate
has to be wholly at the source or wholly at the destination: row, secret, CA.

    ./occm bench migration [--certificates 10000] [--faulty 500] [--seed 1]

Exits with 1 when anything is wrong.
"""

import argparse
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import _processes
from benchmarks._site import Site
from tests.peers.demo_ca import DemoCaProcess

PATIENCE_S = 5.0  # what else is asked for begins within
WARM_UP = 50  # certificates: every thread has its connections and has loaded what it needs
DEARER = 1.1  # than creation, for a worker: no more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--certificates", type=int, default=10_000, help="0: only the faults")
    parser.add_argument("--faulty", type=int, default=500, help="0: no faults")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong: list[str] = []
    if options.certificates:
        wrong += installed(lambda moving, site: measure(moving, site, options.certificates))
    if options.faulty:
        faulty = {"OCCM_RETRY_INTERVAL_S": "5"}
        wrong += installed(lambda moving, _: endure(moving, options), **faulty)
    for each in wrong:
        print(f"WRONG: {each}")
    sys.exit(1 if wrong else 0)


def installed(run: Any, **settings: str) -> list[str]:
    """Run something on an installation of its own; a process of its own, for Django's settings."""
    pid = os.fork()
    if pid:
        return [] if os.waitpid(pid, 0)[1] == 0 else ["see above"]
    with tempfile.TemporaryDirectory(prefix="occm-migration-") as name:
        folder = Path(name)
        with Site(folder, **settings) as site, DemoCaProcess(folder / "ca2") as other:
            os.environ.update(site.environ, OCCM_LOG_LEVEL="ERROR")
            moving = import_module("benchmarks._moving").Moving(site, other)
            wrong: list[str] = run(moving, site)
    for each in wrong:
        print(f"WRONG: {each}")
    sys.stdout.flush()
    os._exit(1 if wrong else 0)


def measure(moving: Any, site: Site, count: int) -> list[str]:
    """Create, then migrate, and print what each cost."""
    for kind in ("worker", "dispatch", "beat"):
        site.start(kind)
    moving.prepare()
    moving.create("warm", WARM_UP)
    moving.create("other", WARM_UP, at=moving.destination)
    created_s, created = _measured(lambda: (moving.create("nf", count), count))
    migrated_s, migrated = _measured(moving.migrate)
    waits = moving.waits()
    longest, median = waits[-1], waits[len(waits) // 2]
    print(f"{count} certificates{'':14}{'created':>10}{'migrated':>10}")
    for name in sorted(migrated):
        cost = f"{created.get(name, 0):10.2f}{migrated[name]:10.2f}"
        print(f"  {name + ', ms CPU each':28}{cost}")
    print(f"  {'a second':28}{created_s:10.1f}{migrated_s:10.1f}")
    memory = "  ".join(f"{name} {size:.0f}" for name, size in _processes.megabytes().items())
    print(f"  MB: {memory}")
    print(f"  {len(waits)} renewals meanwhile began after {median:.2f} s (median), {longest:.2f} s")
    wrong: list[str] = moving.mistakes()
    if longest > PATIENCE_S:
        wrong.append(f"a renewal waited {longest:.1f} s")
    if migrated["worker"] > DEARER * created["worker"]:
        wrong.append("migrating costs a worker more than a tenth more than creating")
    return wrong


def _measured(work: Any) -> tuple[float, dict[str, float]]:
    """Return how many a second, and milliseconds of CPU each by part of the installation."""
    before = _processes.cpu_seconds()
    seconds, count = work()
    used = {
        name: (cpu - before.get(name, 0)) / count * 1000
        for name, cpu in _processes.cpu_seconds().items()
        if name != "other"
    }
    return count / seconds, used


def endure(moving: Any, options: argparse.Namespace) -> list[str]:
    """Have it go through everything, and look at what is left."""
    found: list[str] = moving.endure(options.faulty, seed=options.seed)
    return found


if __name__ == "__main__":
    main()
