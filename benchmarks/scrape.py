"""What a scrape of the database's state costs: CPU, time, series and bytes, on PostgreSQL.

./occm bench scrape [--certificates 10000 100000] [--rounds 5]
"""

import argparse
import subprocess
import sys

from benchmarks._installation import environment
from tests.peers.postgresql import PostgreSQL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--certificates", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    inside = [sys.executable, "-m", "benchmarks._scrape", f"--rounds={options.rounds}"]
    with PostgreSQL() as cluster:
        for count in options.certificates:
            url = cluster.database(f"certificates_{count}")
            inner = environment(url, OCCM_LOG_LEVEL="WARNING")
            subprocess.run([*inside, f"--certificates={count}"], check=True, env=inner)


if __name__ == "__main__":
    main()
