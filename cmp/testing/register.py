"""What a demo CA has issued and what became of it, kept across restarts in a journal of lines.

Each event is appended as one JSON line; a line torn by a kill is the last one and is forgotten.
It records, the CA judges: nothing here refuses anything.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TextIO

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class State(StrEnum):
    UNCONFIRMED = "unconfirmed"
    VALID = "valid"
    SUPERSEDED = "superseded"  # updated by a kur that was confirmed
    REVOKED = "revoked"


@dataclass(slots=True)
class Issued:
    """One certificate. `asked_by` is the body that asked for it: ir, cr, p10cr or kur."""

    serial: int
    der: bytes = field(repr=False)
    key: bytes = field(repr=False)  # fingerprint of the public key
    asked_by: str
    transaction_id: bytes = field(repr=False)
    issued_at: datetime
    confirmed_at: datetime | None = None
    superseded_at: datetime | None = None
    revoked_at: datetime | None = None
    reason: str = ""

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)

    @property
    def subject(self) -> str:
        return self.certificate.subject.rfc4514_string()

    @property
    def state(self) -> State:
        if self.revoked_at:
            return State.REVOKED
        if self.superseded_at:
            return State.SUPERSEDED
        return State.VALID if self.confirmed_at else State.UNCONFIRMED


def fingerprint(key: PublicKeyTypes) -> bytes:
    """Fingerprint a public key, so that one certified before is known again."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


class Register:
    """Iterates over everything issued, oldest first."""

    def __init__(self, journal: Path | None = None) -> None:
        self._by_serial: dict[int, Issued] = {}
        self._by_transaction: dict[bytes, Issued] = {}
        self._keys: set[bytes] = set()
        self._journal: TextIO | None = None
        if journal is not None:
            self._replay(journal)
            self._journal = journal.open("a", encoding="ascii", buffering=1)

    def __iter__(self) -> Iterator[Issued]:
        return iter(list(self._by_serial.values()))

    def __len__(self) -> int:
        return len(self._by_serial)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def get(self, serial: int) -> Issued | None:
        return self._by_serial.get(serial)

    def find(self, certificate: x509.Certificate) -> Issued | None:
        """Return the entry of exactly this certificate; one forged to its number is not it."""
        entry = self._by_serial.get(certificate.serial_number)
        return entry if entry and entry.der == certificate.public_bytes(Encoding.DER) else None

    def of_transaction(self, transaction_id: bytes) -> Issued | None:
        return self._by_transaction.get(transaction_id)

    def knows_key(self, key: PublicKeyTypes) -> bool:
        return fingerprint(key) in self._keys

    def add(
        self, certificate: x509.Certificate, *, asked_by: str, transaction_id: bytes, now: datetime
    ) -> Issued:
        entry = self._enter(certificate, asked_by, transaction_id, now)
        self._write(
            "issued",
            now,
            serial=f"{entry.serial:x}",
            asked_by=asked_by,
            transaction=transaction_id.hex(),
            der=base64.b64encode(entry.der).decode(),
        )
        return entry

    def confirm(self, entry: Issued, *, now: datetime) -> None:
        entry.confirmed_at = now
        self._write("confirmed", now, serial=f"{entry.serial:x}")

    def supersede(self, entry: Issued, *, now: datetime) -> None:
        entry.superseded_at = now
        self._write("superseded", now, serial=f"{entry.serial:x}")

    def revoke(self, entry: Issued, *, reason: str, now: datetime) -> None:
        entry.revoked_at, entry.reason = now, reason
        self._write("revoked", now, serial=f"{entry.serial:x}", reason=reason)

    def _enter(
        self, certificate: x509.Certificate, asked_by: str, transaction_id: bytes, now: datetime
    ) -> Issued:
        entry = Issued(
            serial=certificate.serial_number,
            der=certificate.public_bytes(Encoding.DER),
            key=fingerprint(certificate.public_key()),
            asked_by=asked_by,
            transaction_id=transaction_id,
            issued_at=now,
        )
        self._by_serial[entry.serial] = entry
        self._by_transaction[transaction_id] = entry
        self._keys.add(entry.key)
        return entry

    def _write(self, event: str, now: datetime, **details: str) -> None:
        if self._journal is not None:
            line = json.dumps({"event": event, "at": now.isoformat(), **details})
            self._journal.write(line + "\n")

    def _replay(self, journal: Path) -> None:
        if not journal.exists():
            return
        whole, newline, torn = journal.read_text("ascii").rpartition("\n")
        for line in whole.splitlines():
            self._replay_event(json.loads(line))
        if torn:
            journal.write_text(whole + newline, "ascii")

    def _replay_event(self, event: dict[str, Any]) -> None:
        at = datetime.fromisoformat(event["at"])
        if event["event"] == "issued":
            certificate = x509.load_der_x509_certificate(base64.b64decode(event["der"]))
            self._enter(certificate, event["asked_by"], bytes.fromhex(event["transaction"]), at)
            return
        entry = self._by_serial[int(event["serial"], 16)]
        match event["event"]:
            case "confirmed":
                entry.confirmed_at = at
            case "superseded":
                entry.superseded_at = at
            case "revoked":
                entry.revoked_at, entry.reason = at, event["reason"]
