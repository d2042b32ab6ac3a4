"""Valid rows with nothing surprising in them; a test states only what it is about."""

from datetime import datetime
from itertools import count
from typing import Any

from certificates.domain import lifecycle, revoke
from certificates.models import Certificate, Enrollment, MaybeIssued, Revocation
from tests.issuers.factories import NOW, an_issuer, issuer_spec

__all__ = [
    "NOW",
    "a_certificate",
    "a_maybe_issued",
    "a_revocation",
    "an_enrollment",
    "an_identity",
    "an_issuer",
    "certificate_spec",
    "identity_spec",
    "issuer_spec",
]

_n = count(1)


def certificate_spec(**fields: Any) -> dict[str, Any]:
    """Return what an operator fills in for a network function; all of it in one secret."""
    name = fields.get("name") or f"nrf{next(_n)}"
    secret = fields.pop("secret", f"{name}-tls")
    spec = {
        "name": name,
        "network_function": "NRF",
        "purpose": "SBI",
        "issuer": fields.get("issuer") or an_issuer(),
        "common_name": name,
        "private_key_output_namespace": "ns1",
        "private_key_output_secret": secret,
        "private_key_output_key": "tls.key",
        "certificate_output_namespace": "ns1",
        "certificate_output_secret": secret,
        "certificate_output_key": "tls.crt",
    }
    return spec | fields


def identity_spec(**fields: Any) -> dict[str, Any]:
    """Return what an operator fills in for an issuer's OCCM certificate."""
    name = f"occm{next(_n)}"
    spec = {
        "name": name,
        "cert_type": Certificate.CertType.OCCM,
        "purpose": "CMP identity",
        "issuer": fields.get("issuer") or an_issuer(),
        "common_name": name,
    }
    return spec | fields


def a_certificate(*, now: datetime = NOW, **fields: Any) -> Certificate:
    return lifecycle.register(now=now, **certificate_spec(**fields))


def an_identity(*, now: datetime = NOW, **fields: Any) -> Certificate:
    return lifecycle.register(now=now, **identity_spec(**fields))


def an_enrollment(**fields: Any) -> Enrollment:
    """Return the first enrollment of a new certificate, with some columns set by force."""
    certificate = fields.pop("certificate", None) or a_certificate()
    row = certificate.enrollments.get()
    for name, value in fields.items():
        setattr(row, name, value)
    row.save()
    return row


def a_maybe_issued(**fields: Any) -> MaybeIssued:
    """Return what a CA may have issued, of a request whose answer was lost."""
    noted = {
        "certificate_name": "gone",
        "issuer_name": "ca1",
        "transaction_id": f"{next(_n):032x}",
        "sent_at": NOW,
        "reason": "no answer within 30 s",
        "public_key_sha256": "0" * 64,
    }
    return MaybeIssued.objects.create(**noted | fields)


def a_revocation(*, now: datetime = NOW, **fields: Any) -> Revocation:
    """Return what an issuer's CA is to revoke, due at once."""
    asked: dict[str, Any] = {
        "issuer": fields.get("issuer") or an_issuer(),
        "certificate_name": "gone",
        "serial_number": f"{next(_n):x}",
        "why": "superseded",
        "due_at": now,
    }
    return revoke.open_one(now=now, **asked | fields)
