"""Which budget or probe delays an errand, and until when."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from certificates.domain import dispatch
from certificates.domain.delays import Delay, delay
from certificates.models import Enrollment
from issuers.domain import health
from issuers.models import IssuerHealth
from tests.certificates.test_dispatch import a_ready_issuer, due_rows
from tests.factories import NOW

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
AGO = NOW - 10 * SECOND


def told(row: Enrollment, *, now: datetime = NOW) -> Delay | None:
    return delay(Enrollment.objects.with_delays(now=now).get(pk=row.pk), now=now)


def a_due_row(**fields: Any) -> Enrollment:
    [row] = due_rows(a_ready_issuer(), 1, **{"due_at": AGO} | fields)
    return row


def test_an_open_breaker_of_the_issuer_is_named_with_its_next_probe() -> None:
    row = a_due_row()
    for _ in range(health.FAILURES):
        health.failed(row.ca, now=NOW, error="no answer")

    found = told(row)

    assert found is not None
    assert f"issuer {row.issuer_name}, which does not answer" in found.by
    assert found.until == NOW + 30 * SECOND
    Enrollment.objects.filter(pk=row.pk).update(due_at=NOW + 50 * SECOND)
    assert told(row) == Delay(found.by, NOW + 50 * SECOND)


def test_that_does_not_delay_what_is_only_to_be_written() -> None:
    row = a_due_row(phase="ISSUED", due_at=NOW)
    for _ in range(health.FAILURES):
        health.failed(row.ca, now=NOW, error="no answer")

    assert told(row) is None


def test_an_open_breaker_of_the_secret_store_delays_everything() -> None:
    row = a_due_row()
    for _ in range(health.FAILURES):
        health.store_failed(now=NOW, error="down", patience=30 * SECOND, probe=0, first=False)

    found = told(row)

    assert found is not None
    assert "the secret store" in found.by
    assert found.until == NOW + 30 * SECOND


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "is at its budget of 7, or workers are busy or away"),
        ({"phase": "DELIVERING"}, "its turn to be written"),
    ],
    ids=str,
)
def test_a_full_budget_is_named(settings: Settings, fields: dict[str, Any], words: str) -> None:
    settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 7

    found = told(a_due_row(**fields))

    assert found is not None
    assert words in found.by
    assert found.until is None


def test_the_pace_of_requests_is_named_with_the_time_the_queue_will_take(
    settings: Settings,
) -> None:
    settings.OCCM_ISSUER_REQUESTS_PER_SECOND = 2.5
    issuer = a_ready_issuer()
    rows = due_rows(issuer, 5, due_at=AGO)
    dispatch.tick(now=NOW)
    assert IssuerHealth.objects.get().queued == 5

    found = told(rows[-1])

    assert found == Delay(f"its turn: issuer {issuer} gets 2.5 requests a second", NOW + 4 * SECOND)


@pytest.mark.parametrize(
    "fields",
    [
        {"due_at": NOW},  # about to begin
        {"due_at": NOW + SECOND},
        {"due_at": None},  # stopped
        {"leased_until": NOW + SECOND},  # at work
        {"called_until": NOW + SECOND},
        {"waiting_for": "the OCCM certificate"},  # says so itself
    ],
    ids=str,
)
def test_nothing_else_is_a_delay(fields: dict[str, Any]) -> None:
    [row] = due_rows(a_ready_issuer(), 1, **{"due_at": AGO} | fields)

    assert told(row) is None
