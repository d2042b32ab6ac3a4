"""The worker's entry points. They claim, call one domain function, and decide nothing.

`dispatch` runs every second. The rows are the queue and the broker only carries wake-up calls: one
that is lost is sent again, and one that comes twice finds its fence taken. Several tasks do the
same under names that tell what the row is about to do.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from time import sleep

from celery import current_app, shared_task
from structlog.contextvars import bound_contextvars

from certificates.domain import dispatch as dispatching
from certificates.domain import enroll as enrolling
from certificates.domain import history, lifecycle, looks, recovery, watch
from certificates.domain import revoke as revoking
from certificates.domain.world import World
from certificates.models import Enrollment, LeaseLost
from issuers.domain import channel
from issuers.domain.clock import DatabaseClock

BUSY = timedelta(milliseconds=900)  # how long one tick goes on while there is more to send
PAUSE_S = 0.1
IDLE = 2  # a dispatcher rests so many times as long as it took to choose
SCAN = 100  # errands opened at once: certificates are locked no longer than that takes
SCANNING = timedelta(seconds=5)  # how long one scan goes on while there is more to open
LOOKING = timedelta(seconds=4)
Work = Callable[[Enrollment, DatabaseClock], None]

log = logging.getLogger(__name__)


@shared_task(name="certificates.dispatch")
def dispatch() -> None:
    """Call workers to what is due, again and again for a second while there is something."""
    clock = DatabaseClock()
    until = clock() + BUSY
    lifecycle.finish_deletions(now=clock())
    while True:
        began = clock()
        calls = dispatching.tick(now=began)
        took = (clock() - began).total_seconds()
        for call in calls:
            task = current_app.tasks[call.task]
            task.apply_async((call.enrollment, call.fence), queue=call.queue)
        if clock() >= until or not (calls or calls.more):
            break
        sleep(max(PAUSE_S, took * IDLE))


@shared_task(name="certificates.enroll")
def enroll(enrollment: int, fence: int) -> None:
    advance(enrollment, fence)


@shared_task(name="certificates.make_key")
def make_key(enrollment: int, fence: int) -> None:
    """Make an RSA key, which may take a second of a processor, where nobody waits for it."""
    advance(enrollment, fence, work=_make_key)


@shared_task(name="certificates.renew")
def renew(enrollment: int, fence: int) -> None:
    advance(enrollment, fence)


@shared_task(name="certificates.poll")
def poll(enrollment: int, fence: int) -> None:
    advance(enrollment, fence)


@shared_task(name="certificates.deliver")
def deliver(enrollment: int, fence: int) -> None:
    advance(enrollment, fence)


@shared_task(name="certificates.scan_expiring")
def scan_expiring() -> None:
    """Open the errands of certificates whose time to renew has come."""
    clock = DatabaseClock()
    until = clock() + SCANNING
    while lifecycle.open_due_renewals(now=clock(), limit=SCAN) and clock() < until:
        pass


@shared_task(name="certificates.scan_secrets")
def scan_secrets() -> None:
    """Look at what lies in the secrets of certificates that are due for it."""
    clock, secrets = DatabaseClock(), channel.secret_store()
    until = clock() + LOOKING
    while (now := clock()) < until and (claimed := watch.claim(now=now)) is not None:
        try:
            looks.look_at(claimed, secrets=secrets, now=now)
        except Exception:  # one certificate's trouble keeps no other from being looked at
            log.exception("%s: the look at its secrets failed", claimed)


@shared_task(name="certificates.scan_history")
def scan_history() -> None:
    """Forget what is too old, or more than is kept."""
    now = DatabaseClock()()
    history.purge(now=now, turn=int(now.timestamp()) // 10)


@shared_task(name="certificates.scan_failing")
def scan_failing() -> None:
    """Find out what is back of that which failed last, where no errand would."""
    clock = DatabaseClock()
    recovery.test_connections(now=clock())
    recovery.try_secret_store(secrets=channel.secret_store(), now=clock())


@shared_task(name="certificates.call_revocations")
def call_revocations() -> None:
    """Call workers to the certificates that are to be revoked."""
    for revocation, fence in revoking.take(now=DatabaseClock()()):
        revoke.delay(revocation, fence)


@shared_task(name="certificates.revoke")
def revoke(revocation: int, fence: int) -> None:
    """Ask a CA to revoke one; in the queue where CAs that hang delay nobody."""
    clock = DatabaseClock()
    try:
        world = World(clock, channel.secret_store(), channel.transport)
        revoking.run(revocation, fence, world)
    except Exception as error:  # the one boundary where everything is caught
        log.exception("revocation %s: unexpected", revocation)
        revoking.record_unexpected(revocation, fence, error, now=clock())


def _take_steps(mine: Enrollment, clock: DatabaseClock) -> None:
    enrolling.advance(mine, World(clock, channel.secret_store(), channel.transport))


def _make_key(mine: Enrollment, _clock: DatabaseClock) -> None:
    enrolling.make_key(mine)  # where that runs alone, no secret store can be reached


def advance(pk: int, fence: int, work: Work = _take_steps) -> None:
    """Do what a wake-up call asks for, if nobody else has come first."""
    clock = DatabaseClock()
    mine = enrolling.claim(pk=pk, fence=fence, now=clock())
    if mine is None:
        return
    with bound_contextvars(errand=mine):  # what libraries log meanwhile is about it, too
        _guarded(work, mine, clock)


def _guarded(work: Work, mine: Enrollment, clock: DatabaseClock) -> None:
    try:
        work(mine, clock)
    except Exception as error:  # the one boundary where everything is caught
        log.exception("%s: unexpected", mine)
        try:
            enrolling.record_unexpected(mine, error, now=clock())
        except LeaseLost:
            log.info("%s: taken over by another worker", mine)
