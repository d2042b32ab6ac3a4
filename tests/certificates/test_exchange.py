"""One transaction: polling, what becomes of messages without an answer, confirmation."""

from contextlib import suppress
from datetime import timedelta

import pytest

from certificates.domain import exchange, unseen
from certificates.models import Enrollment, MaybeIssued
from cmp import NoAnswer, State
from cmp.testing import DemoCA
from cmp.testing.behaviour import When
from issuers.models import Issuer
from tests.factories import NOW, a_certificate, an_identity
from tests.fakes.faults import cut, recover, refusing, refusing_by_error
from tests.fakes.site import Line, Site

pytestmark = pytest.mark.django_db
Phase = Enrollment.Phase
RETRY = timedelta(seconds=30)


class Killed(BaseException):
    """Like `kill -9`: nothing of ours catches it."""


def asking_for_patience(ca: DemoCA) -> None:
    """Have it take its time over every confirmation, without end."""
    ca.polls, ca.polls_on, ca.check_after = 1_000_000, frozenset({"certConf"}), RETRY


class TestPolling:
    def test_occupies_no_worker_and_asks_no_sooner_than_told(
        self, site: Site, issuer: Issuer
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 3, timedelta(seconds=45)
        certificate = a_certificate(issuer=issuer)

        site.run()
        row = site.errand(certificate)
        assert (row.phase, row.state, row.leased_until) == (Phase.EXCHANGE, State.WAITING, None)
        assert (row.due_at, row.tries) == (NOW + timedelta(seconds=45), 0)
        site.clock.forward(seconds=44)
        site.run()
        assert ca.count("pollReq") == 1  # the first, which asks how long
        site.clock.forward(seconds=1)
        site.run()
        site.clock.forward(seconds=45)
        site.run()

        assert ca.count("pollReq") == 3
        assert site.readiness(certificate) == "READY"

    @pytest.mark.field_note(39)
    def test_a_poll_without_an_answer_is_repeated_in_the_same_transaction(
        self, site: Site, issuer: Issuer
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(seconds=10)
        ca.drop_connection = When(frozenset({"pollReq"}), skip=1, times=1)
        certificate = a_certificate(issuer=issuer)
        site.run()
        site.clock.forward(seconds=10)
        site.run()
        row = site.errand(certificate)
        assert (row.state, row.error_code) == (State.WAITING, "CMP_NO_ANSWER")
        assert row.due_at == site.clock() + RETRY

        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert not MaybeIssued.objects.exists()
        assert len(ca.issued) == 2  # the identity and this one

    def test_the_total_timeout_ends_it_and_it_begins_anew(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 1000, timedelta(seconds=100)
        certificate = a_certificate(issuer=issuer)
        first = None
        for _ in range(4):
            site.run()
            first = first or site.errand(certificate).transaction_id
            site.clock.forward(seconds=100)

        row = site.errand(certificate)
        assert (row.phase, row.error_code) == (Phase.NEW, "CMP_TIMEOUT")
        assert [noted.transaction_id for noted in MaybeIssued.objects.all()] == [first]
        ca.polls = 0
        site.clock.forward(seconds=30)
        site.run()
        assert site.readiness(certificate) == "READY"

    def test_the_total_timeout_may_pass_before_anything_is_sent(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        open_line = Line.__enter__

        def slow(line: Line) -> Line:
            site.clock.forward(seconds=issuer.total_timeout_s)
            return open_line(line)

        monkeypatch.setattr(Line, "__enter__", slow)
        site.run()
        row = site.errand(certificate)
        assert (row.phase, row.error_code, row.tries) == (Phase.NEW, "CMP_TIMEOUT", 1)
        monkeypatch.undo()

        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert not MaybeIssued.objects.exists()

    def test_the_total_timeout_is_not_slept_past(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(days=3)
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert site.errand(certificate).due_at == NOW + timedelta(seconds=issuer.total_timeout_s)

    def test_the_total_timeout_is_not_slept_past_whatever_patience_is_asked_for(
        self, site: Site, issuer: Issuer
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(seconds=10)
        ca.http_503_html, ca.retry_after = When(frozenset({"pollReq"}), skip=1), timedelta(hours=1)
        certificate = a_certificate(issuer=issuer)
        site.run()
        site.clock.forward(seconds=10)

        site.run()

        row = site.errand(certificate)
        assert (row.state, row.error_code) == (State.WAITING, "CMP_HTTP")
        assert row.due_at == NOW + timedelta(seconds=issuer.total_timeout_s)
        assert "not tried before 2026-01-01 12:05:00 UTC" in row.error


class TestWhatWasSent:
    def test_a_request_that_never_left_is_made_again_with_its_key(
        self, site: Site, issuer: Issuer
    ) -> None:
        cut(site, issuer)
        certificate = a_certificate(issuer=issuer)
        site.run()
        row = site.errand(certificate)
        key = row.private_key.reveal()
        assert (row.phase, row.state, bool(key)) == (Phase.EXCHANGE, "", True)

        site.clock.forward(hours=9)
        site.run()
        assert site.errand(certificate).error_code == "CMP_UNREACHABLE"  # not a timeout
        assert site.errand(certificate).private_key.reveal() == key
        recover(site, issuer)
        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert not MaybeIssued.objects.exists()

    @pytest.mark.field_note(29)
    def test_a_request_without_an_answer_is_noted_and_made_anew_with_a_new_key(
        self, site: Site, issuer: Issuer
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.drop_connection = When(frozenset({"ir"}), times=1)
        certificate = a_certificate(issuer=issuer)
        site.run()
        [noted] = MaybeIssued.objects.all()
        row = site.errand(certificate)
        assert (row.phase, bool(row.private_key)) == (Phase.NEW, False)

        site.clock.forward(seconds=30)
        site.run()

        lost, delivered = ca.issued[-2:]
        assert noted.transaction_id == lost.transaction_id.hex()
        assert noted.certificate_name == certificate.name
        assert (noted.issuer_name, noted.sent_at) == (issuer.name, NOW)
        assert noted.public_key_sha256 == lost.key.hex()
        assert lost.key != delivered.key
        assert site.leaf(certificate).serial_number == delivered.serial

    def test_a_request_that_was_turned_away_at_the_door_is_not_noted(
        self, site: Site, issuer: Issuer
    ) -> None:
        site.cas[issuer.pk].http_503_html = True
        a_certificate(issuer=issuer)

        site.run()

        assert not MaybeIssued.objects.exists()

    def test_an_authenticated_refusal_is_not_noted(self, site: Site, issuer: Issuer) -> None:
        refusing(site, issuer)
        a_certificate(issuer=issuer)

        site.run()

        assert not MaybeIssued.objects.exists()

    @pytest.mark.field_note(13)
    def test_an_unprotected_no_ends_nothing(self, site: Site, issuer: Issuer) -> None:
        """Anybody can say it: a poll that is answered so is repeated."""
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(seconds=10)
        certificate = a_certificate(issuer=issuer)
        site.run()
        transaction = site.errand(certificate).transaction_id
        refusing_by_error(site, issuer)
        ca.unprotected_errors = True
        site.clock.forward(seconds=10)
        site.run()
        row = site.errand(certificate)
        assert (row.error_code, row.state) == ("CMP_REJECTED", State.WAITING)
        assert "unauthenticated" in row.error
        assert row.transaction_id == transaction

    def test_a_certificate_that_is_refused_is_never_written(
        self, site: Site, issuer: Issuer
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.issue_for_another_key = When(times=1)
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert list(ca.asked)[-2:] == ["ir", "certConf"]  # the CA is told that we reject it
        [rejected] = ca.issued[-1:]
        assert rejected.state == "revoked"
        assert not site.is_written(certificate)
        assert not MaybeIssued.objects.exists()

    @pytest.mark.parametrize("lost", ["its answer", "the worker"])
    def test_one_whose_refusal_may_not_have_arrived_is_noted_with_its_number(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, lost: str
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.issue_for_another_key = When(times=1)
        certificate = a_certificate(issuer=issuer)
        post = Line.post

        def cut_off(line: Line, der: bytes) -> bytes:
            answer = post(line, der)
            if line.ca.asked[-1] != "certConf":
                return answer
            raise NoAnswer("the connection was closed") if lost == "its answer" else Killed

        monkeypatch.setattr(Line, "post", cut_off)
        with suppress(Killed):
            site.run()
        monkeypatch.undo()
        site.clock.forward(minutes=2)
        site.run()

        [noted] = MaybeIssued.objects.all()
        [refused] = [one for one in ca.issued if one.transaction_id.hex() == noted.transaction_id]
        assert noted.serial_number == f"{refused.serial:x}"
        assert noted.certificate_der
        assert site.readiness(certificate) == "READY"

    def test_one_that_is_confirmed_implicitly_and_refused_is_noted(self, site: Site) -> None:
        issuer = site.add_ca(implicit_confirmation=True)
        ca = site.cas[issuer.pk]
        ca.implicit_confirm, ca.issue_for_another_key = True, When(times=1)
        certificate = an_identity(issuer=issuer)

        site.run()

        assert list(ca.asked) == ["ir"]
        [live] = ca.issued
        [noted] = MaybeIssued.objects.all()
        assert (live.state, noted.serial_number) == ("valid", f"{live.serial:x}")
        assert noted.certificate_der
        assert not site.is_written(certificate)

    def test_of_refusals_without_proof_the_last_stands_for_all(
        self, site: Site, issuer: Issuer
    ) -> None:
        ca = site.cas[issuer.pk]
        refusing_by_error(site, issuer)
        ca.unprotected_errors = True
        certificate = a_certificate(issuer=issuer)
        for _ in range(3):
            site.run()
            site.clock.forward(seconds=30)

        [noted] = MaybeIssued.objects.all()
        asked = ca.heard[-1].header.transaction_id
        assert asked is not None
        assert (noted.refusals, noted.transaction_id) == (3, asked.hex())
        assert noted.sent_at == site.clock() - RETRY
        ca.refuse, ca.drop_connection = None, When(frozenset({"ir"}), times=1)
        site.run()
        lost = MaybeIssued.objects.get(refusals=0)
        assert lost.certificate_name == certificate.name
        unseen.resolve(noted, now=site.clock())
        refusing_by_error(site, issuer)
        site.clock.forward(seconds=30)
        site.run()

        counts = MaybeIssued.objects.order_by("pk").values_list("refusals", flat=True)
        assert list(counts) == [3, 0, 1]


class TestConfirmation:
    @pytest.mark.field_note(38)
    def test_a_confirmation_without_an_answer_is_repeated(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.drop_connection = When(frozenset({"certConf"}), times=1)
        certificate = a_certificate(issuer=issuer)
        site.run()
        row = site.errand(certificate)
        assert (row.phase, row.state) == (Phase.EXCHANGE, State.GRANTED)
        assert row.error_code == "CMP_NO_ANSWER"
        assert not site.is_written(certificate)

        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert ca.count("ir") == 2
        assert not MaybeIssued.objects.exists()

    @pytest.mark.parametrize("polls", [0, 1])
    def test_the_total_timeout_cuts_off_no_certificate_that_was_granted(
        self, site: Site, polls: int
    ) -> None:
        issuer = site.add_ca(total_timeout_s=20, message_timeout_s=5)
        ca = site.cas[issuer.pk]
        ca.polls, ca.drop_connection = polls, When(frozenset({"certConf"}), times=2)
        identity = an_identity(issuer=issuer)

        site.run_until(lambda: site.readiness(identity) == "READY", at_most=3 * RETRY)

        assert site.clock() > NOW + RETRY  # long after the total timeout
        assert ca.count("ir") == 1
        assert not MaybeIssued.objects.exists()

    def test_garbage_in_answer_to_it_throws_no_certificate_away(
        self, site: Site, issuer: Issuer
    ) -> None:
        site.cas[issuer.pk].garbage = When(frozenset({"certConf"}), times=3)
        certificate = a_certificate(issuer=issuer)
        for _ in range(4):
            site.run()
            site.clock.forward(seconds=30)

        assert site.readiness(certificate) == "READY"
        assert site.cas[issuer.pk].count("ir") == 2

    def test_it_is_given_up_when_the_ca_must_have_withdrawn_it(
        self, site: Site, issuer: Issuer
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.drop_connection = When(frozenset({"certConf"}))
        certificate = a_certificate(issuer=issuer)
        site.run_until(MaybeIssued.objects.exists, at_most=exchange.CONFIRM_PATIENCE + RETRY)

        [noted] = MaybeIssued.objects.all()
        assert noted.serial_number == f"{ca.issued[-1].serial:x}"
        assert not site.is_written(certificate)

    def test_patience_is_not_had_for_ever(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        asking_for_patience(ca)
        certificate = a_certificate(issuer=issuer)
        site.run_until(MaybeIssued.objects.exists, at_most=exchange.CONFIRM_PATIENCE + 2 * RETRY)
        row = site.errand(certificate)
        assert (row.phase, row.error_code) == (Phase.NEW, "CMP_TIMEOUT")
        assert MaybeIssued.objects.get().serial_number == f"{ca.issued[-1].serial:x}"
        assert not site.is_written(certificate)

        ca.polls = 0
        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(certificate) == "READY"

    @pytest.mark.parametrize("silent", [False, True])
    def test_a_refusal_that_the_ca_does_not_take_note_of_is_given_up(
        self, site: Site, issuer: Issuer, silent: bool
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.issue_for_another_key = When(times=1)
        asking_for_patience(ca)
        certificate = a_certificate(issuer=issuer)
        site.run()
        assert site.errand(certificate).state == State.WAITING
        ca.garbage = silent
        site.run_until(MaybeIssued.objects.exists, at_most=exchange.CONFIRM_PATIENCE + 2 * RETRY)

        ca.polls, ca.garbage = 0, False
        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(certificate) == "READY"

    def test_implicit_confirmation_needs_no_certconf(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.require_confirm = False
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert site.readiness(certificate) == "READY"
