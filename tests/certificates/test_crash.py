"""Killed between any two steps: whoever takes the row up later brings it to the same end.

A worker dies at its nth contact with the outside (database, CA, secret store), before it or after
it. All that survives is what was committed, what the CA knows and what lies in the secrets. For
every n of a whole enrollment the next worker has to end with a key that matches its certificate,
and nothing may be asked for twice but what is listed as maybe issued.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from certificates.domain import enroll, lifecycle
from certificates.domain.conflicts import NothingToStop
from certificates.models import Certificate, Enrollment, MaybeIssued
from cmp.testing.register import State
from issuers.models import Issuer
from secretstore import MemorySecretStore
from tests.factories import a_certificate, an_identity
from tests.fakes.site import Line, Site

pytestmark = pytest.mark.django_db

LAYOUTS: dict[str, dict[str, Any]] = {
    "one secret": {},
    "two secrets": {"private_key_output_secret": "keys"},
}


DOORS = (
    (Enrollment, "keep"),
    (Enrollment, "extend"),
    (Line, "post"),
    (MemorySecretStore, "read"),
    (MemorySecretStore, "write"),
)


class Killed(BaseException):
    """Like `kill -9`: nothing of ours catches it."""


@dataclass
class Doom:
    """Kills at the nth contact; counts them when there is none."""

    at: int = -1
    strike: Callable[[], None] | None = None  # instead of death
    names: list[str] = field(default_factory=list)
    over: bool = False
    depth: int = field(default_factory=lambda: len(connection.savepoint_ids))

    def contact(self, name: str) -> None:
        if self.over or (self.strike and self.in_transaction()):
            return
        self.names.append(name)
        if len(self.names) - 1 == self.at:
            self.over = True
            if self.strike is None:
                raise Killed(name)
            self.strike()

    def in_transaction(self) -> bool:
        """Nobody else could do anything then: the rows are locked, and all is rolled back."""
        return len(connection.savepoint_ids) > self.depth

    def around(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def doomed(*args: Any, **options: Any) -> Any:
            self.contact(f"before {name}")
            result = act(*args, **options)
            self.contact(f"after {name}")
            return result

        return doomed


@contextmanager
def doomed(doom: Doom) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in DOORS:
            patch.setattr(kind, name, doom.around(name, getattr(kind, name)))
        yield


def live(site: Site, certificate: Certificate, doom: Doom) -> None:
    """Work on a certificate's errand until it waits for something, or death comes."""
    row = site.errand(certificate)
    mine = enroll.claim(pk=row.pk, fence=row.fence, now=site.clock())
    assert mine is not None
    with doomed(doom):
        try:
            enroll.advance(mine, site.world)
        except Killed:
            assert doom.at >= 0


def survive(site: Site, certificate: Certificate) -> None:
    site.run_until(
        lambda: site.errand(certificate).phase == Enrollment.Phase.DELIVERED,
        at_most=timedelta(minutes=5),
        step=10,
    )


def contacts(site: Site, certificate: Certificate) -> list[str]:
    doom = Doom()
    live(site, certificate, doom)
    return doom.names


def check(site: Site, issuer: Issuer, certificate: Certificate) -> None:
    """Nothing lost, nothing twice: but for what is listed."""
    mine = [one for one in site.cas[issuer.pk].issued if certificate.common_name in one.subject]
    noted = {row.transaction_id for row in MaybeIssued.objects.all()}
    delivered = site.leaf(certificate).serial_number
    for one in mine:
        assert one.serial == delivered or one.transaction_id.hex() in noted
    assert [one.state for one in mine if one.serial == delivered] == [State.VALID]
    assert site.readiness(certificate) == "READY"
    assert not site.errand(certificate).private_key
    assert len({one.key for one in mine}) == len(mine)  # never the same key twice


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_killed_at_any_step_it_ends_the_same(
    site: Site, issuer: Issuer, layout: dict[str, Any]
) -> None:
    steps = contacts(site, a_certificate(issuer=issuer, name="measure", **layout))
    assert len(steps) > 20
    for n, step in enumerate(steps):
        where = {"secret": f"tls-{n}"} | {key: f"{value}-{n}" for key, value in layout.items()}
        certificate = a_certificate(issuer=issuer, now=site.clock(), name=f"nf-{n}", **where)
        live(site, certificate, Doom(at=n))
        survive(site, certificate)
        try:
            check(site, issuer, certificate)
        except AssertionError as error:
            raise AssertionError(f"killed {step} (contact {n}): {error}") from error


