"""`manage.py trace`: a certificate's story, from the rows, fit for a terminal."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from certificates.domain import failures, lifecycle
from certificates.models import MaybeIssued
from cmp.testing.behaviour import Refusal
from issuers.models import Issuer
from secretstore import Unavailable
from tests.factories import NOW, a_certificate, an_enrollment
from tests.fakes.faults import recover
from tests.fakes.site import Site

pytestmark = pytest.mark.django_db


def told(name: str) -> str:
    out = StringIO()
    call_command("trace", name, stdout=out, no_color=True)
    return out.getvalue()


def test_the_story_has_each_failure_once_and_what_came_of_it(site: Site, issuer: Issuer) -> None:
    site.cas[issuer.pk].refuse = Refusal(frozenset({"badRequest"}), ("not\x1b[31m today",))
    row = a_certificate(name="amf", issuer=issuer)
    for _ in range(3):
        site.run()
        site.clock.forward(seconds=30)
    recover(site, issuer)
    site.run()

    story = told("amf")

    errand = site.errand(row)
    lines = [line.strip() for line in story.splitlines()]
    assert lines[0].startswith(f"amf: OTHER, NRF, SBI; issuer {issuer}")
    assert "serial number" in lines[1]
    assert f"CREATE at {issuer}" in lines
    assert "2026-01-01 12:00:00  opened: registered" in lines
    (failure,) = (line for line in lines if "failed (3 times)" in line)
    assert failure.startswith(
        "2026-01-01 12:00:00  failed (3 times): CMP_REJECTED, REFUSED: the CA"
    )
    assert r"not\x1b[31m today" in failure
    assert "2026-01-01 12:01:00  failed so for the last time: CMP_REJECTED" in lines
    asked = f"2026-01-01 12:01:30  asked the CA in transaction {errand.transaction_id}, signed by"
    assert any(line.startswith(asked) for line in lines)
    assert f"2026-01-01 12:01:30  issued, SHA-256 {errand.issued_fingerprint}" in lines
    assert lines[-1] == "2026-01-01 12:01:30  secrets written"
    assert "\x1b" not in story


def test_what_is_under_way_comes_last(site: Site, issuer: Issuer) -> None:
    site.cut.add(issuer.pk)
    row = a_certificate(name="amf", issuer=issuer)
    site.run()

    assert "attempt 2, next step at 2026-01-01 12:00:30 UTC" in told("amf").splitlines()[-1]

    lifecycle.stop(row, now=site.clock())

    assert "stopped by the operator" in told("amf").splitlines()[-1]


def test_what_a_ca_may_hold_is_told_after_the_certificate_is_gone(
    site: Site, issuer: Issuer
) -> None:
    MaybeIssued.objects.create(
        certificate_name="gone",
        issuer_name=str(issuer),
        transaction_id="00ff",
        sent_at=site.clock() - timedelta(days=1),
        reason="the answer was lost",
    )

    story = told("gone")

    assert "gone: there is no such certificate any longer" in story
    assert "transaction 00ff: the answer was lost" in story


def test_a_name_that_is_not_there_is_answered_by_those_that_are_nearly_the_same() -> None:
    a_certificate(name="amf1")

    with pytest.raises(CommandError, match=r"no certificate afm1\. Did you mean amf1\?"):
        told("afm1")
    with pytest.raises(CommandError, match=r"no certificate other\.$"):
        told("other")


def test_of_very_many_failures_the_latest_are_kept_and_equal_ones_are_one() -> None:
    row, now = an_enrollment(), NOW
    for n in (*range(15), 14, 14):
        now += timedelta(seconds=30)
        error = Unavailable(f"the API server is down: {n}{'!' * 1000}")
        row.setbacks = failures.recorded(row, error, now=now)["setbacks"]

    assert len(row.setbacks) == failures.KEPT
    assert row.setbacks[-1]["count"] == 3
    assert row.setbacks[-1]["last_at"] == now.isoformat()
    assert {len(one["error"]) for one in row.setbacks} == {failures.KEPT_OF_EACH}
