"""Who does not answer is left alone but for a probe, and what waits for it counts no try."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from pytest_django import Settings

from certificates.domain import breakers, dispatch, enroll, lifecycle
from certificates.models import Certificate, Enrollment
from cmp import Unreachable
from issuers.domain import health, trial
from issuers.models import Issuer, IssuerHealth
from secretstore import Unavailable
from tests.certificates.test_dispatch import a_ready_issuer, called_to, due_rows, in_threads
from tests.factories import NOW, a_certificate, an_identity
from tests.fakes.faults import NotWriting, cut, recover, refusing
from tests.fakes.site import Line, Site

pytestmark = pytest.mark.django_db

Kind, Phase = Enrollment.Kind, Enrollment.Phase
SECOND = timedelta(seconds=1)
RETRY = 30 * SECOND


def tries() -> dict[int, int]:
    return dict(Enrollment.objects.open().values_list("pk", "tries"))


def changed(before: dict[int, int]) -> list[int]:
    return [pk for pk, count in tries().items() if count != before[pk]]


def pass_time(site: Site, seconds: int, *, step: int = 10) -> None:
    while seconds:
        site.clock.forward(seconds=min(step, seconds))
        seconds -= min(step, seconds)
        site.run()


@pytest.fixture(autouse=True)
def few_at_a_time(settings: Settings) -> None:
    """Those that are in flight when a breaker opens are past stopping."""
    settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 4


@pytest.fixture
def silent(site: Site, issuer: Issuer) -> Issuer:
    """An issuer whose breaker is open, with a few rows that were tried and some that were not."""
    cut(site, issuer)
    for _ in range(health.FAILURES + 4):
        a_certificate(issuer=issuer)
    site.run()
    assert IssuerHealth.objects.get(pk=issuer.pk).is_open
    return issuer


class TestAnIssuerThatDoesNotAnswer:
    def test_is_left_alone_from_the_last_straw_on(self, site: Site, silent: Issuer) -> None:
        row = IssuerHealth.objects.get(pk=silent.pk)

        assert row.failures == sum(tries().values()) < health.FAILURES + 4
        assert row.probe_at == NOW + RETRY

    def test_gets_one_probe_an_interval_and_the_rest_stays_untouched(
        self, site: Site, silent: Issuer
    ) -> None:
        pass_time(site, 29)
        for _ in range(4):
            before = tries()
            untouched = set(Enrollment.objects.open().values_list("pk", "due_at", "tries"))
            pass_time(site, 1)
            [probe] = changed(before)
            pass_time(site, 29)  # nothing more until the next is due
            assert changed(before) == [probe]
            after = set(Enrollment.objects.open().values_list("pk", "due_at", "tries"))
            assert {pk for pk, *_ in untouched - after} == {probe}

    def test_is_probed_by_another_row_each_time(self, site: Site, silent: Issuer) -> None:
        """One that the CA cannot stomach would keep all others from it for ever."""
        probes = []
        for _ in range(5):
            before = tries()
            pass_time(site, 30)
            probes += changed(before)

        assert len(set(probes)) == 5

    def test_is_probed_exactly_30_s_after_the_last_probe_failed(
        self, site: Site, issuer: Issuer
    ) -> None:
        """A row that is alone is tried as if there were no breaker."""
        cut(site, issuer)
        row = site.errand(a_certificate(issuer=issuer))

        for number in range(1, health.FAILURES + 5):
            site.run()
            row.refresh_from_db()
            assert (row.tries, row.last_failed_at) == (number, site.clock())
            site.clock.forward(seconds=29)
            site.run()
            row.refresh_from_db()
            assert row.tries == number
            site.clock.forward(seconds=1)

    def test_is_asked_again_little_by_little_when_it_answers(
        self, site: Site, silent: Issuer
    ) -> None:
        recover(site, silent)
        pass_time(site, 29)
        assert not Certificate.objects.filter(cert_type="OTHER", in_place=True).exists()
        site.clock.forward(seconds=1)

        first = dispatch.tick(now=site.clock())
        assert len(first) == 1
        site.work(first[0])
        second = dispatch.tick(now=site.clock())
        assert len(second) == 1
        site.clock.forward(seconds=1)
        third = dispatch.tick(now=site.clock())
        assert len(third) == 1  # two are in flight
        for call in second + third:
            site.work(call)
        pass_time(site, 6, step=1)

        assert not Enrollment.objects.open().exists()
        assert IssuerHealth.objects.get(pk=silent.pk).failing_since is None

    def test_does_not_hold_others_up(self, site: Site, silent: Issuer) -> None:
        other = site.add_ca()
        an_identity(issuer=other)
        fine = a_certificate(issuer=other)

        site.run()

        assert site.readiness(fine) == "READY"

    def test_is_left_alone_for_as_long_as_it_asked(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.http_503_html, ca.retry_after = True, timedelta(minutes=2)
        for _ in range(health.FAILURES + 3):
            a_certificate(issuer=issuer)
        site.run()
        before = tries()

        pass_time(site, 119)
        assert changed(before) == []
        pass_time(site, 1)

        assert len(changed(before)) == 1

    def test_is_probed_again_when_a_probe_was_lost(self, site: Site, silent: Issuer) -> None:
        site.clock.forward(seconds=30)
        assert len(dispatch.tick(now=site.clock())) == 1  # and nobody comes

        site.clock.forward(seconds=29)
        assert dispatch.tick(now=site.clock()) == []
        site.clock.forward(seconds=1)

        assert len(dispatch.tick(now=site.clock())) == 1

    def test_gets_no_second_probe_while_one_is_out(self, site: Site, silent: Issuer) -> None:
        site.clock.forward(seconds=30)
        [probe] = called_to(dispatch.tick(now=site.clock()))
        Enrollment.objects.filter(pk=probe).update(
            leased_until=site.clock() + timedelta(minutes=10), called_until=None
        )

        before = tries()

        pass_time(site, 100)

        assert changed(before) == []

    def test_is_probed_again_at_once_when_a_probe_had_nothing_to_ask(
        self, site: Site, issuer: Issuer
    ) -> None:
        """The total timeout of what the CA has asked patience for passes while it is away."""
        site.cas[issuer.pk].polls = 10
        for _ in range(health.FAILURES + 4):
            a_certificate(issuer=issuer)
        site.run()
        cut(site, issuer)
        pass_time(site, 300)
        assert IssuerHealth.objects.get(pk=issuer.pk).is_open
        assert Enrollment.objects.open().filter(state="waiting").count() > 2

        pass_time(site, 30, step=1)

        assert not Enrollment.objects.open().filter(state="waiting").exists()

    @pytest.mark.parametrize("phase", [Phase.NEW, Phase.EXCHANGE])
    def test_an_operators_retry_is_a_probe_at_once(
        self, site: Site, silent: Issuer, phase: str
    ) -> None:
        before = tries()
        pass_time(site, 10)
        wanted = Enrollment.objects.open().order_by("-pk")[0]
        lifecycle.retry(wanted.certificate, now=site.clock())

        site.run()
        assert changed(before) == [wanted.pk]
        pass_time(site, 29)
        assert changed(before) == [wanted.pk]
        pass_time(site, 1)

        assert len(changed(before)) == 2  # the next one, 30 s after it

    def test_may_be_tested_meanwhile_and_that_may_bring_it_back(
        self, site: Site, silent: Issuer
    ) -> None:
        recover(site, silent)
        trial.request(silent, now=site.clock())
        assert trial.take(now=site.clock()) == [silent.pk]
        health.answered(silent, now=site.clock())  # what a trial notes that passes

        pass_time(site, 31)

        assert not Enrollment.objects.open().exists()


class TestWhatOpensNoBreaker:
    def test_a_refusal_is_an_answer(self, site: Site, issuer: Issuer) -> None:
        refusing(site, issuer)
        for _ in range(health.FAILURES + 2):
            a_certificate(issuer=issuer)

        site.run()

        assert not IssuerHealth.objects.get(pk=issuer.pk).is_open
        assert set(tries().values()) == {1}

    def test_an_answer_in_between_starts_the_count_anew(self) -> None:
        issuer = a_ready_issuer()
        for _ in range(5):
            for _ in range(health.FAILURES - 1):
                health.failed(issuer, now=NOW, error="no answer")
            health.answered(issuer, now=NOW)

        assert not IssuerHealth.objects.get(pk=issuer.pk).is_open

    def test_an_answer_that_took_a_second_ends_the_failure_that_others_saw_meanwhile(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its worker has read that all was well; no answer before that second tells as much."""
        health.answered(issuer, now=NOW)
        row = site.errand(a_certificate(issuer=issuer))

        def post(line: Line, der: bytes) -> bytes:
            health.failed(issuer, now=site.clock(), error="no answer")
            site.clock.forward(seconds=1)
            return line.ca.answer(der, now=site.clock())

        monkeypatch.setattr(Line, "post", post)
        mine = enroll.claim(pk=row.pk, fence=row.fence, now=site.clock())
        assert mine is not None
        enroll.advance(mine, site.world)

        assert IssuerHealth.objects.get(pk=issuer.pk).failures == 1  # of the certConf's

    def test_a_failure_before_the_ca_was_asked(self, site: Site, issuer: Issuer) -> None:
        site.secrets.secrets.pop(("ns1", issuer.trust_store_secret))
        for _ in range(health.FAILURES + 2):
            a_certificate(issuer=issuer)

        site.run()

        assert set(Enrollment.objects.open().values_list("error_code", flat=True)) == {
            "SECRET_MISSING"
        }
        assert not IssuerHealth.objects.get(pk=issuer.pk).is_open
        assert not health.secret_store().is_open


