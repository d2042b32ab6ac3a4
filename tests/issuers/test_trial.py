"""Trying the connection to a CA: what a worker does, and what the operator is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from cmp.testing import DemoCA, Server, serve, tls_context
from cmp.testing.behaviour import Refusal, When
from cmp.testing.pki import pem, private_pem
from issuers.domain import editing, trial
from issuers.models import Issuer, IssuerHealth
from secretstore import MemorySecretStore, Unavailable
from tests.cmp.testing.client import an_identity
from tests.issuers.factories import NOW, an_issuer
from tests.issuers.secrets import pki, put
from tests.issuers.test_editing import TLS

pytestmark = pytest.mark.django_db

MAC = {b"3078": b"open sesame"}


@pytest.fixture
def secrets() -> MemorySecretStore:
    return MemorySecretStore()


@pytest.fixture
def ca() -> DemoCA:
    return DemoCA(pki=pki(), secrets=dict(MAC))


@contextmanager
def listening(ca: DemoCA, *, tls: bool = False) -> Iterator[Server]:
    with serve(ca, clock=lambda: NOW, tls=tls_context(ca.pki) if tls else None) as server:
        yield server


def an_issuer_of(server: Server, secrets: MemorySecretStore, **fields: Any) -> Issuer:
    """An issuer whose trust store is there; its OCCM certificate is not."""
    spec = {"server_url": server.url, "recipient_dn": "/", "message_timeout_s": 5}
    issuer = an_issuer(**spec | fields)
    put(secrets, "ns1", issuer.trust_store_secret, {"root.pem": pem(pki().root)})
    return issuer


def give_identity(issuer: Issuer, ca: DemoCA, secrets: MemorySecretStore) -> None:
    identity = an_identity(ca, now=NOW)
    ca.asked.clear()
    pair = {"key.pem": private_pem(identity.key), "cert.pem": pem(identity.certificate)}
    put(secrets, "ns1", issuer.other_signature_secret, pair)


NOWHERE = {"server_url": "http://ca.invalid/"}


def tried(issuer: Issuer, secrets: MemorySecretStore) -> IssuerHealth:
    """Have the operator ask and the workers do it."""
    trial.request(issuer, now=NOW)
    for pk in trial.take(now=NOW):
        trial.run(pk, secrets=secrets, clock=lambda: NOW)
    row = IssuerHealth.objects.get(pk=issuer.pk)
    assert (row.test_due_at, row.tested_at) == (None, NOW)
    return row


def test_the_occm_identity_signs_a_general_message_and_the_answer_is_checked(
    ca: DemoCA, secrets: MemorySecretStore
) -> None:
    with listening(ca) as server:
        issuer = an_issuer_of(server, secrets)
        give_identity(issuer, ca, secrets)

        row = tried(issuer, secrets)

    assert row.test_passed
    assert row.test_outcome == (
        "The CA answered a general message over HTTP/1.0 within 0.00 s,"
        " signed by /O=OCCM demo/CN=Core CMP signer."
    )
    assert list(ca.asked) == ["genm"]
    assert (row.answered_at, row.http_version) == (NOW, "1.0")


def test_without_an_identity_the_ca_is_reached_and_asked_nothing(
    ca: DemoCA, secrets: MemorySecretStore
) -> None:
    with listening(ca) as server:
        row = tried(an_issuer_of(server, secrets), secrets)

    assert row.test_passed
    assert row.test_outcome.endswith(
        "takes connections. Nothing was asked: there is no OCCM certificate yet to sign with."
    )
    assert (list(ca.asked), list(server.visits)) == ([], [])
    assert row.answered_at is None


@pytest.mark.parametrize("trusted", [True, False])
def test_without_an_identity_the_tls_certificate_is_checked(
    ca: DemoCA, secrets: MemorySecretStore, trusted: bool
) -> None:
    root = pki().root if trusted else pki("Other").root
    put(secrets, "ns1", "ca1-tls-trust-store-secret", {"caroot1.pem": pem(root)})
    with listening(ca, tls=True) as server:
        row = tried(an_issuer_of(server, secrets, **(TLS | {"server_url": server.url})), secrets)

    assert row.test_passed is trusted
    expected = "speaks TLSv1.3 with a certificate of" if trusted else "TLS certificate is refused"
    assert expected in row.test_outcome


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ({"spoil_protection": True}, "the signature does not verify"),
        ({"unprotected_answers": True}, "the answer is not protected"),
        ({"wrong_nonce": True}, "the answer belongs to another message"),
        ({"http_503_html": True}, "answered HTTP 503"),
        ({"garbage": True}, "the message"),
        ({"drop_connection": True}, "closed the connection without an answer"),
    ],
    ids=str,
)
def test_an_answer_that_would_not_count_is_a_failure_with_its_reason(
    ca: DemoCA, secrets: MemorySecretStore, behaviour: dict[str, Any], told: str
) -> None:
    with listening(ca) as server:
        issuer = an_issuer_of(server, secrets)
        give_identity(issuer, ca, secrets)
        for name, value in behaviour.items():
            setattr(ca, name, value)

        row = tried(issuer, secrets)

    assert row.test_passed is False
    assert told in row.test_outcome
    assert row.answered_at is None


def test_a_signer_that_the_trust_store_does_not_lead_to_is_a_failure(
    ca: DemoCA, secrets: MemorySecretStore
) -> None:
    with listening(ca) as server:
        issuer = an_issuer_of(server, secrets)
        give_identity(issuer, ca, secrets)
        put(secrets, "ns1", issuer.trust_store_secret, {"root.pem": pem(pki("Other").root)})

        row = tried(issuer, secrets)

    assert row.test_passed is False
    assert "the response's signer is not trusted" in row.test_outcome


def test_a_ca_that_knows_no_general_messages_still_shows_that_it_can_be_trusted(
    ca: DemoCA, secrets: MemorySecretStore
) -> None:
    ca.refuse_when = When(bodies=frozenset({"genm"}))
    ca.refuse = Refusal(frozenset({"badRequest"}), ("no such thing",))
    with listening(ca) as server:
        issuer = an_issuer_of(server, secrets)
        give_identity(issuer, ca, secrets)

        row = tried(issuer, secrets)

    assert row.test_passed
    assert row.test_outcome == "The CA answers, and takes no general messages: no such thing"


@pytest.mark.parametrize(
    ("failures", "unprotected"), [({"notAuthorized"}, False), ({"badRequest"}, True)]
)
def test_any_other_refusal_is_a_failure(
    ca: DemoCA, secrets: MemorySecretStore, failures: set[str], unprotected: bool
) -> None:
    ca.refuse_when = When(bodies=frozenset({"genm"}))
    ca.refuse = Refusal(frozenset(failures), ("who are you?",))
    ca.unprotected_errors = unprotected
    with listening(ca) as server:
        issuer = an_issuer_of(server, secrets)
        give_identity(issuer, ca, secrets)

        row = tried(issuer, secrets)

    assert row.test_passed is False
    assert "who are you?" in row.test_outcome


def test_a_ca_that_asks_for_patience_answers(ca: DemoCA, secrets: MemorySecretStore) -> None:
    ca.polls, ca.polls_on = 1, frozenset({"genm"})
    with listening(ca) as server:
        issuer = an_issuer_of(server, secrets)
        give_identity(issuer, ca, secrets)

        row = tried(issuer, secrets)

    assert row.test_passed
    assert row.test_outcome.endswith("; it asks for patience.")
    assert list(ca.asked) == ["genm"]


def test_a_ca_that_hangs_up_on_http_1_0_is_asked_in_1_1(
    ca: DemoCA, secrets: MemorySecretStore
) -> None:
    ca.http11_only, ca.http10_refusal = True, 0
    with listening(ca) as server:
        issuer = an_issuer_of(server, secrets)
        give_identity(issuer, ca, secrets)

        row = tried(issuer, secrets)

    assert row.test_passed
    assert row.http_version == "1.1"


def test_a_ca_that_falls_silent_is_waited_for_half_a_minute_at_most(
    ca: DemoCA, secrets: MemorySecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "ROUND_TRIP_S", 0.3)
    ca.stall = True
    with listening(ca) as server:
        issuer = an_issuer_of(server, secrets)
        give_identity(issuer, ca, secrets)

        row = tried(issuer, secrets)

    assert row.test_passed is False
    assert "within the message timeout" in row.test_outcome
    assert timedelta(seconds=3 * 30) < trial.LEASE  # reading three secrets, and a round trip


def test_a_secret_that_cannot_be_read_is_the_reason(secrets: MemorySecretStore) -> None:
    issuer = an_issuer()
    secrets.outage = Unavailable("the API server is down")

    row = tried(issuer, secrets)

    assert (row.test_passed, row.test_outcome) == (False, "the API server is down")


def test_a_trial_is_taken_once_and_comes_due_again_if_its_worker_is_lost() -> None:
    issuer = an_issuer()
    trial.request(issuer, now=NOW)

    assert trial.take(now=NOW) == [issuer.pk]
    assert trial.take(now=NOW + trial.LEASE / 2) == []
    assert trial.take(now=NOW + trial.LEASE) == [issuer.pk]


def test_asking_again_while_a_worker_is_at_it_changes_nothing() -> None:
    issuer = an_issuer()
    trial.request(issuer, now=NOW)
    trial.take(now=NOW)

    trial.request(issuer, now=NOW + timedelta(seconds=1))

    assert IssuerHealth.objects.get().test_due_at == NOW + trial.LEASE


def test_a_call_that_comes_twice_or_too_late_does_nothing(secrets: MemorySecretStore) -> None:
    issuer = an_issuer(**NOWHERE)
    tried(issuer, secrets)
    done = IssuerHealth.objects.get()

    trial.run(issuer.pk, secrets=secrets, clock=lambda: NOW + timedelta(hours=1))
    assert IssuerHealth.objects.get().tested_at == done.tested_at

    editing.delete(issuer=issuer)
    trial.run(issuer.pk, secrets=secrets, clock=lambda: NOW)
    trial.give_up(issuer.pk, RuntimeError("no"), now=NOW)


def test_an_error_of_ours_ends_the_trial_and_says_so() -> None:
    issuer = an_issuer()
    trial.request(issuer, now=NOW)
    trial.take(now=NOW)

    trial.give_up(issuer.pk, RuntimeError("a secret detail"), now=NOW)

    row = IssuerHealth.objects.get()
    assert (row.test_passed, row.test_outcome) == (False, "OCCM failed: RuntimeError, see the log")
    assert row.test_due_at is None


def test_another_url_forgets_the_outcome(secrets: MemorySecretStore) -> None:
    issuer = an_issuer(**NOWHERE)
    assert "its name does not resolve" in tried(issuer, secrets).test_outcome

    editing.update(issuer=issuer, now=NOW, server_url="http://another.example/")

    row = IssuerHealth.objects.get()
    assert (row.tested_at, row.test_passed, row.test_outcome) == (None, None, "")
