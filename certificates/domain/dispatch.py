"""Which due rows workers are called to now. The only place that sends work.

Rows are chosen per issuer before anything is limited, so that a thousand rows of one issuer do not
hide the first of another; `budgets` says how many, `breakers` whom to leave alone. The locks on the
issuers' health rows, and on that of the secret store, are what makes two beats harmless: whatever
another tick holds is left to that one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Case, Count, DateTimeField, F, IntegerField, Q, Value, When, Window
from django.db.models.functions import RowNumber

from certificates.domain import breakers, budgets, identity
from certificates.domain.breakers import WRITING, Breakers
from certificates.domain.budgets import KEYS, Room
from certificates.domain.errands import POLLING, signed_by_identity
from certificates.models import Enrollment, EnrollmentQuerySet
from cmp import State
from issuers.models import Breaker

Kind, Phase, Priority = Enrollment.Kind, Enrollment.Phase, Enrollment.Priority

CALL = timedelta(seconds=10)  # how long a wake-up may be on its way before it is repeated
CALL_AGAIN = timedelta(seconds=60)  # nobody came at first: workers are away, or busy
STALLED = timedelta(seconds=5)  # a message out for longer makes its issuer suspect
CONFIRM_NEXT = (State.GRANTED, State.CONFIRMING, State.REFUSING)


@dataclass(frozen=True, slots=True)
class Call:
    """A wake-up: which task is to take up which row, under which fence."""

    enrollment: int
    fence: int
    task: str
    queue: str


class Calls(list[Call]):
    """The calls of one tick; `more` tells that rows were held back by a budget."""

    more = False


class _Due(NamedTuple):
    """What is to be known of a row to call for it."""

    pk: int
    fence: int
    issuer_id: int
    phase: str
    state: str
    kind: str
    priority: int
    called_until: datetime | None
    request__key_algorithm: str

    @property
    def queue(self) -> int | None:
        """Whose turns it waits for."""
        return _whose(self.issuer_id, self.phase, self.request__key_algorithm)

    @property
    def requests(self) -> int:
        """How many the CA may get before the row waits again: it may grant, then we confirm."""
        if self.phase in WRITING:
            return 0
        return 1 if self.state in CONFIRM_NEXT else 2


def _whose(issuer: int, phase: str, key_algorithm: str) -> int | None:
    """Return whose turn it takes: the issuer's, None: the secret store's, or that to make a key."""
    if phase == Phase.NEW and key_algorithm == "RSA":
        return KEYS
    return None if phase in WRITING else issuer


@transaction.atomic
def tick(*, now: datetime) -> Calls:
    """Mark the rows whose turn it is as called, and return the calls to send after commit."""
    due = Enrollment.objects.due(now=now).uncalled(now=now)
    queued = dict(due.order_by().values_list("issuer_id").annotate(Count("pk")))
    if not queued:
        return Calls()
    askable = breakers.askable(breakers.hold(queued), now=now)
    if not askable:
        return Calls()
    _let_wait([pk for pk in askable if pk is not None], now=now)
    room = _room(askable, queued, now=now)
    chosen, more = _take_turns(_queues(askable, due), room)
    calls = _mark(chosen, room, now=now)
    calls.more = more
    return calls


def _let_wait(issuers: Iterable[int], *, now: datetime) -> None:
    """Tell rows that nobody can sign for yet what they wait for; that is no failed try.

    What is locked is being woken: who waits for it here could wait for ever.
    """
    new = Enrollment.objects.due(now=now).filter(signed_by_identity(), issuer__in=issuers)
    waiting = set(new.order_by().values_list("issuer_id", flat=True).distinct())
    for issuer, obstacle in identity.obstacles(waiting, now=now).items():
        free = new.filter(issuer=issuer).order_by().select_for_update(skip_locked=True)
        rows = Enrollment.objects.filter(pk__in=free.values("pk"))
        rows.update(waiting_for=obstacle, due_at=now + identity.LOOK_AGAIN)


def _room(askable: Breakers, queued: dict[int, int], *, now: datetime) -> Room:
    flying = Enrollment.objects.in_flight(now=now).order_by()
    in_flight: Counter[int | None] = Counter()
    counts = flying.values_list("issuer_id", "phase", "request__key_algorithm")
    for issuer, phase, algorithm, count in counts.annotate(Count("pk")):
        in_flight[_whose(issuer, phase, algorithm)] += count
    stalled = flying.filter(asked_at__lte=now - STALLED).values_list("issuer_id", flat=True)
    suspects = {pk for pk, it in askable.items() if pk is not None and it.failing_since is not None}
    suspects.update(issuer for issuer in stalled if issuer is not None)
    return Room(now, askable, queued, in_flight, frozenset(suspects))


def _queues(askable: Breakers, due: EnrollmentQuerySet) -> dict[int | None, list[_Due]]:
    """Return what may be called to, in the order of turns; of what is being probed one row."""
    asking = due.exclude(phase__in=WRITING).filter(issuer__in=[pk for pk in askable if pk])
    writing = due.filter(phase__in=WRITING) if None in askable else due.none()
    store = askable.get(None)
    if store is not None and store.is_open:
        probes = _read(breakers.in_turn(store, asking | writing)[:1])
        return {row.queue: [row] for row in probes}
    probed = {pk: it for pk, it in askable.items() if it.is_open}
    found = _in_turn(asking.exclude(issuer__in=probed) | writing)
    for issuer, breaker in probed.items():
        found[issuer] = _read(breakers.in_turn(breaker, asking.filter(issuer=issuer))[:1])
    return found


def _in_turn(due: EnrollmentQuerySet) -> dict[int | None, list[_Due]]:
    """Return the first of these rows of each issuer, in the order of their turns."""
    writing = Q(phase__in=WRITING)
    rank = Case(
        When(writing | Q(state__in=CONFIRM_NEXT), then=Value(0)),
        When(state__in=POLLING, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )
    for_ = Case(
        When(writing, then=Value(1)),
        When(phase=Phase.NEW, request__key_algorithm="RSA", then=Value(2)),
        default=Value(0),
        output_field=IntegerField(),
    )
    needed_by = Case(
        When(priority=Priority.RENEWAL, then=F("needed_by")), output_field=DateTimeField()
    )
    order = ("rank", "priority", needed_by.asc(nulls_last=True), "due_at", "pk")
    turn = Window(RowNumber(), partition_by=("issuer", for_), order_by=order)
    rows = due.annotate(rank=rank, turn=turn).filter(turn__lte=budgets.most())
    found: dict[int | None, list[_Due]] = defaultdict(list)
    for row in _read(rows.order_by("rank", "priority", "turn")):
        found[row.queue].append(row)
    return found


def _read(rows: Any) -> list[_Due]:
    return [_Due(*values) for values in rows.values_list(*_Due._fields)]


def _take_turns(queues: dict[int | None, list[_Due]], room: Room) -> tuple[list[_Due], bool]:
    """Let the issuers take one row each in turn, until there is no room for any.

    Say too whether there will be room for more soon: not where somebody hangs.
    """
    chosen: list[_Due] = []
    more = False
    while queues:
        for whose, queue in list(queues.items()):
            row = queue[0] if queue else None
            if row is not None and room.take(whose, row.priority, row.requests):
                chosen.append(queue.pop(0))
            else:
                more = more or (row is not None and whose not in room.suspects)
                del queues[whose]
    return chosen, more


def _mark(chosen: list[_Due], room: Room, *, now: datetime) -> Calls:
    """Set what was chosen to called, and return calls for what was won."""
    free = Enrollment.objects.due(now=now).uncalled(now=now).filter(pk__in=[c.pk for c in chosen])
    won = set(free.order_by().select_for_update(skip_locked=True).values_list("pk", "fence"))
    mine = [row for row in chosen if (row.pk, row.fence) in won]
    for again, until in ((False, now + CALL), (True, now + CALL_AGAIN)):
        pks = [row.pk for row in mine if (row.called_until is not None) is again]
        Enrollment.objects.filter(pk__in=pks).update(called_until=until)
    breakers.note_sent(room.health, ((row.queue, row.pk) for row in mine), now=now)
    room.keep()
    queues = [(row, _queue(row, room)) for row in mine]
    return Calls(Call(row.pk, row.fence, _task(row, queue), queue) for row, queue in queues)


def _task(row: _Due, queue: str) -> str:
    """Name the task by what it will do, for those who watch."""
    if row.phase in WRITING:
        return "certificates.deliver"
    if queue == "keys":
        return "certificates.make_key"
    if row.state in POLLING:
        return "certificates.poll"
    if row.kind == Kind.MIGRATE:
        return "migrations_bulk.migrate_certificate"
    return "certificates.renew" if row.kind == Kind.RENEW else "certificates.enroll"


def _queue(row: _Due, room: Room) -> str:
    if row.phase in WRITING:
        return "deliver"
    probed = any(it is not None and it.is_open for it in _asked(row, room))
    if row.queue == KEYS and not probed:  # a probe is to ask, not only to get ready for it
        return "keys"
    return "suspect" if row.issuer_id in room.suspects else "enroll"


def _asked(row: _Due, room: Room) -> tuple[Breaker | None, Breaker | None]:
    return room.health.get(row.issuer_id), room.health.get(None)
