"""CPU time of one certificate from its errand to its secret, process by process.

Everything runs as `./occm up` starts it, the demo CAs too. Certificates are made with their errands
held back; then all are due at once, and what each process uses until the last is delivered is
divided by their number. CPU time says more than the clock where other programs run beside.

    ./occm bench enrol                          PostgreSQL, Valkey by TCP, secrets in a folder
    ./occm bench enrol --kubernetes             the same, secrets in a kube-apiserver with etcd
    ./occm bench enrol --embedded               SQLite, and the broker on a socket
    ./occm bench enrol --ca-delay 300           CAs that take 300 ms for each answer
    ./occm bench enrol --rsa KEYSIZE_4096 --beside 20    how long others take beside them
        [--certificates 500] [--issuers 1|2]

How many are asked for at once is set by OCCM_WORKER_SLOTS and OCCM_ISSUER_REQUESTS_IN_FLIGHT.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import _processes, _yardstick
from benchmarks._installation import servers
from tests.flows.running import Operator, Up
from tests.kubernetes.cluster import Cluster, missing

ROOT = Path(__file__).parents[1]
NAMESPACES = ("occm-demo", "5gc-demo", "bench")
WARM_UP = 50  # certificates: every thread has its connections and has loaded what it needs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--certificates", type=int, default=500)
    parser.add_argument("--issuers", type=int, choices=(1, 2), default=1, help="they are spread on")
    parser.add_argument("--rsa", default="", help="RSA keys of this size, in place of P-256")
    parser.add_argument("--beside", type=int, default=0, help="so many with P-256 keys, too")
    parser.add_argument("--ca-delay", type=int, default=0, help="milliseconds before each answer")
    parser.add_argument("--embedded", action="store_true", help="SQLite, the broker on a socket")
    parser.add_argument("--kubernetes", action="store_true", help="secrets in a kube-apiserver")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="occm-enrol-")))
        ours = {} if options.embedded else stack.enter_context(servers(folder))
        if options.kubernetes:
            ours |= stack.enter_context(cluster(folder))
        up = stack.enter_context(Up(folder / "data", servers=ours))
        assert up.password is not None
        Operator(up.url, up.password).certificates_once_ready(within=300)
        plain = argparse.Namespace(issuers=options.issuers, rsa="", beside=0)
        enrol(up, "warm", WARM_UP, plain)
        for ca in (1, 2):
            up.control(ca, delay=options.ca_delay / 1000)
        measure(up, options)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Kubernetes API with the namespaces wanted, and say where in OCCM's settings."""
    if lost := missing():
        sys.exit(lost)
    (folder / "cluster").mkdir()
    ours = Cluster(folder / "cluster")
    try:
        ours.start()
        for namespace in NAMESPACES:
            ours.have_namespace(namespace)
            ours.allow_secrets(namespace, "occm")
        yield {"OCCM_SECRET_STORE": f"kubernetes:{ours.kubeconfig('occm')}"}
    finally:
        ours.stop()


def enrol(up: Up, prefix: str, count: int, options: argparse.Namespace) -> dict[str, float]:
    """Have certificates enrolled; return seconds, failed tries, and CPU seconds by process."""
    words = [f"--prefix={prefix}", f"--certificates={count}"]
    words += [f"--issuers={options.issuers}", f"--rsa={options.rsa}"]
    words += [f"--beside={options.beside}"]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks._enrol", *words],
        env=up.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as inside:
        assert inside.stdin
        assert inside.stdout
        if not inside.stdout.readline():
            sys.exit("the certificates were not made")
        before = _processes.cpu_seconds()
        inside.stdin.write("go\n")
        inside.stdin.flush()
        found: dict[str, float] = json.loads(inside.stdout.readline())
        used = _processes.cpu_seconds()
    for name, seconds in used.items():
        if name != "other":  # what asks and watches here
            found[name] = seconds - before[name]
    return found


def measure(up: Up, options: argparse.Namespace) -> None:
    speeds = [_yardstick.milliseconds()]
    used = enrol(up, "nf", options.certificates, options)
    speeds.append(_yardstick.milliseconds())
    seconds, tries = used.pop("seconds"), used.pop("failed_tries")
    beside = used.pop("beside_seconds")
    memory = _processes.megabytes()
    count = options.certificates + options.beside
    print(f"{'':16}{'ms CPU each':>12}{'MB':>7}")
    for name, cpu in sorted(used.items(), key=lambda it: -it[1]):
        print(f"{name:16}{cpu / count * 1000:12.2f}{memory[name]:7.0f}")
    together = sum(used.values()) / count
    print(f"{'all':16}{together * 1000:12.2f}{sum(memory.values()):7.0f}")
    rate, cores = count / seconds, os.cpu_count() or 1
    load = sum(used.values()) / seconds
    print(f"{rate:.0f} certificates/s on {load:.1f} of {cores} cores; {tries:.0f} failed tries")
    if options.beside:
        print(f"{options.beside} with P-256 keys beside them took {beside:.1f} s")
    print(f"as many cores, all theirs, would do {cores / together:.0f}/s")
    print("a loop of Python, before and after: {:.0f} and {:.0f} ms".format(*speeds))


if __name__ == "__main__":
    main()
