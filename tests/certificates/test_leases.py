"""One worker at a time, whoever stalls or loses the database; writes until they are done."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from certificates.domain import enroll, lifecycle
from certificates.domain.world import MARGIN
from certificates.models import Enrollment, MaybeIssued
from cmp import State
from issuers.models import Issuer
from secretstore import DEADLINE, MemorySecretStore
from tests.factories import NOW, a_certificate
from tests.fakes.faults import NotWriting
from tests.fakes.site import Line, Site

pytestmark = pytest.mark.django_db
Phase = Enrollment.Phase
RETRY = timedelta(seconds=30)
STORE = timedelta(seconds=DEADLINE)


def away(site: Site, *, until: list[datetime]) -> Callable[..., Any]:
    """Return a wrapper of statements: there is no database before the moment that `until` holds."""

    def run(execute: Callable[..., Any], *details: Any) -> Any:
        if site.clock() < until[0]:
            raise OperationalError("the database system is shutting down")
        return execute(*details)

    return run


class TestSecretWrites:
    def test_only_the_write_is_repeated(self, site: Site, issuer: Issuer) -> None:
        certificate = a_certificate(issuer=issuer)
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(seconds=5)
        site.run()
        site.clock.forward(seconds=5)
        asked = site.clock()
        store, site.secrets = site.secrets, NotWriting(site.secrets)
        for number in range(1, 4):
            site.run()
            row = site.errand(certificate)
            assert (row.phase, row.error_code) == (Phase.DELIVERING, "SECRET_STORE_UNAVAILABLE")
            assert (row.tries, row.first_failed_at) == (number, asked)
            assert row.due_at == site.clock() + RETRY
            site.clock.forward(seconds=30)
        key = site.errand(certificate).private_key.reveal()
        site.secrets = store
        site.run()

        assert site.readiness(certificate) == "READY"
        assert ca.count("ir") == 2
        assert site.leaf(certificate).serial_number == ca.issued[-1].serial
        assert key

    def test_nothing_is_lost_with_every_process_and_the_broker(
        self, site: Site, issuer: Issuer
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        store, site.secrets = site.secrets, NotWriting(site.secrets)
        site.run()
        fresh = Site(site.clock, store, site.cas)  # all that survives is the row

        fresh.clock.forward(seconds=30)
        fresh.run()

        assert fresh.readiness(certificate) == "READY"
        assert fresh.cas[issuer.pk].count("ir") == 2


class TestOneWorkerAtATime:
    def test_nobody_finds_an_enrollment_due_while_a_worker_has_it(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def post(line: Line, der: bytes) -> bytes:
            seen.append(Enrollment.objects.due(now=site.clock() + timedelta(seconds=59)).count())
            return line.ca.answer(der, now=site.clock())

        monkeypatch.setattr(Line, "post", post)
        a_certificate(issuer=issuer)

        site.run()

        assert seen == [0, 0]

    def test_the_lease_outlives_whatever_it_was_taken_for(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By half a minute, that a worker finds out in time that it was given up."""
        left: list[tuple[str, timedelta]] = []
        message = timedelta(seconds=issuer.message_timeout_s)
        doors = (
            (Line, "post", message),
            *((MemorySecretStore, it, STORE) for it in ("read", "write")),
        )

        def watched(kind: Any, name: str, deadline: timedelta) -> None:
            act = getattr(kind, name)

            def noting(*args: Any, **options: Any) -> Any:
                leased_until = site.errand(certificate).leased_until
                assert leased_until is not None
                left.append((name, leased_until - site.clock() - deadline))
                return act(*args, **options)

            monkeypatch.setattr(kind, name, noting)

        certificate = a_certificate(issuer=issuer)
        for kind, name, deadline in doors:
            watched(kind, name, deadline)
        site.run()

        assert {name for name, _ in left} == {"post", "read", "write"}
        assert all(margin >= MARGIN for _, margin in left), left

    @pytest.mark.parametrize(
        "state",
        [
            {"due_at": NOW + timedelta(seconds=1)},
            {"due_at": None},
            {"leased_until": NOW + timedelta(seconds=1)},
            {"fence": 1},
            {"phase": Phase.DELIVERED},
        ],
        ids=["not yet due", "stopped", "leased", "taken since the call", "closed"],
    )
    def test_a_claim_is_for_what_is_due_and_free(self, site: Site, state: dict[str, Any]) -> None:
        row = site.errand(a_certificate())
        Enrollment.objects.filter(pk=row.pk).update(**state)

        assert enroll.claim(pk=row.pk, fence=0, now=NOW) is None

    def test_a_second_call_finds_the_fence_taken(self, site: Site, issuer: Issuer) -> None:
        row = site.errand(a_certificate(issuer=issuer))

        assert enroll.claim(pk=row.pk, fence=0, now=NOW) is not None
        assert enroll.claim(pk=row.pk, fence=0, now=NOW + timedelta(days=1)) is None

    def test_a_worker_that_lost_its_lease_writes_nothing(self, site: Site, issuer: Issuer) -> None:
        certificate = a_certificate(issuer=issuer)
        row = site.errand(certificate)
        slow = enroll.claim(pk=row.pk, fence=0, now=NOW)
        assert slow is not None
        site.clock.forward(seconds=91)
        site.run()
        delivered = site.leaf(certificate)
        asked = site.cas[issuer.pk].count("ir")

        enroll.advance(slow, site.world)

        assert site.leaf(certificate) == delivered
        assert site.cas[issuer.pk].count("ir") == asked

    def test_a_stop_takes_effect_before_the_next_message(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = a_certificate(issuer=issuer)

        def post(line: Line, der: bytes) -> bytes:
            lifecycle.stop(certificate, now=site.clock())
            return line.ca.answer(der, now=site.clock())

        monkeypatch.setattr(Line, "post", post)
        site.run()
        row = site.errand(certificate)
        assert (row.state, row.due_at, row.leased_until) == (State.GRANTED, None, None)
        assert not site.is_written(certificate)
        monkeypatch.undo()

        lifecycle.retry(certificate, now=site.clock())
        site.run()

        assert site.readiness(certificate) == "READY"
        assert site.cas[issuer.pk].count("ir") == 2

    def test_a_retry_right_after_a_stop_is_not_undone_by_the_worker_that_is_stopped(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        pressed: list[bool] = []

        def post(line: Line, der: bytes) -> bytes:
            lifecycle.stop(certificate, now=site.clock())
            return line.ca.answer(der, now=site.clock())

        def press_retry(execute: Callable[..., Any], sql: str, *details: Any) -> Any:
            found = execute(sql, *details)
            if "due_at IS NOT NULL" in sql and "UPDATE" in sql and not pressed:
                stopped = site.errand(certificate)
                if stopped.state == State.REQUESTED and stopped.due_at is None:
                    pressed.append(True)
                    lifecycle.retry(certificate, now=site.clock())
            return found

        monkeypatch.setattr(Line, "post", post)
        row = site.errand(certificate)
        mine = enroll.claim(pk=row.pk, fence=row.fence, now=site.clock())
        assert mine is not None
        with connection.execute_wrapper(press_retry):
            enroll.advance(mine, site.world)
        monkeypatch.undo()
        assert pressed
        row.refresh_from_db()
        assert (row.state, row.due_at, row.leased_until) == (State.GRANTED, site.clock(), None)

        site.run()

        assert site.readiness(certificate) == "READY"

    def test_a_delete_in_flight_stops_it_and_then_finishes(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        left = []

        def post(line: Line, der: bytes) -> bytes:
            left.append(lifecycle.delete(certificate, now=site.clock()).finished)
            return line.ca.answer(der, now=site.clock())

        monkeypatch.setattr(Line, "post", post)
        site.run()

        assert left == [False]
        assert not site.is_written(certificate)
        assert lifecycle.finish_deletions(now=site.clock()) == 1
        assert MaybeIssued.objects.get().certificate_name == certificate.name


@pytest.mark.django_db(transaction=True)
class TestDatabaseAway:
    def test_an_answer_in_hand_is_written_when_it_is_back(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        keep, outages = Enrollment.keep, iter([True] * 5)

        def flaky(row: Enrollment, **changes: Any) -> None:
            if "exchange" in changes and next(outages, False):
                raise OperationalError("the database system is shutting down")
            keep(row, **changes)

        monkeypatch.setattr(Enrollment, "keep", flaky)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert site.clock() == NOW + timedelta(seconds=5)
        assert site.cas[issuer.pk].count("ir") == 2

    @pytest.mark.parametrize("answer", ["to the request", "to the certConf"])
    def test_nothing_that_is_asked_of_it_then_costs_the_answer(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        site.clock.forward(minutes=1)  # so that an answer is worth a note
        post, back_at = Line.post, [NOW]
        answers = iter([answer == "to the request", answer == "to the certConf"])

        def post_and_lose_the_database(line: Line, der: bytes) -> bytes:
            der = post(line, der)
            if next(answers):
                back_at[0] = site.clock() + timedelta(seconds=5)
            return der

        monkeypatch.setattr(Line, "post", post_and_lose_the_database)
        with connection.execute_wrapper(away(site, until=back_at)):
            site.run()

        assert site.readiness(certificate) == "READY"
        assert not MaybeIssued.objects.exists()
        assert site.cas[issuer.pk].count("ir") == 2

    def test_no_message_leaves_on_a_lease_that_an_outage_has_used_up(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        message, back_at = timedelta(seconds=issuer.message_timeout_s), [NOW]
        left = []

        def post(line: Line, der: bytes) -> bytes:
            leased_until = site.errand(certificate).leased_until
            assert leased_until is not None
            left.append(leased_until - site.clock() - message)
            if len(left) == 1:
                back_at[0] = site.clock() + message + RETRY - timedelta(seconds=1)
            return line.ca.answer(der, now=site.clock())

        monkeypatch.setattr(Line, "post", post)
        with connection.execute_wrapper(away(site, until=back_at)):
            site.run()

        assert site.readiness(certificate) == "READY"
        assert len(left) == 2
        assert all(margin >= MARGIN for margin in left), left

    def test_it_is_given_up_when_the_lease_ends(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = site.errand(a_certificate(issuer=issuer))
        keep = Enrollment.keep

        def down(row: Enrollment, **changes: Any) -> None:
            if "exchange" in changes:
                raise OperationalError("the database system is shutting down")
            keep(row, **changes)

        monkeypatch.setattr(Enrollment, "keep", down)
        mine = enroll.claim(pk=row.pk, fence=0, now=NOW)
        assert mine is not None
        with pytest.raises(OperationalError):
            enroll.advance(mine, site.world)

        assert site.clock() == NOW + timedelta(seconds=issuer.message_timeout_s) + RETRY
