"""Who is called when: order, budgets, and that nobody is called twice. Rows only."""

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries, Settings

from certificates.domain import budgets, dispatch, identity, lifecycle
from certificates.domain.budgets import KEYS_AHEAD
from certificates.domain.dispatch import Call
from certificates.models import Certificate, Enrollment
from cmp import State
from issuers.domain import health
from issuers.models import Issuer, IssuerHealth
from tests.factories import NOW, a_certificate, an_enrollment, an_identity, an_issuer

pytestmark = pytest.mark.django_db

Phase, Priority = Enrollment.Phase, Enrollment.Priority
SECOND = timedelta(seconds=1)


def a_ready_issuer(**fields: Any) -> Issuer:
    """An issuer whose OCCM certificate is READY, so that others may be signed with it."""
    identity_row = an_identity(issuer=an_issuer(**fields))
    identity_row.enrollments.update(phase=Phase.DELIVERED, due_at=None)
    Certificate.objects.filter(pk=identity_row.pk).update(
        in_place=True, not_before=NOW, not_after=NOW + timedelta(days=365)
    )
    return identity_row.issuer


def due_rows(issuer: Issuer, count: int, **fields: Any) -> list[Enrollment]:
    return [an_enrollment(certificate=a_certificate(issuer=issuer), **fields) for _ in range(count)]


def called_to(calls: list[Call]) -> list[int]:
    return [call.enrollment for call in calls]


def test_due_rows_are_called_once() -> None:
    [row] = due_rows(a_ready_issuer(), 1)

    assert dispatch.tick(now=NOW) == [Call(row.pk, 0, "certificates.enroll", "enroll")]
    assert dispatch.tick(now=NOW + SECOND) == []


def test_a_call_that_nobody_follows_is_repeated() -> None:
    [row] = due_rows(a_ready_issuer(), 1)
    dispatch.tick(now=NOW)

    assert called_to(dispatch.tick(now=NOW + dispatch.CALL)) == [row.pk]
    assert dispatch.tick(now=NOW + 2 * dispatch.CALL) == []  # then more patiently
    assert called_to(dispatch.tick(now=NOW + dispatch.CALL + dispatch.CALL_AGAIN)) == [row.pk]


def test_what_is_stopped_leased_closed_or_not_yet_due_is_not_called() -> None:
    issuer = a_ready_issuer()
    due_rows(issuer, 1, due_at=None)
    due_rows(issuer, 1, leased_until=NOW + SECOND)
    due_rows(issuer, 1, phase=Phase.DELIVERED)
    due_rows(issuer, 1, due_at=NOW + SECOND)

    assert dispatch.tick(now=NOW) == []


@pytest.mark.parametrize(
    ("fields", "task", "queue"),
    [
        ({}, "certificates.enroll", "enroll"),
        ({"kind": "RENEW"}, "certificates.renew", "enroll"),
        ({"phase": Phase.EXCHANGE, "state": State.WAITING}, "certificates.poll", "enroll"),
        ({"phase": Phase.EXCHANGE, "state": State.GRANTED}, "certificates.enroll", "enroll"),
        ({"phase": Phase.ISSUED}, "certificates.deliver", "deliver"),
        ({"phase": Phase.DELIVERING}, "certificates.deliver", "deliver"),
    ],
)
def test_tasks_are_named_by_what_they_will_do(
    fields: dict[str, Any], task: str, queue: str
) -> None:
    due_rows(a_ready_issuer(), 1, **fields)

    [call] = dispatch.tick(now=NOW)

    assert (call.task, call.queue) == (task, queue)


