"""The pages of certificates, of the errands to CAs, and of what may have been issued.

Read `certificate` (the pages), `certificate_form` (its fields), `standing` (what is under way, in
words), `issued` (what a certificate says), `panels` (the guide's two), `filters`, `records`,
`unseen` (what may have been issued, and revocations).
"""

from certificates.admin.certificate import CertificateAdmin
from certificates.admin.panels import ExpiryTimeAdmin, ReadinessStatusAdmin
from certificates.admin.records import EnrollmentAdmin
from certificates.admin.unseen import MaybeIssuedAdmin, RevocationAdmin

__all__ = [
    "CertificateAdmin",
    "EnrollmentAdmin",
    "ExpiryTimeAdmin",
    "MaybeIssuedAdmin",
    "ReadinessStatusAdmin",
    "RevocationAdmin",
]
