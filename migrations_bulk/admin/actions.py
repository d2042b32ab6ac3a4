"""What an operator does to a bulk migration, when, and what the dialog says before."""

from collections.abc import Callable
from dataclasses import dataclass

from migrations_bulk.domain import migrate
from migrations_bulk.models import BulkMigration

State = BulkMigration.State


@dataclass(frozen=True, slots=True)
class Action:
    name: str
    title: str
    icon: str
    meaning: str
    done: str
    states: frozenset[str]  # in which it is offered; the domain refuses what does not make sense
    call: Callable[..., BulkMigration | None]
    starts: bool = False  # another migration, whose page is shown
    names: bool = False  # of certificates may be given


RUNNING = frozenset({State.RUNNING, State.WAITING, State.PAUSED})
ACTIONS = (
    Action(
        "go-on",
        "Go on",
        "play_arrow",
        "The other certificates follow the first ones to the destination.",
        "The migration goes on.",
        frozenset({State.WAITING}),
        migrate.go_on,
    ),
    Action(
        "resume",
        "Resume",
        "play_arrow",
        "The migration begins with further certificates again.",
        "The migration goes on.",
        frozenset({State.PAUSED}),
        migrate.resume,
    ),
    Action(
        "pause",
        "Pause",
        "pause",
        "The destination is asked for no further certificate until you resume the migration. What "
        "it was asked for goes on. No other migration can be started meanwhile.",
        "The migration is paused.",
        frozenset({State.RUNNING, State.WAITING}),
        migrate.pause,
    ),
    Action(
        "stop",
        "Stop",
        "stop_circle",
        "The migration ends. Certificates that the destination has not issued yet stay with the "
        "source; those it has issued are still written.",
        "The migration is being stopped.",
        RUNNING,
        migrate.stop,
    ),
    Action(
        "retry-failed",
        "Retry failed",
        "replay",
        "Another migration is started from the same source to the same destination, with only the "
        "certificates that failed in this one.",
        "The failed certificates are migrated again.",
        frozenset({State.ENDED}),
        migrate.retry_failed,
        starts=True,
    ),
    Action(
        "roll-back",
        "Roll back",
        "undo",
        "Another migration is started, back from the destination to the source, of what this one "
        "has moved. The secrets are overwritten again when new certificates arrive.",
        "The certificates are migrated back.",
        frozenset({State.ENDED}),
        migrate.roll_back,
        starts=True,
        names=True,
    ),
)
