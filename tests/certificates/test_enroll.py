"""Whole stories: from a registered certificate to its secret, with a CA that speaks CMP."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from pytest_django import Settings

from certificates.domain import enroll, exchange, failures, identity, lifecycle
from certificates.fields import Sealed
from certificates.models import Certificate, Enrollment, MaybeIssued
from cmp import State, format_name
from cmp.testing import DemoCA, Pki
from cmp.testing.behaviour import Refusal, When
from issuers.domain import editing
from issuers.models import Issuer, IssuerHealth
from secretstore import Forbidden, Unavailable
from tests.factories import NOW, a_certificate, an_identity
from tests.fakes.site import REFERENCE, SECRET, Line, Site

pytestmark = pytest.mark.django_db

Kind, Phase = Enrollment.Kind, Enrollment.Phase
RETRY = timedelta(seconds=30)
PEM = Encoding.PEM
MAC_INPUT = ("mac_namespace", "mac_secret", "mac_password_key", "mac_reference_key")
UUID = "urn:uuid:4947a69a-f61b-4bc1-b9da-47c9c5d14b64"


class TestAllIsWell:
    def test_mac_then_identity_then_certificate(self, site: Site) -> None:
        issuer = site.add_ca()
        identity_row = an_identity(issuer=issuer)
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert site.readiness(identity_row) == site.readiness(certificate) == "READY"
        assert site.leaf(certificate).issuer == site.cas[issuer.pk].pki.issuing.certificate.subject
        assert site.cas[issuer.pk].counts == {"ir": 2, "certConf": 2}

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
        assert "two thirds" in certificate.attention
        leaf = site.leaf(certificate)
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        assert certificate.renew_at == leaf.not_valid_before_utc + life * 2 / 3


class TestInitialTrust:
    def test_by_a_certificate_that_the_ca_knows(self, site: Site) -> None:
        """A5, AUTOMATIC: it signs the first ir; all that follows is signed by what that brings."""
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
        """D10: neither trust store nor response has the intermediate, the operator's bundle has."""
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


def refusing(site: Site, issuer: Issuer) -> None:
    site.cas[issuer.pk].refuse = Refusal(frozenset({"badRequest"}), ("not today",))


def refusing_by_error(site: Site, issuer: Issuer) -> None:
    refusing(site, issuer)
    site.cas[issuer.pk].error_body = True


def set_knob(name: str, value: Any = True) -> Callable[[Site, Issuer], None]:
    return lambda site, issuer: setattr(site.cas[issuer.pk], name, value)


def cut(site: Site, issuer: Issuer) -> None:
    site.cut.add(issuer.pk)


def recover(site: Site, issuer: Issuer) -> None:
    site.cut.clear()
    ca = site.cas[issuer.pk]
    site.cas[issuer.pk] = type(ca)(pki=ca.pki, secrets=ca.secrets, register=ca.register)


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


