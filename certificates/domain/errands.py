"""Opening and closing enrollments: what is frozen at the start, what is forgotten at the end.

Rows only. Whoever calls holds the certificate's row locked, or the enrollment's lease.
"""

import base64
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from cryptography import x509
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from certificates.domain.places import identity_keys
from certificates.fields import Sealed
from certificates.models import Certificate, Enrollment, MaybeIssued
from cmp import State
from issuers.models import Issuer

LONGEST_SERIAL = 40  # hexadecimal digits

log = logging.getLogger(__name__)
Kind, Phase, Signer = Enrollment.Kind, Enrollment.Phase, Enrollment.Signer

# What an enrollment asks for and where it puts it: frozen, so that an edit waits for the next one.
ASKED_FOR = (
    "key_algorithm",
    "key_size",
    "elliptic_curve",
    "key_usage",
    "extended_key_usage",
    "basic_constraints",
    "country",
    "state",
    "location",
    "organization",
    "organization_unit",
    "common_name",
    "requested_validity_days",
    "ip_addresses",
    "dns_names",
    "uri_api_roots",
    "uri_urns",
)
WRITTEN_AS = (
    "key_encoding",
    "private_key_output_namespace",
    "private_key_output_secret",
    "private_key_output_key",
    "certificate_output_namespace",
    "certificate_output_secret",
    "certificate_output_key",
    "chain_output_namespace",
    "chain_output_secret",
    "chain_output_key",
    "merge_certificate_and_chain",
)
PRIORITIES = {
    Kind.CREATE: Enrollment.Priority.CREATE,
    Kind.RENEW: Enrollment.Priority.RENEWAL,
    Kind.RECREATE: Enrollment.Priority.RENEWAL,
    Kind.MIGRATE: Enrollment.Priority.BULK,
    Kind.REPAIR: Enrollment.Priority.BULK,
}

POLLING = (State.WAITING, State.POLLED)  # the CA has asked for patience
SUPERSEDED = "SUPERSEDED"  # the error code of what gave way; it is no failure


def open_one(
    certificate: Certificate,
    *,
    kind: Enrollment.Kind,
    reason: str,
    now: datetime,
    **known: Any,
) -> Enrollment:
    """Open an enrollment, due at once, with everything it asks for frozen.

    `known` are columns that are set from the start.
    """
    row = new(certificate, kind, reason, now)
    for name, value in known.items():
        setattr(row, name, value)
    return open_all([row])[0]


def open_many(wanted: Iterable[tuple[Certificate, Enrollment.Kind, str]], *, now: datetime) -> int:
    """Open one for each certificate, of this kind and for this reason; return how many."""
    return len(open_all([new(row, kind, reason, now) for row, kind, reason in wanted]))


def open_all(rows: list[Enrollment]) -> list[Enrollment]:
    """Save enrollments that are `new`, and log each once it is there."""
    opened = Enrollment.objects.bulk_create(rows)
    for row in opened:
        told = partial(log.info, "%s: opened: %s", row, row.reason, extra={"errand": row})
        transaction.on_commit(told)
    return opened


def emptied() -> dict[str, Any]:
    """Return the changes that take key, certificate and exchange state out of a row."""
    return {
        "private_key": Sealed(),
        "exchange": {},
        "state": "",
        "asked_at": None,
        "confirm_until": None,
        "certificate_der": b"",
        "chain_der": [],
    }


def forgotten() -> dict[str, Any]:
    """Return the changes after which a row knows nothing of the transaction it was in."""
    return emptied() | {
        "public_key_sha256": "",
        "transaction_id": "",
        "signer_fingerprint": "",
        "sent_at": None,
        "modifications": [],
        "issued_fingerprint": "",
        "issued_at": None,
    }


def closed(*, now: datetime) -> dict[str, Any]:
    """Return the changes that a closed row needs whatever its end: out of the queue."""
    return {"due_at": None, "leased_until": None, "called_until": None, "closed_at": now}


def supersede(enrollment: Enrollment, *, reason: str, now: datetime) -> None:
    """Abandon an open enrollment for good, whoever works on it: its next write raises LeaseLost.

    A worker that is writing secrets right now does no harm: its writes are conditioned on what it
    read, and the successor's come after.
    """
    note_maybe_issued(enrollment, reason=reason)
    changes = emptied() | closed(now=now) | {"phase": Phase.ABANDONED, "fence": F("fence") + 1}
    Enrollment.objects.filter(pk=enrollment.pk).update(
        **changes, waiting_for="", error=f"superseded: {reason}", error_code=SUPERSEDED
    )
    told = partial(log.info, "%s: abandoned: %s", enrollment, reason, extra={"errand": enrollment})
    transaction.on_commit(told)


