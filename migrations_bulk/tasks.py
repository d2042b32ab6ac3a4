"""The worker's entry points for bulk migrations. They call one domain function each.

`advance` runs every second. A certificate's own errand is taken up like any other, under a name
that tells those who watch that it is a migration's.
"""

from datetime import timedelta
from time import sleep

from celery import shared_task

from certificates.tasks import advance as advance_enrollment
from issuers.domain.clock import DatabaseClock
from migrations_bulk.domain import progress

BUSY = timedelta(milliseconds=900)  # how long one run goes on while there is more at once
PAUSE_S = 0.1


@shared_task(name="migrations_bulk.advance")
def advance() -> None:
    """Settle what has come to something, and begin what there is room for."""
    clock = DatabaseClock()
    until = clock() + BUSY
    while progress.tick(now=clock()) and clock() < until:
        sleep(PAUSE_S)


@shared_task(name="migrations_bulk.migrate_certificate")
def migrate_certificate(enrollment: int, fence: int) -> None:
    """Take the next step of one certificate's errand to the destination."""
    advance_enrollment(enrollment, fence)
