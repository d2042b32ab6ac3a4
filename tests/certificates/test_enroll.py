"""Whole stories: from a registered certificate to its secret, with a CA that speaks CMP."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from certificates.domain import dispatch, enroll, keys, lifecycle
from certificates.models import Certificate, Enrollment, MaybeIssued
from cmp import State, format_name
from cmp.testing import DemoCA, Pki, When
from issuers.domain import editing
from issuers.models import Issuer
from tests.factories import NOW, a_certificate, an_identity
from tests.fakes.faults import refusing
from tests.fakes.site import REFERENCE, SECRET, Line, Site

pytestmark = pytest.mark.django_db
Kind, Phase = Enrollment.Kind, Enrollment.Phase
UUID = "urn:uuid:4947a69a-f61b-4bc1-b9da-47c9c5d14b64"
PEM = Encoding.PEM
MAC_INPUT = ("mac_namespace", "mac_secret", "mac_password_key", "mac_reference_key")


class TestAllIsWell:
    def test_mac_then_identity_then_certificate(self, site: Site) -> None:
        issuer = site.add_ca()
        identity_row = an_identity(issuer=issuer)
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert site.readiness(identity_row) == site.readiness(certificate) == "READY"
        assert site.leaf(certificate).issuer == site.cas[issuer.pk].pki.issuing.certificate.subject
        assert site.cas[issuer.pk].counts == {"ir": 2, "certConf": 2}

    def test_an_rsa_key_is_made_first_and_kept_for_the_request(
        self, site: Site, issuer: Issuer
    ) -> None:
        certificate = a_certificate(issuer=issuer, key_algorithm="RSA", key_size="KEYSIZE_2048")
        [call] = dispatch.tick(now=site.clock())

        site.work(call)

        waiting = site.errand(certificate)
        assert (waiting.phase, waiting.state) == (Phase.EXCHANGE, "")
        assert (waiting.leased_until, waiting.tries) == (None, 0)
        site.run()
        kept = keys.from_der(waiting.private_key.reveal())
        assert site.leaf(certificate).public_key() == kept.public_key()

    def test_the_certificate_says_what_was_asked_for(self, site: Site, issuer: Issuer) -> None:
        certificate = a_certificate(
            issuer=issuer,
            country="DE",
            state="Berlin",
            location="Berlin",
            organization="Operator",
            organization_unit="Core",
            common_name="amf1",
            ip_addresses=["192.0.2.1", "2001:db8::1"],
            dns_names=["amf1.example.org"],
            uri_api_roots=["https://amf1.example.org/"],
            uri_urns=[UUID],
            extended_key_usage=["SERVER_AUTH"],
            elliptic_curve="SECP384r1",
            requested_validity_days=90,
        )

        site.run()

        leaf = site.leaf(certificate)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert leaf.subject.rfc4514_string() == "CN=amf1,OU=Core,O=Operator,L=Berlin,ST=Berlin,C=DE"
        assert names.get_values_for_type(x509.DNSName) == ["amf1.example.org"]
        assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == [
            "192.0.2.1",
            "2001:db8::1",
        ]
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
            "https://amf1.example.org/",
            UUID,
        ]
        assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH]
        key = leaf.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp384r1"
        assert leaf.not_valid_after_utc == NOW + timedelta(days=90)

    @pytest.mark.parametrize(("size", "bits"), [("KEYSIZE_2048", 2048), ("KEYSIZE_4096", 4096)])
    def test_rsa_keys(self, site: Site, issuer: Issuer, size: str, bits: int) -> None:
        certificate = a_certificate(issuer=issuer, key_algorithm="RSA", key_size=size)

        site.run()

        key = site.leaf(certificate).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == bits

    def test_the_row_shows_what_was_delivered(self, site: Site, issuer: Issuer) -> None:
        certificate = a_certificate(issuer=issuer)

        site.run()

        certificate.refresh_from_db()
        leaf = site.leaf(certificate)
        assert certificate.serial_number == f"{leaf.serial_number:x}"
        assert certificate.not_after == leaf.not_valid_after_utc
        assert certificate.delivered_at == NOW
        assert certificate.attention == ""
        assert certificate.renew_at is not None
        assert timedelta(0) <= leaf.not_valid_after_utc - timedelta(days=30) - certificate.renew_at
        assert site.secrets.labels["ns1", certificate.certificate_output_secret] == {
            "occm/certificate": certificate.name
        }

    def test_a_closed_enrollment_keeps_no_key(self, site: Site, issuer: Issuer) -> None:
        certificate = a_certificate(issuer=issuer)

        site.run()

        row = site.errand(certificate)
        assert (row.phase, row.closed_at, row.due_at) == (Phase.DELIVERED, NOW, None)
        assert (bool(row.private_key), row.exchange, row.leased_until) == (False, {}, None)
        assert row.issued_fingerprint == Certificate.objects.get(pk=certificate.pk).fingerprint

    def test_issuer_dn_goes_into_the_template(self, site: Site) -> None:
        pki = Pki.generate("Test CA", now=NOW - timedelta(days=1))
        name = pki.issuing.certificate.subject
        ca = DemoCA(pki=pki, secrets={REFERENCE: SECRET})
        issuer = site.add_ca(ca, issuer_dn=format_name(name))
        an_identity(issuer=issuer)

        site.run()

        [asked, _] = site.cas[issuer.pk].heard
        template = asked.body.requests[0].cert_req.template  # type: ignore[union-attr]
        assert template.issuer == name

    def test_what_the_ca_changed_is_shown(self, site: Site, issuer: Issuer) -> None:
        site.cas[issuer.pk].grant_with_mods = True
        certificate = a_certificate(issuer=issuer)

        site.run()

        certificate.refresh_from_db()
        assert certificate.modifications
        assert site.readiness(certificate) == "READY"

    def test_a_life_shorter_than_its_renewal_window_is_warned_of(
        self, site: Site, issuer: Issuer
    ) -> None:
        site.cas[issuer.pk].validity = timedelta(days=9)
        certificate = a_certificate(issuer=issuer)

        site.run()

        certificate.refresh_from_db()
        assert "two thirds" in certificate.renewal_warning
        leaf = site.leaf(certificate)
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        assert certificate.renew_at == leaf.not_valid_before_utc + life * 2 / 3


class TestInitialTrust:
    def test_by_a_certificate_that_the_ca_knows(self, site: Site) -> None:
        """AUTOMATIC: it signs the first ir; all that follows is signed by what that brings."""
        pki = Pki.generate("Test CA", now=NOW - timedelta(days=1))
        issuer = site.add_ca(
            DemoCA(pki=pki, vendor_roots=(pki.root,)),
            initial_auth_type="SIGNATURE",
            initial_signature_namespace="ns1",
            initial_signature_secret="vendor",
            initial_signature_key="key.pem",
            initial_signature_cert="cert.pem",
            **dict.fromkeys(MAC_INPUT, ""),
        )
        site.provide(issuer, "vendor", key="key.pem", cert="cert.pem")
        identity_row = an_identity(issuer=issuer)
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert site.readiness(identity_row) == site.readiness(certificate) == "READY"
        signers = [one.extra_certs[0].subject.rfc4514_string() for one in site.cas[issuer.pk].heard]
        assert signers == 2 * ["CN=provided"] + 2 * [f"CN={identity_row.common_name}"]


class TestCaBundle:
    def test_completes_a_path_that_the_response_leaves_open(self, site: Site) -> None:
        """Neither trust store nor response has the intermediate, the operator's bundle has."""
        pki = Pki.generate("Test CA", now=NOW - timedelta(days=1))
        ca = DemoCA(pki=pki, secrets={REFERENCE: SECRET})
        issuer = site.add_ca(ca, trust_store_server_cert="server.pem")
        signer, between = pki.signer.certificate, pki.chain[0]
        site.put("ns1", issuer.trust_store_secret, {"server.pem": signer.public_bytes(PEM)})
        site.put("ns1", "bundle", {"ca.pem": between.public_bytes(PEM)})
        an_identity(issuer=issuer)
        site.run()
        ca.omit_extra_certs = True
        output = {"namespace": "ns1", "secret": "nf-tls", "key": "chain.pem"}
        bundle = {"namespace": "ns1", "secret": "bundle", "key": "ca.pem"}
        fields: dict[str, Any] = {f"chain_output_{name}": value for name, value in output.items()}
        without = a_certificate(issuer=issuer)
        certificate = a_certificate(
            issuer=issuer,
            secret="nf-tls",
            **fields | {f"ca_bundle_{name}": value for name, value in bundle.items()},
        )

        site.run()

        assert site.errand(without).error_code == "CMP_UNACCEPTABLE"
        assert site.readiness(certificate) == "READY"
        assert site.value(certificate, "chain") == between.public_bytes(PEM)


