"""What `benchmarks/scrape.py` measures, inside a process whose database is its own."""

import argparse
import statistics
import time

from django.core.management import call_command
from prometheus_client import generate_latest

import benchmarks._django  # noqa: F401 - before models can be imported
from benchmarks._ticks import fill
from issuers.domain.clock import DatabaseClock
from occm_project import collector


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificates", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    fill(options.certificates, issuers=10, now=DatabaseClock()())
    page, cpu, wall = b"", [], []
    for _ in range(options.rounds):
        began, used = time.perf_counter(), time.process_time()
        page = generate_latest(collector.REGISTRY)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    series = sum(not line.startswith(b"#") for line in page.splitlines())
    print(
        f"{options.certificates:8} certificates: {statistics.median(cpu):5.2f} s CPU of the web"
        f" server, {statistics.median(wall):5.2f} s, {series} series, {len(page) / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
