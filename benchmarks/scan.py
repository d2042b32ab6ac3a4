"""Milliseconds of one expiry scan and one dispatch tick, with EXPLAIN of what they ask.

On a private PostgreSQL with 100,000 and with 1,000,000 certificates, each with an errand that is
done, of which 500 are due. What costs is to follow what is due, not what there is.

    ./occm bench scan [--certificates 100000 1000000] [--due 500] [--rounds 20] [--explain]
"""

import argparse
import subprocess
import sys

from benchmarks._installation import environment
from tests.peers.postgresql import PostgreSQL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--certificates", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--due", type=int, default=500)
    parser.add_argument("--issuers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--explain", action="store_true", help="whole plans, not their scans only")
    options = parser.parse_args()
    inside = [sys.executable, "-m", "benchmarks._ticks", f"--due={options.due}"]
    inside += [f"--issuers={options.issuers}", f"--rounds={options.rounds}"]
    inside += ["--explain"] * options.explain
    with PostgreSQL() as cluster:
        for count in options.certificates:
            url = cluster.database(f"certificates_{count}")
            subprocess.run([*inside, f"--certificates={count}"], check=True, env=environment(url))


if __name__ == "__main__":
    main()
