"""What dashboards count: it agrees with the rows, and takes a fixed number of queries."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from certificates.domain import figures
from certificates.models import Certificate
from tests.certificates.standings import failing, ready
from tests.factories import a_certificate, an_identity, an_issuer

pytestmark = pytest.mark.django_db


def names(limit: int = 50) -> list[str]:
    return [row.name for row in figures.needing_attention(now=timezone.now())[:limit]]


@pytest.mark.parametrize(
    ("days", "band"),
    [
        (-1, "EXPIRED"),
        (6.9, "DAYS_7"),
        (7.1, "DAYS_30"),
        (29.9, "DAYS_30"),
        (89, "DAYS_90"),
        (179, "DAYS_180"),
        (181, "LATER"),
    ],
)
def test_a_certificate_counts_in_the_band_of_its_days_left(days: float, band: str) -> None:
    ready(days=days)

    counts = {one.name: one.count for one in figures.bands(now=timezone.now()) if one.count}

    assert counts == {band: 1}


def test_bands_and_readiness_count_every_certificate_once() -> None:
    issuer = an_issuer()
    an_identity(issuer=issuer)
    for days in (-2, 3, 20, 200):
        ready(issuer=issuer, days=days)
    now = timezone.now()

    assert sum(one.count for one in figures.bands(now=now)) == 5
    assert figures.by_readiness(now=now) == {"READY": 3, "NOT_READY": 1, "EXPIRED": 1}


def test_what_goes_well_needs_nobody() -> None:
    ready()
    a_certificate(now=timezone.now())  # not there yet, but under way without a failure

    assert names() == []


def test_what_needs_a_person_comes_in_the_order_of_urgency() -> None:
    issuer = an_issuer()
    odd = ready(name="odd", issuer=issuer)
    Certificate.objects.filter(pk=odd.pk).update(renewal_warning="at two thirds of its life")
    stopped = a_certificate(name="stopped", issuer=issuer)
    stopped.enrollments.update(due_at=None)
    ready(name="still-valid", issuer=issuer, days=40)
    errand = Certificate.objects.get(name="still-valid").enrollments.get()
    errand.phase, errand.error_code, errand.error = "NEW", "CMP_REJECTED", "no"
    errand.save()
    ready(name="expired", issuer=issuer, days=-1)
    identity = ready(an_identity(issuer=issuer, name="identity"), days=-1)
    failing(a_certificate(name="missing", issuer=issuer))

    assert identity.cert_type == "OCCM"
    assert names() == ["identity", "expired", "missing", "stopped", "still-valid", "odd"]


def test_errands_are_counted_by_kind() -> None:
    issuer = an_issuer()
    failing(a_certificate(issuer=issuer))
    a_certificate(issuer=issuer).enrollments.update(due_at=None)
    ready(issuer=issuer)

    (found,) = figures.errands()

    assert (found.kind, found.count, found.failing, found.stopped) == ("CREATE", 2, 1, 1)
    assert found.next_at is not None


def test_issuers_come_with_their_identity_the_failing_first() -> None:
    quiet, silent = an_issuer(name="a"), an_issuer(name="b")
    ready(an_identity(issuer=quiet))
    silent.health.failing_since = timezone.now()
    silent.health.save()

    found = list(figures.issuers(now=timezone.now()))

    assert [(row.name, row.identity_readiness, row.certificate_count) for row in found] == [
        ("b", None, 0),
        ("a", "READY", 1),
    ]


def test_more_certificates_take_no_more_queries() -> None:
    def asked() -> int:
        now = timezone.now()
        with CaptureQueriesContext(connection) as made:
            figures.bands(now=now)
            figures.by_readiness(now=now)
            figures.errands()
            list(figures.needing_attention(now=now)[:20])
            list(figures.issuers(now=now))
        return len(made)

    issuer = an_issuer()
    failing(a_certificate(issuer=issuer))
    before = asked()
    for _ in range(5):
        failing(a_certificate(issuer=issuer))

    assert asked() == before