class Refusing:
    """A secret store in front of another, that forbids one secret."""

    def __init__(self, store: Any, forbidden: str) -> None:
        self.store, self.forbidden = store, forbidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def read(self, namespace: str, secret: str, **options: Any) -> Any:
        self._check(secret)
        return self.store.read(namespace, secret, **options)

    def write(self, namespace: str, secret: str, changes: Any, **options: Any) -> str:
        self._check(secret)
        return str(self.store.write(namespace, secret, changes, **options))

    def _check(self, secret: str) -> None:
        if secret == self.forbidden:
            raise Forbidden(f"secret ns1/{secret}: not allowed")


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

    def test_the_total_timeout_is_not_slept_past(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(days=3)
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert site.errand(certificate).due_at == NOW + timedelta(seconds=issuer.total_timeout_s)


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


class TestConfirmation:
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

    def test_implicit_confirmation_needs_no_certconf(self, site: Site, issuer: Issuer) -> None:
        ca = site.cas[issuer.pk]
        ca.require_confirm = False
        certificate = a_certificate(issuer=issuer)

        site.run()

        assert site.readiness(certificate) == "READY"


class TestSecretWrites:
    def test_only_the_write_is_repeated(self, site: Site, issuer: Issuer) -> None:
        certificate = a_certificate(issuer=issuer)
        ca = site.cas[issuer.pk]
        ca.polls, ca.check_after = 2, timedelta(seconds=5)
        site.run()
        site.clock.forward(seconds=5)
        asked = site.clock()
        store, site.secrets = site.secrets, NotWriting(site.secrets)
        for number in range(1, 4):
            site.run()
            row = site.errand(certificate)
            assert (row.phase, row.error_code) == (Phase.DELIVERING, "SECRET_STORE_UNAVAILABLE")
            assert (row.tries, row.first_failed_at) == (number, asked)
            assert row.due_at == site.clock() + RETRY
            site.clock.forward(seconds=30)
        key = site.errand(certificate).private_key.reveal()
        site.secrets = store
        site.run()

        assert site.readiness(certificate) == "READY"
        assert ca.count("ir") == 2
        assert site.leaf(certificate).serial_number == ca.issued[-1].serial
        assert key

    def test_nothing_is_lost_with_every_process_and_the_broker(
        self, site: Site, issuer: Issuer
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        store, site.secrets = site.secrets, NotWriting(site.secrets)
        site.run()
        fresh = Site(site.clock, store, site.cas)  # all that survives is the row

        fresh.clock.forward(seconds=30)
        fresh.run()

        assert fresh.readiness(certificate) == "READY"
        assert fresh.cas[issuer.pk].count("ir") == 2


class NotWriting(Refusing):
    """A secret store that can be read and not be written."""

    def __init__(self, store: Any) -> None:
        super().__init__(store, "")

    def write(self, namespace: str, secret: str, changes: Any, **options: Any) -> str:
        if options.get("dry_run"):
            return str(self.store.write(namespace, secret, changes, **options))
        raise Unavailable("the API server is down")


class TestOneWorkerAtATime:
    def test_nobody_finds_an_enrollment_due_while_a_worker_has_it(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def post(line: Line, der: bytes) -> bytes:
            seen.append(Enrollment.objects.due(now=site.clock() + timedelta(seconds=59)).count())
            return line.ca.answer(der, now=site.clock())

        monkeypatch.setattr(Line, "post", post)
        a_certificate(issuer=issuer)

        site.run()

        assert seen == [0, 0]

    def test_a_second_call_finds_the_fence_taken(self, site: Site, issuer: Issuer) -> None:
        row = site.errand(a_certificate(issuer=issuer))

        assert enroll.claim(pk=row.pk, fence=0, now=NOW) is not None
        assert enroll.claim(pk=row.pk, fence=0, now=NOW + timedelta(days=1)) is None

    def test_a_worker_that_lost_its_lease_writes_nothing(self, site: Site, issuer: Issuer) -> None:
        certificate = a_certificate(issuer=issuer)
        row = site.errand(certificate)
        slow = enroll.claim(pk=row.pk, fence=0, now=NOW)
        assert slow is not None
        site.clock.forward(seconds=91)
        site.run()
        delivered = site.leaf(certificate)
        asked = site.cas[issuer.pk].count("ir")

        enroll.advance(slow, site.world)

        assert site.leaf(certificate) == delivered
        assert site.cas[issuer.pk].count("ir") == asked

    def test_a_stop_takes_effect_before_the_next_message(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = a_certificate(issuer=issuer)

        def post(line: Line, der: bytes) -> bytes:
            lifecycle.stop(certificate, now=site.clock())
            return line.ca.answer(der, now=site.clock())

        monkeypatch.setattr(Line, "post", post)
        site.run()
        row = site.errand(certificate)
        assert (row.state, row.due_at, row.leased_until) == (State.GRANTED, None, None)
        assert not site.is_written(certificate)
        monkeypatch.undo()

        lifecycle.retry(certificate, now=site.clock())
        site.run()

        assert site.readiness(certificate) == "READY"
        assert site.cas[issuer.pk].count("ir") == 2

    def test_a_delete_in_flight_stops_it_and_then_finishes(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        left = []

        def post(line: Line, der: bytes) -> bytes:
            left.append(lifecycle.delete(certificate, now=site.clock()).finished)
            return line.ca.answer(der, now=site.clock())

        monkeypatch.setattr(Line, "post", post)
        site.run()

        assert left == [False]
        assert not site.is_written(certificate)
        assert lifecycle.finish_deletions(now=site.clock()) == 1
        assert MaybeIssued.objects.get().certificate_name == certificate.name


@pytest.mark.django_db(transaction=True)
class TestDatabaseAway:
    def test_an_answer_in_hand_is_written_when_it_is_back(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = a_certificate(issuer=issuer)
        keep, outages = Enrollment.keep, iter([True] * 5)

        def flaky(row: Enrollment, **changes: Any) -> None:
            if "exchange" in changes and next(outages, False):
                raise OperationalError("the database system is shutting down")
            keep(row, **changes)

        monkeypatch.setattr(Enrollment, "keep", flaky)
        site.run()

        assert site.readiness(certificate) == "READY"
        assert site.clock() == NOW + timedelta(seconds=5)
        assert site.cas[issuer.pk].count("ir") == 2

    def test_it_is_given_up_when_the_lease_ends(
        self, site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = site.errand(a_certificate(issuer=issuer))
        keep = Enrollment.keep

        def down(row: Enrollment, **changes: Any) -> None:
            if "exchange" in changes:
                raise OperationalError("the database system is shutting down")
            keep(row, **changes)

        monkeypatch.setattr(Enrollment, "keep", down)
        mine = enroll.claim(pk=row.pk, fence=0, now=NOW)
        assert mine is not None
        with pytest.raises(OperationalError):
            enroll.advance(mine, site.world)

        assert site.clock() == NOW + timedelta(seconds=issuer.message_timeout_s) + RETRY


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


class TestTheLog:
    """A line for each change an operator cares for."""

    def lines(self, caplog: pytest.LogCaptureFixture, certificate: Certificate) -> list[str]:
        mine = f"{certificate}: CREATE at {certificate.issuer}: "
        messages = [record.getMessage() for record in caplog.records]
        return [text.removeprefix(mine) for text in messages if text.startswith(mine)]

    def test_of_success(self, site: Site, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        certificate = a_certificate(issuer=issuer)

        site.run()

        asked, issued, delivered = self.lines(caplog, certificate)
        assert asked == f"asked in transaction {site.errand(certificate).transaction_id}"
        assert issued == "issued"
        assert delivered == "delivered, valid until 2027-01-01 12:00:00+00:00"

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
