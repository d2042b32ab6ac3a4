"""The key and certificate that an operator provides are taken over as they are."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certificates.domain import figures, lifecycle, looks, watch
from certificates.models import Certificate, Enrollment, LeaseLost, MaybeIssued
from certificates.serializers import warnings_of
from cmp import format_name
from cmp.testing import DemoCA, Pki
from issuers.models import Issuer
from secretstore import Secret, Unavailable
from tests.cmp.certs import renumbered
from tests.factories import NOW, a_certificate, an_identity
from tests.fakes.site import Site

pytestmark = pytest.mark.django_db


@pytest.fixture
def manual(issuer: Issuer) -> Certificate:
    return a_certificate(issuer=issuer, creation_mode="MANUAL", secret="nf-tls")


def test_a_pair_in_place_is_ready_whatever_it_says(
    site: Site, issuer: Issuer, manual: Certificate
) -> None:
    site.provide(issuer, "nf-tls")

    site.look()

    manual.refresh_from_db()
    assert site.readiness(manual) == "READY"
    assert manual.not_after == NOW + timedelta(days=100)
    assert manual.renew_at is not None
    assert manual.renew_at <= NOW + timedelta(days=70)
    assert (manual.attention, manual.delivered_at) == ("", None)
    assert not Enrollment.objects.filter(certificate=manual).exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (None, "does not exist"),
        ({"tls.key": b"no key"}, "tls.crt"),
        ({"tls.crt": b"no certificate", "tls.key": b"no key"}, "cannot be read"),
    ],
)
def test_what_is_missing_is_said_and_looked_for_again(
    site: Site,
    manual: Certificate,
    issuer: Issuer,
    values: dict[str, bytes] | None,
    said: str,
) -> None:
    if values:
        site.put("ns1", "nf-tls", values)
    site.look()
    manual.refresh_from_db()
    assert site.readiness(manual) == "NOT_READY"
    assert said in manual.attention

    site.provide(issuer, "nf-tls")
    site.clock.forward(seconds=10)
    site.look()

    manual.refresh_from_db()
    assert (site.readiness(manual), manual.attention) == ("READY", "")


def test_a_key_that_is_anothers_is_not_ready(
    site: Site, issuer: Issuer, manual: Certificate
) -> None:
    site.provide(issuer, "nf-tls")
    site.provide(issuer, "other")
    stray = site.secrets.read("ns1", "other").data["tls.key"]
    site.put("ns1", "nf-tls", {"tls.key": stray})

    site.look()

    manual.refresh_from_db()
    assert site.readiness(manual) == "NOT_READY"
    assert "not the private key" in manual.attention


def test_a_serial_number_that_no_ca_may_give_is_trouble(
    site: Site, issuer: Issuer, manual: Certificate
) -> None:
    site.provide(issuer, "nf-tls")
    leaf = renumbered(site.leaf(manual), 1 << 160, site.cas[issuer.pk].pki.issuing.key)
    site.put("ns1", "nf-tls", {"tls.crt": leaf.public_bytes(Encoding.PEM)})

    site.look()

    manual.refresh_from_db()
    assert site.readiness(manual) == "NOT_READY"
    assert "ns1/nf-tls[tls.crt]: the certificate's serial number" in manual.attention


def test_expiry_shows_without_a_look(site: Site, issuer: Issuer, manual: Certificate) -> None:
    site.provide(issuer, "nf-tls", days=1)
    site.look()

    site.clock.forward(days=1)

    assert site.readiness(manual) == "EXPIRED"


def test_unreadable_is_not_changed(site: Site, issuer: Issuer, manual: Certificate) -> None:
    site.provide(issuer, "nf-tls")
    site.look()
    site.secrets.outage = Unavailable("the API server is down")
    site.clock.forward(seconds=60)

    site.look()

    manual.refresh_from_db()
    assert site.readiness(manual) == "READY"
    assert "API server is down" in manual.attention


def test_a_secret_that_is_gone_is_noticed(site: Site, issuer: Issuer, manual: Certificate) -> None:
    site.provide(issuer, "nf-tls")
    site.look()
    del site.secrets.secrets["ns1", "nf-tls"]
    site.clock.forward(seconds=59)
    site.look()
    assert site.readiness(manual) == "READY"

    site.clock.forward(seconds=1)
    site.look()

    assert site.readiness(manual) == "NOT_READY"


def test_a_look_does_not_undo_what_was_delivered_meanwhile(
    site: Site, issuer: Issuer, manual: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.provide(issuer, "nf-tls")
    site.look()
    find = watch._find

    def slow(row: Certificate, secrets: Any) -> Any:
        found = find(row, secrets)
        lifecycle.recreate(manual, now=site.clock())
        site.run()
        return found

    monkeypatch.setattr(watch, "_find", slow)
    site.clock.forward(seconds=60)
    assert looks.look(secrets=site.secrets, now=site.clock())

    manual.refresh_from_db()
    assert manual.serial_number == f"{site.leaf(manual).serial_number:x}"


def test_a_warning_of_its_renewal_outlives_looks_and_their_trouble(
    site: Site, issuer: Issuer, manual: Certificate
) -> None:
    site.provide(issuer, "nf-tls", days=30)
    site.look()
    manual.refresh_from_db()
    assert "two thirds" in manual.renewal_warning
    site.secrets.outage = Unavailable("the API server is down")
    site.clock.forward(seconds=60)
    site.look()
    manual.refresh_from_db()
    assert "API server is down" in manual.attention
    site.secrets.outage = None
    site.clock.forward(seconds=60)

    site.look()

    manual.refresh_from_db()
    assert manual.attention == ""
    assert "two thirds" in manual.renewal_warning
    assert any("two thirds" in one for one in warnings_of(manual))
    assert [row.name for row in figures.needing_attention(now=site.clock())] == [manual.name]


class TestANewPairWhileItIsRenewed:
    @pytest.fixture
    def renewing(self, site: Site, issuer: Issuer, manual: Certificate) -> Certificate:
        """Its CA does not know what was provided, so its renewal fails."""
        site.provide(issuer, "nf-tls")
        site.look()
        lifecycle.renew(manual, now=site.clock())
        site.run()
        assert site.errand(manual).error_code == "CMP_REJECTED"
        return manual

    def put_another(self, site: Site, issuer: Issuer, *, days: int = 100) -> Secret:
        site.provide(issuer, "nf-tls", days=days)
        site.clock.forward(seconds=60)
        site.look()
        return site.present("ns1", "nf-tls")

    def test_that_gives_way(self, site: Site, issuer: Issuer, renewing: Certificate) -> None:
        site.clock.forward(seconds=1)
        put = self.put_another(site, issuer)
        site.run()

        row = site.errand(renewing)
        assert (row.kind, row.phase, row.error_code) == ("RENEW", "ABANDONED", "SUPERSEDED")
        assert site.present("ns1", "nf-tls") == put
        assert site.readiness(renewing) == "READY"

    def test_that_goes_on_with_a_pair_whose_own_time_has_come(
        self, site: Site, issuer: Issuer, renewing: Certificate
    ) -> None:
        site.clock.forward(seconds=1)
        site.provide(issuer, "nf-tls", days=100)
        site.clock.forward(days=80)

        site.look()

        assert renewing.enrollments.open().get().kind == "RENEW"

    @pytest.mark.parametrize("phase", ["EXCHANGE", "ISSUED"])
    def test_it_is_not_overwritten_however_far_that_has_come(
        self, site: Site, issuer: Issuer, renewing: Certificate, phase: str
    ) -> None:
        """What the CA may have issued is noted, and who is at it writes nothing."""
        row = renewing.enrollments.open().get()
        busy = {"phase": phase, "state": "WAITING" if phase == "EXCHANGE" else ""}
        renewing.enrollments.filter(pk=row.pk).update(
            **busy, sent_at=site.clock(), transaction_id="ab", signer_fingerprint="c" * 64
        )
        row.refresh_from_db()

        self.put_another(site, issuer)

        assert not renewing.enrollments.open().exists()
        assert MaybeIssued.objects.get().transaction_id == "ab"
        with pytest.raises(LeaseLost):
            row.extend(site.clock())

    def test_what_is_being_written_is_written(
        self, site: Site, issuer: Issuer, renewing: Certificate
    ) -> None:
        renewing.enrollments.open().update(phase="DELIVERING")

        self.put_another(site, issuer)

        assert renewing.enrollments.open().exists()


class TestIdentity:
    @pytest.fixture
    def issuer(self, site: Site) -> Issuer:
        """An issuer that knows us by a certificate only; it is the OCCM certificate."""
        mac = ("namespace", "secret", "password_key", "reference_key")
        pki = Pki.generate("Manual CA", now=NOW - timedelta(days=1))
        recipient = format_name(pki.signer.certificate.subject)
        empty = {f"mac_{field}": "" for field in mac}
        return site.add_ca(
            DemoCA(pki=pki, vendor_roots=(pki.root,)),
            initial_auth_type="",
            recipient_dn=recipient,
            **empty,
        )

    def test_a_manual_one_is_not_asked_for_and_signs_the_first_request(
        self, site: Site, issuer: Issuer
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        identity = an_identity(issuer=issuer, creation_mode="MANUAL")
        site.look()
        site.run()
        assert site.readiness(certificate) == "NOT_READY"
        assert "NOT_READY" in site.errand(certificate).waiting_for

        site.provide(issuer, issuer.other_signature_secret, key="key.pem", cert="cert.pem")
        site.clock.forward(seconds=10)
        site.look()
        site.run()

        assert site.readiness(identity) == site.readiness(certificate) == "READY"
        assert site.cas[issuer.pk].count("ir") == 1
