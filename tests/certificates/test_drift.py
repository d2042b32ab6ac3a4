"""Drift: what becomes of an AUTOMATIC certificate's secrets that somebody else changes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

import secretstore
from certificates.domain import lifecycle, looks, noticing
from certificates.models import Certificate, Enrollment
from cmp.testing import DemoCA, Pki
from issuers.models import Issuer
from secretstore import Change, Secret, Unavailable
from tests.cmp.certs import renumbered
from tests.factories import a_certificate
from tests.fakes.faults import NotWriting, Refusing
from tests.fakes.site import REFERENCE, SECRET, Site

pytestmark = pytest.mark.django_db
Kind, Phase = Enrollment.Kind, Enrollment.Phase
WHERE = ("ns1", "nf-tls")


@pytest.fixture
def certificate(site: Site, issuer: Issuer) -> Certificate:
    certificate = a_certificate(
        issuer=issuer,
        secret="nf-tls",
        chain_output_namespace="ns1",
        chain_output_secret="nf-tls",
        chain_output_key="chain.pem",
    )
    site.run()
    assert site.readiness(certificate) == "READY"
    return certificate


def write(site: Site, **values: bytes) -> None:
    site.put(*WHERE, {name.replace("_", "."): value for name, value in values.items()})


def remove(site: Site, *keys: str) -> None:
    held = site.secrets.secrets[WHERE]
    kept = {key: value for key, value in held.data.items() if key not in keys}
    site.secrets.secrets[WHERE] = Secret(kept, f"{held.version}-")


def noticed(site: Site) -> None:
    """The store reports the secret, as a watch does."""
    held = site.secrets.secrets.get(WHERE)
    change = Change(*WHERE, held.version if held else None)
    noticing.note([change], now=site.clock())


def looked_at_twice(site: Site) -> None:
    noticed(site)
    site.look()
    site.clock.forward(seconds=60)
    site.look()


def found(certificate: Certificate) -> Certificate:
    return Certificate.objects.get(pk=certificate.pk)


def kinds(certificate: Certificate) -> list[str]:
    return [one.kind for one in certificate.enrollments.order_by("pk")]


def test_what_was_delivered_is_no_drift(site: Site, certificate: Certificate) -> None:
    looked_at_twice(site)
    site.clock.forward(hours=2)
    looked_at_twice(site)
    row = found(certificate)
    assert (row.drift, row.drifted_at, row.drift_count) == ("", None, 0)
    assert row.looked_at is not None
    assert kinds(certificate) == [Kind.CREATE]


class TestWithTheKeyIntact:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda site: write(site, tls_crt=b"scribble"),
            lambda site: remove(site, "tls.crt"),
            lambda site: remove(site, "chain.pem"),
            lambda site: write(site, chain_pem=b""),
        ],
        ids=["certificate spoilt", "certificate gone", "chain gone", "chain emptied"],
    )
    def test_certificate_and_chain_are_written_again(  # noqa: PLR0913, PLR0917 - fixtures
        self,
        site: Site,
        issuer: Issuer,
        certificate: Certificate,
        damage: Callable[[Site], None],
        caplog: pytest.LogCaptureFixture,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        before = dict(site.present(*WHERE).data)
        damage(site)
        with django_capture_on_commit_callbacks(execute=True):
            looked_at_twice(site)
        assert kinds(certificate) == [Kind.CREATE, Kind.REPAIR]
        assert "opened: drift: written again" in caplog.text
        site.run()

        assert site.present(*WHERE).data == before
        row = found(certificate)
        assert (row.drift, row.drift_count, row.contested) == ("", 1, False)
        assert site.readiness(certificate) == "READY"
        assert len(site.cas[issuer.pk].issued) == 2  # the identity's and this one's

    def test_it_waits_for_a_store_that_cannot_be_written(
        self, site: Site, certificate: Certificate
    ) -> None:
        write(site, tls_crt=b"scribble")
        looked_at_twice(site)
        whole, site.secrets = site.secrets, NotWriting(site.secrets)
        site.run()
        errand = site.errand(certificate)
        assert (errand.kind, errand.error_code) == (Kind.REPAIR, "SECRET_STORE_UNAVAILABLE")
        site.secrets = whole
        site.clock.forward(seconds=30)
        site.run()
        assert site.leaf(certificate)

    def test_other_ways_to_write_the_same_are_the_same(
        self, site: Site, certificate: Certificate
    ) -> None:
        der = site.leaf(certificate).public_bytes(Encoding.DER)
        write(site, tls_crt=b"a remark\n" + site.value(certificate, "certificate"))
        looked_at_twice(site)
        assert kinds(certificate) == [Kind.CREATE]
        assert der == site.leaf(certificate).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "damage",
    [
        lambda site: write(site, tls_key=b"scribble"),
        lambda site: remove(site, "tls.key"),
        lambda site: site.secrets.secrets.pop(WHERE),
    ],
    ids=["key spoilt", "key gone", "secret gone"],
)
def test_without_its_key_it_is_recreated_after_all_others(
    site: Site, issuer: Issuer, certificate: Certificate, damage: Callable[[Site], None]
) -> None:
    old = found(certificate).fingerprint
    damage(site)
    noticed(site)
    site.look()
    assert kinds(certificate) == [Kind.CREATE]  # one look is no look
    site.clock.forward(seconds=60)
    site.look()

    errand = site.errand(certificate)
    assert (errand.kind, errand.priority) == (Kind.RECREATE, Enrollment.Priority.BULK)
    assert site.readiness(certificate) == "NOT_READY"
    site.run()

    row = found(certificate)
    assert row.fingerprint != old
    assert (site.readiness(certificate), row.drift, row.drift_count) == ("READY", "", 1)
    assert site.leaf(certificate)


def test_a_change_that_is_taken_back_within_a_minute_is_none(
    site: Site, certificate: Certificate
) -> None:
    before = site.present(*WHERE).data["tls.key"]
    write(site, tls_key=b"scribble")
    noticed(site)
    site.look()
    write(site, tls_key=before)
    site.clock.forward(seconds=60)
    site.look()
    row = found(certificate)
    assert (row.drifted_at, row.drift_count, kinds(certificate)) == (None, 0, [Kind.CREATE])


def test_unreadable_is_not_changed(site: Site, certificate: Certificate) -> None:
    noticed(site)
    write(site, tls_key=b"scribble")
    site.secrets.outage = Unavailable("the API server is down")
    looked_at_twice(site)
    assert (found(certificate).drifted_at, kinds(certificate)) == (None, [Kind.CREATE])
    assert site.readiness(certificate) == "READY"


def test_it_is_judged_only_while_no_errand_is_open(
    site: Site, issuer: Issuer, certificate: Certificate
) -> None:
    site.cut.add(issuer.pk)
    lifecycle.renew(certificate, now=site.clock())
    site.run()
    write(site, tls_key=b"scribble")
    looked_at_twice(site)
    assert (found(certificate).drifted_at, kinds(certificate)) == (
        None,
        [Kind.CREATE, Kind.RENEW],
    )


class TestAPairOfSomebodyElse:
    def test_that_is_valid_and_newer_is_adopted(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        site.clock.forward(hours=1)
        site.provide(issuer, "nf-tls", days=100)
        looked_at_twice(site)

        row = found(certificate)
        assert row.not_after is not None
        assert row.not_after > site.clock() + timedelta(days=99)
        assert row.serial_number == f"{site.leaf(certificate).serial_number:x}"
        assert (row.drift, row.drift_count, kinds(certificate)) == ("", 1, [Kind.CREATE])
        assert "adopted" in row.attention
        assert site.readiness(certificate) == "READY"
        site.clock.forward(hours=2)
        looked_at_twice(site)
        assert (found(certificate).drifted_at, kinds(certificate)) == (None, [Kind.CREATE])

    def test_that_was_adopted_and_is_spoilt_is_recreated_for_its_chain_is_not_known(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        site.clock.forward(hours=1)
        site.provide(issuer, "nf-tls", days=100)
        looked_at_twice(site)
        site.clock.forward(hours=25)
        write(site, tls_crt=b"scribble")
        looked_at_twice(site)

        assert kinds(certificate) == [Kind.CREATE, Kind.RECREATE]

    def test_of_another_ca_is_not_adopted(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        pki = Pki.generate("Stranger", now=site.clock() - timedelta(days=1))
        other = site.add_ca(DemoCA(pki=pki, secrets={REFERENCE: SECRET}), name="other")
        site.clock.forward(hours=1)
        site.provide(other, "nf-tls", days=100)
        looked_at_twice(site)
        assert kinds(certificate) == [Kind.CREATE, Kind.RECREATE]
        assert "not adopted" in site.errand(certificate).reason

    def test_with_a_serial_number_that_no_ca_may_give_is_not_adopted(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        site.clock.forward(hours=1)
        site.provide(issuer, "nf-tls", days=100)
        leaf = renumbered(site.leaf(certificate), 1 << 160, site.cas[issuer.pk].pki.issuing.key)
        write(site, tls_crt=leaf.public_bytes(Encoding.PEM))
        looked_at_twice(site)
        assert kinds(certificate) == [Kind.CREATE, Kind.RECREATE]
        assert "serial number" in site.errand(certificate).reason

    def test_that_is_older_is_not_adopted(
        self, site: Site, issuer: Issuer, certificate: Certificate
    ) -> None:
        before = dict(site.present(*WHERE).data)
        site.clock.forward(hours=1)
        lifecycle.renew(certificate, now=site.clock())
        site.run()
        site.put(*WHERE, before)
        looked_at_twice(site)
        assert kinds(certificate)[-1] == Kind.RECREATE


class TestAgainWithinADay:
    @pytest.fixture
    def contested(self, site: Site, certificate: Certificate) -> Certificate:
        for _ in range(2):
            write(site, tls_key=b"scribble")
            looked_at_twice(site)
            site.run()
            site.clock.forward(hours=1)
        return found(certificate)

    def test_it_is_contested_and_left_alone(self, site: Site, contested: Certificate) -> None:
        assert contested.contested
        assert "contested" in contested.drift
        assert site.readiness(contested) == "NOT_READY"
        for _ in range(30):
            site.clock.forward(hours=1)
            site.look()
            site.run()
        assert kinds(contested) == [Kind.CREATE, Kind.RECREATE]
        assert found(contested).drift_count == 2

    def test_until_an_operator_has_it_retried(self, site: Site, contested: Certificate) -> None:
        lifecycle.retry(contested, now=site.clock())
        site.look()
        site.run()
        row = found(contested)
        assert (row.contested, row.drift, site.readiness(row)) == (False, "", "READY")

    def test_or_it_is_put_right(self, site: Site, contested: Certificate) -> None:
        lifecycle.recreate(contested, now=site.clock())
        site.run()
        assert (found(contested).contested, site.readiness(contested)) == (False, "READY")

    def test_after_a_day_it_is_repaired_again(self, site: Site, certificate: Certificate) -> None:
        for _ in range(3):
            write(site, tls_key=b"scribble")
            looked_at_twice(site)
            site.run()
            site.clock.forward(hours=24)
        assert kinds(certificate) == [Kind.CREATE, *[Kind.RECREATE] * 3]


class TestSwitchedOff:
    def test_it_is_told_and_not_touched(self, site: Site, certificate: Certificate) -> None:
        lifecycle.update(certificate, repair_drift=False, now=site.clock())
        write(site, tls_key=b"scribble")
        looked_at_twice(site)
        row = found(certificate)
        assert "Repair is switched off" in row.drift
        assert (site.readiness(row), kinds(row)) == ("NOT_READY", [Kind.CREATE])

    def test_switching_it_on_takes_effect_at_once(
        self, site: Site, certificate: Certificate
    ) -> None:
        lifecycle.update(certificate, repair_drift=False, now=site.clock())
        write(site, tls_key=b"scribble")
        looked_at_twice(site)

        lifecycle.update(found(certificate), repair_drift=True, now=site.clock())
        site.look()
        site.run()

        assert site.readiness(certificate) == "READY"


class TestAnIdentity:
    def test_is_written_again_even_without_its_key(
        self, site: Site, issuer: Issuer, identity: Certificate
    ) -> None:
        place = (issuer.other_signature_namespace, issuer.other_signature_secret)
        before = site.secrets.secrets.pop(place).data
        noticing.note([Change(*place, None)], now=site.clock())
        site.look()
        site.clock.forward(seconds=60)
        site.look()
        site.run()
        assert site.present(*place).data == before
        assert kinds(identity) == [Kind.CREATE, Kind.REPAIR]
        assert site.readiness(identity) == "READY"


class TestNotice:
    def test_what_we_wrote_ourselves_is_no_news(self, site: Site, certificate: Certificate) -> None:
        due = found(certificate).look_due_at
        noticed(site)
        assert found(certificate).look_due_at == due

    def test_a_change_during_a_look_has_another_look_follow(
        self, site: Site, certificate: Certificate
    ) -> None:
        write(site, tls_key=b"scribble")
        noticed(site)

        class Changing(Refusing):
            def read(self, namespace: str, secret: str, **options: Any) -> Secret:
                held: Secret = self.store.read(namespace, secret, **options)
                noticing.note([Change(*WHERE, "another")], now=site.clock())
                return held

        looks.look(secrets=Changing(site.secrets, ""), now=site.clock())

        assert found(certificate).look_due_at == site.clock()

    def test_what_is_missing_from_all_there_is_has_a_look(
        self, site: Site, certificate: Certificate
    ) -> None:
        assert noticing.note_missing("ns1", {"nf-tls"}, now=site.clock()) <= 1  # the identity's
        assert found(certificate).look_due_at != site.clock()
        noticing.note_missing("ns1", {"elsewhere"}, now=site.clock())
        assert found(certificate).look_due_at == site.clock()

    def test_looks_come_by_themselves_too(
        self, site: Site, certificate: Certificate, settings: Settings
    ) -> None:
        write(site, tls_key=b"scribble")
        site.clock.forward(seconds=settings.OCCM_LOOK_INTERVAL.total_seconds())
        site.look()
        assert found(certificate).drifted_at == site.clock()


def test_keys_are_encrypted_while_they_wait_to_be_written_again(
    site: Site, certificate: Certificate
) -> None:
    key = secretstore.private_key(site.present(*WHERE), site.ref(certificate, "private_key"))
    write(site, tls_crt=b"scribble")
    looked_at_twice(site)
    assert site.errand(certificate).private_key
    assert secretstore.encode_private_key(key, "DER") not in bytes(
        site.errand(certificate).private_key.token
    )
    site.run()
    assert not site.errand(certificate).private_key
