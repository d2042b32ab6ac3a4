"""Certificates that live for minutes, renewed without a pause: is memory flat, is nothing missed?

Everything runs as `./occm up` starts it, the demo CA too; it grants minutes instead of days, so
each certificate is renewed at two thirds of its life, again and again. Printed every minute:
memory of each process, certificates that are not READY, and how long what was due waited for its
first message. The run fails when a certificate expired, or memory grows.

    ./occm bench soak [--certificates 2000] [--minutes 30] [--lifetime 600] [--servers]

`--servers`: on PostgreSQL and a Valkey server over TCP in place of the embedded defaults.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import _processes
from benchmarks._installation import servers
from tests.flows.running import Operator, Up

WARM_UP = 0.4  # the part of the run after which memory must not grow
GROWTH = 1.15  # how much more memory at the end than after the warm-up counts as growing
REMEMBERING = "demo-ca"  # keeps every certificate that it has issued
PATIENCE_S = 5.0  # what is due waits no longer, 99 times of 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--certificates", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--lifetime", type=int, default=600, help="seconds that the CA grants")
    parser.add_argument("--servers", action="store_true", help="PostgreSQL and Valkey by TCP")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="occm-soak-")))
        ours = stack.enter_context(servers(folder)) if options.servers else {}
        up = stack.enter_context(Up(folder / "data", servers=ours))
        if not soak(up, options):
            sys.exit(1)


def soak(up: Up, options: argparse.Namespace) -> bool:
    """Create the certificates, watch them, and say whether all was well."""
    assert up.password is not None
    operator = Operator(up.url, up.password)
    operator.certificates_once_ready(within=120)
    up.control(1, validity=options.lifetime)
    for number in range(options.certificates):
        operator.post("certificates/", wanted(f"soak{number}"))
    created_at, samples, expired = time.monotonic(), [], 0
    print(f"{'minute':>6}{'READY':>7}{'other':>7}  MB by process", flush=True)
    while (minutes := (time.monotonic() - created_at) / 60) < options.minutes:
        time.sleep(60 - time.monotonic() % 60)
        states, memory = readiness(operator), _processes.megabytes()
        expired += states["EXPIRED"]
        samples.append(memory)
        others = sum(states.values()) - states["READY"]
        shown = "  ".join(f"{name} {size:.0f}" for name, size in memory.items())
        print(f"{minutes:6.1f}{states['READY']:7}{others:7}  {shown}", flush=True)
    waits = latencies(up, options.lifetime)
    print(json.dumps(waits))
    return verdict(samples, waits, expired)


def wanted(name: str) -> dict[str, Any]:
    places = {
        f"{output}_output_{part}": value
        for output, key in (("private_key", "tls.key"), ("certificate", "tls.crt"))
        for part, value in (("namespace", "soak"), ("secret", name), ("key", key))
    }
    return {
        "name": name,
        "cert_type": "OTHER",
        "network_function": "AMF",
        "purpose": "soak",
        "issuer": "demo-ca-1",
        "common_name": f"{name}.example",
        "requested_validity_days": 2,
        "renew_before_expiration_days": 1,
    } | places


def readiness(operator: Operator) -> Counter[str]:
    """Count the certificates by readiness, page by page."""
    found: Counter[str] = Counter()
    address = f"{operator.api}/certificates/?page_size=1000"
    while address:
        page = operator.session.get(address, timeout=60).json()
        found.update(it["status"]["readiness"] for it in page["results"])
        address = page["next"]
    return found


def latencies(up: Up, lifetime: int) -> dict[str, float]:
    """Ask the database how long renewals waited from being due to their first message."""
    inside = [sys.executable, "-m", "benchmarks._soak", str(lifetime)]
    answer = subprocess.run(
        inside,
        env=up.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def verdict(samples: list[dict[str, float]], waits: dict[str, float], expired: int) -> bool:
    """Say what was found wrong, if anything."""
    begin, end = samples[int(len(samples) * WARM_UP)], samples[-1]
    wrong = [
        f"{name} grew from {begin[name]:.0f} to {size:.0f} MB"
        for name, size in end.items()
        if name != REMEMBERING and size > GROWTH * begin.get(name, size)
    ]
    if expired:
        wrong.append(f"{expired} times a certificate was found expired")
    if waits["p99_s"] > PATIENCE_S:
        wrong.append(f"p99 of the dispatch latency is {waits['p99_s']:.1f} s")
    print("all well" if not wrong else "\n".join(wrong))
    return not wrong


if __name__ == "__main__":
    main()
