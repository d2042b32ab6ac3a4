"""What a transaction keeps between two workers, as values that JSON can hold.

A snapshot holds no secret: the key pair, the credentials and the trust store are handed in again.
It says whose they were, so that nobody goes on with another's transaction.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from cmp.acceptance import Issued
from cmp.errors import LocalError, Unacceptable
from cmp.messages import InfoTypeAndValue, PKIStatus
from cmp.protection import Credentials, MacCredentials
from cmp.request import Request
from cmp.states import FINAL, State

if TYPE_CHECKING:
    from cmp.transaction import Transaction

VERSION = 1
BY_NAME = {body.__name__: body for body in FINAL}

Json = dict[str, Any]


def take(tx: Transaction) -> Json:
    return {
        "version": VERSION,
        "request": type(tx.request).__name__,
        "whose": _whose(tx.credentials),
        "id": _text(tx.id),
        "state": str(tx.state),
        "until": tx.until.isoformat(),
        "wake_at": tx.wake_at.isoformat() if tx.wake_at else None,
        "nonce": _text(tx.nonce),
        "asked_nonce": _text(tx.asked_nonce),
        "their_nonce": None if tx.their_nonce is None else _text(tx.their_nonce),
        "awaited": tx.awaited.__name__,
        "poll_id": tx.poll_id,
        "cert_req_id": tx.cert_req_id,
        "issued": _issued_to_json(tx.issued) if tx.issued else None,
        "refusal": str(tx.refusal) if tx.refusal else None,
        "unwanted": _certificate_text(tx.unwanted) if tx.unwanted else None,
        "signer": _certificate_text(tx.signer) if tx.signer else None,
        "answers": [
            [item.type.dotted_string, None if item.value is None else _text(item.value)]
            for item in tx.answers
        ],
    }


def fields(kept: Json, request: Request, credentials: Credentials) -> dict[str, Any]:
    """Return the fields of the transaction as it was. Raises LocalError if it was another."""
    try:
        ours = {
            "version": VERSION,
            "request": type(request).__name__,
            "whose": _whose(credentials),
        }
        differing = [
            f"{name} {kept[name]}, not {value}"
            for name, value in ours.items()
            if kept[name] != value
        ]
        if not differing:
            return _fields(kept)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise LocalError(f"this is no snapshot of a transaction: {error!r}") from None
    raise LocalError(f"the snapshot is of another transaction: {'; '.join(differing)}")


def _fields(kept: Json) -> dict[str, Any]:
    their_nonce, wake_at, issued = kept["their_nonce"], kept["wake_at"], kept["issued"]
    unwanted, signer, refusal = kept["unwanted"], kept["signer"], kept["refusal"]
    return {
        "id": _bytes(kept["id"]),
        "state": State(kept["state"]),
        "until": datetime.fromisoformat(kept["until"]),
        "wake_at": None if wake_at is None else datetime.fromisoformat(wake_at),
        "nonce": _bytes(kept["nonce"]),
        "asked_nonce": _bytes(kept["asked_nonce"]),
        "their_nonce": None if their_nonce is None else _bytes(their_nonce),
        "awaited": BY_NAME[kept["awaited"]],
        "poll_id": int(kept["poll_id"]),
        "cert_req_id": int(kept["cert_req_id"]),
        "issued": None if issued is None else _issued_from_json(issued),
        "refusal": None if refusal is None else Unacceptable(refusal),
        "unwanted": None if unwanted is None else _certificate(unwanted),
        "signer": None if signer is None else _certificate(signer),
        "answers": tuple(
            InfoTypeAndValue(x509.ObjectIdentifier(oid), None if value is None else _bytes(value))
            for oid, value in kept["answers"]
        ),
    }


def _issued_to_json(issued: Issued) -> Json:
    return {
        "certificate": _certificate_text(issued.certificate),
        "chain": [_certificate_text(one) for one in issued.chain],
        "modifications": list(issued.modifications),
        "status": issued.status.name,
    }


def _issued_from_json(kept: Json) -> Issued:
    return Issued(
        _certificate(kept["certificate"]),
        tuple(_certificate(one) for one in kept["chain"]),
        tuple(kept["modifications"]),
        PKIStatus[kept["status"]],
    )


def _whose(credentials: Credentials) -> str:
    """Name credentials without giving them away."""
    if isinstance(credentials, MacCredentials):
        return f"MAC {credentials.reference.hex()}"
    return f"signature {credentials.certificate.fingerprint(hashes.SHA256()).hex()}"


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _certificate_text(certificate: x509.Certificate) -> str:
    return _text(certificate.public_bytes(Encoding.DER))


def _certificate(text: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(_bytes(text))
