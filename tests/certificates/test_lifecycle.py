"""What an operator may ask for, and what it does to the rows."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.exceptions import ValidationError

from certificates.domain import lifecycle, migrating
from certificates.domain.conflicts import (
    BeingDeleted,
    CannotRecreate,
    EnrollmentInProgress,
    NothingToRenew,
    NothingToRetry,
    NothingToStop,
    StillReferred,
)
from certificates.fields import Sealed
from certificates.models import Certificate, Enrollment, LeaseLost, MaybeIssued
from issuers.domain import editing
from tests.cmp.certs import a_root, an_ec_key, renumbered
from tests.factories import (
    NOW,
    a_certificate,
    an_enrollment,
    an_identity,
    an_issuer,
    certificate_spec,
)

pytestmark = pytest.mark.django_db

Kind, Phase, Priority = Enrollment.Kind, Enrollment.Phase, Enrollment.Priority
LATER = NOW + timedelta(hours=1)


def delivered(certificate: Certificate, **fields: Any) -> Certificate:
    """Have it that its first enrollment was delivered, for a year."""
    certificate.enrollments.update(phase=Phase.DELIVERED, due_at=None, leased_until=None)
    placed = {
        "in_place": True,
        "delivered_at": NOW,
        "not_before": NOW,
        "not_after": NOW + timedelta(days=365),
        "renew_at": NOW + timedelta(days=335),
    }
    Certificate.objects.filter(pk=certificate.pk).update(**placed | fields)
    certificate.refresh_from_db()
    return certificate


def open_kinds(certificate: Certificate) -> list[tuple[str, int]]:
    return list(certificate.enrollments.open().values_list("kind", "priority"))


def test_a_registered_certificate_is_asked_for_at_once() -> None:
    row = a_certificate().enrollments.get()

    assert (row.kind, row.phase, row.due_at) == (Kind.CREATE, Phase.NEW, NOW)
    assert (row.priority, row.signer) == (Priority.CREATE, "IDENTITY")


def test_an_identity_goes_before_what_it_signs() -> None:
    row = an_identity().enrollments.get()

    assert (row.priority, row.signer) == (Priority.IDENTITY, "INITIAL")


def test_a_manual_certificate_is_looked_for_and_not_asked_for() -> None:
    certificate = a_certificate(creation_mode="MANUAL")

    assert certificate.look_due_at == NOW
    assert not certificate.enrollments.exists()


def test_the_issuer_is_taken_as_it_is_now_and_not_as_the_page_was_opened_with_it() -> None:
    issuer = an_issuer()
    editing.update(
        issuer=issuer, now=NOW, other_signature_secret="moved", other_signature_extra_certs=["sub"]
    )

    identity = an_identity(issuer=issuer)

    request = identity.enrollments.get().request
    assert identity.private_key_output_secret == request["certificate_output_secret"] == "moved"
    assert request["extra_certs"] == ["sub"]


def test_an_enrollment_freezes_what_it_asks_for() -> None:
    issuer = an_issuer(other_signature_extra_certs=["sub.pem"])
    identity = an_identity(issuer=issuer, organization="operator")

    request = identity.enrollments.get().request

    assert request["organization"] == "operator"
    assert request["private_key_output_secret"] == issuer.other_signature_secret
    assert request["extra_certs"] == ["sub.pem"]
    assert request["server_url"] == issuer.server_url


class TestUpdate:
    @pytest.mark.parametrize("field", ["name", "cert_type", "issuer", "creation_mode"])
    def test_identifying_fields_are_fixed(self, field: str) -> None:
        certificate = a_certificate()
        other = {
            "name": "other",
            "cert_type": "OCCM",
            "issuer": an_issuer(),
            "creation_mode": "MANUAL",
        }[field]

        with pytest.raises(ValidationError) as refusal:
            lifecycle.update(certificate, now=LATER, **{field: other})

        assert list(refusal.value.message_dict) == [field]

    def test_an_unchanged_form_starts_nothing(self) -> None:
        certificate = delivered(a_certificate())
        form = {name: getattr(certificate, name) for name in lifecycle.FIELDS}

        lifecycle.update(certificate, now=LATER, **form)

        assert open_kinds(certificate) == []

    def test_what_takes_effect_at_once_starts_nothing(self) -> None:
        certificate = delivered(a_certificate())

        saved = lifecycle.update(
            certificate, now=LATER, purpose="OAM", renew_before_expiration_days=100
        )

        assert open_kinds(certificate) == []
        assert saved.purpose == "OAM"
        assert saved.renew_at is not None
        assert saved.renew_at <= NOW + timedelta(days=265)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("common_name", "other"),
            ("dns_names", ["nrf.example.org"]),
            ("key_encoding", "DER"),
            ("elliptic_curve", "SECP384r1"),
            ("extended_key_usage", ["SERVER_AUTH"]),
            ("requested_validity_days", 100),
            ("certificate_output_key", "other.crt"),
        ],
    )
    def test_what_the_certificate_says_or_where_it_lies_recreates_it(
        self, field: str, value: Any
    ) -> None:
        certificate = delivered(a_certificate())

        assert lifecycle.recreating(certificate, **{field: value}) == (field,)
        lifecycle.update(certificate, now=LATER, **{field: value})

        row = certificate.enrollments.open().get()
        assert (row.kind, row.priority) == (Kind.RECREATE, Priority.OPERATOR)
        assert row.request[field] == value
        assert field in row.reason

    def test_a_change_of_everything_is_named_as_far_as_there_is_room(self) -> None:
        certificate = delivered(a_certificate())
        other = certificate_spec(
            key_algorithm="RSA",
            key_size="KEYSIZE_2048",
            elliptic_curve="",
            extended_key_usage=["SERVER_AUTH"],
            country="DE",
            state="x",
            location="x",
            organization="x",
            organization_unit="x",
            common_name="x",
            requested_validity_days=100,
            ip_addresses=["10.0.0.1"],
            dns_names=["nrf.example.org"],
            uri_api_roots=["https://nrf.example.org"],
            uri_urns=["urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
            private_key_output_key="x.key",
            certificate_output_key="x.crt",
            chain_output_namespace="ns1",
            chain_output_secret="x",
            chain_output_key="x.pem",
        )
        changes = {name: other[name] for name in other if name not in lifecycle.FIXED}

        lifecycle.update(certificate, now=LATER, **changes)

        reason = certificate.enrollments.open().get().reason
        assert reason.startswith("changed: key_algorithm, key_size, ")
        assert (len(reason), reason[-1]) == (300, "…")

    def test_recreating_says_it_without_doing_it(self) -> None:
        certificate = delivered(a_certificate())

        assert lifecycle.recreating(certificate, purpose="OAM", country="DE") == ("country",)
        assert certificate.country == ""
        assert open_kinds(certificate) == []

    def test_a_request_that_is_outdated_gives_way(self) -> None:
        row = an_enrollment()

        lifecycle.update(row.certificate, now=LATER, country="DE")

        row.refresh_from_db()
        assert (row.phase, row.error_code, row.closed_at) == ("ABANDONED", "SUPERSEDED", LATER)
        assert open_kinds(row.certificate) == [(Kind.CREATE, Priority.OPERATOR)]

    def test_a_worker_at_the_outdated_request_loses_its_lease(self) -> None:
        row = an_enrollment()
        mine = Enrollment.objects.claim(pk=row.pk, fence=0, now=NOW, leased_until=LATER)
        assert mine is not None

        lifecycle.update(row.certificate, now=NOW, country="DE")

        with pytest.raises(LeaseLost):
            mine.move(Phase.EXCHANGE)

    def test_a_manual_certificate_follows_its_configuration_later(self) -> None:
        certificate = delivered(a_certificate(creation_mode="MANUAL"))

        assert lifecycle.recreating(certificate, country="DE") == ()
        saved = lifecycle.update(certificate, now=LATER, country="DE")

        assert open_kinds(certificate) == []
        assert saved.look_due_at == LATER

    @pytest.mark.parametrize(
        ("changes", "readiness"),
        [
            ({"private_key_output_secret": "new"}, "NOT_READY"),
            ({"certificate_output_key": "new.crt"}, "NOT_READY"),
            ({"key_encoding": "DER"}, "NOT_READY"),
            ({"common_name": "other"}, "READY"),
            ({"purpose": "OAM"}, "READY"),
        ],
    )
    def test_what_does_not_lie_where_it_is_wanted_is_not_ready(
        self, changes: dict[str, Any], readiness: str
    ) -> None:
        certificate = delivered(a_certificate())

        lifecycle.update(certificate, now=NOW, **changes)

        found = Certificate.objects.with_readiness(now=NOW).get(pk=certificate.pk)
        assert found.readiness == readiness

    def test_an_identity_is_read_in_either_encoding(self) -> None:
        identity = delivered(an_identity())

        lifecycle.update(identity, now=NOW, key_encoding="DER")

        assert Certificate.objects.ready(now=NOW).filter(pk=identity.pk).exists()

    def test_a_warning_of_its_renewal_comes_and_goes_with_the_days(self) -> None:
        certificate = delivered(a_certificate(), not_after=NOW + timedelta(days=90))
        Certificate.objects.update(attention="The CA sent no chain.")

        def renewed_before(days: int) -> Certificate:
            return lifecycle.update(certificate, now=NOW, renew_before_expiration_days=days)

        late = renewed_before(90)
        assert "two thirds" in late.renewal_warning
        assert late.renew_at == NOW + timedelta(days=60)
        in_time = renewed_before(20)
        assert (in_time.renewal_warning, in_time.attention) == ("", "The CA sent no chain.")

    def test_another_change_leaves_the_time_of_its_renewal(self) -> None:
        planned = NOW + timedelta(days=7)
        certificate = delivered(a_certificate(), renew_at=planned)

        assert lifecycle.update(certificate, now=LATER, purpose="OAM").renew_at == planned

    def test_outputs_that_are_given_up_are_free_again(self) -> None:
        certificate = a_certificate(secret="old")

        lifecycle.update(certificate, now=LATER, certificate_output_secret="new")

        assert a_certificate(
            secret="old", private_key_output_key="x", certificate_output_key="tls.crt"
        )

    def test_mistakes_change_nothing(self) -> None:
        certificate = a_certificate()

        with pytest.raises(ValidationError) as refusal:
            lifecycle.update(certificate, now=LATER, country="Germany", name="other")

        assert set(refusal.value.message_dict) == {"country", "name"}
        certificate.refresh_from_db()
        assert certificate.country == ""


class TestMovingAManualCertificate:
    """What is open for it would be written where it lay, which may be another's by then."""

    @pytest.fixture
    def manual(self) -> Certificate:
        return delivered(a_certificate(creation_mode="MANUAL", secret="a"))

    @staticmethod
    def to_b(certificate: Certificate) -> None:
        moved = {
            "private_key_output_secret": "b",
            "certificate_output_secret": "b",
        }
        lifecycle.update(certificate, now=LATER, **moved)

    @pytest.mark.parametrize(
        "progress",
        [
            {},
            {"phase": Phase.EXCHANGE, "state": "REQUESTED", "sent_at": NOW, "transaction_id": "a"},
            {"leased_until": LATER + timedelta(minutes=1), "fence": 1},
        ],
    )
    def test_has_its_renewal_begin_anew(
        self, manual: Certificate, progress: dict[str, Any]
    ) -> None:
        earlier = lifecycle.renew(manual, now=NOW)
        Enrollment.objects.filter(pk=earlier.pk).update(priority=Priority.RENEWAL, **progress)

        self.to_b(manual)

        earlier.refresh_from_db()
        assert (earlier.phase, earlier.error_code) == (Phase.ABANDONED, "SUPERSEDED")
        assert MaybeIssued.objects.exists() == ("sent_at" in progress)
        row = manual.enrollments.open().get()
        assert (row.kind, row.priority, row.due_at) == (Kind.RENEW, Priority.RENEWAL, LATER)
        assert (row.phase, row.reason) == (Phase.NEW, earlier.reason)
        assert row.request["private_key_output_secret"] == "b"

    @pytest.mark.parametrize("phase", [Phase.ISSUED, Phase.DELIVERING])
    @pytest.mark.parametrize("kind", [Kind.RENEW, Kind.MIGRATE])
    def test_has_what_is_issued_written_there(
        self, manual: Certificate, phase: str, kind: str
    ) -> None:
        issued = lifecycle.renew(manual, now=NOW)
        at_work = {"leased_until": LATER + timedelta(minutes=1), "fence": 3}
        held = {"issued_fingerprint": "abc", "certificate_der": b"issued"}
        Enrollment.objects.filter(pk=issued.pk).update(kind=kind, phase=phase, **at_work, **held)

        self.to_b(manual)

        row = manual.enrollments.open().get()
        assert (row.pk, row.phase, row.due_at) == (issued.pk, Phase.ISSUED, LATER)
        assert bytes(row.certificate_der) == b"issued"
        assert (row.fence, row.leased_until) == (4, None)  # who writes to the old place loses it
        assert row.request["private_key_output_secret"] == "b"
        assert row.request["common_name"] == issued.request["common_name"]
        assert not MaybeIssued.objects.exists()

    def test_leaves_what_was_stopped_stopped(self, manual: Certificate) -> None:
        lifecycle.renew(manual, now=NOW)
        lifecycle.stop(manual, now=NOW)

        self.to_b(manual)

        row = manual.enrollments.open().get()
        assert (row.due_at, row.request["private_key_output_secret"]) == (None, "b")

    @pytest.mark.parametrize("issued_fingerprint", ["", "abc"])
    def test_waits_for_its_migration(self, manual: Certificate, issued_fingerprint: str) -> None:
        migrating.begin([manual], destination=an_issuer(), reason="migration", now=NOW)
        manual.enrollments.open().update(issued_fingerprint=issued_fingerprint)

        with pytest.raises(EnrollmentInProgress, match="being migrated"):
            self.to_b(manual)

        manual.refresh_from_db()
        assert manual.private_key_output_secret == "a"

    def test_has_it_looked_for_there(self, manual: Certificate) -> None:
        self.to_b(manual)

        manual.refresh_from_db()
        assert (manual.in_place, manual.look_due_at) == (False, LATER)

    def test_is_not_to_ask_for_another_one(self, manual: Certificate) -> None:
        """What it says is another matter: that waits for the renewal after the open one."""
        earlier = lifecycle.renew(manual, now=NOW)

        lifecycle.update(manual, now=LATER, country="DE")

        assert manual.enrollments.open().get() == earlier