def test_the_order_of_turns(settings: Settings) -> None:
    settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 1
    issuer = a_ready_issuer()
    rows = [
        due_rows(issuer, 1, priority=Priority.BULK, due_at=NOW - 9 * SECOND)[0],
        due_rows(issuer, 1, priority=Priority.CREATE)[0],
        due_rows(issuer, 1, priority=Priority.CREATE, due_at=NOW - SECOND)[0],
        due_rows(issuer, 1, priority=Priority.RENEWAL)[0],
        due_rows(issuer, 1, priority=Priority.IDENTITY)[0],
        due_rows(issuer, 1, priority=Priority.OPERATOR)[0],
        due_rows(issuer, 1, phase=Phase.EXCHANGE, state=State.WAITING, priority=Priority.BULK)[0],
        due_rows(issuer, 1, phase=Phase.EXCHANGE, state=State.GRANTED, priority=Priority.BULK)[0],
    ]
    order = []

    while calls := dispatch.tick(now=NOW):
        order += called_to(calls)
        Enrollment.objects.filter(pk=order[-1]).update(phase=Phase.DELIVERED)

    expected = [rows[index].pk for index in (7, 6, 5, 4, 3, 2, 1, 0)]
    assert order == expected


def test_an_issuer_has_no_more_in_flight_than_its_budget(settings: Settings) -> None:
    settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 3
    issuer = a_ready_issuer()
    due_rows(issuer, 2, leased_until=NOW + SECOND)
    rows = due_rows(issuer, 5)

    assert called_to(dispatch.tick(now=NOW)) == [rows[0].pk]
    assert dispatch.tick(now=NOW) == []


def test_a_thousand_rows_of_one_issuer_do_not_hide_the_first_of_another(
    settings: Settings,
) -> None:
    settings.OCCM_WORKER_SLOTS = 10
    due_rows(a_ready_issuer(), 60, due_at=NOW - timedelta(hours=1))
    [late] = due_rows(a_ready_issuer(), 1)

    assert late.pk in called_to(dispatch.tick(now=NOW))


def test_issuers_that_hang_together_leave_room_for_the_next(settings: Settings) -> None:
    settings.OCCM_WORKER_SLOTS = 20
    for _ in range(6):
        due_rows(a_ready_issuer(), 20)
    while calls := dispatch.tick(now=NOW):  # they all hang: nobody comes back
        pks = called_to(calls)
        Enrollment.objects.filter(pk__in=pks).update(leased_until=NOW + timedelta(minutes=10))

    [another] = due_rows(a_ready_issuer(), 1)

    assert called_to(dispatch.tick(now=NOW)) == [another.pk]


def test_never_more_is_out_than_there_are_slots(settings: Settings) -> None:
    settings.OCCM_WORKER_SLOTS = 8
    for _ in range(5):
        due_rows(a_ready_issuer(), 8)
        due_rows(a_ready_issuer(), 2, phase=Phase.ISSUED)

    for _ in range(3):
        dispatch.tick(now=NOW)

    assert Enrollment.objects.in_flight(now=NOW).count() <= 8


def test_deliveries_are_not_held_up_by_a_ca_at_its_limit(settings: Settings) -> None:
    settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 1
    issuer = a_ready_issuer()
    due_rows(issuer, 1, leased_until=NOW + SECOND)
    due_rows(issuer, 1)
    [issued] = due_rows(issuer, 1, phase=Phase.ISSUED)

    assert called_to(dispatch.tick(now=NOW)) == [issued.pk]


def test_requests_are_not_hidden_by_deliveries_that_wait(settings: Settings) -> None:
    settings.OCCM_WORKER_SLOTS = 10
    issuer = a_ready_issuer()
    due_rows(issuer, 12, phase=Phase.ISSUED)
    [new] = due_rows(issuer, 1)

    assert new.pk in called_to(dispatch.tick(now=NOW))