class TestMigrations:
    """Who waits behind a probe has failed with it."""

    def test_a_failed_probe_is_a_try_of_all_that_are_begun(
        self, site: Site, silent: Issuer
    ) -> None:
        rows = Enrollment.objects.open().order_by("pk")
        begun, waiting, holds, other = list(rows)[-4:]
        migrating = [begun.pk, waiting.pk, holds.pk]
        rows.filter(pk__in=migrating).update(kind=Kind.MIGRATE, tries=0, first_failed_at=None)
        rows.filter(pk=begun.pk).update(due_at=NOW + RETRY)
        rows.filter(pk=waiting.pk).update(waiting_for="the OCCM certificate", due_at=None)
        rows.filter(pk=holds.pk).update(phase=Phase.ISSUED, due_at=None)

        pass_time(site, 60)

        after = {row.pk: row for row in rows.all()}
        assert after[begun.pk].tries == 2
        assert after[begun.pk].error_code == Unreachable.code
        assert "refused" in after[begun.pk].error
        assert after[begun.pk].first_failed_at == NOW + 30 * SECOND
        assert after[begun.pk].last_failed_at == NOW + 60 * SECOND
        assert after[begun.pk].due_at == NOW + RETRY
        assert (after[waiting.pk].tries, after[holds.pk].tries) == (0, 0)
        assert after[other.pk].tries <= 1

    def test_a_failure_that_is_no_probe_counts_for_itself_only(
        self, site: Site, silent: Issuer
    ) -> None:
        row, other = Enrollment.objects.open().select_related("issuer__health")[:2]
        Enrollment.objects.filter(pk=other.pk).update(kind=Kind.MIGRATE, due_at=NOW, tries=0)

        breakers.ca_failed(row, Unreachable("refused"), now=NOW, http_version=None)

        other.refresh_from_db()
        assert other.tries == 0


