"""What goes wrong at a CA or in the configuration is shown, and tried again until it works."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from certificates.domain import enroll, failures, identity, lifecycle
from certificates.fields import Sealed
from certificates.models import Certificate, Enrollment
from cmp.parts import FAIL_INFO
from cmp.testing.behaviour import Refusal
from issuers.models import Issuer, IssuerHealth
from secretstore import Forbidden
from tests.factories import NOW, a_certificate, an_identity
from tests.fakes.faults import (
    Refusing,
    cut,
    recover,
    refusing,
    refusing_by_error,
    set_knob,
)
from tests.fakes.site import Site

pytestmark = pytest.mark.django_db
Phase = Enrollment.Phase
RETRY = timedelta(seconds=30)


class Fault(NamedTuple):
    """What befalls the CA; the code, words and class under which the operator sees it."""

    strike: Callable[[Site, Issuer], None]
    code: str
    said: str
    kind: str


FAULTS = {
    "down": Fault(cut, "CMP_UNREACHABLE", "refused", "TRANSPORT"),
    "refuses": Fault(refusing, "CMP_REJECTED", "not today", "REFUSED"),
    "error body": Fault(refusing_by_error, "CMP_REJECTED", "not today", "REFUSED"),
    "garbage": Fault(set_knob("garbage"), "CMP_MALFORMED", "", "SECURITY"),
    "503": Fault(set_knob("http_503_html"), "CMP_HTTP", "busy", "TRANSPORT"),
    "drops": Fault(set_knob("drop_connection"), "CMP_NO_ANSWER", "closed", "TRANSPORT"),
    "another's transaction": Fault(
        set_knob("answer_another_transaction"), "CMP_OUT_OF_SEQUENCE", "", "SECURITY"
    ),
    "nonce": Fault(set_knob("wrong_nonce"), "CMP_OUT_OF_SEQUENCE", "", "SECURITY"),
    "other key": Fault(set_knob("issue_for_another_key"), "CMP_UNACCEPTABLE", "key", "SECURITY"),
    "bad protection": Fault(set_knob("spoil_protection"), "CMP_UNPROTECTED", "", "SECURITY"),
    "no protection": Fault(set_knob("unprotected_answers"), "CMP_UNPROTECTED", "", "SECURITY"),
}


class TestWhatGoesWrong:
    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
    def test_is_shown_and_tried_again_after_30_s_for_as_long_as_it_takes(
        self, site: Site, issuer: Issuer, fault: Fault
    ) -> None:
        fault.strike(site, issuer)
        certificate = a_certificate(issuer=issuer)

        for number in range(1, 4):
            site.run()
            row = site.errand(certificate)
            assert (row.error_code, row.tries) == (fault.code, number)
            assert fault.said in row.error
            assert failures.failure_class(row.error_code) == fault.kind
            assert (row.first_failed_at, row.last_failed_at) == (NOW, site.clock())
            assert row.due_at == site.clock() + RETRY
            site.clock.forward(seconds=29)
            site.run()
            assert site.errand(certificate).tries == number  # not a second earlier
            site.clock.forward(seconds=1)
        assert not site.is_written(certificate)
        assert site.readiness(certificate) == "NOT_READY"
        recover(site, issuer)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert site.errand(certificate).error == ""
        assert site.leaf(certificate)

    @pytest.mark.field_note(41)
    def test_a_ca_that_asks_for_patience_is_left_alone(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.http_503_html, ca.retry_after = True, timedelta(minutes=2)
        certificate = a_certificate(issuer=issuer)

        site.run()

        row = site.errand(certificate)
        assert row.due_at == NOW + timedelta(minutes=2)
        assert "not tried before 2026-01-01 12:02:00 UTC" in row.error

    def test_a_ca_that_asks_for_less_is_not_asked_sooner(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.http_503_html, ca.retry_after = True, timedelta(seconds=1)
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert site.errand(certificate).due_at == NOW + RETRY

    def test_a_ca_that_names_every_failure_there_is_is_understood(
        self, site: Site, issuer: Issuer
    ) -> None:
        site.cas[issuer.pk].refuse = Refusal(frozenset(FAIL_INFO), ("all of it",))
        certificate = a_certificate(issuer=issuer)

        site.run()

        row = site.errand(certificate)
        assert row.error_code == "CMP_REJECTED"
        assert "wrongIntegrity]: all of it" in row.error
        assert row.fail_info.startswith("addInfoNotAvailable, badAlg, ")
        assert (len(row.fail_info), row.fail_info[-1]) == (400, "…")

    def test_another_ca_is_not_concerned(self, site: Site, issuer: Issuer) -> None:
        other = site.add_ca()
        an_identity(issuer=other)
        cut(site, issuer)
        a_certificate(issuer=issuer)
        fine = a_certificate(issuer=other)

        site.run()

        assert site.readiness(fine) == "READY"

    def test_a_ca_that_does_not_answer_is_suspect_until_it_does(
        self, site: Site, issuer: Issuer
    ) -> None:
        cut(site, issuer)
        a_certificate(issuer=issuer)
        site.run()
        assert IssuerHealth.objects.get(pk=issuer.pk).failing_since == NOW

        recover(site, issuer)
        site.clock.forward(seconds=30)
        site.run()

        assert IssuerHealth.objects.get(pk=issuer.pk).failing_since is None

    def test_a_ready_certificate_stays_ready_while_its_renewal_fails(
        self, site: Site, issuer: Issuer
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        site.run()
        cut(site, issuer)

        lifecycle.recreate(certificate, now=site.clock())
        site.run()

        assert site.errand(certificate).error_code == "CMP_UNREACHABLE"
        assert site.readiness(certificate) == "READY"


class TestConfiguration:
    """Preflight: what would only show after the CA has issued is found before it is asked."""

    @pytest.mark.parametrize("secret", ["mac_secret", "trust_store_secret"])
    def test_a_missing_secret_is_named_and_asks_nobody(self, site: Site, secret: str) -> None:
        issuer = site.add_ca()
        name = getattr(issuer, secret)
        kept = site.secrets.secrets.pop(("ns1", name))
        identity_row = an_identity(issuer=issuer)
        site.run()
        row = site.errand(identity_row)
        assert (row.phase, row.error_code) == (Phase.NEW, "SECRET_MISSING")
        assert f"ns1/{name}" in row.error
        assert site.cas[issuer.pk].counts == {}

        site.secrets.secrets["ns1", name] = kept
        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(identity_row) == "READY"

    def test_an_expired_root_is_found_before_the_ca_is_asked(
        self, site: Site, issuer: Issuer
    ) -> None:
        asked = site.cas[issuer.pk].count("ir")
        certificate = a_certificate(issuer=issuer)
        row = site.errand(certificate)
        site.clock.forward(days=3660)
        Certificate.objects.filter(cert_type="OCCM").update(not_after=site.clock() + RETRY)

        site.run()

        row.refresh_from_db()
        assert row.error_code == "CONFIGURATION"
        assert "Test CA Root" in row.error
        assert site.cas[issuer.pk].count("ir") == asked

    def test_a_trust_store_without_a_ca_is_found_before_the_ca_is_asked(self, site: Site) -> None:
        """A server cert may sign what the CA says, and issues nothing."""
        issuer = site.add_ca(
            trust_store_root_ca_certs=[],
            trust_store_intermediate_ca_certs=["sub.pem"],
            trust_store_server_cert="server.pem",
        )
        pki = site.cas[issuer.pk].pki
        signer, ca = (
            one.public_bytes(Encoding.PEM)
            for one in (pki.signer.certificate, pki.issuing.certificate)
        )
        site.put("ns1", issuer.trust_store_secret, {"server.pem": signer, "sub.pem": signer})
        identity_row = an_identity(issuer=issuer)
        site.run()
        row = site.errand(identity_row)
        assert (row.phase, row.error_code) == (Phase.NEW, "CONFIGURATION")
        assert f"ns1/{issuer.trust_store_secret}" in row.error
        assert site.cas[issuer.pk].counts == {}

        site.put("ns1", issuer.trust_store_secret, {"sub.pem": ca})
        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(identity_row) == "READY"

    def test_an_unreadable_output_is_found_before_the_ca_is_asked(
        self, site: Site, issuer: Issuer
    ) -> None:
        asked = site.cas[issuer.pk].count("ir")
        certificate = a_certificate(issuer=issuer)
        store = site.secrets
        site.secrets = Refusing(store, certificate.certificate_output_secret)

        site.run()

        assert site.errand(certificate).error_code == "SECRET_FORBIDDEN"
        assert site.cas[issuer.pk].count("ir") == asked
        site.secrets = store
        site.clock.forward(seconds=30)
        site.run()
        assert site.readiness(certificate) == "READY"

    def test_a_key_that_cannot_be_decrypted_is_a_configuration_error_and_kept(
        self, site: Site, issuer: Issuer
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        site.secrets.outage = None
        row = site.errand(certificate)
        foreign = Sealed(token=b"00000000:gAAAA")
        row.phase, row.private_key = Phase.ISSUED, foreign
        row.save()

        site.run()

        row.refresh_from_db()
        assert (row.phase, row.error_code) == (Phase.ISSUED, "FIELD_KEY")
        assert failures.failure_class(row.error_code) == "CONFIGURATION"
        assert row.private_key.token == foreign.token


def test_what_nobody_anticipated_is_recorded_and_tried_again(site: Site, issuer: Issuer) -> None:
    row = site.errand(a_certificate(issuer=issuer))
    mine = enroll.claim(pk=row.pk, fence=0, now=NOW)
    assert mine is not None

    enroll.record_unexpected(mine, ImproperlyConfigured("odd"), now=NOW)

    row.refresh_from_db()
    assert (row.error_code, row.error, row.due_at) == ("UNEXPECTED", "odd", NOW + RETRY)
    assert failures.failure_class(row.error_code) == "UNEXPECTED"


def test_renewals_are_settings_choice(settings: Settings) -> None:
    """The retry interval is a setting, for those who test against a real CA."""
    settings.OCCM_RETRY_INTERVAL = timedelta(seconds=5)
    row = Enrollment()

    assert failures.recorded(row, Forbidden("no"), now=NOW)["due_at"] == NOW + timedelta(seconds=5)


def test_obstacles_read_like_the_end_of_a_sentence(site: Site) -> None:
    issuer = site.add_ca()

    [obstacle] = identity.obstacles([issuer.pk], now=NOW).values()

    assert re.fullmatch(
        r"the OCCM certificate of this issuer: there is none, add it first", obstacle
    )