class TestRsaKeys:
    def rows(self, issuer: Issuer, count: int) -> list[Enrollment]:
        made = [
            a_certificate(issuer=issuer, key_algorithm="RSA", key_size="KEYSIZE_4096")
            for _ in range(count)
        ]
        return [it.enrollments.get() for it in made]

    def test_are_made_apart(self) -> None:
        [row] = self.rows(a_ready_issuer(), 1)

        [call] = dispatch.tick(now=NOW)

        assert (call.enrollment, call.task, call.queue) == (row.pk, "certificates.make_key", "keys")

    def test_take_no_place_of_their_issuer(self, settings: Settings) -> None:
        settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 2
        issuer = a_ready_issuer()
        self.rows(issuer, KEYS_AHEAD + 5)
        others = due_rows(issuer, 3)

        first = dispatch.tick(now=NOW)
        Enrollment.objects.filter(pk=others[0].pk).update(due_at=None)
        again = dispatch.tick(now=NOW + SECOND)

        queues = Counter(call.queue for call in first)
        assert queues == {"keys": KEYS_AHEAD, "enroll": 2}
        assert called_to(again) == []

    def test_are_no_probe_of_a_ca(self) -> None:
        issuer = a_ready_issuer()
        [row] = self.rows(issuer, 1)
        IssuerHealth.objects.filter(pk=issuer.pk).update(
            failing_since=NOW, failures=9, probe_at=NOW
        )

        [call] = dispatch.tick(now=NOW)

        assert (call.enrollment, call.task, call.queue) == (
            row.pk,
            "certificates.enroll",
            "suspect",
        )


class TestSuspects:
    @pytest.fixture
    def failing(self) -> Issuer:
        issuer = a_ready_issuer()
        health.failed(issuer, now=NOW, error="connection refused")
        return issuer

    @pytest.fixture
    def stalling(self) -> Issuer:
        issuer = a_ready_issuer()
        asked = {"leased_until": NOW + timedelta(minutes=1), "phase": Phase.EXCHANGE}
        due_rows(issuer, 1, asked_at=NOW - dispatch.STALLED, **asked)
        return issuer

    @pytest.mark.parametrize("kind", ["failing", "stalling"])
    def test_have_a_queue_and_a_small_pool_of_their_own(
        self, kind: str, request: pytest.FixtureRequest, settings: Settings
    ) -> None:
        settings.OCCM_WORKER_SLOTS = 20
        issuer = request.getfixturevalue(kind)
        due_rows(issuer, 10)

        calls = dispatch.tick(now=NOW)

        assert {call.queue for call in calls} == {"suspect"}
        pool = 20 // budgets.SUSPECT_SHARE
        assert Enrollment.objects.in_flight(now=NOW).count() == pool // 2  # the rest for the next

    def test_share_that_pool(self, settings: Settings) -> None:
        settings.OCCM_WORKER_SLOTS = 20
        for _ in range(4):
            issuer = a_ready_issuer()
            health.failed(issuer, now=NOW, error="connection refused")
            due_rows(issuer, 3)

        calls = dispatch.tick(now=NOW)

        issuers = Enrollment.objects.filter(pk__in=called_to(calls)).values_list("issuer_id")
        assert sorted(Counter(issuers).values()) == [1, 1, 1, 1]

    def test_delay_nobody_else(self, failing: Issuer, settings: Settings) -> None:
        settings.OCCM_WORKER_SLOTS = 20
        due_rows(failing, 30)
        healthy = due_rows(a_ready_issuer(), 5)

        calls = dispatch.tick(now=NOW)

        assert {row.pk for row in healthy} <= set(called_to(calls))

    def test_are_none_once_they_answer(self, failing: Issuer) -> None:
        health.answered(failing, now=NOW)
        due_rows(failing, 1)

        [call] = dispatch.tick(now=NOW)

        assert call.queue == "enroll"


