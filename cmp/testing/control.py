"""The knobs of a running demo CA as JSON, and what its register holds.

Times are seconds, sets are lists, a `When` and a `Refusal` are objects of their fields.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Literal, get_args, get_origin

from cmp.messages import PKIStatus
from cmp.testing.behaviour import Behaviour, Fault, Refusal, When
from cmp.testing.ca import DemoCA
from cmp.testing.register import Issued

SHOWN = 1000  # certificates, the latest
KNOBS = {knob.name: knob for knob in fields(Behaviour)}


def change(ca: DemoCA, changes: Mapping[str, Any]) -> None:
    """Turn the knobs named, all or none. Raises ValueError naming the one that does not fit."""
    values = {name: _value(name, given) for name, given in dict(changes).items()}
    with ca.lock:
        for name, value in values.items():
            setattr(ca, name, value)


def report(ca: DemoCA, *, now: datetime) -> dict[str, Any]:
    """Say how the knobs stand, what was asked, and what became of it."""
    with ca.lock:
        ca.sweep(now=now)
        return {
            "knobs": {name: _plain(getattr(ca, name)) for name in KNOBS},
            "counts": ca.counts,
            "open_transactions": [
                {"id": each.id.hex(), "asked": each.asked, "until": each.until.isoformat()}
                for each in ca.open_transactions
            ],
            "states": Counter(each.state for each in ca.register),
            "issued": [_entry(each) for each in ca.issued[-SHOWN:]],
        }


def _entry(issued: Issued) -> dict[str, Any]:
    return {
        "serial": f"{issued.serial:x}",
        "asked_by": issued.asked_by,
        "transaction": issued.transaction_id.hex(),
        "state": issued.state,
        "reason": issued.reason,
        "issued_at": issued.issued_at.isoformat(),
    }


def _value(name: str, given: Any) -> Any:
    if name not in KNOBS:
        raise ValueError(f"there is no knob {name}; there are {', '.join(KNOBS)}")
    kind = KNOBS[name].type
    try:
        if kind == Fault:
            return given if isinstance(given, bool) else When(**_with_sets(given))
        if get_origin(kind) is Literal:
            return _one_of(get_args(kind), given)
        if given is None and type(None) in get_args(kind):
            return None
        return _READERS[kind](given)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{name}: {error}") from None


def _with_sets(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: frozenset(value) if isinstance(value, list) else value
        for name, value in given.items()
    }


def _one_of(allowed: tuple[Any, ...], given: Any) -> Any:
    if given not in allowed:
        raise ValueError(f"one of {', '.join(map(repr, allowed))} is expected")
    return given


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(given: Any) -> Any:
        if type(given) is not kind:
            raise ValueError(f"{kind.__name__} is expected")
        return given

    return read


def _seconds(given: Any) -> timedelta:
    return timedelta(seconds=given)


def _refusal(given: Mapping[str, Any]) -> Refusal:
    usual = Refusal()
    return Refusal(
        failures=frozenset(given.get("failures", usual.failures)),
        text=tuple(given.get("text", usual.text)),
        status=PKIStatus[given.get("status", usual.status.name)],
    )


_READERS: dict[Any, Callable[[Any], Any]] = {
    bool: _exactly(bool),
    int: _exactly(int),
    timedelta: _seconds,
    timedelta | None: _seconds,
    frozenset[str]: frozenset,
    Refusal | None: _refusal,
}


def _plain(value: Any) -> Any:
    match value:
        case timedelta():
            return value.total_seconds()
        case frozenset() | tuple():
            return sorted(value) if isinstance(value, frozenset) else list(value)
        case PKIStatus():
            return value.name
        case When() | Refusal():
            shown = (each.name for each in fields(value) if each.repr)
            return {name: _plain(getattr(value, name)) for name in shown}
        case None | bool() | int() | float() | str():
            return value
    return repr(value)  # a test's own function
