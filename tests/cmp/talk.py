"""Conversations for tests: a transaction on one side, a CA's hand on the other."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cmp import codec
from cmp.messages import (
    Body,
    CertTemplate,
    Cp,
    GenP,
    InfoTypeAndValue,
    Ip,
    Kup,
    PKIMessage,
    PKIStatus,
    PKIStatusInfo,
    Rp,
)
from cmp.profile import Profile
from cmp.protection import (
    MacCredentials,
)
from cmp.request import Ask, Certify, Enroll, Request, Revoke, Update
from cmp.states import State
from cmp.transaction import Transaction
from tests.cmp import certs
from tests.cmp.certs import NOW, YEAR, Holder, a_name, an_ec_key
from tests.cmp.hand import REFERENCE, SECRET, Hand

SECOND = timedelta(seconds=1)
PROFILE = Profile(recipient=a_name("Issuing CA"))
WAIT = PKIStatusInfo(PKIStatus.waiting)
NO = PKIStatusInfo(PKIStatus.rejection, ("not today",), frozenset({"badRequest"}))
OLD = Holder(certs.a_certificate("nrf").certificate, an_ec_key())


MAC = MacCredentials(SECRET, REFERENCE)
KEY = an_ec_key()
TEMPLATE = CertTemplate(
    subject=a_name("nrf"),
    not_before=NOW,
    not_after=NOW + YEAR / 2,
    extensions=(certs.key_usage("digital_signature"), certs.hosts("nrf.example", "10.0.0.1")),
)


@dataclass
class Talk:
    """A transaction and the CA's hand that answers it."""

    hand: Hand
    tx: Transaction
    sent: list[bytes]

    def state(self) -> State:
        return self.tx.state

    def say(self, now: Any = NOW) -> PKIMessage:
        """Have the client send its next message."""
        der = self.tx.outgoing(now=now)
        assert der is not None
        self.sent.append(der)
        return codec.decode(der)

    def hear(self, body: Any, now: Any = NOW, **how: Any) -> None:
        """Have the CA answer the last message."""
        self.tx.receive(self.hand.answer(self.sent[-1], body, **how), now=now)

    def grant(self, **how: Any) -> None:
        """Say the request, and have it granted."""
        self.say()
        self.hear(self.hand.grants(self.sent[-1]), **how)


Begin = Callable[..., Talk]


def a_csr(name: str = "nrf") -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(a_name(name))
    return builder.sign(KEY, hashes.SHA256())


REQUESTS: dict[type[Body], Request] = {
    Ip: Enroll(TEMPLATE, KEY),
    Cp: Certify(TEMPLATE, KEY),
    Kup: Update(TEMPLATE, KEY, OLD.certificate),
    Rp: Revoke.of(OLD.certificate),
    GenP: Ask((InfoTypeAndValue(x509.ObjectIdentifier("1.3.6.1.5.5.7.4.17")),)),
}


def of(*holders: Holder) -> tuple[x509.Certificate, ...]:
    return tuple(holder.certificate for holder in holders)


def shuffled(name: x509.Name) -> x509.Name:
    return x509.Name(list(reversed(list(name))))


def restored(kept: dict[str, Any], tx: Transaction) -> Transaction:
    """Return the transaction as it was when the snapshot was taken."""
    return Transaction.restore(
        json.loads(json.dumps(kept)),
        request=tx.request,
        credentials=tx.credentials,
        trust=tx.trust,
        profile=tx.profile,
    )


def revived(tx: Transaction) -> Transaction:
    """Return the transaction as another worker finds it."""
    return restored(tx.snapshot(), tx)
