"""Revocations: what the CA is asked, until it has revoked or says that it will not."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from django.conf import LazySettings
from django.core.exceptions import ValidationError

from certificates.domain import dispatch, lifecycle, revoke, unseen
from certificates.domain.conflicts import InUse, IssuerGone, Settled
from certificates.models import Certificate, MaybeIssued, Revocation
from cmp import format_name
from cmp.testing.behaviour import Refusal, When
from issuers.domain import editing
from issuers.domain.editing import IssuerInUse
from issuers.models import Issuer, IssuerHealth
from tests.factories import NOW, a_certificate
from tests.fakes.faults import NotWriting, cut, recover
from tests.fakes.site import Site

pytestmark = pytest.mark.django_db
State = Revocation.State
RR = frozenset({"rr"})
RETRY = timedelta(seconds=30)


@pytest.fixture
def certificate(site: Site, issuer: Issuer) -> Certificate:
    certificate = a_certificate(issuer=issuer)
    site.run()
    return certificate


@pytest.fixture
def superseded(site: Site, certificate: Certificate) -> bytes:
    """A certificate of the CA that was replaced by another."""
    certificate.refresh_from_db()
    der = bytes(certificate.certificate_der)
    lifecycle.recreate(certificate, now=site.clock())
    site.run()
    return der


def to_be_revoked(issuer: Issuer, **what: Any) -> Revocation:
    asked: dict[str, Any] = {
        "certificate_name": "nrf",
        "why": "superseded",
        "due_at": NOW,
        "now": NOW,
    }
    return revoke.open_one(issuer=issuer, **asked | what)


def open_breaker(issuer: Issuer) -> None:
    ill = {"failing_since": NOW, "probe_at": NOW + RETRY}
    IssuerHealth.objects.filter(pk=issuer.pk).update(**ill)


def serial_of(der: bytes) -> int:
    return x509.load_der_x509_certificate(der).serial_number


def is_revoked(site: Site, issuer: Issuer, der: bytes) -> bool:
    entry = site.cas[issuer.pk].register.get(serial_of(der))
    assert entry is not None
    return entry.revoked_at is not None


def test_a_superseded_certificate_is_revoked_at_its_ca(
    site: Site, issuer: Issuer, superseded: bytes
) -> None:
    row = to_be_revoked(issuer, certificate_der=superseded, reason="superseded")

    site.revoke()

    row.refresh_from_db()
    assert is_revoked(site, issuer, superseded)
    assert (row.state, row.closed_at, row.due_at) == (State.REVOKED, NOW, None)
    assert row.serial_number == f"{serial_of(superseded):x}"
    assert len(row.transaction_id) == 32


@pytest.mark.parametrize("named", [True, False])
def test_one_that_is_not_at_hand_is_named_by_its_number_and_issuer(
    site: Site, issuer: Issuer, superseded: bytes, named: bool
) -> None:
    name = x509.load_der_x509_certificate(superseded).issuer
    dn = format_name(name) if named else ""  # else the OCCM certificate tells it

    to_be_revoked(issuer, serial_number=f"{serial_of(superseded):x}", issuer_dn=dn)
    site.revoke()

    assert is_revoked(site, issuer, superseded)


def test_it_waits_for_its_time(site: Site, issuer: Issuer, superseded: bytes) -> None:
    to_be_revoked(issuer, certificate_der=superseded, due_at=NOW + timedelta(hours=1))
    site.clock.forward(minutes=59)
    site.revoke()
    assert not is_revoked(site, issuer, superseded)
    site.clock.forward(minutes=1)
    site.revoke()
    assert is_revoked(site, issuer, superseded)


def test_a_lost_answer_is_asked_for_again_after_the_retry_interval(
    site: Site, issuer: Issuer, superseded: bytes
) -> None:
    site.cas[issuer.pk].drop_connection = When(RR, times=1)
    row = to_be_revoked(issuer, certificate_der=superseded)

    site.revoke()

    row.refresh_from_db()
    assert (row.state, row.error_code, row.tries) == (State.OPEN, "CMP_NO_ANSWER", 1)
    assert (row.due_at, row.leased_until) == (site.clock() + RETRY, None)
    site.clock.forward(seconds=30)
    site.revoke()
    row.refresh_from_db()
    assert (row.state, row.outcome) == (State.REVOKED, "The CA had revoked it before.")


def test_a_ca_that_is_away_is_tried_until_it_is_back(
    site: Site, issuer: Issuer, superseded: bytes
) -> None:
    cut(site, issuer)
    row = to_be_revoked(issuer, certificate_der=superseded)
    for _ in range(3):
        site.revoke()
        site.clock.forward(seconds=30)
    recover(site, issuer)

    site.revoke()

    row.refresh_from_db()
    assert (row.state, row.tries, row.first_failed_at) == (State.REVOKED, 3, NOW)
    assert IssuerHealth.objects.get(pk=issuer.pk).failing_since is None


def test_a_missing_identity_is_a_failed_try(site: Site, issuer: Issuer, superseded: bytes) -> None:
    place = (issuer.other_signature_namespace, issuer.other_signature_secret)
    kept = site.secrets.secrets.pop(place)
    row = to_be_revoked(issuer, certificate_der=superseded)
    site.revoke()
    row.refresh_from_db()
    assert (row.state, row.error_code) == (State.OPEN, "SECRET_MISSING")

    site.secrets.secrets[place] = kept
    site.clock.forward(seconds=30)
    site.revoke()

    assert is_revoked(site, issuer, superseded)


def test_what_the_ca_does_not_know_is_refused_and_may_be_asked_for_again(
    site: Site, issuer: Issuer
) -> None:
    row = to_be_revoked(issuer, serial_number="abc")
    site.revoke()
    row.refresh_from_db()
    assert (row.state, row.fail_info) == (State.REFUSED, "badCertId")
    assert "issued no such certificate" in row.outcome

    revoke.retry(row, now=NOW)

    row.refresh_from_db()
    assert (row.state, row.due_at, row.closed_at) == (State.OPEN, NOW, None)


def test_a_ca_that_is_busy_is_asked_again(site: Site, issuer: Issuer, superseded: bytes) -> None:
    ca = site.cas[issuer.pk]
    ca.refuse = Refusal(frozenset({"systemUnavail"}), ("come back later",))
    row = to_be_revoked(issuer, certificate_der=superseded)
    site.revoke()
    row.refresh_from_db()
    assert (row.state, row.tries, row.due_at) == (State.OPEN, 1, NOW + RETRY)


def test_a_refusal_that_nobody_proves_decides_nothing(
    site: Site, issuer: Issuer, superseded: bytes
) -> None:
    ca = site.cas[issuer.pk]
    ca.refuse, ca.error_body, ca.unprotected_errors = Refusal(), True, True
    row = to_be_revoked(issuer, certificate_der=superseded)
    site.revoke()
    row.refresh_from_db()
    assert (row.state, row.tries) == (State.OPEN, 1)


def test_a_ca_may_ask_for_patience(site: Site, issuer: Issuer, superseded: bytes) -> None:
    ca = site.cas[issuer.pk]
    ca.polls, ca.check_after, ca.polls_on = 2, timedelta(seconds=45), RR
    row = to_be_revoked(issuer, certificate_der=superseded)

    site.revoke()

    row.refresh_from_db()
    assert (row.state, row.due_at, row.leased_until) == (
        State.OPEN,
        NOW + timedelta(seconds=45),
        None,
    )
    transaction = row.transaction_id
    for _ in range(2):
        site.clock.forward(seconds=45)
        site.revoke()
    row.refresh_from_db()
    assert (row.state, row.transaction_id, row.tries) == (State.REVOKED, transaction, 0)
    assert ca.count("rr") == 1


class TestTaking:
    def test_two_who_look_at_the_same_time_do_not_both_get_it(self, issuer: Issuer) -> None:
        row = to_be_revoked(issuer, serial_number="a")

        assert revoke.take(now=NOW) == [(row.pk, 1)]
        assert revoke.take(now=NOW) == []

    def test_what_was_lost_with_its_worker_is_taken_again_and_a_late_call_does_nothing(
        self, site: Site, issuer: Issuer, superseded: bytes
    ) -> None:
        to_be_revoked(issuer, certificate_der=superseded)
        (lost,) = revoke.take(now=NOW)
        site.clock.forward(seconds=120)
        (again,) = revoke.take(now=site.clock())

        revoke.run(*lost, site.world)
        assert not is_revoked(site, issuer, superseded)
        revoke.run(*again, site.world)
        assert is_revoked(site, issuer, superseded)

    def test_a_ca_is_asked_for_a_few_at_a_time_and_for_one_while_it_does_not_answer(
        self, site: Site, issuer: Issuer
    ) -> None:
        for number in range(20):
            to_be_revoked(issuer, serial_number=f"{number + 1:x}")
        assert len(revoke.take(now=NOW)) == revoke.AT_ONCE
        site.clock.forward(minutes=3)
        IssuerHealth.objects.filter(pk=issuer.pk).update(failing_since=NOW)
        assert len(revoke.take(now=site.clock())) == 1

    def test_many_at_a_ca_that_does_not_answer_do_not_hide_those_of_another(
        self, site: Site, issuer: Issuer
    ) -> None:
        IssuerHealth.objects.filter(pk=issuer.pk).update(failing_since=NOW)
        for number in range(revoke.AT_ONCE + 5):
            to_be_revoked(issuer, serial_number=f"{number + 1:x}")
        site.clock.forward(seconds=1)
        assert len(revoke.take(now=site.clock())) == 1
        other = to_be_revoked(site.add_ca(name="other"), serial_number="a")
        Revocation.objects.filter(pk=other.pk).update(due_at=site.clock())

        assert revoke.take(now=site.clock()) == [(other.pk, 1)]

    def test_a_ca_that_is_left_alone_is_not_asked_and_no_try_is_counted(
        self, site: Site, issuer: Issuer
    ) -> None:
        row = to_be_revoked(issuer, serial_number="a")
        open_breaker(issuer)
        kept = Revocation.objects.values().get()

        assert revoke.take(now=NOW + RETRY / 2) == []
        assert Revocation.objects.values().get() == kept
        assert revoke.take(now=NOW + RETRY) == [(row.pk, 1)]

    def test_what_the_operator_asks_for_is_tried_although_its_ca_is_left_alone(
        self, site: Site, issuer: Issuer
    ) -> None:
        row = to_be_revoked(issuer, serial_number="a")
        open_breaker(issuer)

        revoke.retry(row, now=NOW)

        assert revoke.take(now=NOW) == [(row.pk, 1)]

    def test_requests_a_second_are_kept_to_and_certificates_wait_for_them(
        self, issuer: Issuer, settings: LazySettings
    ) -> None:
        settings.OCCM_ISSUER_REQUESTS_PER_SECOND = 2
        a_certificate(issuer=issuer)
        for number in range(5):
            to_be_revoked(issuer, serial_number=f"{number + 1:x}")

        taken = [len(revoke.take(now=NOW + step * RETRY / 300)) for step in range(11)]

        assert sum(taken) == 3  # at once, after half a second, and after one
        assert dispatch.tick(now=NOW + timedelta(seconds=1)) == []
        assert len(dispatch.tick(now=NOW + timedelta(seconds=1.5))) == 1

    def test_an_open_one_is_not_opened_twice(self, issuer: Issuer) -> None:
        first = to_be_revoked(issuer, serial_number="a")
        assert to_be_revoked(issuer, serial_number="a") == first

    def test_an_error_of_ours_is_recorded_and_tried_again(self, issuer: Issuer) -> None:
        row = to_be_revoked(issuer, serial_number="a")
        ((pk, fence),) = revoke.take(now=NOW)
        revoke.record_unexpected(pk, fence, RuntimeError("a bug"), now=NOW)
        row.refresh_from_db()
        assert (row.error_code, row.due_at) == ("UNEXPECTED", NOW + RETRY)


class TestWhatIsInUse:
    def test_is_not_revoked(self, issuer: Issuer, certificate: Certificate) -> None:
        certificate.refresh_from_db()
        with pytest.raises(InUse, match=certificate.name):
            to_be_revoked(issuer, certificate_der=bytes(certificate.certificate_der))

    def test_is_not_revoked_even_if_it_came_into_use_later(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        row = to_be_revoked(issuer, serial_number="abc")
        Certificate.objects.filter(pk=certificate.pk).update(serial_number="abc")
        site.revoke()
        row.refresh_from_db()
        assert row.state == State.WITHDRAWN
        assert "in use" in row.outcome

    def test_is_not_revoked_on_its_way_to_the_secret(self, site: Site, issuer: Issuer) -> None:
        certificate = a_certificate(issuer=issuer)
        site.secrets = NotWriting(site.secrets)
        site.run()
        held = bytes(site.errand(certificate).certificate_der)

        with pytest.raises(InUse, match=certificate.name):
            to_be_revoked(issuer, certificate_der=held)


class TestWithdrawing:
    def test_asks_no_more(self, site: Site, issuer: Issuer, superseded: bytes) -> None:
        row = to_be_revoked(issuer, certificate_der=superseded)
        called = revoke.take(now=NOW)
        revoke.withdraw(row, now=NOW)

        for pk, fence in called:
            revoke.run(pk, fence, site.world)
        site.revoke()

        assert not is_revoked(site, issuer, superseded)
        with pytest.raises(Settled):
            revoke.withdraw(row, now=NOW)

    def test_does_not_undo_what_is_done(
        self, site: Site, issuer: Issuer, superseded: bytes
    ) -> None:
        row = to_be_revoked(issuer, certificate_der=superseded)
        site.revoke()
        for act in (revoke.withdraw, revoke.retry):
            with pytest.raises(Settled):
                act(row, now=NOW)


def test_an_issuer_stays_while_something_is_to_be_revoked_there(site: Site) -> None:
    issuer = site.add_ca()
    row = to_be_revoked(issuer, serial_number="a")
    with pytest.raises(IssuerInUse, match="nrf: revocation of a"):
        editing.delete(issuer=issuer)

    revoke.withdraw(row, now=NOW)
    editing.delete(issuer=issuer)

    row.refresh_from_db()
    assert (row.issuer, row.issuer_name) == (None, issuer.name)
    with pytest.raises(Settled):
        revoke.retry(row, now=NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"serial_number": "xyz"},
        {"serial_number": ""},
        {"serial_number": "f" * 43},
        {"serial_number": "a", "issuer_dn": "CN=no slash"},
        {"serial_number": "a", "reason": "boredom"},
    ],
)
def test_mistakes_are_named(issuer: Issuer, wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        to_be_revoked(issuer, **wrong)
    assert list(wrong)[-1] in caught.value.message_dict


class TestMaybeIssued:
    @pytest.fixture
    def entry(self, site: Site, issuer: Issuer) -> MaybeIssued:
        """A certificate whose CA's answer was lost."""
        site.cas[issuer.pk].drop_connection = When(frozenset({"ir"}), times=1)
        certificate = a_certificate(issuer=issuer)
        site.run()
        site.clock.forward(seconds=30)
        site.run()
        assert site.readiness(certificate) == "READY"
        return MaybeIssued.objects.get()

    def unseen_at(self, site: Site, issuer: Issuer, entry: MaybeIssued) -> bytes:
        """Look the certificate up at the CA, as an operator does."""
        found = site.cas[issuer.pk].register.of_transaction(bytes.fromhex(entry.transaction_id))
        assert found is not None
        return found.der

    def test_is_revoked_once_its_number_was_looked_up(
        self, site: Site, issuer: Issuer, entry: MaybeIssued
    ) -> None:
        with pytest.raises(ValidationError, match=entry.transaction_id):
            unseen.revoke(entry, now=site.clock())
        der = self.unseen_at(site, issuer, entry)

        unseen.revoke(entry, serial_number=f"0x00{serial_of(der):X}", now=site.clock())
        site.revoke()

        entry.refresh_from_db()
        assert is_revoked(site, issuer, der)
        assert (entry.resolved_at, entry.resolution) == (site.clock(), "revoked")
        with pytest.raises(Settled):
            unseen.revoke(entry, now=site.clock())

    def test_that_was_received_needs_no_number(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.refuse, ca.refuse_when = Refusal(), When(frozenset({"certConf"}), times=1)
        a_certificate(issuer=issuer)
        site.run()
        entry = MaybeIssued.objects.get()
        assert entry.serial_number

        with pytest.raises(ValidationError, match="told it"):
            unseen.revoke(entry, serial_number="abc", now=NOW)
        row = unseen.revoke(entry, now=NOW)

        assert f"{serial_of(bytes(row.certificate_der)):x}" == entry.serial_number

    def test_may_be_marked_as_resolved(self, entry: MaybeIssued) -> None:
        unseen.resolve(entry, note="not at the CA", now=NOW)
        entry.refresh_from_db()
        assert (entry.resolved_at, entry.resolution) == (NOW, "not at the CA")
        with pytest.raises(Settled):
            unseen.resolve(entry, now=NOW)

    def test_is_not_resolved_while_it_is_being_revoked(self, entry: MaybeIssued) -> None:
        row = unseen.revoke(entry, serial_number="abc", now=NOW)
        with pytest.raises(Settled, match="withdraw"):
            unseen.resolve(entry, now=NOW)
        revoke.withdraw(row, now=NOW)
        unseen.resolve(entry, now=NOW)

    def test_of_an_issuer_that_is_gone_is_revoked_at_the_ca(self, entry: MaybeIssued) -> None:
        MaybeIssued.objects.filter(pk=entry.pk).update(issuer_name="gone")
        with pytest.raises(IssuerGone, match="gone"):
            unseen.revoke(entry, serial_number="abc", now=NOW)


@pytest.mark.parametrize("written", ["1f0a", "0x1F0A", "1F:0A", "00 1f 0a", " 001F0A "])
def test_serial_numbers_are_taken_as_cas_show_them(written: str) -> None:
    assert unseen.as_written(written) == "1f0a"
