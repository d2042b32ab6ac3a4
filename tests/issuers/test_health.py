"""What workers find out about an issuer, and when they look."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from certificates.models import Certificate
from cmp.testing.pki import pem, private_pem
from issuers.domain import editing, health
from issuers.models import Issuer, IssuerHealth
from secretstore import MemorySecretStore, Secret, Throttled, Unavailable
from tests.issuers.factories import NOW, an_issuer
from tests.issuers.secrets import identity, pki, provide, put
from tests.issuers.test_editing import NO_INITIAL_AUTH, SIGNATURE, TLS

SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def secrets() -> MemorySecretStore:
    return MemorySecretStore()


def warnings(secrets: MemorySecretStore, now: datetime = NOW) -> list[str]:
    """Have a worker look at all issuers that are due, and return what it noted of the last."""
    while health.look(secrets=secrets, now=now):
        pass
    row = IssuerHealth.objects.get()
    assert row.looked_at == now
    found: list[str] = row.warnings
    return found


def look_due_at() -> datetime:
    return IssuerHealth.objects.get().look_due_at


def test_missing_secrets_do_not_keep_an_issuer_from_being_saved_but_are_told(
    secrets: MemorySecretStore,
) -> None:
    an_issuer(mac_secret="ca-mac", trust_store_secret="ca-trust")

    advice = "does not exist: create it, or correct the name"
    assert warnings(secrets) == [
        f"MAC authentication input: secret ns1/ca-mac {advice}",
        f"OCCM trust store: secret ns1/ca-trust {advice}",
    ]


def test_a_warning_goes_when_its_cause_is_gone(secrets: MemorySecretStore) -> None:
    issuer = an_issuer()
    assert warnings(secrets)

    provide(secrets, issuer)
    assert look_due_at() == NOW + 5 * SECOND

    assert warnings(secrets, NOW + 5 * SECOND) == []
    assert look_due_at() == NOW + 65 * SECOND


def test_missing_keys_are_told_one_by_one(secrets: MemorySecretStore) -> None:
    issuer = an_issuer(
        trust_store_root_ca_certs=["root.pem", "old.pem"], trust_store_server_cert="server.pem"
    )
    provide(secrets, issuer)

    place = f"secret ns1/{issuer.trust_store_secret}"
    assert warnings(secrets) == [
        f"OCCM trust store: {place} has no key '{key}', only root.pem:"
        " add it, or correct the key's name"
        for key in ("old.pem", "server.pem")
    ]


@pytest.mark.parametrize(
    ("password", "told"),
    [
        (b"file:/etc/passwd", "another source of a password"),
        (b"env:HOME", "another source of a password"),
        (b"fd:0", "another source of a password"),
        (b"stdin", "another source of a password"),
        (b"pass:", "an empty password"),
        (b"", "is empty"),
        (b"\xff", "is not text"),
    ],
)
def test_a_password_that_cannot_be_used_is_told_without_its_value(
    secrets: MemorySecretStore, password: bytes, told: str
) -> None:
    issuer = an_issuer()
    provide(secrets, issuer)
    put(secrets, "ns1", issuer.mac_secret, {"pwd": password})

    (warning,) = warnings(secrets)

    assert warning.startswith(f"MAC authentication input: ns1/{issuer.mac_secret}[pwd] ")
    assert told in warning
    assert "/etc/passwd" not in warning


def test_a_key_that_is_not_the_certificates_is_told(secrets: MemorySecretStore) -> None:
    issuer = an_issuer(**SIGNATURE)
    put(secrets, "ns1", issuer.trust_store_secret, {"root.pem": pem(pki().root)})
    pair = {
        "cmpkey.pem": private_pem(pki().tls.key),
        "cmpcert.pem": pem(pki().signer.certificate),
    }
    put(secrets, "ns1", issuer.initial_signature_secret, pair)

    assert warnings(secrets) == [
        "Signature authentication input: ns1/ca1-cmp-identity-secret[cmpkey.pem] is not the private"
        " key of ns1/ca1-cmp-identity-secret[cmpcert.pem]"
    ]


def test_what_does_not_parse_is_told(secrets: MemorySecretStore) -> None:
    issuer = an_issuer(**SIGNATURE | {"initial_signature_extra_certs": ["ca.pem"]})
    put(secrets, "ns1", issuer.trust_store_secret, {"root.pem": b"root"})
    junk = {"cmpkey.pem": b"key", "cmpcert.pem": pem(pki().root), "ca.pem": b"ca"}
    put(secrets, "ns1", issuer.initial_signature_secret, junk)

    found = warnings(secrets)

    assert [warning.partition(" cannot be read")[0] for warning in found] == [
        "Signature authentication input: ns1/ca1-cmp-identity-secret[cmpkey.pem]",
        "Signature authentication input: ns1/ca1-cmp-identity-secret[ca.pem]",
        f"OCCM trust store: ns1/{issuer.trust_store_secret}[root.pem]",
    ]


def test_a_certificate_that_expired_is_told(secrets: MemorySecretStore) -> None:
    issuer = an_issuer()
    provide(secrets, issuer)
    later = NOW + timedelta(days=3651)
    IssuerHealth.objects.update(look_due_at=later)

    assert warnings(secrets, later) == [
        f"OCCM trust store: ns1/{issuer.trust_store_secret}[root.pem] expired on 2035-12-30:"
        " replace it"
    ]


def test_a_trust_store_that_no_issued_certificate_leads_to_is_told(
    secrets: MemorySecretStore,
) -> None:
    issuer = an_issuer(trust_store_root_ca_certs=[], trust_store_server_cert="server.pem")
    provide(secrets, issuer)
    put(secrets, "ns1", issuer.trust_store_secret, {"server.pem": pem(pki().signer.certificate)})

    assert warnings(secrets) == [
        f"OCCM trust store: secret ns1/{issuer.trust_store_secret} holds no CA certificate that"
        " issued ones could lead to: add the CA's to the intermediate CA certs"
    ]


def test_the_tls_trust_store_is_looked_at_when_tls_is_on(secrets: MemorySecretStore) -> None:
    provide(secrets, an_issuer(**TLS))

    assert warnings(secrets) == [
        "TLS trust store: secret ns1/ca1-tls-trust-store-secret does not exist:"
        " create it, or correct the name"
    ]


def test_an_identity_that_is_to_be_created_is_not_missed(secrets: MemorySecretStore) -> None:
    provide(secrets, an_issuer())

    assert warnings(secrets) == []


@pytest.mark.parametrize("manual", ["no initial authentication", "a MANUAL OCCM certificate"])
def test_an_identity_that_is_to_be_provided_is_missed(
    secrets: MemorySecretStore, manual: str
) -> None:
    issuer = an_issuer(**NO_INITIAL_AUTH if manual.startswith("no") else {})
    put(secrets, "ns1", issuer.trust_store_secret, {"root.pem": pem(pki().root)})
    if not manual.startswith("no"):
        provide(secrets, issuer)
        Certificate.objects.create(
            name="occm",
            issuer=issuer,
            cert_type="OCCM",
            creation_mode="MANUAL",
            network_function="OCCM",
            purpose="CMP",
            common_name="occm",
        )

    (warning,) = warnings(secrets)
    assert warning.startswith(f"OCCM certificate: secret ns1/{issuer.other_signature_secret} ")
    put(secrets, "ns1", issuer.other_signature_secret, identity())

    assert warnings(secrets, NOW + 5 * SECOND) == []


def test_nobody_looks_before_a_look_is_due(secrets: MemorySecretStore) -> None:
    an_issuer()

    assert not health.look(secrets=secrets, now=NOW - SECOND)

    assert IssuerHealth.objects.get().looked_at is None


class Watched(MemorySecretStore):
    """Does something else while somebody reads from it."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def read(self, *place: str, **options: Any) -> Secret:
        self.meanwhile()
        return super().read(*place, **options)