class TestWaitingForTheIdentity:
    def test_it_starts_by_itself_when_the_identity_is_there(self, site: Site) -> None:
        issuer = site.add_ca()
        certificate = a_certificate(issuer=issuer)
        site.run()
        assert "there is none" in site.errand(certificate).waiting_for
        site.clock.forward(seconds=1)

        an_identity(issuer=issuer, now=site.clock())
        site.run()

        assert site.readiness(certificate) == "READY"
        assert site.errand(certificate).waiting_for == ""
        assert site.errand(certificate).tries == 0

    def test_a_worker_looks_once_more(self, site: Site, issuer: Issuer) -> None:
        """Between call and claim the identity may have gone."""
        certificate = a_certificate(issuer=issuer)
        row = site.errand(certificate)
        Certificate.objects.filter(cert_type="OCCM").update(in_place=False)

        mine = enroll.claim(pk=row.pk, fence=0, now=site.clock())
        assert mine is not None
        enroll.advance(mine, site.world)

        row.refresh_from_db()
        assert "NOT_READY" in row.waiting_for
        assert (row.tries, row.leased_until) == (0, None)

    def test_nothing_is_asked_anew_while_the_identity_is_being_replaced(
        self, site: Site, issuer: Issuer, identity: Certificate
    ) -> None:
        """Whatever became of the transaction before: between grant and delivery none begins."""
        certificate = a_certificate(issuer=issuer)
        certificate.enrollments.update(
            phase=Phase.EXCHANGE, state=State.REQUESTED, sent_at=NOW, transaction_id="ab"
        )
        lifecycle.recreate(identity, now=site.clock())
        identity.enrollments.open().update(issued_fingerprint="cd", due_at=None)
        asked = site.cas[issuer.pk].count("ir")

        site.run()

        row = site.errand(certificate)
        assert (row.phase, row.state) == (Phase.NEW, "")
        assert "it is being replaced" in row.waiting_for
        assert site.cas[issuer.pk].count("ir") == asked
        assert MaybeIssued.objects.get().transaction_id == "ab"