class TestWaitingForTheIdentity:
    def test_no_request_is_made_that_nobody_could_sign(self) -> None:
        [row] = due_rows(an_issuer(), 1)

        assert dispatch.tick(now=NOW) == []

        row.refresh_from_db()
        assert "there is none" in row.waiting_for
        assert (row.tries, row.error) == (0, "")
        assert row.due_at == NOW + identity.LOOK_AGAIN

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"in_place": False, "attention": "no such secret"}, "NOT_READY.*no such secret"),
            ({"not_after": NOW}, "EXPIRED"),
        ],
    )
    def test_an_identity_that_is_not_ready_is_named(
        self, fields: dict[str, Any], said: str
    ) -> None:
        issuer = a_ready_issuer()
        Certificate.objects.filter(issuer=issuer).update(**fields)

        [obstacle] = identity.obstacles([issuer.pk], now=NOW).values()

        assert obstacle.startswith("OCCM certificate occm")
        assert re.search(said, obstacle)

    @pytest.mark.parametrize("granted", [True, False])
    def test_nothing_begins_between_an_identitys_grant_and_its_delivery(
        self, granted: bool
    ) -> None:
        issuer = a_ready_issuer()
        renewal = lifecycle.renew(issuer.certificates.get(), now=NOW)
        Enrollment.objects.filter(pk=renewal.pk).update(
            phase=Phase.EXCHANGE,
            due_at=NOW + timedelta(hours=1),
            issued_fingerprint="ab" if granted else "",
        )
        due_rows(issuer, 1)

        assert (dispatch.tick(now=NOW) == []) is granted

    def test_what_is_begun_goes_on(self) -> None:
        issuer = an_issuer()
        [polling] = due_rows(issuer, 1, phase=Phase.EXCHANGE, state=State.WAITING)

        assert called_to(dispatch.tick(now=NOW)) == [polling.pk]

    def test_waiting_ends_when_the_identity_is_there(self) -> None:
        issuer = an_issuer()
        [row] = due_rows(issuer, 1)
        dispatch.tick(now=NOW)

        assert identity.wake_waiting(issuer.pk, now=NOW + SECOND) == 1

        row.refresh_from_db()
        assert (row.due_at, row.waiting_for) == (NOW + SECOND, "")

    def test_a_stopped_row_is_not_woken(self) -> None:
        issuer = an_issuer()
        [row] = due_rows(issuer, 1)
        dispatch.tick(now=NOW)
        lifecycle.stop(row.certificate, now=NOW)

        assert identity.wake_waiting(issuer.pk, now=NOW) == 0

    def test_other_issuers_do_not_wait(self) -> None:
        due_rows(an_issuer(), 3)
        [row] = due_rows(a_ready_issuer(), 1)

        assert called_to(dispatch.tick(now=NOW)) == [row.pk]


def test_a_tick_costs_as_much_for_many_rows_as_for_few(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    issuers = [a_ready_issuer(), a_ready_issuer()]
    for issuer in issuers:
        due_rows(issuer, 15)
    health.secret_store()  # else the first tick makes the row

    with django_assert_num_queries(13):
        dispatch.tick(now=NOW)


def test_an_idle_tick_asks_once(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    an_enrollment(due_at=NOW + SECOND)

    with django_assert_num_queries(3):  # a savepoint around it
        dispatch.tick(now=NOW)


@pytest.mark.django_db(transaction=True)
def test_two_beats_call_nobody_twice_and_keep_to_one_budget(settings: Settings) -> None:
    settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 5
    rows = due_rows(a_ready_issuer(), 12) + due_rows(a_ready_issuer(), 12)
    together: list[list[int]] = in_threads(4, lambda: called_to(dispatch.tick(now=NOW)))

    called = [pk for pks in together for pk in pks]
    assert len(called) == len(set(called)) == 2 * 5
    settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 20
    while more := called_to(dispatch.tick(now=NOW)):
        called += more
    assert sorted(called) == sorted(row.pk for row in rows)


def in_threads(count: int, work: Callable[[], list[int]]) -> list[list[int]]:
    """Do the same in several threads, begun together; each has a database connection of its own."""
    together = Barrier(count)

    def one() -> list[int]:
        together.wait()
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(count)]]
