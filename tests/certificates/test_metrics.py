"""What a worker counts while it works, told apart by issuer and procedure."""

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from issuers.models import Issuer
from tests.factories import a_certificate
from tests.fakes.faults import NotWriting, recover, refusing
from tests.fakes.site import Site

pytestmark = pytest.mark.django_db
PHASES = ("NEW", "EXCHANGE", "DELIVERING")


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def test_what_is_delivered_is_counted_with_the_time_of_each_phase(
    site: Site, issuer: Issuer
) -> None:
    site.cut.add(issuer.pk)
    a_certificate(issuer=issuer)
    site.run()
    site.cut.clear()
    site.clock.forward(seconds=30)
    site.run()

    labels = {"issuer": issuer.name, "procedure": "CREATE"}
    assert count("occm_delivered_total", **labels) == 2  # the identity is the other
    for phase in PHASES:
        assert count("occm_phase_seconds_count", phase=phase, **labels) == 2
    assert count("occm_phase_seconds_sum", phase="NEW", **labels) == 30
    assert count("occm_phase_seconds_sum", phase="EXCHANGE", **labels) == 0
    assert count("occm_worker_wait_seconds_count", issuer=issuer.name) == 3


def test_answers_of_the_ca_are_timed_by_what_was_sent(site: Site, issuer: Issuer) -> None:
    site.cas[issuer.pk].polls = 1
    a_certificate(issuer=issuer)
    for _ in range(3):
        site.run()
        site.clock.forward(minutes=2)

    counts = {
        message: count("occm_ca_response_seconds_count", issuer=issuer.name, message=message)
        for message in ("REQUESTED", "POLLED", "CONFIRMING")
    }
    assert counts == {"REQUESTED": 2, "POLLED": 1, "CONFIRMING": 2}


def test_a_message_without_an_answer_is_not_timed(site: Site, issuer: Issuer) -> None:
    site.cut.add(issuer.pk)
    a_certificate(issuer=issuer)

    site.run()

    timed = count(
        "occm_ca_response_seconds_count", issuer=issuer.name, message="REQUESTED"
    )  # the identity's
    assert timed == 1


def test_failures_are_counted_by_class_and_code_and_leave_their_fail_info(
    site: Site, issuer: Issuer
) -> None:
    refusing(site, issuer)
    row = a_certificate(issuer=issuer)
    for _ in range(3):
        site.run()
        site.clock.forward(seconds=30)

    labels = {"issuer": issuer.name, "procedure": "CREATE"}
    counted = count("occm_failures_total", **labels, **{"class": "REFUSED", "code": "CMP_REJECTED"})
    assert counted == 3
    assert site.errand(row).fail_info == "badRequest"

    recover(site, issuer)
    site.run()

    assert site.errand(row).fail_info == ""


def test_secret_writes_that_fail_are_counted_by_their_code(site: Site, issuer: Issuer) -> None:
    before = written("SECRET_STORE_UNAVAILABLE"), written("ok")
    store = site.secrets
    site.secrets = NotWriting(store)
    a_certificate(issuer=issuer)
    site.run()
    assert (written("SECRET_STORE_UNAVAILABLE"), written("ok")) == (before[0] + 1, before[1])

    site.secrets = store
    site.clock.now += timedelta(seconds=30)
    site.run()

    assert (written("SECRET_STORE_UNAVAILABLE"), written("ok")) == (before[0] + 1, before[1] + 1)


def written(outcome: str) -> float:
    return count("occm_secret_store_seconds_count", call="write", outcome=outcome)