class TestTheSigner:
    def test_a_swapped_pair_restarts_the_transactions_begun_with_it(self, site: Site) -> None:
        pki = Pki.generate("Test CA", now=NOW - timedelta(days=1))
        ca = DemoCA(pki=pki, vendor_roots=(pki.root,))
        issuer = site.add_ca(ca)
        secret = issuer.other_signature_secret
        identity_row = an_identity(issuer=issuer, creation_mode="MANUAL")
        site.provide(issuer, secret, key="key.pem", cert="cert.pem")
        site.look()
        assert site.readiness(identity_row) == "READY"
        ca.polls, ca.check_after = 2, timedelta(seconds=10)
        certificate = a_certificate(issuer=issuer)
        site.run()
        first = site.errand(certificate).transaction_id
        assert first
        ca.polls = 0

        site.provide(issuer, secret, key="key.pem", cert="cert.pem")
        site.clock.forward(seconds=10)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert [noted.transaction_id for noted in MaybeIssued.objects.all()] == [first]

    def test_a_renewed_identity_leaves_open_transactions_their_key(
        self, site: Site, issuer: Issuer, identity: Certificate
    ) -> None:
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(seconds=10)
        certificate = a_certificate(issuer=issuer)
        site.run()
        ca.polls = 0
        lifecycle.recreate(identity, now=site.clock())
        site.run()
        [replaced] = identity.enrollments.filter(kind=Kind.CREATE)
        assert replaced.private_key

        site.clock.forward(seconds=10)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert not MaybeIssued.objects.exists()
        lifecycle.recreate(identity, now=site.clock())
        site.run()
        replaced.refresh_from_db()
        assert not replaced.private_key  # nobody needs it any more

    def test_so_does_one_that_somebody_else_provided(
        self, site: Site, issuer: Issuer, identity: Certificate
    ) -> None:
        Certificate.objects.filter(pk=identity.pk).update(creation_mode="MANUAL")
        identity.enrollments.all().delete()
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(seconds=10)
        certificate = a_certificate(issuer=issuer)
        site.run()
        first = site.errand(certificate).transaction_id
        ca.polls = 0
        site.clock.forward(seconds=1)
        lifecycle.renew(identity, now=site.clock())
        site.run()
        renewed, provided = identity.enrollments.all()
        assert (renewed.kind, renewed.phase) == (Kind.RENEW, Phase.DELIVERED)
        assert provided.private_key

        site.clock.forward(seconds=10)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert site.errand(certificate).transaction_id == first
        assert not MaybeIssued.objects.exists()
        lifecycle.renew(identity, now=site.clock())
        site.run()
        provided.refresh_from_db()
        assert not provided.private_key  # nobody needs it any more
        assert identity.enrollments.count() == 3  # what OCCM delivered it keeps already