def test_two_workers_do_not_look_at_the_same_issuer() -> None:
    an_issuer()
    secrets, others = Watched(), []
    secrets.meanwhile = lambda: others.append(health.look(secrets=MemorySecretStore(), now=NOW))

    assert health.look(secrets=secrets, now=NOW)

    assert others
    assert not any(others)


def test_an_edit_during_a_look_makes_another_look_due() -> None:
    issuer = an_issuer()
    secrets = Watched()
    secrets.meanwhile = lambda: editing.update(issuer=issuer, now=NOW, total_timeout_s=600)

    health.look(secrets=secrets, now=NOW)

    assert look_due_at() == NOW
    assert IssuerHealth.objects.get().warnings == []


def test_a_worker_that_dies_at_a_look_delays_the_next_by_a_minute() -> None:
    an_issuer()
    secrets = Watched(outage=KeyboardInterrupt())  # type: ignore[arg-type]  # not an error of its

    with pytest.raises(KeyboardInterrupt):
        health.look(secrets=secrets, now=NOW)

    assert look_due_at() == NOW + 60 * SECOND


@pytest.mark.parametrize("outage", [Unavailable("no cluster"), Throttled("not so fast")])
def test_a_secret_store_that_is_away_is_asked_once_a_round(
    secrets: MemorySecretStore, outage: Any
) -> None:
    first, second = an_issuer(), an_issuer()
    provide(secrets, first)
    provide(secrets, second)
    secrets.outage = outage

    assert not health.look(secrets=secrets, now=NOW)

    asked = IssuerHealth.objects.order_by("pk").values_list("look_due_at", "looked_at")
    assert list(asked) == [(NOW + 5 * SECOND, None), (NOW, None)]
    secrets.outage = None
    while health.look(secrets=secrets, now=NOW + 5 * SECOND):
        pass
    assert [looked_at for _, looked_at in asked.all()] == [NOW + 5 * SECOND] * 2


