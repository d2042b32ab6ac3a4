"""The worker's entry points for issuers. They fetch, hand over, and decide nothing."""

import logging

from celery import shared_task

from issuers.domain import channel, health, trial
from issuers.domain.clock import DatabaseClock, database_time

BATCH = 50  # looks a round; the next round comes in two seconds

log = logging.getLogger(__name__)


@shared_task(name="issuers.look_at_inputs")
def look_at_inputs() -> None:
    """Look at the secrets of the issuers whose time has come."""
    secrets = channel.secret_store()
    for _ in range(BATCH):
        if not health.look(secrets=secrets, now=database_time()):
            break


@shared_task(name="issuers.call_tests")
def call_tests() -> None:
    """Call workers to the connections that operators want to know about."""
    for issuer in trial.take(now=database_time()):
        test_connection.delay(issuer)


@shared_task(name="issuers.test_connection")
def test_connection(issuer: int) -> None:
    """Try the connection to one CA; in the queue where CAs that hang delay nobody."""
    try:
        trial.run(issuer, secrets=channel.secret_store(), clock=DatabaseClock())
    except Exception as error:  # the one boundary where everything is caught
        log.exception("issuer %s: its connection was not tried", issuer)
        trial.give_up(issuer, error, now=database_time())