class TestTheEndpoint:
    def test_a_new_scheme_is_used_by_the_next_transaction(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        urls = []
        connect = Site.connect

        def watched(self: Site, issuer: Issuer, **options: Any) -> Line:
            urls.append(options["url"])
            return connect(self, issuer, **options)

        monkeypatch.setattr(Site, "connect", watched)
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(seconds=10)
        a_certificate(issuer=issuer)
        site.run()
        secure = issuer.server_url.replace("http:", "https:")
        editing.update(
            issuer=issuer,
            now=site.clock(),
            server_url=secure,
            tls_enabled=True,
            tls_namespace="ns1",
            tls_secret="tls",
            tls_trusted_certs=["ca.pem"],
        )

        site.clock.forward(seconds=10)
        site.run()
        a_certificate(issuer=issuer, now=site.clock())
        site.run()

        assert urls == [issuer.server_url, issuer.server_url, secure]

    @pytest.mark.parametrize("scheme", ["https", "HTTPS"])
    @pytest.mark.parametrize("stands", ["the CA thinks", "granted"])
    def test_what_was_begun_by_https_goes_on_without_it_once_it_is_disabled(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, stands: str, scheme: str
    ) -> None:
        store: dict[str, Any] = {"tls_namespace": "ns1", "tls_secret": "tls"}
        store["tls_trusted_certs"] = ["ca.pem"]
        issuer = site.add_ca(server_url=f"{scheme}://ca.example/pkix/", tls_enabled=True, **store)
        ca = site.cas[issuer.pk]
        if stands == "granted":
            ca.drop_connection = When(frozenset({"certConf"}), times=1)
        else:
            ca.polls, ca.check_after = 2, timedelta(seconds=30)
        identity = an_identity(issuer=issuer)
        site.run()
        urls = []
        connect = Site.connect

        def watched(self: Site, issuer: Issuer, **options: Any) -> Line:
            urls.append(options["url"])
            return connect(self, issuer, **options)

        monkeypatch.setattr(Site, "connect", watched)
        plain = "http://ca.example/pkix/"
        off: dict[str, Any] = {"tls_namespace": "", "tls_secret": "", "tls_trusted_certs": []}
        editing.update(issuer=issuer, now=site.clock(), server_url=plain, tls_enabled=False, **off)

        site.clock.forward(seconds=30)
        site.run()
        site.clock.forward(seconds=30)
        site.run()

        assert site.readiness(identity) == "READY"
        assert set(urls) == {plain}
        assert ca.count("ir") == 1
        assert not MaybeIssued.objects.exists()


class TestTheLog:
    """A line for each change an operator cares for."""

    def lines(self, caplog: pytest.LogCaptureFixture, certificate: Certificate) -> list[str]:
        mine = f"{certificate}: CREATE at {certificate.issuer}: "
        messages = [record.getMessage() for record in caplog.records]
        return [text.removeprefix(mine) for text in messages if text.startswith(mine)]

    @pytest.mark.django_db(transaction=True)  # told is what was committed
    def test_of_success(self, site: Site, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert self.lines(caplog, certificate) == [
            "opened: registered",
            "EXCHANGE, was NEW",
            f"asked in transaction {site.errand(certificate).transaction_id}",
            "ISSUED, was EXCHANGE",
            "DELIVERING, was ISSUED",
            "DELIVERED, was DELIVERING, valid until 2027-01-01 12:00:00+00:00",
        ]

    def test_of_failure(self, site: Site, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        refusing(site, issuer)
        certificate = a_certificate(issuer=issuer)

        site.run()

        _, failed = self.lines(caplog, certificate)
        assert failed.startswith("try 1 failed, next at 2026-01-01 12:00:30+00:00: CMP_REJECTED: ")
        assert "not today" in failed

    def test_of_waiting(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        issuer = site.add_ca()
        row = site.errand(a_certificate(issuer=issuer))
        mine = enroll.claim(pk=row.pk, fence=0, now=NOW)
        assert mine is not None

        enroll.advance(mine, site.world)

        assert self.lines(caplog, row.certificate) == [f"waits for {mine.waiting_for}"]
