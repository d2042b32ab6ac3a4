"""How much may be asked at once: of each CA, of the secret store, of the workers.

An issuer has at most its budget of rows in flight, and never more than there are slots left: with
n issuers that hang at once, each holds a share, and one share stays free for the next. Those
known to be suspect share a small pool. Bulk work leaves a part of everything to what goes before
it, so that nobody waits for a bulk request to be answered. What has just begun to answer again gets
one row, then two, then four: all that waited would come at once. RSA keys are made before a CA is
asked, by workers of their own: they take no place of it.

Requests a second are granted ahead: `paced_until` is when those granted will have used up their
time. A row is charged for what it may send before it waits again.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings

from certificates.models import Enrollment
from issuers.models import Breaker, IssuerHealth

SUSPECT_SHARE = 5  # suspect issuers share one in so many slots
KEPT_FROM_BULK = 5  # one in so many places
BURST = timedelta(seconds=0.25)  # how far ahead requests are granted: ticks are not that punctual
KEYS = 0  # stands for the making of RSA keys; no issuer has this number
KEYS_AHEAD = 8  # of them in flight: key makers find work, and what is urgent soon has its turn
REQUESTS_EACH = 2  # for a certificate: the request, and our confirmation
RAMP = 10  # doublings after which any budget is reached


@dataclass
class Room:
    """What is left of the budgets at one moment; by issuer, None stands for the secret store.

    KEYS stands for the making of keys.
    """

    now: datetime
    health: dict[int | None, Breaker]
    queued: dict[int, int]  # how many are due
    in_flight: Counter[int | None]
    suspects: frozenset[int]
    charged: dict[int, IssuerHealth] = field(default_factory=dict)

    def take(self, whose: int | None, priority: int, requests: int) -> bool:
        """Take a place for one row that sends so many requests, if there is one."""
        slots = settings.OCCM_WORKER_SLOTS
        budget, free = _budget(whose), slots - self.in_flight.total() + self.in_flight[KEYS]
        if priority >= Enrollment.Priority.BULK:
            budget, free = budget - _reserve(budget), free - _reserve(slots)
        if whose in self.suspects:
            pool = max(1, slots // SUSPECT_SHARE)
            free = min(free, pool - sum(self.in_flight[one] for one in self.suspects))
        if self.in_flight[whose] >= min(budget, free, self._ramp(whose), self._ramp(None)):
            return False
        if not self._pay(whose, requests):
            return False
        self.in_flight[whose] += 1
        return True

    def keep(self) -> None:
        """Write down what was charged."""
        if self.charged:
            IssuerHealth.objects.bulk_update(self.charged.values(), ["paced_until", "queued"])

    def _ramp(self, whose: int | None) -> int:
        """Return how many may be in flight at most, this long after a recovery."""
        breaker = self.health.get(whose)
        if breaker is None or breaker.recovered_at is None:
            return 1 << RAMP
        since = int((self.now - breaker.recovered_at).total_seconds())
        return 1 << min(max(since, 0), RAMP)

    def _pay(self, whose: int | None, requests: int) -> bool:
        """Charge requests to an issuer's pace, where there is one and it has room."""
        health = self.health.get(whose)
        if not isinstance(health, IssuerHealth) or settings.OCCM_ISSUER_REQUESTS_PER_SECOND <= 0:
            return True
        if not pay(health, requests, now=self.now):
            return False
        health.queued = self.queued.get(health.pk, 0)
        self.charged[health.pk] = health
        return True


def pay(health: IssuerHealth, requests: int, *, now: datetime) -> bool:
    """Charge requests to an issuer's pace, if that has not run too far ahead already.

    The row is held locked, and saved by the caller.
    """
    rate = settings.OCCM_ISSUER_REQUESTS_PER_SECOND
    if rate <= 0:
        return True
    cost = timedelta(seconds=requests / rate)
    until = max(health.paced_until or now, now) + cost
    if until > now + max(BURST, cost):
        return False
    health.paced_until = until
    return True


def most() -> int:
    """Return how many rows one issuer, or the secret store, can have in flight at most."""
    return max(_budget(None), _each(), KEYS_AHEAD)


def for_bulk() -> tuple[int, float]:
    """Return how many certificates bulk work may have in flight at an issuer, and a second.

    The latter is infinite without a pace.
    """
    budget, rate = _each(), settings.OCCM_ISSUER_REQUESTS_PER_SECOND
    return budget - _reserve(budget), rate / REQUESTS_EACH if rate > 0 else math.inf


def _budget(whose: int | None) -> int:
    if whose == KEYS:
        return KEYS_AHEAD
    slots: int = settings.OCCM_WORKER_SLOTS
    return slots // 2 if whose is None else _each()


def _each() -> int:
    slots: int = settings.OCCM_WORKER_SLOTS
    each: int = settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT
    return min(slots, each)


def _reserve(places: int) -> int:
    return max(1, places // KEPT_FROM_BULK) if places > 1 else 0
