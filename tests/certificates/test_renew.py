"""Renewal by kur in time, by either signer, and what becomes of it when it is late."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from certificates.domain import lifecycle
from certificates.domain.means import fingerprint
from certificates.models import Certificate, Enrollment, MaybeIssued
from cmp.messages import PKIMessage
from cmp.testing.behaviour import Refusal, When
from cmp.testing.register import State
from issuers.models import Issuer
from tests.factories import a_certificate
from tests.fakes.faults import Refusing, cut, recover
from tests.fakes.site import Site

pytestmark = pytest.mark.django_db

Kind = Enrollment.Kind
Meddle = Callable[[Site, Certificate], None]


@pytest.fixture
def certificate(site: Site, issuer: Issuer) -> Certificate:
    certificate = a_certificate(issuer=issuer)
    site.run()
    return certificate


def let_its_time_come(site: Site, certificate: Certificate) -> None:
    certificate.refresh_from_db()
    assert certificate.renew_at is not None
    site.clock.now = max(certificate.renew_at, site.clock.now)
    lifecycle.open_due_renewals(now=site.clock(), limit=100)


def signer_of(message: PKIMessage) -> str:
    return fingerprint(message.extra_certs[0])


def last(site: Site, issuer: Issuer, body: str) -> PKIMessage:
    heard = site.cas[issuer.pk].heard
    return next(one for one in reversed(heard) if type(one.body).__name__ == body)


@pytest.mark.field_note(29)
def test_renewed_in_time_with_a_new_key(
    site: Site, issuer: Issuer, certificate: Certificate
) -> None:
    first = site.leaf(certificate)

    let_its_time_come(site, certificate)
    site.run()

    second = site.leaf(certificate)
    assert second.not_valid_after_utc > first.not_valid_after_utc
    assert second.public_key() != first.public_key()
    assert (site.errand(certificate).kind, site.readiness(certificate)) == (Kind.RENEW, "READY")
    assert site.cas[issuer.pk].count("kur") >= 1
    old = [one for one in site.cas[issuer.pk].issued if one.serial == first.serial_number]
    assert [one.state for one in old] == [State.SUPERSEDED]


@pytest.mark.field_note(26)
def test_signed_by_the_certificate_that_is_renewed(
    site: Site, issuer: Issuer, certificate: Certificate
) -> None:
    certificate.refresh_from_db()

    lifecycle.renew(certificate, now=site.clock())
    site.run()

    assert signer_of(last(site, issuer, "Kur")) == certificate.fingerprint
    assert site.readiness(certificate) == "READY"


@pytest.mark.field_note(26)
def test_signed_by_the_identity_where_the_setting_says_so(
    site: Site, certificate: Certificate, identity: Certificate, settings: Settings
) -> None:
    settings.OCCM_USE_OCCM_CERT_SIGN_FOR_KUR = True

    lifecycle.renew(certificate, now=site.clock())
    site.run()

    assert signer_of(last(site, certificate.issuer, "Kur")) == identity.fingerprint
    assert site.readiness(certificate) == "READY"


def test_an_identity_signs_its_own(site: Site, issuer: Issuer, identity: Certificate) -> None:
    before = Certificate.objects.get(pk=identity.pk).fingerprint

    lifecycle.renew(identity, now=site.clock())
    site.run()

    assert signer_of(last(site, issuer, "Kur")) == before
    assert Certificate.objects.get(pk=identity.pk).fingerprint != before
    certificate = a_certificate(issuer=issuer, now=site.clock())
    site.run()
    assert site.readiness(certificate) == "READY"  # signed by the new one


def test_a_manual_one_is_renewed_and_then_follows_its_configuration(
    site: Site, issuer: Issuer
) -> None:
    certificate = a_certificate(issuer=issuer, creation_mode="MANUAL", dns_names=["nrf.ns1"])
    site.provide(issuer, certificate.private_key_output_secret)
    site.look()
    lifecycle.renew(certificate, now=site.clock())

    site.run()

    row = site.errand(certificate)
    assert row.error_code == "CMP_REJECTED"  # the CA has not issued the one that was provided
    lifecycle.stop(certificate, now=site.clock())
    lifecycle.recreate(certificate, now=site.clock())
    site.run()
    lifecycle.renew(certificate, now=site.clock())
    site.run()
    assert site.leaf(certificate).subject.rfc4514_string() == f"CN={certificate.common_name}"


def test_what_expired_is_recreated_without_being_asked(
    site: Site, issuer: Issuer, certificate: Certificate, identity: Certificate
) -> None:
    site.cut.add(issuer.pk)
    let_its_time_come(site, certificate)
    site.run()
    assert site.errand(certificate).kind == Kind.RENEW
    Certificate.objects.filter(pk=certificate.pk).update(not_after=site.clock())
    assert site.readiness(certificate) == "EXPIRED"
    site.cut.clear()
    site.clock.forward(seconds=30)

    site.run()

    row = site.errand(certificate)
    assert (row.kind, row.phase) == (Kind.RECREATE, Enrollment.Phase.DELIVERED)
    assert "expired" in row.reason
    assert site.readiness(certificate) == "READY"


@pytest.mark.parametrize("failure", ["certRevoked", "badCertId"])
def test_what_the_ca_will_not_renew_is_recreated(
    site: Site, issuer: Issuer, certificate: Certificate, failure: str
) -> None:
    ca = site.cas[issuer.pk]
    ca.refuse, ca.refuse_when = Refusal(frozenset({failure})), When(frozenset({"kur"}))

    lifecycle.renew(certificate, now=site.clock())
    site.run()
    row = site.errand(certificate)
    assert (row.kind, row.signer, row.error_code) == (Kind.RECREATE, "IDENTITY", "CMP_REJECTED")
    assert failure in row.reason
    site.clock.forward(seconds=30)
    site.run()

    assert site.readiness(certificate) == "READY"
    assert not MaybeIssued.objects.exists()


def test_what_the_ca_refuses_for_another_reason_is_asked_for_again(
    site: Site, issuer: Issuer, certificate: Certificate
) -> None:
    ca = site.cas[issuer.pk]
    ca.refuse, ca.refuse_when = Refusal(frozenset({"systemUnavail"})), When(frozenset({"kur"}))

    lifecycle.renew(certificate, now=site.clock())
    site.run()

    assert site.errand(certificate).kind == Kind.RENEW
    assert site.readiness(certificate) == "READY"


@pytest.mark.parametrize(
    "validity",
    [timedelta(hours=3), timedelta(days=30), timedelta(days=30, minutes=5)],
    ids=["hours", "as long as it is renewed before", "hardly longer"],
)
def test_a_certificate_with_a_short_life_is_not_renewed_for_ever(
    site: Site, issuer: Issuer, validity: timedelta
) -> None:
    site.cas[issuer.pk].validity = validity
    certificate = a_certificate(issuer=issuer)
    site.run()
    for _ in range(60):
        site.clock.forward(minutes=1)
        lifecycle.open_due_renewals(now=site.clock(), limit=100)
        site.run()

    assert certificate.enrollments.count() == 1


def secret_of(certificate: Certificate) -> tuple[str, str]:
    return certificate.private_key_output_namespace, certificate.private_key_output_secret


def spoil(site: Site, certificate: Certificate) -> None:
    site.put(*secret_of(certificate), {certificate.certificate_output_key: b"scribble"})


def delete(site: Site, certificate: Certificate) -> None:
    del site.secrets.secrets[secret_of(certificate)]


def put_another(site: Site, certificate: Certificate) -> None:
    site.provide(
        certificate.issuer,
        certificate.private_key_output_secret,
        key=certificate.private_key_output_key,
        cert=certificate.certificate_output_key,
    )


MEDDLING = pytest.mark.parametrize("meddle", [delete, spoil, put_another])


CHAIN = {"namespace": "ns1", "secret": "chain-tls", "key": "chain.pem"}


class TestWhatLiesInTheSecret:
    """The old certificate signs its own renewal: it has to lie there, and to be the one meant."""

    @MEDDLING
    def test_what_is_lost_while_the_ca_is_away_is_recreated(
        self, site: Site, issuer: Issuer, certificate: Certificate, meddle: Meddle
    ) -> None:
        cut(site, issuer)
        lifecycle.renew(certificate, now=site.clock())
        site.run()

        meddle(site, certificate)
        site.clock.forward(seconds=30)
        site.run()
        row = site.errand(certificate)
        assert (row.kind, row.signer) == (Kind.RECREATE, "IDENTITY")
        assert row.reason.startswith("it cannot be renewed: ")
        assert site.readiness(certificate) == "NOT_READY"
        recover(site, issuer)
        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert site.leaf(certificate).subject.rfc4514_string() == f"CN={certificate.common_name}"
        assert site.cas[issuer.pk].count("kur") == 0  # of nobody else's certificate either

    def test_a_chain_that_cannot_be_read_does_not_make_the_pair_a_lost_one(
        self, site: Site, issuer: Issuer
    ) -> None:
        chain: dict[str, Any] = {f"chain_output_{it}": v for it, v in CHAIN.items()}
        row = a_certificate(issuer=issuer, **chain)
        site.run()
        site.put(CHAIN["namespace"], CHAIN["secret"], {CHAIN["key"]: b"scribble"})

        lifecycle.renew(row, now=site.clock())
        site.run()

        assert site.errand(row).kind == Kind.RENEW
        assert site.cas[issuer.pk].count("kur") == 1
        assert site.readiness(row) == "READY"

    @MEDDLING
    def test_a_kept_key_renews_an_identity_that_was_lost(
        self, site: Site, issuer: Issuer, identity: Certificate, meddle: Meddle
    ) -> None:
        identity.refresh_from_db()
        before = identity.fingerprint
        cut(site, issuer)
        lifecycle.renew(identity, now=site.clock())
        site.run()

        meddle(site, identity)
        recover(site, issuer)
        site.clock.forward(seconds=30)
        site.run()

        assert site.errand(identity).kind == Kind.RENEW
        assert signer_of(last(site, issuer, "Kur")) == before
        nf = a_certificate(issuer=issuer, now=site.clock())
        site.run()
        assert site.readiness(identity) == site.readiness(nf) == "READY"

    def test_what_is_lost_while_the_ca_thinks_is_recreated(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(seconds=10)
        lifecycle.renew(certificate, now=site.clock())
        site.run()
        ca.polls = 0

        delete(site, certificate)
        site.clock.forward(seconds=10)
        site.run()

        assert site.errand(certificate).kind == Kind.RECREATE
        assert site.readiness(certificate) == "READY"
        assert MaybeIssued.objects.count() == 1  # the renewal that was given up

    def test_a_store_that_is_away_has_lost_nothing(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        site.secrets = Refusing(site.secrets, certificate.private_key_output_secret)
        lifecycle.renew(certificate, now=site.clock())

        site.run()

        row = site.errand(certificate)
        assert (row.kind, row.error_code) == (Kind.RENEW, "SECRET_FORBIDDEN")
        assert site.readiness(certificate) == "READY"

    def test_a_manual_one_that_is_missing_is_never_created(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        Certificate.objects.filter(pk=certificate.pk).update(creation_mode="MANUAL")
        lifecycle.renew(certificate, now=site.clock())
        delete(site, certificate)

        site.run()

        row = site.errand(certificate)
        assert (row.kind, row.error_code) == (Kind.RENEW, "SECRET_MISSING")
        assert not site.is_written(certificate)

    def test_a_manual_one_that_was_exchanged_is_looked_at_first(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        Certificate.objects.filter(pk=certificate.pk).update(creation_mode="MANUAL")
        lifecycle.renew(certificate, now=site.clock())
        put_another(site, certificate)
        site.clock.forward(days=80)  # of its 100, so that it is to be renewed, too

        site.run()
        row = site.errand(certificate)
        assert (row.kind, row.error_code) == (Kind.RENEW, "CONFIGURATION")
        assert "another certificate lies in the secret" in row.error
        assert site.cas[issuer.pk].count("kur") == 0
        lifecycle.retry(certificate, now=site.clock())
        site.look()
        site.run()

        assert site.cas[issuer.pk].count("kur") == 1