class TestDelete:
    def test_names_the_secrets_it_leaves_behind(self) -> None:
        certificate = a_certificate(secret="nrf-tls", private_key_output_secret="nrf-key")

        left = lifecycle.delete(certificate, now=LATER)

        assert left == lifecycle.Left(
            outputs=("ns1/nrf-key[tls.key]", "ns1/nrf-tls[tls.crt]"),
            secrets=("ns1/nrf-key", "ns1/nrf-tls"),
            finished=True,
        )
        assert not Certificate.objects.exists()

    def test_waits_for_the_worker_that_has_it(self) -> None:
        row = an_enrollment()
        mine = Enrollment.objects.claim(pk=row.pk, fence=0, now=NOW, leased_until=LATER)
        assert mine is not None

        left = lifecycle.delete(row.certificate, now=NOW)

        assert not left.finished
        assert lifecycle.finish_deletions(now=NOW) == 0
        assert not Enrollment.objects.due(now=LATER + timedelta(days=1)).exists()
        mine.keep(leased_until=None)
        assert lifecycle.finish_deletions(now=NOW) == 1
        assert not Certificate.objects.exists()

    def test_a_dead_workers_lease_ends(self) -> None:
        row = an_enrollment(leased_until=LATER)

        assert not lifecycle.delete(row.certificate, now=NOW).finished
        assert lifecycle.delete(row.certificate, now=LATER).finished

    def test_a_certificate_the_ca_may_have_issued_is_remembered(self) -> None:
        row = an_enrollment(phase=Phase.EXCHANGE, sent_at=NOW, transaction_id="ab")

        lifecycle.delete(row.certificate, now=LATER)

        [noted] = MaybeIssued.objects.all()
        assert (noted.certificate_name, noted.transaction_id) == (row.certificate.name, "ab")
        assert "deleted" in noted.reason

    def test_one_that_cannot_go_keeps_no_other_from_going(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        spoilt = an_enrollment(leased_until=LATER, sent_at=NOW, certificate_der=b"scribble")
        other = an_enrollment(leased_until=LATER)
        for row in (spoilt, other):
            lifecycle.delete(row.certificate, now=NOW)

        assert lifecycle.finish_deletions(now=LATER) == 1

        assert Certificate.objects.get() == spoilt.certificate
        assert f"{spoilt.certificate}: it cannot be deleted" in caplog.text

    def test_a_serial_number_that_there_is_no_room_for_is_left_out_of_what_is_remembered(
        self,
    ) -> None:
        granted = renumbered(a_root().certificate, 1 << 200, an_ec_key())
        der = granted.public_bytes(Encoding.DER)
        row = an_enrollment(sent_at=NOW, transaction_id="ab", certificate_der=der)

        lifecycle.delete(row.certificate, now=LATER)

        [noted] = MaybeIssued.objects.all()
        assert (noted.serial_number, bytes(noted.certificate_der)) == ("", der)

    def test_an_identity_stays_while_others_need_it(self) -> None:
        identity = an_identity()
        other = a_certificate(issuer=identity.issuer)

        with pytest.raises(StillReferred, match=other.name):
            lifecycle.delete(identity, now=LATER)
        lifecycle.delete(other, now=LATER)
        lifecycle.delete(identity, now=LATER)

        editing.delete(issuer=identity.issuer)

    def test_an_identity_stays_for_what_comes_to_its_issuer_from_another(self) -> None:
        """A migration has ended, and what it had issued is still to be written."""
        identity = delivered(an_identity())
        moving = delivered(a_certificate(name="amf"))
        migrating.begin([moving], destination=identity.issuer, reason="migration", now=NOW)
        moving.enrollments.open().update(phase=Phase.ISSUED, issued_fingerprint="abc")

        with pytest.raises(StillReferred, match="amf"):
            lifecycle.delete(identity, now=LATER)
        moving.enrollments.open().update(phase=Phase.ABANDONED)
        lifecycle.delete(identity, now=LATER)

        assert not Certificate.objects.filter(pk=identity.pk).exists()

    @pytest.mark.parametrize(
        "action", [lifecycle.retry, lifecycle.stop, lifecycle.renew, lifecycle.recreate]
    )
    def test_what_is_on_its_way_out_is_left_alone(self, action: Callable[..., Any]) -> None:
        row = an_enrollment(leased_until=LATER)
        lifecycle.delete(row.certificate, now=NOW)

        with pytest.raises(BeingDeleted):
            action(row.certificate, now=NOW)


class TestRetryAndStop:
    def test_a_stopped_procedure_is_not_due_until_it_is_retried(self) -> None:
        row = an_enrollment()

        lifecycle.stop(row.certificate, now=NOW)
        assert not Enrollment.objects.due(now=LATER).exists()
        lifecycle.retry(row.certificate, now=LATER)

        row.refresh_from_db()
        assert (row.due_at, row.priority) == (LATER, Priority.OPERATOR)

    @pytest.mark.parametrize("action", [lifecycle.retry, lifecycle.stop, lifecycle.delete])
    def test_who_has_the_row_and_how_often_it_failed_is_not_the_operators(
        self, action: Callable[..., Any]
    ) -> None:
        queue = {"called_until": LATER, "leased_until": LATER, "fence": 3, "tries": 2}
        row = an_enrollment(**queue)

        action(row.certificate, now=NOW)

        assert Enrollment.objects.values(*queue).get(pk=row.pk) == queue

    def test_a_stop_outlives_the_worker_that_plans_the_next_try(self) -> None:
        row = an_enrollment()
        mine = Enrollment.objects.claim(pk=row.pk, fence=0, now=NOW, leased_until=LATER)
        assert mine is not None

        lifecycle.stop(row.certificate, now=NOW)
        mine.keep(due_at=LATER, leased_until=None)

        row.refresh_from_db()
        assert row.due_at is None

    def test_there_is_nothing_to_retry_or_stop_once_delivered(self) -> None:
        certificate = delivered(a_certificate())

        with pytest.raises(NothingToRetry):
            lifecycle.retry(certificate, now=LATER)
        with pytest.raises(NothingToStop):
            lifecycle.stop(certificate, now=LATER)

    def test_retrying_a_manual_certificate_looks_again(self) -> None:
        certificate = a_certificate(creation_mode="MANUAL")

        lifecycle.retry(certificate, now=LATER)

        certificate.refresh_from_db()
        assert certificate.look_due_at == LATER


class TestRenewAndRecreate:
    def test_renew_asks_with_the_old_ones_authority(self) -> None:
        row = lifecycle.renew(delivered(a_certificate()), now=LATER)

        assert (row.kind, row.signer, row.due_at) == (Kind.RENEW, "ITSELF", LATER)
        assert row.priority == Priority.OPERATOR

    def test_renew_is_signed_by_the_identity_where_the_setting_says_so(self, settings: Any) -> None:
        settings.OCCM_USE_OCCM_CERT_SIGN_FOR_KUR = True

        assert lifecycle.renew(delivered(a_certificate()), now=LATER).signer == "IDENTITY"
        assert lifecycle.renew(delivered(an_identity()), now=LATER).signer == "ITSELF"

    def test_renew_needs_a_certificate_that_is_valid(self) -> None:
        with pytest.raises(NothingToRenew, match="not in its secret"):
            lifecycle.renew(a_certificate(), now=LATER)
        with pytest.raises(NothingToRenew, match="expired"):
            lifecycle.renew(delivered(a_certificate(), not_after=LATER), now=LATER)

    def test_recreate_asks_as_if_there_were_none(self) -> None:
        row = lifecycle.recreate(delivered(a_certificate()), now=LATER)

        assert (row.kind, row.signer) == (Kind.RECREATE, "IDENTITY")

    def test_what_merely_waits_for_its_next_try_is_superseded(self) -> None:
        certificate = delivered(a_certificate())
        renewal = lifecycle.renew(certificate, now=NOW)
        certificate.enrollments.open().update(phase=Phase.EXCHANGE)  # a CA that cannot be reached

        lifecycle.recreate(certificate, now=LATER)

        renewal.refresh_from_db()
        assert renewal.phase == Phase.ABANDONED
        assert open_kinds(certificate) == [(Kind.RECREATE, Priority.OPERATOR)]

    @pytest.mark.parametrize(
        "busy",
        [
            {"leased_until": LATER + timedelta(minutes=1)},
            {"phase": Phase.EXCHANGE, "state": "REQUESTED"},
            {"phase": Phase.ISSUED},
            {"phase": Phase.DELIVERING},
        ],
    )
    def test_what_is_under_way_is_stopped_first(self, busy: dict[str, Any]) -> None:
        row = an_enrollment(**busy)

        with pytest.raises(EnrollmentInProgress):
            lifecycle.recreate(row.certificate, now=LATER)
        lifecycle.stop(row.certificate, now=LATER)
        lifecycle.recreate(row.certificate, now=LATER)

        row.refresh_from_db()
        assert row.phase == Phase.ABANDONED

    def test_a_superseded_transaction_keeps_no_key_and_is_remembered(self) -> None:
        row = an_enrollment(
            phase=Phase.EXCHANGE,
            due_at=None,
            sent_at=NOW,
            transaction_id="cd",
            private_key=Sealed(b"key"),
            exchange={"state": "WAITING"},
        )

        lifecycle.recreate(row.certificate, now=LATER)

        row.refresh_from_db()
        assert (bool(row.private_key), row.exchange) == (False, {})
        assert MaybeIssued.objects.get().transaction_id == "cd"

    def test_a_manual_identity_cannot_be_recreated_without_initial_authentication(self) -> None:
        mac = ("namespace", "secret", "password_key", "reference_key")
        issuer = an_issuer(initial_auth_type="", **{f"mac_{field}": "" for field in mac})
        identity = delivered(an_identity(issuer=issuer, creation_mode="MANUAL"))

        with pytest.raises(CannotRecreate):
            lifecycle.recreate(identity, now=LATER)


class TestExpiryScan:
    def test_opens_a_renewal_when_its_time_has_come(self) -> None:
        certificate = delivered(a_certificate(), renew_at=LATER)

        assert lifecycle.open_due_renewals(now=NOW, limit=10) == 0
        assert lifecycle.open_due_renewals(now=LATER, limit=10) == 1
        assert lifecycle.open_due_renewals(now=LATER, limit=10) == 0
        assert open_kinds(certificate) == [(Kind.RENEW, Priority.RENEWAL)]

    def test_recreates_what_has_expired(self) -> None:
        certificate = delivered(a_certificate(), renew_at=NOW, not_after=LATER)

        lifecycle.open_due_renewals(now=LATER, limit=10)

        assert open_kinds(certificate) == [(Kind.RECREATE, Priority.RENEWAL)]

    def test_leaves_an_expired_manual_certificate_alone(self) -> None:
        certificate = a_certificate(creation_mode="MANUAL")
        delivered(certificate, renew_at=NOW, not_after=LATER)

        assert lifecycle.open_due_renewals(now=LATER, limit=10) == 0

    def test_leaves_a_stopped_procedure_alone(self) -> None:
        certificate = delivered(a_certificate(), renew_at=NOW)
        lifecycle.open_due_renewals(now=NOW, limit=10)
        lifecycle.stop(certificate, now=NOW)

        assert lifecycle.open_due_renewals(now=LATER, limit=10) == 0
        assert not Enrollment.objects.due(now=LATER).exists()


class TestHistory:
    def test_an_open_errand_holds_its_issuer_and_a_closed_one_lets_go(self) -> None:
        certificate = a_certificate()
        source, row = certificate.issuer, certificate.enrollments.get()
        Certificate.objects.filter(pk=certificate.pk).update(issuer=an_issuer())

        with pytest.raises(editing.IssuerInUse):
            editing.delete(issuer=source)
        Enrollment.objects.update(phase=Phase.DELIVERED, closed_at=NOW)
        editing.delete(issuer=source)

        row.refresh_from_db()
        assert (row.issuer, row.issuer_name) == (None, source.name)
