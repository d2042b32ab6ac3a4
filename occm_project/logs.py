"""One line per event, whatever the CA, a stack trace or an attacker put into it, and no secret.

Two formats, `line` for people and `json` for programs: OCCM_LOG_FORMAT. In JSON an event has fields
of the errand it is about: `extra={"errand": …}` names it, or it is bound for all that a worker does
meanwhile (`structlog.contextvars`), so that libraries' events have them, too.
"""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# A word without which there is none, what one looks like, and what is written in its place.
# Nothing of OCCM's logs these; a library's exception may.
_SECRETS: Final = tuple(
    (hint, re.compile(pattern), instead)
    for hint, pattern, instead in (
        ("PRIVATE KEY", r"(?s)-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(-----END \1-----|\Z)", "***"),
        ("://", r"(\w+://[^\s:/@]*):[^\s@/]+@", r"\1:***@"),
        ("Bearer ", r"\bBearer [A-Za-z0-9._~+/=-]{8,}", "Bearer ***"),
        ("Basic ", r"\bBasic [A-Za-z0-9._~+/=-]{8,}", "Basic ***"),
        ("=", r"(?i)\b(password|passwd|token)=[^\s&]+", r"\1=***"),
        ("pass:", r"\bpass:\S+", "pass:***"),  # as OpenSSL writes a password
    )
)


class OneLine(logging.Formatter):
    """Time in UTC, level, logger, message; control characters are written as escapes."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's
        return moment(record)

    def format(self, record: logging.LogRecord) -> str:
        return escaped(masked(super().format(record)))


def as_json() -> ProcessorFormatter:
    """Return the formatter that writes an event as one object."""
    return ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            ExtraAdder(allow={"errand"}),
            _about_errand,
        ],
        processors=[
            structlog.processors.format_exc_info,
            _ordered,
            structlog.processors.JSONRenderer(sort_keys=False),  # ASCII: nothing breaks the line
        ],
    )


def masked(text: str) -> str:
    """Return the text without what looks like a secret."""
    for hint, pattern, instead in _SECRETS:
        if hint in text:  # every line is looked at, and hardly one has a secret
            text = pattern.sub(instead, text)
    return text


def escaped(text: str) -> str:
    """Return the text as one line that no control character can break or colour."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def moment(record: logging.LogRecord) -> str:
    """Return when it happened, in UTC."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _about_errand(_: object, __: str, event: EventDict) -> EventDict:
    """Put an errand's facts, as they are now, in its place."""
    errand = event.pop("errand", None)
    facts: Callable[[], dict[str, object]] | None = getattr(errand, "facts", None)
    if facts is not None:
        event.update(facts())
    return event


def _ordered(_: object, __: str, event: EventDict) -> EventDict:
    """Return the event as it is written: when and how bad first, and no secrets."""
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    head = {
        "time": moment(record),
        "level": record.levelname,
        "logger": record.name,
        "event": event.pop("event"),
    }
    return {
        name: masked(value) if isinstance(value, str) else value
        for name, value in (head | dict(event)).items()
    }
