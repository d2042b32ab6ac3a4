"""The log has one line per event, whatever is in it."""

import logging
import sys

from occm_project.logs import OneLine


def line(message: str, *args: object, error: BaseException | None = None) -> str:
    record = logging.LogRecord("cmp", logging.WARNING, __file__, 1, message, args, None)
    record.created = 1767268800.25
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    return OneLine().format(record)


def test_a_line_tells_when_how_bad_where_and_what() -> None:
    told = line("%s: no answer from %s", "ca1", "ca.example")

    assert told == "2026-01-01T12:00:00.250+00:00 WARNING cmp ca1: no answer from ca.example"


def test_control_characters_from_outside_are_escaped_and_other_languages_are_not() -> None:
    told = line("%s", "Zürich\r\n2026 ERROR forged\x1b[31m\x00\u2028\x85")

    assert told.endswith(r"cmp Zürich\r\n2026 ERROR forged\x1b[31m\x00\u2028\x85")


def test_a_stack_trace_stays_on_the_line() -> None:
    try:
        sys.exit("enough")
    except SystemExit as error:
        told = line("gave up", error=error)

    assert "\n" not in told
    assert r"gave up\nTraceback (most recent call last):\n" in told
