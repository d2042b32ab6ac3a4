"""Certificates that are kept alive, and the errands to CAs that keep them so.

Read `certificate` (what is wanted, what was delivered), `enrollment` (one errand, its own queue
entry), `aftermath` (what is to be revoked, what may be issued). Rules for saving live in
`domain.lifecycle`; here are columns and their vocabulary.
"""

from certificates.models.aftermath import MaybeIssued, Revocation, RevocationQuerySet
from certificates.models.certificate import (
    Certificate,
    CertificateQuerySet,
    ExpiryTime,
    Output,
    Readiness,
    ReadinessStatus,
)
from certificates.models.enrollment import (
    Enrollment,
    EnrollmentQuerySet,
    LeaseLost,
    Stopped,
    held_while_open,
)

__all__ = [
    "Certificate",
    "CertificateQuerySet",
    "Enrollment",
    "EnrollmentQuerySet",
    "ExpiryTime",
    "LeaseLost",
    "MaybeIssued",
    "Output",
    "Readiness",
    "ReadinessStatus",
    "Revocation",
    "RevocationQuerySet",
    "Stopped",
    "held_while_open",
]
