from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from certificates.domain.policy import Facts, Reason, renewal, why_enroll

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("days_left", "days_to_renewal", "automatic", "reason"),
    [
        pytest.param(None, None, True, None, id="never issued: its first enrollment is open"),
        pytest.param(31, 1, True, None, id="not yet"),
        pytest.param(30, 0, True, Reason.EXPIRING, id="the moment comes"),
        pytest.param(1, -29, True, Reason.EXPIRING, id="late"),
        pytest.param(0, -30, True, Reason.EXPIRED, id="expires this instant"),
        pytest.param(0, -30, False, None, id="a MANUAL one is not created"),
        pytest.param(30, 0, False, Reason.EXPIRING, id="a MANUAL one is renewed"),
    ],
)
def test_why_enroll(
    days_left: int | None, days_to_renewal: int | None, automatic: bool, reason: Reason | None
) -> None:
    def moment(days: int | None) -> datetime | None:
        return None if days is None else NOW + days * DAY

    facts = Facts(NOW, moment(days_left), moment(days_to_renewal), automatic)

    assert why_enroll(facts) is reason


def test_renewals_are_spread_earlier_and_never_later() -> None:
    moments = {
        renewal(name=f"nrf{i}", not_before=NOW, not_after=NOW + 365 * DAY, renew_before=30 * DAY).at
        for i in range(1000)
    }

    assert min(moments) >= NOW + 332 * DAY
    assert max(moments) <= NOW + 335 * DAY
    assert max(moments) - min(moments) > 2.9 * DAY


def test_the_spread_is_the_certificates_own() -> None:
    first, again = (
        renewal(name="nrf", not_before=NOW, not_after=NOW + 365 * DAY, renew_before=30 * DAY)
        for _ in range(2)
    )

    assert first == again
    assert first.warning == ""


@pytest.mark.parametrize(
    "lifetime",
    [
        pytest.param(30.5 * DAY, id="hardly any time until the renewal"),
        pytest.param(30 * DAY + timedelta(minutes=10), id="capped, and dated back"),
        pytest.param(30 * DAY, id="none"),
        DAY,
        timedelta(minutes=3),
    ],
)
def test_a_short_life_is_renewed_at_two_thirds_with_a_warning(lifetime: timedelta) -> None:
    found = renewal(name="nrf", not_before=NOW, not_after=NOW + lifetime, renew_before=30 * DAY)

    assert found.at == NOW + lifetime * 2 / 3
    assert "two thirds" in found.warning


@pytest.mark.parametrize("lifetime", [31 * DAY, 45 * DAY, 90 * DAY])
def test_a_life_with_time_until_its_renewal_is_renewed_in_time(lifetime: timedelta) -> None:
    found = renewal(name="nrf", not_before=NOW, not_after=NOW + lifetime, renew_before=30 * DAY)

    assert found.at <= NOW + lifetime - 30 * DAY
    assert found.warning == ""


def test_what_was_dated_back_is_no_part_of_a_life() -> None:
    """Two days are more than the one to renew before, but one of them is over when it is issued."""
    found = renewal(
        name="nrf",
        not_before=NOW - DAY,
        not_after=NOW + DAY,
        renew_before=DAY,
        issued_at=NOW,
    )

    assert found.at == NOW + DAY * 2 / 3
    assert "two thirds" in found.warning


def test_a_certificate_that_becomes_valid_later_lives_from_then_on() -> None:
    found = renewal(
        name="nrf",
        not_before=NOW + DAY,
        not_after=NOW + 4 * DAY,
        renew_before=30 * DAY,
        issued_at=NOW,
    )

    assert found.at == NOW + 3 * DAY


def test_the_spread_never_reaches_back_to_the_beginning() -> None:
    """One that lives little longer than its renewal window must not be renewed at once."""
    for i in range(100):
        found = renewal(
            name=f"nrf{i}", not_before=NOW, not_after=NOW + 31 * DAY, renew_before=30 * DAY
        )
        assert found.at >= NOW + DAY / 2


def test_ten_thousand_made_together_are_not_renewed_together() -> None:
    """Evenly over three days: an hour has a 72nd of them, and no minute more than a handful."""
    moments = [
        renewal(name=f"nrf{i}", not_before=NOW, not_after=NOW + 365 * DAY, renew_before=30 * DAY).at
        for i in range(10_000)
    ]
    hours = Counter((at - NOW) // timedelta(hours=1) for at in moments)
    minutes = Counter((at - NOW) // timedelta(minutes=1) for at in moments)

    assert len(hours) in (72, 73)
    assert min(count for hour, count in hours.items() if hour < max(hours)) > 139 * 0.6
    assert max(hours.values()) < 139 * 1.4
    assert max(minutes.values()) <= 12
