"""How the demo CA's answers look: header, protection, extraCerts, and what is wrong on purpose.

What is answered is decided in `ca`; here it becomes DER.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cryptography import x509

from cmp import codec
from cmp.messages import (
    Body,
    CertRepMessage,
    ErrorMsg,
    InfoTypeAndValue,
    PKIHeader,
    PKIMessage,
    PKIStatus,
    Rp,
)
from cmp.protection import Credentials, MacCredentials, SignatureCredentials
from cmp.testing.behaviour import Behaviour, befalls
from cmp.testing.gate import Peer
from cmp.testing.pki import Pki


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An answer before it is DER. `nonce` is ours, `recip_nonce` repeats one of the client's."""

    body: Body
    nonce: bytes
    recip_nonce: bytes | None = None
    general_info: tuple[InfoTypeAndValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Pen:
    """Writes answers in the CA's hand."""

    behaviour: Behaviour
    pki: Pki
    secrets: dict[bytes, bytes]

    def write(self, answer: Outgoing, *, to: PKIMessage, peer: Peer | None, now: datetime) -> bytes:
        """Return the DER of an answer, protected in kind, or signed where the peer is unknown."""
        behaviour = self.behaviour
        credentials = self._credentials(peer)
        header = PKIHeader(
            sender=x509.DirectoryName(self.pki.signer.certificate.subject),
            recipient=to.header.sender,
            transaction_id=to.header.transaction_id,
            sender_nonce=answer.nonce,
            recip_nonce=answer.recip_nonce,
            message_time=now,
            sender_kid=credentials.sender_kid,
            general_info=answer.general_info,
            pvno=to.header.pvno if to.header.pvno in (2, 3) else 2,
        )
        omitted: dict[str, Any] = dict.fromkeys(behaviour.omit_header)
        header = replace(header, **omitted)
        if befalls(behaviour.answer_another_transaction, to):
            header = replace(header, transaction_id=os.urandom(16))
        if befalls(behaviour.wrong_nonce, to):
            header = replace(header, recip_nonce=os.urandom(16))
        bare = is_refusal(answer.body) and befalls(behaviour.unprotected_errors, to)
        if bare or befalls(behaviour.unprotected_answers, to):
            return codec.encode(header, answer.body, protect=None)
        seal = credentials.seal()
        protect = seal.protect
        if befalls(behaviour.spoil_protection, to):
            protect = _spoiled(protect)
        extra_certs = self._extra_certs(answer.body, credentials)
        if befalls(behaviour.omit_extra_certs, to):
            extra_certs = ()
        header = replace(header, protection_alg=seal.algorithm)
        return codec.encode(header, answer.body, protect=protect, extra_certs=extra_certs)

    def _credentials(self, peer: Peer | None) -> Credentials:
        if peer is None or peer.reference is None or self.behaviour.sign_mac_answers:
            return SignatureCredentials(self.pki.signer.key, self.pki.signer.certificate)
        secret = self.secrets[peer.reference]
        return MacCredentials(secret, peer.reference, pbmac1=self.behaviour.pbmac1)

    def _extra_certs(self, body: Body, credentials: Credentials) -> tuple[x509.Certificate, ...]:
        """The signer first (RFC 9483, 3.3), then the chain of whatever needs one."""
        behaviour = self.behaviour
        signer = credentials.sent_certs
        chain = self.pki.chain if signer or isinstance(body, CertRepMessage) else ()
        if chain and behaviour.root_in_extra_certs:
            chain = (*chain, self.pki.root)
        match behaviour.extra_chain_order:
            case "reversed":
                return (*signer, *reversed(chain))
            case "with unrelated" if chain:
                return (*signer, self.pki.tls.certificate, *chain, self.pki.signer.certificate)
        return (*signer, *chain)


def is_refusal(body: Body) -> bool:
    """Tell an error body, or a response in which nothing is granted."""
    match body:
        case ErrorMsg():
            return True
        case CertRepMessage():
            return all(each.status.status == PKIStatus.rejection for each in body.responses)
        case Rp():
            return all(each.status == PKIStatus.rejection for each in body.statuses)
    return False


def _spoiled(protect: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Protect something else than what is sent."""
    return lambda protected_part: protect(protected_part + b"!")
