"""The log has one line per event, whatever is in it; in JSON with what it is about; no secrets."""

import json
import logging
import sys
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars

from certificates.models import Certificate, Enrollment
from occm_project.logs import OneLine, as_json

KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB\n-----END EC PRIVATE KEY-----"
NASTY = "Zürich\r\n2026 ERROR forged\x1b[31m\x00\u2028\x85"


def record(
    message: str, *args: object, error: BaseException | None = None, **extra: object
) -> logging.LogRecord:
    made = logging.LogRecord("cmp", logging.WARNING, __file__, 1, message, args, None)
    made.created = 1767268800.25
    made.__dict__ |= extra
    if error is not None:
        made.exc_info = (type(error), error, error.__traceback__)
    return made


def line(message: str, *args: object, error: BaseException | None = None) -> str:
    return OneLine().format(record(message, *args, error=error))


def parsed(
    message: str, *args: object, error: BaseException | None = None, **extra: object
) -> dict[str, Any]:
    told = as_json().format(record(message, *args, error=error, **extra))
    assert told.isascii()
    assert told.isprintable()
    found: dict[str, Any] = json.loads(told)
    return found


def an_errand() -> Enrollment:
    certificate = Certificate(name="amf", network_function="AMF")
    return Enrollment(
        pk=7, certificate=certificate, issuer_name="ca", kind="RENEW", transaction_id="00ff"
    )


def test_a_line_tells_when_how_bad_where_and_what() -> None:
    told = line("%s: no answer from %s", "ca1", "ca.example")

    assert told == "2026-01-01T12:00:00.250+00:00 WARNING cmp ca1: no answer from ca.example"


def test_control_characters_from_outside_are_escaped_and_other_languages_are_not() -> None:
    told = line("%s", NASTY)

    assert told.endswith(r"cmp Zürich\r\n2026 ERROR forged\x1b[31m\x00\u2028\x85")


def test_a_stack_trace_stays_on_the_line() -> None:
    try:
        sys.exit("enough")
    except SystemExit as error:
        told = line("gave up", error=error)
        structured = parsed("gave up", error=error)

    assert "\n" not in told
    assert r"gave up\nTraceback (most recent call last):\n" in told
    assert structured["exception"].startswith("Traceback (most recent call last):\n")
    assert structured["event"] == "gave up"


def test_json_tells_the_same_and_nothing_from_outside_breaks_it() -> None:
    assert parsed("%s", NASTY) == {
        "time": "2026-01-01T12:00:00.250+00:00",
        "level": "WARNING",
        "logger": "cmp",
        "event": NASTY,
    }


def test_json_says_which_errand_an_event_is_about() -> None:
    errand, about = an_errand(), {"certificate": "amf", "issuer": "ca", "enrollment": 7}
    about |= {"procedure": "RENEW", "phase": "NEW", "transaction_id": "00ff"}

    named = parsed("opened", errand=errand)
    with bound_contextvars(errand=errand):
        bound = parsed("a library's")
        errand.phase, errand.error_code = Enrollment.Phase.EXCHANGE, "CMP_REJECTED"
        later = parsed("try 1 failed")

    assert about.items() <= named.items()
    assert about.items() <= bound.items()
    assert (later["phase"], later["error_code"]) == ("EXCHANGE", "CMP_REJECTED")
    assert "certificate" not in parsed("of nobody")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"cannot use {KEY} here", "cannot use *** here"),
        ("cannot use -----BEGIN PRIVATE KEY-----\nMIIB", "cannot use ***"),
        ("postgres://occm:s3cret@db/occm", "postgres://occm:***@db/occm"),
        ("redis://:s3cret@redis:6379/0", "redis://:***@redis:6379/0"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer ***"),
        ("to host=db password=s3cret failed", "to host=db password=*** failed"),
        ("got pass:s3cret", "got pass:***"),
        ("secret ns1/token-tls[tls.key] is missing", "secret ns1/token-tls[tls.key] is missing"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked_in_either_format(text: str, told: str) -> None:
    assert line("%s", text).endswith(f"cmp {told}")
    assert parsed("%s", text)["event"] == told


def test_secrets_in_a_stack_trace_are_masked() -> None:
    error = ValueError(KEY)

    assert line("gave up", error=error).endswith("ValueError: ***")
    assert parsed("gave up", error=error)["exception"] == "ValueError: ***"