def test_killed_at_any_step_of_polling(site: Site, issuer: Issuer) -> None:
    ca = site.cas[issuer.pk]
    ca.check_after = timedelta(seconds=5)

    def polling(name: str) -> Certificate:
        ca.polls = 2
        certificate = a_certificate(issuer=issuer, now=site.clock(), name=name)
        live(site, certificate, Doom())
        site.clock.forward(seconds=5)
        return certificate

    steps = contacts(site, polling("measure"))
    for n, step in enumerate(steps):
        certificate = polling(f"nf-{n}")
        live(site, certificate, Doom(at=n))
        survive(site, certificate)
        check(site, issuer, certificate)
        mine = [one for one in ca.issued if certificate.name in one.subject]
        assert len(mine) == 1, f"killed {step}: a poll can always be repeated"


def test_killed_at_any_step_of_an_identity(site: Site) -> None:
    first = site.add_ca()
    steps = contacts(site, an_identity(issuer=first))
    for n in range(len(steps)):
        issuer = site.add_ca(site.cas[first.pk])
        certificate = an_identity(issuer=issuer, now=site.clock())
        other = a_certificate(issuer=issuer, now=site.clock())
        live(site, certificate, Doom(at=n))
        survive(site, certificate)
        survive(site, other)  # it waited, and was woken

        assert site.readiness(certificate) == site.readiness(other) == "READY"


def test_two_workers_at_the_same_row_leave_one_certificate(site: Site, issuer: Issuer) -> None:
    """The first stalls at any contact for longer than its lease; the second does all of it; then
    the first goes on, and must neither write nor send."""
    count = Doom(strike=lambda: None)
    live(site, a_certificate(issuer=issuer, name="measure"), count)
    for n, step in enumerate(count.names):
        certificate = a_certificate(issuer=issuer, now=site.clock(), name=f"nf-{n}")

        def overtaken(certificate: Certificate = certificate) -> None:
            site.clock.forward(minutes=10)
            survive(site, certificate)

        live(site, certificate, Doom(at=n, strike=overtaken))

        leaf = site.leaf(certificate)  # a pair, whatever the first did
        certificate.refresh_from_db()
        assert f"{leaf.serial_number:x}" == certificate.serial_number, step
        assert not certificate.enrollments.open().exists(), step  # nothing was written back


def test_superseded_at_any_step_a_worker_does_no_harm(site: Site, issuer: Issuer) -> None:
    """An operator stops and recreates while a worker is between two steps, its lease still long."""
    count = Doom(strike=lambda: None)
    live(site, a_certificate(issuer=issuer, name="measure"), count)
    for n, step in enumerate(count.names):
        certificate = a_certificate(issuer=issuer, now=site.clock(), name=f"nf-{n}")

        def superseded(certificate: Certificate = certificate) -> None:
            with suppress(NothingToStop):
                lifecycle.stop(certificate, now=site.clock())
            lifecycle.recreate(certificate, now=site.clock())
            site.run()

        live(site, certificate, Doom(at=n, strike=superseded))

        leaf = site.leaf(certificate)
        certificate.refresh_from_db()
        assert f"{leaf.serial_number:x}" == certificate.serial_number, step
        assert not certificate.enrollments.open().exists(), step
