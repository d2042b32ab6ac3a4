"""What `benchmarks/enrol.py` does to the database, inside a process of that installation.

It makes certificates whose errands are stopped, says so, and lets them go when it is told to.
"""

import argparse
import json
import os
import sys
import time

from occm_project import embedded

embedded.fill(os.environ)
os.environ["DJANGO_SETTINGS_MODULE"] = "occm_project.settings"

from django.db import transaction  # noqa: E402
from django.db.models import Sum  # noqa: E402

import benchmarks._django  # noqa: E402, F401 - the environment comes first, models after it
from certificates.domain import lifecycle  # noqa: E402
from certificates.models import Enrollment  # noqa: E402
from issuers.domain.clock import DatabaseClock  # noqa: E402
from issuers.models import Issuer  # noqa: E402

NAMESPACE = "bench"
HEAD_START_S = 2.0  # of RSA keys, before others come beside them


def make(prefix: str, count: int, *, issuers: int, rsa: str) -> None:
    """Register certificates, and hold each back before anybody sees it due."""
    cas = list(Issuer.objects.order_by("name")[:issuers])
    clock = DatabaseClock()
    options = {"key_algorithm": "RSA", "key_size": rsa} if rsa else {}
    for number in range(count):
        name = f"{prefix}{number}"
        with transaction.atomic():
            made = lifecycle.register(
                now=clock(),
                name=name,
                network_function="AMF",
                purpose="benchmark",
                issuer=cas[number % len(cas)],
                common_name=f"{name}.example",
                dns_names=[f"{name}.example"],
                **places("private_key", name, "tls.key"),
                **places("certificate", name, "tls.crt"),
                **options,
            )
            made.enrollments.update(due_at=None)


def places(output: str, secret: str, key: str) -> dict[str, str]:
    found = {"namespace": NAMESPACE, "secret": secret, "key": key}
    return {f"{output}_output_{part}": value for part, value in found.items()}


def told() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--certificates", type=int, required=True)
    parser.add_argument("--issuers", type=int, default=1)
    parser.add_argument("--rsa", default="")
    parser.add_argument("--beside", type=int, default=0)
    options = parser.parse_args()
    make(options.prefix, options.certificates, issuers=options.issuers, rsa=options.rsa)
    make(f"{options.prefix}-ec", options.beside, issuers=options.issuers, rsa="")
    told()
    errands = Enrollment.objects.filter(certificate__name__startswith=options.prefix)
    beside = errands.filter(certificate__name__startswith=f"{options.prefix}-ec")
    began = time.monotonic()
    errands.exclude(pk__in=beside.values("pk")).update(due_at=DatabaseClock()())
    if options.beside:
        time.sleep(HEAD_START_S)
    begun_beside = time.monotonic()
    beside.update(due_at=DatabaseClock()())
    found: dict[str, float] = {"failed_tries": 0, "beside_seconds": 0, "seconds": 0}
    while errands.open().exists():
        if beside.open().exists():
            found["beside_seconds"] = time.monotonic() - begun_beside
        time.sleep(0.2)
    found["seconds"] = time.monotonic() - began
    found["failed_tries"] = errands.aggregate(tries=Sum("tries"))["tries"]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
