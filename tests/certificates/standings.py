"""Certificates in the states that pages and API show, as seen from the clock on the wall."""

from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from certificates.fields import Sealed
from certificates.models import Certificate, Enrollment
from tests.factories import a_certificate

Phase = Enrollment.Phase
DAY = timedelta(days=1)
SERIAL = 0x4C9F16E2A07B3D58
NEVER_SHOWN = "n0t-f0r-any0nes-eyes"


def ready(
    certificate: Certificate | None = None, *, days: float = 365, **fields: Any
) -> Certificate:
    """Return a certificate that was delivered and is valid for some days more."""
    now = timezone.now()
    certificate = certificate or a_certificate(now=now, **fields)
    certificate.enrollments.update(phase=Phase.DELIVERED, due_at=None, closed_at=now)
    issued = self_signed(certificate, not_after=now + days * DAY)
    Certificate.objects.filter(pk=certificate.pk).update(
        certificate_der=issued.public_bytes(Encoding.DER),
        serial_number=f"{issued.serial_number:x}",
        fingerprint=issued.fingerprint(hashes.SHA256()).hex(),
        not_before=issued.not_valid_before_utc,
        not_after=issued.not_valid_after_utc,
        in_place=True,
        delivered_at=now,
        renew_at=issued.not_valid_after_utc - certificate.renew_before_expiration_days * DAY,
    )
    certificate.refresh_from_db()
    return certificate


def failing(certificate: Certificate | None = None, **columns: Any) -> Certificate:
    """Return a certificate whose errand has failed three times and waits for its next attempt."""
    now = timezone.now()
    certificate = certificate or a_certificate(now=now)
    certificate.enrollments.open().update(
        **{
            "phase": Phase.EXCHANGE,
            "tries": 3,
            "due_at": now + timedelta(seconds=25),
            "error_code": "CMP_REJECTED",
            "error": "the CA says <b>no</b>: badRequest",
            "first_failed_at": now - timedelta(minutes=2),
            "last_failed_at": now,
            "private_key": Sealed(NEVER_SHOWN.encode()),
            "exchange": {"nonce": NEVER_SHOWN},
            "request": {"subject": NEVER_SHOWN},
            "chain_der": [NEVER_SHOWN],
        }
        | columns
    )
    return certificate


def at_work(certificate: Certificate | None = None) -> Certificate:
    """Return a certificate whose errand a worker has."""
    now = timezone.now()
    certificate = certificate or a_certificate(now=now)
    certificate.enrollments.open().update(
        phase=Phase.EXCHANGE, leased_until=now + timedelta(minutes=1)
    )
    return certificate


def self_signed(certificate: Certificate, *, not_after: datetime) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, certificate.common_name)])
    names = [x509.DNSName(f"{certificate.name}.example.org"), x509.RFC822Name("nf@example.org")]
    unusual = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name.from_rfc4514_string("CN=Issuing CA,O=Operator,C=DE"))
        .public_key(key.public_key())
        .serial_number(SERIAL)
        .not_valid_before(min(timezone.now(), not_after) - DAY)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(unusual, critical=False)
        .sign(key, hashes.SHA256())
    )
