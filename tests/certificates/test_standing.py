"""What is under way and how long is left, in words."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from certificates.admin import standing
from certificates.models import Certificate, Enrollment
from tests.factories import NOW

SOON, PAST = NOW + timedelta(seconds=20), NOW - timedelta(seconds=2)
FAILED = {"tries": 3, "error_code": "CMP_REJECTED", "error": "no"}


@pytest.mark.parametrize(
    ("columns", "level", "words", "at"),
    [
        ({"due_at": NOW}, "info", "attempt 1 about to begin", None),
        ({"due_at": PAST, **FAILED}, "info", "attempt 4 about to begin", None),
        ({"due_at": SOON, **FAILED}, "bad", "attempt 3 failed", SOON),
        ({"due_at": SOON, "leased_until": SOON, **FAILED}, "info", "attempt 4 at work", None),
        ({"due_at": SOON, "leased_until": PAST, **FAILED}, "bad", "attempt 3 failed", SOON),
        ({"due_at": None, **FAILED}, "bad", "stopped by the operator", None),
        ({"due_at": NOW, "waiting_for": "the budget"}, "warn", "waits for the budget", None),
        ({"due_at": None, "waiting_for": "the budget"}, "bad", "stopped by the operator", None),
        ({"due_at": SOON}, "info", "attempt 1", SOON),  # the CA asked for patience
    ],
    ids=str,
)
def test_what_is_under_way(
    columns: dict[str, Any], level: str, words: str, at: datetime | None
) -> None:
    found = standing.under_way(Enrollment(kind="RENEW", phase="EXCHANGE", **columns), now=NOW)

    assert found is not None
    assert (found.level, found.words, found.at, found.kind) == (level, words, at, "renewal")


def test_a_delay_is_told_with_its_end() -> None:
    errand = Enrollment(kind="CREATE", phase="NEW", issuer_name="ca1", due_at=PAST)
    vars(errand)["issuer_probe_at"] = SOON  # as `with_delays` brings it along

    found = standing.under_way(errand, now=NOW)

    assert found is not None
    assert (found.level, found.then, found.at) == ("warn", "until", SOON)
    assert found.words.startswith("waits for issuer ca1, which does not answer")


def test_nothing_is_under_way_without_an_errand() -> None:
    assert standing.under_way(None, now=NOW) is None


def test_a_long_text_is_cut_for_lists() -> None:
    cut = standing.short("x" * 500)

    assert (len(cut), cut[-1]) == (standing.SHORT, "…")
    assert standing.short("short") == "short"


@pytest.mark.parametrize(
    ("left", "words", "level"),
    [
        (timedelta(days=364, hours=3), "364 days left", "none"),
        (timedelta(days=30), "30 days left", "none"),
        (timedelta(days=29, hours=23), "29 days left", "warn"),
        (timedelta(days=1, hours=3), "1 day left", "warn"),
        (timedelta(hours=3), "less than a day left", "warn"),
        (timedelta(0), "expired today", "bad"),
        (timedelta(hours=-3), "expired today", "bad"),
        (timedelta(days=-1, hours=-3), "expired 1 day ago", "bad"),
        (timedelta(days=-2, hours=-3), "expired 2 days ago", "bad"),
    ],
    ids=str,
)
def test_how_long_is_left(left: timedelta, words: str, level: str) -> None:
    certificate = Certificate(not_after=NOW + left, renew_before_expiration_days=30)

    assert standing.expiry(certificate, now=NOW) == (words, level)
