"""A process that starts a migration whenever it is told to: `starter SOURCE DESTINATION`."""

import os
import sys
from datetime import UTC, datetime

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from certificates.domain.conflicts import Conflict  # noqa: E402 - only after Django is set up
from issuers.models import Issuer  # noqa: E402
from migrations_bulk.domain import migrate  # noqa: E402


def main() -> None:
    source, destination = (Issuer.objects.get(name=name) for name in sys.argv[1:])
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        now = datetime.fromisoformat(line.strip()).astimezone(UTC)
        try:
            migrate.start(now=now, source=source, destination=destination)
        except Conflict as refused:
            print(refused.code, flush=True)  # noqa: T201
        else:
            print("STARTED", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
