"""How much is asked at once: requests a second, places kept from bulk work, a slow release."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from pytest_django import Settings

from certificates.domain import dispatch, lifecycle
from certificates.domain.budgets import BURST
from certificates.models import Certificate, Enrollment
from cmp import State
from issuers.domain import health
from issuers.models import Issuer, IssuerHealth, SecretStoreHealth
from tests.certificates.test_dispatch import a_ready_issuer, called_to, due_rows, in_threads
from tests.factories import NOW, a_certificate

pytestmark = pytest.mark.django_db

Phase, Priority = Enrollment.Phase, Enrollment.Priority
SECOND = timedelta(seconds=1)


def ticks(*, seconds: float, step: float = 0.1) -> Iterator[tuple[datetime, list[int]]]:
    """Have the time pass, and yield whom each tick calls."""
    for number in range(round(seconds / step) + 1):
        now = NOW + number * step * SECOND
        yield now, called_to(dispatch.tick(now=now))


def done(pks: list[int]) -> None:
    Enrollment.objects.filter(pk__in=pks).update(phase=Phase.DELIVERED, called_until=None)


class TestRequestsPerSecond:
    @pytest.mark.parametrize("rate", [4, 20, 50])
    def test_are_kept_to_and_used_up(self, settings: Settings, rate: float) -> None:
        """A new row may send two: the request, and the confirmation right after."""
        settings.OCCM_ISSUER_REQUESTS_PER_SECOND = rate
        due_rows(a_ready_issuer(), int(rate * 2))
        sent = 0

        for now, called in ticks(seconds=2):
            sent += 2 * len(called)
            done(called)
            passed = (now - NOW).total_seconds()
            assert sent <= rate * (passed + max(BURST.total_seconds(), 2 / rate)) + 1e-6

        assert sent >= rate * 2

    def test_confirmations_cost_one_and_deliveries_nothing(self, settings: Settings) -> None:
        settings.OCCM_ISSUER_REQUESTS_PER_SECOND = 4  # one of two, or two of one, at a time
        issuer = a_ready_issuer()
        new = due_rows(issuer, 2)
        confirming = due_rows(issuer, 3, phase=Phase.EXCHANGE, state=State.GRANTED)
        issued = due_rows(issuer, 3, phase=Phase.ISSUED)

        called = set(called_to(dispatch.tick(now=NOW)))

        assert len(called & {row.pk for row in confirming}) == 1
        assert called >= {row.pk for row in issued}
        assert not called & {row.pk for row in new}

    def test_are_each_issuers_own(self, settings: Settings) -> None:
        settings.OCCM_ISSUER_REQUESTS_PER_SECOND = 2
        due_rows(a_ready_issuer(), 3)
        due_rows(a_ready_issuer(), 3)

        assert len(dispatch.tick(now=NOW)) == 2

    def test_what_was_held_back_is_looked_at_again_soon(self, settings: Settings) -> None:
        settings.OCCM_ISSUER_REQUESTS_PER_SECOND = 2
        due_rows(a_ready_issuer(), 2)

        assert dispatch.tick(now=NOW).more
        assert not dispatch.tick(now=NOW + SECOND).more

    def test_an_idle_issuer_saves_nothing_up(self, settings: Settings) -> None:
        settings.OCCM_ISSUER_REQUESTS_PER_SECOND = 10
        issuer = a_ready_issuer()
        due_rows(issuer, 1)
        done(called_to(dispatch.tick(now=NOW - timedelta(hours=1))) or [])
        done(called_to(dispatch.tick(now=NOW)))
        due_rows(issuer, 20)

        assert len(dispatch.tick(now=NOW + timedelta(hours=1))) == 1

    @pytest.mark.django_db(transaction=True)
    def test_two_beats_do_not_double_them(self, settings: Settings) -> None:
        settings.OCCM_ISSUER_REQUESTS_PER_SECOND = 40
        due_rows(a_ready_issuer(), 30)

        called = in_threads(4, lambda: called_to(dispatch.tick(now=NOW)))

        assert sum(map(len, called)) == 5  # a quarter of a second's worth
        assert IssuerHealth.objects.get().paced_until == NOW + SECOND / 4


class TestBulkWork:
    def test_leaves_places_to_all_else(self, settings: Settings) -> None:
        settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 10
        issuer = a_ready_issuer()
        due_rows(issuer, 20, priority=Priority.BULK)
        assert len(dispatch.tick(now=NOW)) == 8

        others = due_rows(issuer, 3, priority=Priority.RENEWAL)

        assert called_to(dispatch.tick(now=NOW)) == [row.pk for row in others[:2]]

    def test_of_many_issuers_leaves_slots_to_each_of_them(self, settings: Settings) -> None:
        settings.OCCM_WORKER_SLOTS = 20
        issuers = [a_ready_issuer() for _ in range(3)]
        for issuer in issuers:
            due_rows(issuer, 20, priority=Priority.BULK)
        while dispatch.tick(now=NOW):
            pass

        [renewal] = due_rows(issuers[0], 1, priority=Priority.RENEWAL)

        assert called_to(dispatch.tick(now=NOW)) == [renewal.pk]

    def test_of_ten_thousand_holds_no_operator_and_no_renewal_up(self) -> None:
        """The CA takes ten seconds for an answer; who comes in between begins within five."""
        issuer = a_ready_issuer()
        [first] = due_rows(issuer, 1, priority=Priority.BULK)
        copies(first, 10_000)
        waiting: dict[int, datetime] = {}
        begun: dict[int, timedelta] = {}
        at_work: list[tuple[datetime, list[int]]] = []
        for number in range(20):
            now = NOW + number * SECOND
            while at_work and at_work[0][0] <= now:
                done(at_work.pop(0)[1])
            if number in {1, 8, 15}:
                rows = due_rows(issuer, 1, priority=Priority.OPERATOR, due_at=now)
                rows += due_rows(issuer, 1, priority=Priority.RENEWAL, due_at=now)
                waiting |= {row.pk: now for row in rows}
            called = called_to(dispatch.tick(now=now))
            Enrollment.objects.filter(pk__in=called).update(leased_until=now + 60 * SECOND)
            begun |= {pk: now - waiting[pk] for pk in called if pk in waiting}
            at_work.append((now + 10 * SECOND, called))

        assert begun.keys() == waiting.keys()
        assert max(begun.values()) <= 5 * SECOND
        assert len([pk for _, called in at_work for pk in called]) > 10  # and it goes on


def copies(row: Enrollment, count: int) -> None:
    """Open as many enrollments like this one, each for a certificate of its own."""
    certificate = row.certificate
    many = []
    for number in range(count):
        certificate.pk, certificate.name = None, f"copy{number}"
        many.append(Certificate(**{f.attname: getattr(certificate, f.attname) for f in FIELDS}))
    Certificate.objects.bulk_create(many)
    rows = []
    for one in many:
        row.pk, row.certificate = None, one
        names = (field.attname for field in Enrollment._meta.concrete_fields)
        rows.append(Enrollment(**{name: getattr(row, name) for name in names}))
    Enrollment.objects.bulk_create(rows)


FIELDS = Certificate._meta.concrete_fields


def test_renewals_go_by_how_long_their_certificates_are_still_valid(settings: Settings) -> None:
    settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 1
    issuer = a_ready_issuer()
    days = {}
    for left in (20, 3, 11):
        certificate = a_certificate(issuer=issuer)
        certificate.enrollments.update(phase=Phase.DELIVERED)
        expiry = NOW + timedelta(days=left)
        Certificate.objects.filter(pk=certificate.pk).update(
            in_place=True, not_before=NOW, not_after=expiry, renew_at=NOW - left * SECOND
        )
        days[certificate.pk] = left
    assert lifecycle.open_due_renewals(now=NOW, limit=10) == 3
    order = []

    while called := called_to(dispatch.tick(now=NOW)):
        done(called)
        order += called

    certificates = [Enrollment.objects.get(pk=pk).certificate_id for pk in order]
    assert [days[pk] for pk in certificates] == [3, 11, 20]


class TestAfterARecovery:
    def recovered(self, issuer: Issuer) -> None:
        for _ in range(health.FAILURES):
            health.failed(issuer, now=NOW, error="no answer")
        health.answered(issuer, now=NOW)

    def test_an_issuers_rows_are_released_little_by_little(self) -> None:
        issuer = a_ready_issuer()
        due_rows(issuer, 40)
        self.recovered(issuer)
        counts = []

        for _, called in ticks(seconds=5, step=1):
            counts.append(len(called))
            done(called)

        assert counts == [1, 2, 4, 8, 16, 9]

    def test_deliveries_are_too(self) -> None:
        issuer = a_ready_issuer()
        due_rows(issuer, 10, phase=Phase.ISSUED)
        SecretStoreHealth.objects.create(pk=SecretStoreHealth.ONLY, recovered_at=NOW)
        counts = []

        for _, called in ticks(seconds=3, step=1):
            counts.append(len(called))
            done(called)

        assert counts == [1, 2, 4, 3]

    def test_a_single_failure_slows_nothing_down(self) -> None:
        issuer = a_ready_issuer()
        due_rows(issuer, 10)
        health.failed(issuer, now=NOW, error="no answer")
        health.answered(issuer, now=NOW)

        assert len(dispatch.tick(now=NOW)) == 10
