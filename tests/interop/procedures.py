"""The procedures of CMP as OCCM runs them, each shown to have done what it is for.

They are the columns of the table in docs/cmp.md. A procedure takes a `Subject`, which knows how to
ask one peer. `REFUSALS` have to end with the CA's no, in the answer named.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from cmp import (
    Certify,
    Enroll,
    Rejected,
    Revoke,
    SignatureCredentials,
    SignCsr,
    State,
    Transaction,
    Update,
    ask_ca_certificates,
    read_ca_certificates,
)
from cmp.support import CA_CERTS
from tests.interop.asking import Asking, a_csr, held, new_key, template
from tests.peers.openssl import OpenSslMock


@dataclass
class Subject:
    """A peer under test, and what was enrolled there before."""

    ask: Callable[[], Asking]
    known: dict[str, SignatureCredentials] = field(default_factory=dict)

    def new_key(self, ask: Asking) -> Any:
        """OpenSSL's mock has one certificate, so the key to be certified is that one's."""
        return ask.peer.ee.key if isinstance(ask.peer, OpenSslMock) else new_key()

    def enrolled(self, ask: Asking, name: str) -> SignatureCredentials:
        """A certificate of the CA and its key, to sign with; enrolled under the MAC at first."""
        if name not in self.known or isinstance(ask.peer, OpenSslMock):
            key = self.new_key(ask)
            self.known[name] = held(ask(Enroll(template(f"/CN={name}"), key), ask.mac), key)
        return self.known[name]


def ir_mac(subject: Subject) -> None:
    ask = subject.ask()
    key = subject.new_key(ask)
    _require_certificate(ask(Enroll(template(), key), ask.mac), key)


def ir_signed(subject: Subject) -> None:
    ask = subject.ask()
    key = subject.new_key(ask)
    _require_certificate(ask(Enroll(template(), key), ask.device), key)


def cr(subject: Subject) -> None:
    ask = subject.ask()
    key = subject.new_key(ask)
    _require_certificate(ask(Certify(template(), key), subject.enrolled(ask, "occm")), key)


def p10cr(subject: Subject) -> None:
    ask = subject.ask()
    key = subject.new_key(ask)
    _require_certificate(ask(SignCsr(a_csr(key)), subject.enrolled(ask, "occm")), key)


def kur_by_identity(subject: Subject) -> None:
    """useOccmCertSignForKur: the OCCM identity signs for the certificate of an NF."""
    ask = subject.ask()
    nf = subject.enrolled(ask, "nf-of-identity")
    identity = ask.device if isinstance(ask.peer, OpenSslMock) else subject.enrolled(ask, "occm")
    _update(subject, ask, nf, by=identity, name="nf-of-identity")


def kur_by_itself(subject: Subject) -> None:
    ask = subject.ask()
    nf = subject.enrolled(ask, "nf")
    _update(subject, ask, nf, by=nf, name="nf")


def implicit(subject: Subject) -> None:
    ask = subject.ask()
    ask.profile["implicit_confirm"] = True
    key = subject.new_key(ask)
    _require_certificate(ask(Enroll(template(), key), ask.mac), key)
    assert "CertConf" not in ask.asked


def polling(subject: Subject) -> None:
    """Every step is taken by another process: between any two, only a snapshot survives."""
    ask = subject.ask()
    key = subject.new_key(ask)
    snapshots: list[str] = []

    def revive(tx: Transaction) -> None:
        again = Transaction.restore(
            tx.snapshot(),
            request=tx.request,
            credentials=tx.credentials,
            trust=tx.trust,
            profile=tx.profile,
        )
        assert again.snapshot() == tx.snapshot()
        snapshots.append(str(again.state))
        tx.__dict__.update(again.__dict__)

    done = ask(Enroll(template(), key), ask.device, between=revive)

    _require_certificate(done, key)
    assert ask.asked.count("PollReq") >= 1
    assert {"waiting", "granted"} <= set(snapshots)


def rr(subject: Subject) -> None:
    """Revoke a certificate, and see that it cannot be revoked twice where the CA keeps a register.

    OpenSSL's mock keeps none.
    """
    ask = subject.ask()
    old = subject.enrolled(ask, "revoked")
    subject.known.pop("revoked")
    revoke = Revoke.of(old.certificate, x509.ReasonFlags.superseded)
    by = old if isinstance(ask.peer, OpenSslMock) else subject.enrolled(ask, "occm")
    assert ask(revoke, by).state is State.DONE
    if not isinstance(ask.peer, OpenSslMock):
        with pytest.raises(Rejected, match="certRevoked") as caught:
            ask(revoke, by)
        assert caught.value.authenticated


def genm(subject: Subject) -> None:
    """Ask for the CA certificates. OpenSSL's mock sends the question back."""
    ask = subject.ask()
    by = ask.device if isinstance(ask.peer, OpenSslMock) else subject.enrolled(ask, "occm")
    answers = ask(ask_ca_certificates(), by).answers
    assert [item.type for item in answers] == [CA_CERTS]
    if not isinstance(ask.peer, OpenSslMock):
        assert set(ask.peer.peer.pki.chain) <= set(read_ca_certificates(answers))


def error(subject: Subject) -> None:
    """Be told no in an error body: raises Rejected."""
    ask = subject.ask()
    ask(Enroll(template("/CN=ERRORBODY"), subject.new_key(ask)), ask.device)


def rejection(subject: Subject) -> None:
    """Be told no in the answer to the request: raises Rejected."""
    ask = subject.ask()
    ask(Enroll(template("/CN=REJECT"), subject.new_key(ask)), ask.device)


COLUMNS: dict[str, Callable[[Subject], None]] = {
    "ir, MAC": ir_mac,
    "ir, signed": ir_signed,
    "cr": cr,
    "p10cr": p10cr,
    "kur by the OCCM identity": kur_by_identity,
    "kur by itself": kur_by_itself,
    "implicit confirmation": implicit,
    "polling": polling,
    "rr": rr,
    "genm": genm,
    "error": error,
    "rejection": rejection,
}
REFUSALS = {"error": "ErrorMsg", "rejection": "Ip"}


def _update(
    subject: Subject, ask: Asking, old: SignatureCredentials, *, by: SignatureCredentials, name: str
) -> None:
    key = subject.new_key(ask)
    same = template(f"/CN={name}")
    done = ask(Update(same, key, old.certificate), by)
    _require_certificate(done, key)
    subject.known[name] = held(done, key)


def _require_certificate(tx: Transaction, key: PrivateKeyTypes) -> None:
    assert tx.issued is not None
    assert tx.issued.certificate.public_key() == key.public_key()
