"""What an operator does to a certificate, and what the dialog says before."""

from collections.abc import Callable
from dataclasses import dataclass

from certificates.domain import lifecycle


@dataclass(frozen=True, slots=True)
class Action:
    name: str
    title: str
    icon: str
    meaning: str
    done: str
    call: Callable[..., object]


ACTIONS = (
    Action(
        "retry",
        "Retry now",
        "replay",
        "What is under way is tried again at once instead of at its next time. If it was stopped, "
        "it goes on.",
        "It is tried again at once.",
        lifecycle.retry,
    ),
    Action(
        "renew",
        "Renew now",
        "autorenew",
        "The CA is asked for an update (kur) with a new key pair. The secret is overwritten when "
        "the new certificate arrives.",
        "The renewal begins at once.",
        lifecycle.renew,
    ),
    Action(
        "recreate",
        "Recreate now",
        "restart_alt",
        "The CA is asked for a new certificate (ir) with a new key pair, as configured now. The "
        "secret is overwritten when it arrives.",
        "The recreation begins at once.",
        lifecycle.recreate,
    ),
    Action(
        "stop",
        "Stop",
        "stop_circle",
        "What is under way is stopped. It is not tried again until you retry, renew or recreate.",
        "It is stopped.",
        lifecycle.stop,
    ),
)
