"""Which due rows workers are called to now. The only place that sends work.

Rows are chosen per issuer before anything is limited, so that a thousand rows of one issuer do not
hide the first of another. The locks on the issuers' health rows are what makes two beats harmless:
an issuer whose row another tick holds is left to that one.

An issuer has at most its budget of rows in flight, and never more than there are slots left: with
n issuers that hang at once, each holds a share, and one share stays free for the next (A1). Those
known to be suspect share a small pool.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Case, Count, F, IntegerField, Q, Value, When, Window
from django.db.models.functions import RowNumber

from certificates.domain import identity
from certificates.domain.errands import signed_by_identity
from certificates.models import Enrollment
from cmp import State
from issuers.models import IssuerHealth

Kind, Phase = Enrollment.Kind, Enrollment.Phase

CALL = timedelta(seconds=10)  # how long a wake-up may be on its way before it is repeated
CALL_AGAIN = timedelta(seconds=60)  # nobody came at first: workers are away, or busy
STALLED = timedelta(seconds=5)  # a message out for longer makes its issuer suspect
SUSPECT_SHARE = 5  # suspect issuers share one in so many slots
WRITING = (Phase.ISSUED, Phase.DELIVERING)
CONFIRM_NEXT = (State.GRANTED, State.CONFIRMING, State.REFUSING)
POLL_NEXT = (State.WAITING, State.POLLED)


@dataclass(frozen=True, slots=True)
class Call:
    """A wake-up: which task is to take up which row, under which fence."""

    enrollment: int
    fence: int
    task: str
    queue: str


class _Due(NamedTuple):
    """What is to be known of a row to call for it."""

    pk: int
    fence: int
    issuer_id: int
    phase: str
    state: str
    kind: str
    called_until: datetime | None

    @property
    def queue(self) -> int | None:
        """Whose turns it waits for: its issuer's, or the secret store's."""
        return None if self.phase in WRITING else self.issuer_id


@dataclass
class _Room:
    """How much may still be called to, by issuer; None stands for the secret store."""

    in_flight: Counter[int | None]
    suspects: frozenset[int]

    def take(self, issuer: int | None) -> bool:
        """Take one place, if there is one."""
        free = settings.OCCM_WORKER_SLOTS - self.in_flight.total()
        if issuer in self.suspects:
            pool = max(1, settings.OCCM_WORKER_SLOTS // SUSPECT_SHARE)
            free = min(free, pool - sum(self.in_flight[one] for one in self.suspects))
        if self.in_flight[issuer] >= min(_budget(issuer), free):
            return False
        self.in_flight[issuer] += 1
        return True


@transaction.atomic
def tick(*, now: datetime) -> list[Call]:
    """Mark the rows whose turn it is as called, and return the calls to send after commit."""
    due = Enrollment.objects.due(now=now).uncalled(now=now)
    issuers = set(due.order_by().values_list("issuer_id", flat=True).distinct())
    if not issuers:
        return []
    health = IssuerHealth.objects.select_for_update(skip_locked=True).filter(pk__in=issuers)
    failing = {row.pk: row.failing_since is not None for row in health}
    _let_wait(failing, now=now)
    room, suspects = _room(failing, now=now)
    chosen = _take_turns(_candidates(failing, now=now), room)
    return _mark(chosen, suspects, now=now)


def _budget(issuer: int | None) -> int:
    """Return how many rows of an issuer, or None: that write secrets, may be in flight."""
    slots: int = settings.OCCM_WORKER_SLOTS
    each: int = settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT
    return slots // 2 if issuer is None else min(slots, each)


def _let_wait(issuers: Iterable[int], *, now: datetime) -> None:
    """Tell rows that nobody can sign for yet what they wait for; that is no failed try."""
    new = Enrollment.objects.due(now=now).filter(signed_by_identity(), issuer__in=issuers)
    waiting = set(new.order_by().values_list("issuer_id", flat=True).distinct())
    for issuer, obstacle in identity.obstacles(waiting, now=now).items():
        new.filter(issuer=issuer).update(waiting_for=obstacle, due_at=now + identity.LOOK_AGAIN)


def _room(failing: dict[int, bool], *, now: datetime) -> tuple[_Room, frozenset[int]]:
    flying = Enrollment.objects.in_flight(now=now).order_by()
    in_flight: Counter[int | None] = Counter()
    counts = flying.values_list("issuer_id", "phase").annotate(Count("pk"))
    for issuer, phase, count in counts:
        in_flight[None if phase in WRITING else issuer] += count
    stalled = flying.filter(asked_at__lte=now - STALLED).values_list("issuer_id", flat=True)
    suspects = {issuer for issuer, is_failing in failing.items() if is_failing}
    suspects.update(issuer for issuer in stalled if issuer is not None)
    return _Room(in_flight, frozenset(suspects)), frozenset(suspects)


def _candidates(issuers: Iterable[int], *, now: datetime) -> dict[int | None, list[_Due]]:
    """Return the first due rows of each issuer, in the order of their turns."""
    writing = Q(phase__in=WRITING)
    rank = Case(
        When(writing | Q(state__in=CONFIRM_NEXT), then=Value(0)),
        When(state__in=POLL_NEXT, then=Value(1)),
        default=F("priority"),
        output_field=IntegerField(),
    )
    store = Case(When(writing, then=Value(1)), default=Value(0), output_field=IntegerField())
    turn = Window(RowNumber(), partition_by=("issuer", store), order_by=("rank", "due_at", "pk"))
    rows = (
        Enrollment.objects.due(now=now)
        .uncalled(now=now)
        .filter(issuer__in=issuers)
        .annotate(rank=rank, turn=turn)
        .filter(turn__lte=max(_budget(None), _budget(0)))
        .order_by("rank", "turn")
    )
    found: dict[int | None, list[_Due]] = defaultdict(list)
    for values in rows.values_list(*_Due._fields):
        row = _Due(*values)
        found[row.queue].append(row)
    return found


def _take_turns(queues: dict[int | None, list[_Due]], room: _Room) -> list[_Due]:
    """Let the issuers take one row each in turn, until there is no room for any."""
    chosen: list[_Due] = []
    while queues:
        for issuer, queue in list(queues.items()):
            if not queue or not room.take(issuer):
                del queues[issuer]
            else:
                chosen.append(queue.pop(0))
    return chosen


def _mark(chosen: list[_Due], suspects: frozenset[int], *, now: datetime) -> list[Call]:
    """Set what was chosen to called, and return calls for what was won."""
    free = Enrollment.objects.due(now=now).uncalled(now=now).filter(pk__in=[c.pk for c in chosen])
    won = set(free.order_by().select_for_update(skip_locked=True).values_list("pk", "fence"))
    mine = [row for row in chosen if (row.pk, row.fence) in won]
    for again, until in ((False, now + CALL), (True, now + CALL_AGAIN)):
        pks = [row.pk for row in mine if (row.called_until is not None) is again]
        Enrollment.objects.filter(pk__in=pks).update(called_until=until)
    return [Call(row.pk, row.fence, _task(row), _queue(row, suspects)) for row in mine]


def _task(row: _Due) -> str:
    """Name the task by what it will do, for those who watch."""
    if row.phase in WRITING:
        return "certificates.deliver"
    if row.state in POLL_NEXT:
        return "certificates.poll"
    if row.kind == Kind.MIGRATE:
        return "migrations_bulk.migrate_certificate"
    return "certificates.renew" if row.kind == Kind.RENEW else "certificates.enroll"


def _queue(row: _Due, suspects: frozenset[int]) -> str:
    if row.phase in WRITING:
        return "deliver"
    return "suspect" if row.issuer_id in suspects else "enroll"
