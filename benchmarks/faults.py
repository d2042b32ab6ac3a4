"""What befalls an installation in production, on real processes: does all come right by itself?

Each fault has an installation of its own (PostgreSQL, Valkey, a demo CA, two workers, dispatcher,
beat), whose certificates are asked for all at once. In the end all have to be READY, each key the
one of its certificate, and the CA may hold nothing unused but what is listed as maybe issued, and
no transaction that waits for us.

    ./occm bench faults [NAME ...] [--certificates 200] [--seed 1] [--renew] [--retry-interval 30]

`--renew` lets the faults begin when all certificates are there and are to be renewed. Exits with 1
when anything is wrong, and keeps the logs of that run.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

from benchmarks._faults import FAULTS
from benchmarks._installation import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("fault", nargs="*", default=list(FAULTS), help=", ".join(FAULTS))
    parser.add_argument("--certificates", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--retry-interval", type=int, default=30, help="seconds")
    parser.add_argument("--renew", action="store_true", help="renewals instead of first ones")
    options = parser.parse_args()
    if unknown := set(options.fault) - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    words = [f"--certificates={options.certificates}", f"--seed={options.seed}"]
    words += [f"--retry-interval={options.retry_interval}", *["--renew"] * options.renew]
    columns = ("restarts", "failed", "issued", "unused", "listed")
    print(f"{'fault':<22}{'s':>6}{''.join(f'{it:>10}' for it in columns)}", flush=True)
    well = [endured(fault, words) for fault in options.fault]
    if not all(well):
        sys.exit(1)


def endured(fault: str, words: list[str]) -> bool:
    """Run one in a process of its own, print its line, and say whether all was well."""
    command = [sys.executable, "-m", "benchmarks._faults", fault, *words]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{fault:<22} ended with {done.returncode}", flush=True)
        return False
    found: dict[str, Any] = json.loads(done.stdout)
    named = ("restarts", "failed_tries", "issued", "unused", "listed")
    columns = "".join(f"{found[name]:10}" for name in named)
    print(f"{fault:<22}{found['seconds']:6.0f}{columns}", flush=True)
    for wrong in found["wrong"]:
        print(f"    {wrong}", flush=True)
    return not found["wrong"]


if __name__ == "__main__":
    main()
