"""500 certificates into 50 Kubernetes secrets that another client edits, and what a write costs.

First everything is delivered while the API server is killed and started again, and a third party
reads all secrets all the time. Then secret writes a second are counted, beside the bare client's.
On a private PostgreSQL and API server (tests/kubernetes/cluster/build makes the latter).

    ./occm bench kubernetes [--certificates 500] [--secrets 50] [--threads 8] [--writes 2000]
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._installation import environment
from tests.kubernetes.cluster import missing
from tests.peers.postgresql import PostgreSQL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--certificates", type=int, default=500)
    parser.add_argument("--secrets", type=int, default=50)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--writes", type=int, default=2000)
    options = parser.parse_args()
    if lost := missing():
        raise SystemExit(lost)
    # A process of its own: beside this file, `import kubernetes` would find this file.
    inside = [sys.executable, "-m", "benchmarks._crowd"]
    inside += [f"--{name}={value}" for name, value in vars(options).items()]
    with PostgreSQL() as server, tempfile.TemporaryDirectory() as folder:
        more = {"CLUSTER_FOLDER": folder, "OCCM_LOG_LEVEL": "ERROR"}
        subprocess.run(
            inside,
            check=True,
            env=environment(server.database("crowd"), **more),
            cwd=Path(__file__).parents[1],
        )


if __name__ == "__main__":
    main()
