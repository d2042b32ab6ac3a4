"""The message a transaction sends in each of its states: values in, bytes out.

Nothing is decided here, and nothing changes: `transaction` has moved before it asks.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from cryptography import x509

from cmp.algorithms import certificate_hash
from cmp.codec import encode
from cmp.errors import LocalError
from cmp.messages import (
    Body,
    CertConf,
    CertStatus,
    InfoTypeAndValue,
    PKIHeader,
    PKIStatus,
    PKIStatusInfo,
    PollReq,
)
from cmp.request import Ask, Revoke
from cmp.states import State

if TYPE_CHECKING:
    from cmp.transaction import Transaction


def message(tx: Transaction, *, now: datetime) -> bytes:
    """Return what the transaction's state calls for, protected. Raises LocalError."""
    body = _body(tx)
    named_hash = isinstance(body, CertConf) and any(one.hash_alg for one in body.statuses)
    header = PKIHeader(
        sender=tx.profile.sender(tx.credentials),
        recipient=x509.DirectoryName(tx.profile.recipient),
        transaction_id=tx.id,
        sender_nonce=tx.nonce,
        recip_nonce=tx.their_nonce,
        message_time=now,
        protection_alg=tx.seal.algorithm,
        sender_kid=tx.credentials.sender_kid,
        general_info=_general_info(tx),
        pvno=3 if named_hash else 2,  # RFC 9810, 7
    )
    extra_certs = tx.profile.sent_certs(tx.credentials, tx.trust)
    return encode(header, body, protect=tx.seal.protect, extra_certs=extra_certs)


def _body(tx: Transaction) -> Body:
    match tx.state:
        case State.REQUESTED:
            return tx.request.body(tx.credentials.digest)
        case State.POLLED:
            return PollReq((tx.poll_id,))
        case State.CONFIRMING if tx.issued is not None:
            return CertConf((_status(tx.issued.certificate, tx.cert_req_id, None),))
        case State.REFUSED if tx.unwanted is not None:
            reason = PKIStatusInfo(
                PKIStatus.rejection, (str(tx.refusal),), frozenset({"incorrectData"})
            )
            return CertConf((_status(tx.unwanted, tx.cert_req_id, reason),))
        case State.REFUSED:  # nothing to hash: none is accepted, RFC 9810, 5.3.18
            return CertConf(())
        case _:
            raise LocalError(f"there is no message for {tx.state}")


def _status(
    certificate: x509.Certificate, cert_req_id: int, info: PKIStatusInfo | None
) -> CertStatus:
    digest, algorithm = certificate_hash(certificate)
    return CertStatus(digest, cert_req_id, info, algorithm)


def _general_info(tx: Transaction) -> tuple[InfoTypeAndValue, ...]:
    if tx.state is not State.REQUESTED or isinstance(tx.request, Revoke | Ask):
        return ()
    return tx.profile.certification_info()