def note_maybe_issued(enrollment: Enrollment, *, reason: str, unproven: bool = False) -> None:
    """Record that the CA may hold a certificate of this transaction that nobody will use.

    Where somebody said no who may have been the CA it has hardly issued any: of such answers the
    last is kept, and how many there were.
    """
    if enrollment.sent_at is None:
        return
    issuer_name, transaction_id = enrollment.issuer_name, enrollment.transaction_id
    facts: dict[str, Any] = {
        "sent_at": enrollment.sent_at,
        "reason": reason,
        "public_key_sha256": enrollment.public_key_sha256,
    }
    mine = MaybeIssued.objects.filter(
        certificate_name=enrollment.certificate.name, issuer_name=issuer_name
    )
    counted = mine.filter(refusals__gt=0, resolved_at=None, revocation=None)
    again = {"transaction_id": transaction_id, "refusals": F("refusals") + 1}
    if unproven and counted.update(**facts | again):
        return
    facts |= {"certificate_name": enrollment.certificate.name, "refusals": int(unproven)}
    MaybeIssued.objects.get_or_create(
        transaction_id=transaction_id,
        issuer_name=issuer_name,
        defaults=facts | _received(enrollment),
    )


def _received(enrollment: Enrollment) -> dict[str, Any]:
    """Return what is known of a certificate that was granted, or that was not acceptable."""
    unwanted = base64.b64decode(enrollment.exchange.get("unwanted", ""))
    der = bytes(enrollment.certificate_der) or unwanted
    if not der:
        return {}
    serial_number = f"{x509.load_der_x509_certificate(der).serial_number:x}"
    written = serial_number if len(serial_number) <= LONGEST_SERIAL else ""  # RFC 5280, 4.1.2.2
    return {"certificate_der": der, "serial_number": written}


def recreating_instead(enrollment: Enrollment, *, reason: str) -> dict[str, Any]:
    """Return the changes that turn a renewal that cannot be into a recreation."""
    signer = _signer(enrollment.certificate, Kind.RECREATE)
    return {"kind": Kind.RECREATE, "signer": signer, "reason": reason[:300]}


def recreate_instead(enrollment: Enrollment, *, reason: str) -> None:
    """Turn a renewal into a recreation: what was delivered does not lie in its secret."""
    with transaction.atomic():
        Certificate.objects.filter(pk=enrollment.certificate_id).update(in_place=False)
        enrollment.keep(**recreating_instead(enrollment, reason=reason))


def is_polled(enrollment: Enrollment, *, now: datetime) -> bool:
    """Say whether the CA has asked for patience, and the total timeout has not passed."""
    if enrollment.state not in POLLING or enrollment.sent_at is None:
        return False
    return now < enrollment.sent_at + timedelta(seconds=enrollment.ca.total_timeout_s)


def signed_by_identity() -> Q:
    """Match the enrollments that begin only while the issuer's OCCM certificate is READY."""
    unsent = Q(phase__in=(Phase.NEW, Phase.EXCHANGE), state="")
    return Q(unsent, signer=Signer.IDENTITY)


def new(certificate: Certificate, kind: Enrollment.Kind, reason: str, now: datetime) -> Enrollment:
    """Return an enrollment that is not saved yet, with everything it asks for frozen.

    The issuer is the one set on `certificate`, saved or not: a migration sets another.
    """
    issuer = certificate.issuer
    identity = certificate.cert_type == Certificate.CertType.OCCM
    return Enrollment(
        certificate=certificate,
        issuer=issuer,
        issuer_name=issuer.name,
        kind=kind,
        reason=reason,
        priority=Enrollment.Priority.IDENTITY if identity else PRIORITIES[kind],
        needed_by=certificate.not_after,
        signer=_signer(certificate, kind),
        request=frozen(certificate, issuer),
        due_at=now,
        created_at=now,
    )


def _signer(certificate: Certificate, kind: Enrollment.Kind) -> Enrollment.Signer:
    identity = certificate.cert_type == Certificate.CertType.OCCM
    if kind == Kind.RENEW and (identity or not settings.OCCM_USE_OCCM_CERT_SIGN_FOR_KUR):
        return Signer.ITSELF
    return Signer.INITIAL if identity else Signer.IDENTITY


def frozen(certificate: Certificate, issuer: Issuer) -> dict[str, Any]:
    """Return what a certificate asks for and where it goes, as an errand keeps it."""
    request = {field: getattr(certificate, field) for field in (*ASKED_FOR, *WRITTEN_AS)}
    request["server_url"] = issuer.server_url
    request["extra_certs"] = []  # for an identity: the keys its intermediates go to, in order
    if certificate.cert_type == Certificate.CertType.OCCM:
        request["extra_certs"] = [ref.key for ref in identity_keys(issuer)[2:]]
    return request
