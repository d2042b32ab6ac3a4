"""The pages of certificates, of the errands to CAs, and of what may have been issued.

Read `certificate` (the pages), `certificate_form` (its fields), `standing` (what is under way, in
words), `issued` (what a certificate says), `panels` (the guide's two), `filters`, `records`.
"""

from certificates.admin.certificate import CertificateAdmin
from certificates.admin.panels import ExpiryTimeAdmin, ReadinessStatusAdmin
from certificates.admin.records import EnrollmentAdmin, MaybeIssuedAdmin

__all__ = [
    "CertificateAdmin",
    "EnrollmentAdmin",
    "ExpiryTimeAdmin",
    "MaybeIssuedAdmin",
    "ReadinessStatusAdmin",
]