class TestTheSecretStore:
    @pytest.fixture
    def store(self, site: Site, issuer: Issuer) -> NotWriting:
        """One that was writing nothing until it was left alone."""
        store = site.secrets = NotWriting(site.secrets)
        for _ in range(health.FAILURES + 4):
            a_certificate(issuer=issuer)
        site.run()
        return store

    def test_is_left_alone_but_for_one_probe_an_interval(
        self, site: Site, store: NotWriting
    ) -> None:
        assert health.secret_store().is_open
        assert sum(tries().values()) < health.FAILURES + 4
        pass_time(site, 29)
        for _ in range(3):
            before = tries()
            pass_time(site, 30)
            [probe] = changed(before)
            row = Enrollment.objects.get(pk=probe)
            assert row.phase == Phase.DELIVERING
            assert row.error_code == Unavailable.code

    def test_holds_up_what_would_read_it_before_the_ca_is_asked(
        self, site: Site, store: NotWriting, issuer: Issuer
    ) -> None:
        site.secrets = store.store
        other = site.add_ca()
        site.secrets = store
        new = an_identity(issuer=other)
        site.clock.forward(seconds=1)

        site.run()

        assert site.errand(new).phase == Phase.NEW
        assert site.errand(new).tries == 0

    def test_gets_what_waited_little_by_little(
        self, site: Site, store: NotWriting, issuer: Issuer
    ) -> None:
        site.secrets = store.store
        site.clock.forward(seconds=30)
        [probe] = dispatch.tick(now=site.clock())
        site.work(probe)

        calls = dispatch.tick(now=site.clock())
        assert [call.queue for call in calls] == ["deliver", "enroll"]  # one of each
        for call in calls:
            site.work(call)
        pass_time(site, 8, step=1)

        assert not Enrollment.objects.open().exists()
        assert not health.secret_store().is_open
        assert all(site.leaf(row) for row in Certificate.objects.filter(cert_type="OTHER"))

    def test_is_probed_at_once_when_an_operator_wants_it(
        self, site: Site, store: NotWriting
    ) -> None:
        before = tries()
        wanted = Enrollment.objects.filter(phase=Phase.DELIVERING).order_by("-pk")[0]
        site.clock.forward(seconds=5)

        lifecycle.retry(wanted.certificate, now=site.clock())
        pass_time(site, 5)

        assert changed(before) == [wanted.pk]

    def test_is_probed_by_a_request_when_nothing_is_to_be_written(
        self, site: Site, issuer: Issuer
    ) -> None:
        store = site.secrets
        store.outage = Unavailable("the API server is down")
        for _ in range(health.FAILURES + 4):
            a_certificate(issuer=issuer)
        site.run()
        assert health.secret_store().is_open
        before = tries()
        pass_time(site, 30)
        assert len(changed(before)) == 1
        store.outage = None

        pass_time(site, 45)

        assert not Enrollment.objects.open().exists()
        assert not health.secret_store().is_open

    def test_counts_those_that_knew_it_failing(self, site: Site, issuer: Issuer) -> None:
        """Of many that were under way when it began, some fail and some do not."""
        row = site.errand(a_certificate(issuer=issuer))
        for _ in range(2 * health.FAILURES):
            breakers.note_store(row, Unavailable("down"), now=NOW)
        assert health.secret_store().failures == 1
        row.store_fails = True
        breakers.note_store(row, Unavailable("down"), now=NOW)
        assert health.secret_store().failures == 2

        breakers.note_store(row, None, now=NOW)

        assert health.secret_store().failing_since is None


def opened(issuer: Issuer, *, now: datetime) -> None:
    for _ in range(health.FAILURES):
        health.failed(issuer, now=now, error="no answer")


def store_opened(issuer: Issuer, *, now: datetime) -> None:
    for _ in range(health.FAILURES):
        health.store_failed(now=now, error="down", patience=RETRY, probe=0, first=False)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("strike", [opened, store_opened])
def test_two_beats_send_one_probe(strike: Callable[..., None]) -> None:
    issuer = a_ready_issuer()
    due_rows(issuer, 10)
    due_rows(issuer, 5, phase=Phase.ISSUED) if strike is store_opened else None
    strike(issuer, now=NOW - RETRY)

    called = in_threads(4, lambda: called_to(dispatch.tick(now=NOW)))

    assert sum(map(len, called)) == 1
    assert dispatch.tick(now=NOW + SECOND) == []
