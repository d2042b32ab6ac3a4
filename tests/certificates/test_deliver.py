"""Writing into secrets against others who write there too, and against stores that fail."""

from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from certificates.domain import lifecycle
from certificates.models import Certificate, Enrollment
from cmp.testing import DemoCA, Pki
from cmp.testing.pki import Design
from issuers.models import Issuer
from secretstore import Conflict, Forbidden, MemorySecretStore, Throttled
from tests.factories import NOW, a_certificate, an_identity
from tests.fakes.site import REFERENCE, SECRET, Site

pytestmark = pytest.mark.django_db

Phase = Enrollment.Phase
RETRY = timedelta(seconds=30)
CHAIN: dict[str, Any] = {
    "chain_output_namespace": "ns1",
    "chain_output_secret": "nrf-tls",
    "chain_output_key": "chain.pem",
}


class Shared(MemorySecretStore):
    """A store where somebody else writes the same secret, just before we do."""

    rivals = 0
    refused: str = ""
    writes: list[tuple[str, str, bool]]
    types: list[str]

    def write(self, namespace: str, secret: str, changes: Any, **options: Any) -> str:
        if not options.get("dry_run"):
            self.types.append(options["secret_type"])
        self.writes.append((namespace, secret, options.get("dry_run", False)))
        if secret == self.refused and not options.get("dry_run"):
            raise Forbidden(f"secret {namespace}/{secret}: not allowed")
        if self.rivals:
            self.rivals -= 1
            current = self.secrets.get((namespace, secret))
            version = current.version if current else None
            super().write(namespace, secret, {"theirs": b"%d" % self.rivals}, version=version)
        return super().write(namespace, secret, changes, **options)


@pytest.fixture
def shared(site: Site, issuer: Issuer) -> Shared:
    store = Shared(site.secrets.secrets)
    store.writes, store.types = [], []
    site.secrets = store
    return store


def test_other_keys_in_the_secret_stay_as_they_are(site: Site, issuer: Issuer) -> None:
    site.put("ns1", "nrf-tls", {"config.yaml": b"theirs", "tls.crt": b"an earlier one"})
    certificate = a_certificate(issuer=issuer, secret="nrf-tls")

    site.run()

    assert site.secrets.read("ns1", "nrf-tls").data["config.yaml"] == b"theirs"
    assert site.leaf(certificate)


def test_another_writer_loses_nothing_and_neither_do_we(
    site: Site, issuer: Issuer, shared: Shared
) -> None:
    shared.rivals = 3
    certificate = a_certificate(issuer=issuer, secret="nrf-tls")

    site.run()

    assert site.readiness(certificate) == "READY"
    assert site.secrets.read("ns1", "nrf-tls").data["theirs"] == b"0"


def test_endless_conflicts_are_a_failure_that_is_tried_again(
    site: Site, issuer: Issuer, shared: Shared
) -> None:
    shared.rivals = 7
    certificate = a_certificate(issuer=issuer)
    site.run()
    assert site.errand(certificate).error_code == Conflict.code

    site.clock.forward(seconds=30)
    site.run()

    assert site.readiness(certificate) == "READY"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "kubernetes.io/tls"),
        (CHAIN, "kubernetes.io/tls"),
        ({"certificate_output_key": "nrf.pem"}, "Opaque"),
        ({"certificate_output_secret": "another"}, "Opaque"),
        ({"key_encoding": "DER"}, "Opaque"),
    ],
)
def test_a_secret_is_created_of_type_tls_if_it_is_what_readers_of_that_type_expect(
    site: Site, issuer: Issuer, shared: Shared, fields: dict[str, Any], expected: str
) -> None:
    a_certificate(issuer=issuer, secret="nrf-tls", **fields)

    site.run()

    assert set(shared.types) == {expected}


def test_everything_for_one_secret_is_one_write(site: Site, issuer: Issuer, shared: Shared) -> None:
    a_certificate(issuer=issuer, secret="nrf-tls", **CHAIN)

    site.run()

    real = [(namespace, secret) for namespace, secret, dry in shared.writes if not dry]
    assert real == [("ns1", "nrf-tls")]


def test_the_chain_is_ordered_and_without_the_root(site: Site, issuer: Issuer) -> None:
    certificate = a_certificate(issuer=issuer, secret="nrf-tls", **CHAIN)

    site.run()

    pki = site.cas[issuer.pk].pki
    assert site.value(certificate, "chain").count(b"BEGIN CERTIFICATE") == len(pki.chain)


def test_without_a_chain_from_the_ca_the_operator_is_told(site: Site) -> None:
    """Nothing to extract: the root issues itself."""
    pki = Pki.generate("Flat CA", now=NOW - timedelta(days=1), design=Design(intermediates=0))
    issuer = site.add_ca(DemoCA(pki=pki, secrets={REFERENCE: SECRET}))
    an_identity(issuer=issuer)
    certificate = a_certificate(issuer=issuer, secret="nrf-tls", **CHAIN)

    site.run()

    certificate.refresh_from_db()
    assert "no certificate chain" in certificate.attention
    assert site.readiness(certificate) == "READY"


