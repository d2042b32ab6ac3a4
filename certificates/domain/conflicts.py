"""What may stand in the way of an operator's wish; each is a 409 in the API.

Conflict
├── EnrollmentInProgress    a procedure for this certificate is under way
├── NothingToRetry          no procedure is open
├── NothingToStop           no procedure is open
├── NothingToRenew          there is no valid certificate that could be renewed
├── CannotRecreate          the issuer lacks what the request would be signed with
├── StillReferred           other certificates need this one
├── BeingDeleted            the certificate is on its way out
├── InUse                   a certificate that lies in its secret is not revoked
├── IssuerGone              the issuer is no longer configured, so its CA cannot be asked
└── Settled                 it has ended already
"""

from typing import ClassVar


class Conflict(Exception):
    code: ClassVar[str] = "CONFLICT"


class EnrollmentInProgress(Conflict):
    code = "ENROLLMENT_IN_PROGRESS"


class NothingToRetry(Conflict):
    code = "NOTHING_TO_RETRY"


class NothingToStop(Conflict):
    code = "NOTHING_TO_STOP"


class NothingToRenew(Conflict):
    code = "NOTHING_TO_RENEW"


class CannotRecreate(Conflict):
    code = "CANNOT_RECREATE"


class StillReferred(Conflict):
    code = "STILL_REFERRED"


class BeingDeleted(Conflict):
    code = "BEING_DELETED"


class InUse(Conflict):
    code = "IN_USE"


class IssuerGone(Conflict):
    code = "ISSUER_GONE"


class Settled(Conflict):
    code = "SETTLED"