def test_looks_take_turns(secrets: MemorySecretStore) -> None:
    for _ in range(3):
        an_issuer()
    looked = 0

    while health.look(secrets=secrets, now=NOW):
        looked += 1

    assert looked == 3
    assert not IssuerHealth.objects.filter(looked_at=None).exists()


def known(issuer: Issuer) -> tuple[Any, ...]:
    row = IssuerHealth.objects.get(issuer=issuer)
    return row.answered_at, row.failing_since, row.error, row.http_version


def test_a_failure_is_noted_with_since_when_and_an_answer_ends_it() -> None:
    issuer = an_issuer()

    health.failed(issuer, now=NOW, error="connection refused")
    health.failed(issuer, now=NOW + SECOND, error="no answer", http_version="1.1")
    assert known(issuer) == (None, NOW, "no answer", "1.1")
    health.answered(issuer, now=NOW + 2 * SECOND, http_version="1.0")

    assert known(issuer) == (NOW + 2 * SECOND, None, "", "1.0")


def test_without_news_nothing_is_written() -> None:
    issuer = an_issuer()
    health.answered(issuer, now=NOW, http_version="1.1")

    health.answered(issuer, now=NOW + SECOND, http_version="1.1")
    health.answered(issuer, now=NOW + 2 * SECOND)
    assert known(issuer) == (NOW, None, "", "1.1")
    health.answered(issuer, now=NOW + 11 * SECOND)

    assert known(issuer) == (NOW + 11 * SECOND, None, "", "1.1")


def test_notes_on_one_issuer_leave_the_others_alone() -> None:
    issuer, other = an_issuer(), an_issuer()

    health.failed(issuer, now=NOW, error="no answer")

    assert known(other) == (None, None, "", "")