def test_an_identitys_intermediates_fill_the_extra_certs_keys(site: Site) -> None:
    issuer = site.add_ca(other_signature_extra_certs=["sub.pem"])
    an_identity(issuer=issuer)
    certificate = a_certificate(issuer=issuer)

    site.run()

    data = site.secrets.read("ns1", issuer.other_signature_secret).data
    assert data["sub.pem"].count(b"BEGIN CERTIFICATE") == 1
    signed = site.cas[issuer.pk].heard[-1]
    assert len(signed.extra_certs) == 2  # the signer, and what it was issued by
    assert site.readiness(certificate) == "READY"


def test_the_chain_can_be_the_operators(site: Site, issuer: Issuer, settings: Settings) -> None:
    settings.OCCM_EXTRACT_CERT_CHAIN_FROM_CMP_RESPONSE = False
    site.put("ns1", "nrf-tls", {"chain.pem": b"theirs"})
    certificate = a_certificate(issuer=issuer, secret="nrf-tls", **CHAIN)

    site.run()

    assert site.value(certificate, "chain") == b"theirs"


def test_a_throttled_store_is_left_alone_as_long_as_it_asks(site: Site, issuer: Issuer) -> None:
    certificate = a_certificate(issuer=issuer)
    site.secrets.outage = Throttled("too many requests", timedelta(seconds=90))

    site.run()

    assert site.errand(certificate).due_at == NOW + timedelta(seconds=90)


class TestSeveralSecrets:
    LAYOUT: dict[str, Any] = {
        "private_key_output_secret": "keys",
        "certificate_output_secret": "certs",
    }

    @pytest.fixture
    def certificate(self, site: Site, issuer: Issuer, shared: Shared) -> Certificate:
        return a_certificate(issuer=issuer, **self.LAYOUT)

    def test_all_are_tried_dry_before_the_first_is_written(
        self, site: Site, certificate: Certificate, shared: Shared
    ) -> None:
        shared.writes.clear()

        site.run()

        delivering = shared.writes[-4:]
        assert delivering == [
            ("ns1", "certs", True),
            ("ns1", "keys", True),
            ("ns1", "certs", False),
            ("ns1", "keys", False),
        ]
        assert site.leaf(certificate)

    def test_while_only_some_are_written_it_is_not_ready_and_goes_only_forward(
        self, site: Site, certificate: Certificate, shared: Shared, issuer: Issuer
    ) -> None:
        site.run()
        assert site.readiness(certificate) == "READY"
        first = site.leaf(certificate)
        lifecycle.recreate(certificate, now=site.clock())
        shared.refused = "keys"
        site.run()
        row = site.errand(certificate)
        assert (row.phase, row.error_code) == (Phase.DELIVERING, "SECRET_FORBIDDEN")
        assert site.readiness(certificate) == "NOT_READY"

        shared.refused = ""
        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert site.leaf(certificate) != first
        assert site.cas[issuer.pk].count("ir") == 3


@pytest.mark.parametrize("issued", [False, True])
def test_nothing_is_written_where_its_certificate_no_longer_is(
    site: Site, issuer: Issuer, shared: Shared, issued: bool
) -> None:
    """An edit has the open errand begin anew. One that is left over must not be obeyed."""
    moved = a_certificate(issuer=issuer, secret="a")
    if issued:
        shared.refused = "a"
    else:
        site.cut.add(issuer.pk)
    site.run()
    Certificate.objects.filter(pk=moved.pk).update(
        private_key_output_secret="b", certificate_output_secret="b"
    )
    moved.outputs.update(secret="b")
    other = a_certificate(issuer=issuer, secret="a")
    shared.refused = ""
    site.cut.clear()
    site.clock.forward(seconds=30)

    site.run()

    assert site.readiness(other) == "READY"
    assert site.leaf(other).subject.rfc4514_string() == f"CN={other.common_name}"
    row = site.errand(moved)
    assert (row.error_code, bool(row.issued_fingerprint)) == ("CONFIGURATION", issued)
    assert "no output of" in row.error


def test_what_the_ca_dated_back_does_not_bring_the_next_renewal_at_once(
    site: Site, issuer: Issuer, shared: Shared
) -> None:
    site.cas[issuer.pk].validity = timedelta(days=60)
    certificate = a_certificate(issuer=issuer, secret="a")
    shared.refused = "a"
    site.run()
    site.clock.forward(days=31)
    certificate.enrollments.update(issued_at=site.clock())
    shared.refused = ""

    site.run()

    certificate.refresh_from_db()
    left = timedelta(days=29)
    assert certificate.renew_at == site.clock() + left * 2 / 3
    assert "two thirds" in certificate.renewal_warning
