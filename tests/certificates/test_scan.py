"""The expiry scan opens what is due, however many, in a few queries, and beside everybody else."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from certificates import tasks
from certificates.domain import lifecycle
from certificates.models import Certificate, Enrollment
from issuers.models import Issuer
from tests.factories import NOW, a_certificate, an_identity, an_issuer

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(days=1)


def due(issuer: Issuer, count: int = 1, **fields: Any) -> list[Certificate]:
    """Delivered certificates whose time to renew has come, and that have no errand."""
    rows = [a_certificate(issuer=issuer, **fields) for _ in range(count)]
    ours = Certificate.objects.filter(pk__in=[row.pk for row in rows])
    ours.update(in_place=True, not_before=NOW, not_after=LATER + timedelta(days=30), renew_at=LATER)
    Enrollment.objects.filter(certificate__in=rows).update(phase="DELIVERED", due_at=None)
    return rows


def opened() -> dict[int, Enrollment]:
    return {row.certificate_id: row for row in Enrollment.objects.open()}


def test_many_cost_as_few_do(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for issuer in (an_issuer(), an_issuer()):
        due(issuer, 8)

    with django_assert_num_queries(7):  # two of them for the savepoint around it
        assert lifecycle.open_due_renewals(now=LATER, limit=100) == 16


def test_each_errand_asks_for_what_its_certificate_says() -> None:
    [one] = due(an_issuer(), common_name="one", dns_names=["one.example"])
    [two] = due(an_issuer(), common_name="two", requested_validity_days=90)
    identity = an_identity(issuer=two.issuer)
    Certificate.objects.filter(pk=identity.pk).update(not_after=LATER, renew_at=LATER)
    identity.enrollments.update(phase="DELIVERED")

    lifecycle.open_due_renewals(now=LATER, limit=100)

    found = opened()
    first, second, third = found[one.pk], found[two.pk], found[identity.pk]
    assert (first.request["common_name"], first.request["dns_names"]) == ("one", ["one.example"])
    assert second.request["requested_validity_days"] == 90
    assert (first.issuer_name, second.issuer_name) == (one.issuer.name, two.issuer.name)
    assert (first.kind, first.signer, first.priority) == ("RENEW", "ITSELF", 30)
    assert (third.kind, third.signer, third.priority) == ("RECREATE", "INITIAL", 20)
    assert {row.due_at for row in found.values()} == {LATER}


def test_the_longest_due_come_first() -> None:
    early, late, middle = due(an_issuer(), 3)
    Certificate.objects.filter(pk=early.pk).update(renew_at=NOW)
    Certificate.objects.filter(pk=late.pk).update(renew_at=LATER + timedelta(hours=1))

    lifecycle.open_due_renewals(now=LATER + timedelta(days=1), limit=2)

    assert opened().keys() == {early.pk, middle.pk}


def test_expired_manual_certificates_take_nobodys_turn() -> None:
    issuer = an_issuer()
    manual = due(issuer, 3)
    Certificate.objects.filter(pk__in=[row.pk for row in manual]).update(
        creation_mode="MANUAL", renew_at=NOW, not_after=LATER
    )
    [certificate] = due(issuer)

    assert lifecycle.open_due_renewals(now=LATER, limit=1) == 1

    assert opened().keys() == {certificate.pk}


def test_one_scan_opens_all_that_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "SCAN", 2)
    rows = due(an_issuer(), 5)
    Certificate.objects.update(renew_at=NOW)  # long ago, by the database's clock

    tasks.scan_expiring()

    assert opened().keys() == {row.pk for row in rows}


@pytest.mark.only_on("postgresql")
class TestBesideOthers:
    pytestmark = pytest.mark.django_db(transaction=True)

    def test_what_somebody_holds_is_left_to_the_next_scan(self) -> None:
        held, free = due(an_issuer(), 2)

        with meanwhile(lambda: Certificate.objects.select_for_update().get(pk=held.pk)):
            assert lifecycle.open_due_renewals(now=LATER, limit=100) == 1
        assert opened().keys() == {free.pk}
        assert lifecycle.open_due_renewals(now=LATER, limit=100) == 1

    def test_two_scans_open_nothing_twice(self) -> None:
        rows = due(an_issuer(), 20)

        with ThreadPoolExecutor(4) as pool:
            scans = [pool.submit(on_its_own, scan) for _ in range(4)]
            counts = [scan.result() for scan in scans]

        assert sum(counts) == len(opened()) == len(rows)

    def test_an_operator_at_the_same_issuer_holds_up_no_scan(self) -> None:
        """A scan locks certificates, then needs their issuer; an operator the other way round."""
        [certificate] = due(an_issuer())

        def begin_an_edit() -> None:
            lifecycle._lock_issuer(certificate)

        with meanwhile(begin_an_edit), ThreadPoolExecutor(1) as pool:
            assert pool.submit(on_its_own, scan).result(timeout=10) == 1


def scan() -> int:
    return lifecycle.open_due_renewals(now=LATER, limit=100)


def on_its_own(work: Callable[[], Any]) -> Any:
    """Work on a database connection of this thread's own."""
    try:
        return work()
    finally:
        connection.close()


@contextmanager
def meanwhile(work: Callable[[], Any]) -> Iterator[None]:
    """Let somebody else be in the middle of a transaction, after `work`, while the block lasts."""
    begun, go_on = Event(), Event()

    def other() -> None:
        with transaction.atomic():
            work()
            begun.set()
            assert go_on.wait(30)

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(on_its_own, other)
        assert begun.wait(10)
        try:
            yield
        finally:
            go_on.set()
        busy.result()
