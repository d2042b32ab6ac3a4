"""Trying the connection to a CA because an operator wants to know, or nothing else would find out
that it is back; done by workers.

Where there is an OCCM identity, it signs a general message: that changes nothing at the CA, and the
answer passes every check that answers have to pass. Where there is none yet, the way to the CA is
tried, TLS included, and nothing is asked. A trial is due while `test_due_at` is set; who takes it
moves that on, so what is lost with a worker comes due again. Somebody waits for it: it is sent
whether or not the CA's breaker is open, and as one message more than its requests a second.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from cmp import (
    CmpError,
    NoAnswer,
    Rejected,
    SignatureCredentials,
    State,
    Transaction,
    ask_ca_certificates,
    format_name,
)
from cmp.http import HttpTransport
from issuers.domain import channel, health
from issuers.domain.channel import ConfigurationError
from issuers.models import Issuer, IssuerHealth
from secretstore import KeyMissing, SecretMissing, SecretStore, SecretStoreError

LEASE = timedelta(minutes=2)  # longer than a trial may take
ROUND_TRIP_S = 30  # at most, whatever the issuer's message timeout
BATCH = 50
NO_IDENTITY = "there is no OCCM certificate yet to sign with"
NO_SUCH_MESSAGE = frozenset({"badRequest"})  # from a CA that knows no general messages

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Outcome:
    passed: bool
    text: str


def request(issuer: Issuer, *, now: datetime) -> None:
    """Have a worker try the connection at once, unless one is at it."""
    idle = Q(test_due_at__isnull=True) | Q(test_due_at__lte=now)
    IssuerHealth.objects.filter(idle, pk=issuer.pk).update(test_due_at=now)


def take(*, now: datetime) -> list[int]:
    """Take the trials that are due, for the caller to have them run."""
    due = IssuerHealth.objects.filter(test_due_at__lte=now).order_by("test_due_at")
    return [
        pk
        for pk, since in due.values_list("pk", "test_due_at")[:BATCH]
        if IssuerHealth.objects.filter(pk=pk, test_due_at=since).update(test_due_at=now + LEASE)
    ]


def run(pk: int, *, secrets: SecretStore, clock: Clock) -> None:
    """Try the connection of the issuer whose trial was taken, and note what came of it."""
    row = IssuerHealth.objects.select_related("issuer").filter(pk=pk).first()
    if row is None or row.test_due_at is None:
        return  # the issuer is gone, or another worker has done it
    outcome = _outcome(row, secrets, clock)
    _note(row, outcome, now=clock())


def give_up(pk: int, error: Exception, *, now: datetime) -> None:
    """Note that a trial ended with an error of ours, so that it is not tried for ever."""
    row = IssuerHealth.objects.filter(pk=pk, test_due_at__isnull=False).first()
    if row is not None:
        _note(row, Outcome(False, f"OCCM failed: {type(error).__name__}, see the log"), now=now)


def _note(row: IssuerHealth, outcome: Outcome, *, now: datetime) -> None:
    """Write down an outcome, unless another trial was asked for meanwhile."""
    ours = IssuerHealth.objects.filter(pk=row.pk, test_due_at=row.test_due_at)
    ours.update(
        test_due_at=None, tested_at=now, test_passed=outcome.passed, test_outcome=outcome.text
    )


def _outcome(row: IssuerHealth, secrets: SecretStore, clock: Clock) -> Outcome:
    issuer = copy(row.issuer)
    issuer.message_timeout_s = min(issuer.message_timeout_s, ROUND_TRIP_S)
    try:
        identity = _identity(issuer, secrets)
        with channel.transport(issuer, secrets=secrets, http_version=row.http_version) as ca:
            if identity is None:
                outcome = Outcome(True, f"{ca.connect()}. Nothing was asked: {NO_IDENTITY}.")
                health.reached(issuer, now=clock())
                return outcome
            outcome = _asked(issuer, identity, ca, secrets, clock)
            health.answered(issuer, now=clock(), http_version=ca.http_version)
            return outcome
    except (CmpError, SecretStoreError, ConfigurationError) as error:
        return Outcome(False, str(error))


def _identity(issuer: Issuer, secrets: SecretStore) -> SignatureCredentials | None:
    try:
        return channel.identity_credentials(issuer, secrets=secrets)
    except (SecretMissing, KeyMissing):
        return None


def _asked(
    issuer: Issuer,
    identity: SignatureCredentials,
    ca: HttpTransport,
    secrets: SecretStore,
    clock: Clock,
) -> Outcome:
    tx = Transaction.begin(
        ask_ca_certificates(),
        credentials=identity,
        trust=channel.trust_store(issuer, secrets=secrets),
        profile=channel.profile(issuer),
        now=clock(),
    )
    began = clock()
    try:
        _exchange(tx, ca, clock)
    except Rejected as refused:
        if not refused.authenticated or refused.failures - NO_SUCH_MESSAGE:
            raise
        return Outcome(True, f"The CA answers, and takes no general messages: {refused.text}")
    took = (clock() - began).total_seconds()
    signer = format_name(tx.signer.subject) if tx.signer else "nobody"
    patience = "; it asks for patience" if tx.state is State.WAITING else ""
    return Outcome(
        True,
        f"The CA answered a general message over HTTP/{ca.http_version} within {took:.2f} s,"
        f" signed by {signer}{patience}.",
    )


def _exchange(tx: Transaction, ca: HttpTransport, clock: Clock) -> None:
    """Ask, and once more where the CA hung up on the HTTP version: nothing is done twice there."""
    spoken = ca.http_version
    message = tx.outgoing(now=clock()) or b""
    try:
        answer = ca.post(message)
    except NoAnswer:
        if ca.http_version == spoken:
            raise
        answer = ca.post(tx.resend(now=clock()))
    tx.receive(answer, now=clock())
