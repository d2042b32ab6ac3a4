"""What can go wrong in a CMP exchange, and whose fault it is.

    CmpError
    ├── LocalError           we may not do this now: a mistake here or in the configuration
    ├── RemoteError          an answer came, but it cannot be accepted
    │   ├── Malformed        it does not decode
    │   ├── Unprotected      its protection is missing or wrong, or its signer not trusted
    │   ├── OutOfSequence    it is well formed, but does not answer what we sent
    │   ├── Unacceptable     the certificate issued is not the one that was asked for
    │   └── Rejected         the CA said no
    ├── Expired              the transaction took longer than its total timeout
    └── TransportError       no answer came
        ├── Unreachable      nothing was sent: the same message may go out again
        ├── NoAnswer         it was sent: the CA may have processed it
        └── BadHttp          an HTTP answer that holds no PKIMessage

`code` is for metrics, the API and alerts, and never changes; the message is for people.
"""

from datetime import timedelta
from typing import ClassVar


class CmpError(Exception):
    code: ClassVar[str] = "CMP"


class LocalError(CmpError):
    code = "CMP_LOCAL"


class RemoteError(CmpError):
    code = "CMP_REMOTE"


class Malformed(RemoteError):
    code = "CMP_MALFORMED"


class Unprotected(RemoteError):
    code = "CMP_UNPROTECTED"


class OutOfSequence(RemoteError):
    code = "CMP_OUT_OF_SEQUENCE"


class Unacceptable(RemoteError):
    code = "CMP_UNACCEPTABLE"


class Rejected(RemoteError):
    """The CA said no. Unless `authenticated`, anybody on the way may have said it."""

    code = "CMP_REJECTED"

    def __init__(
        self,
        text: str,
        *,
        status: str = "rejection",
        failures: frozenset[str] = frozenset(),
        authenticated: bool,
    ) -> None:
        bits = ", ".join(sorted(failures)) or "no failInfo"
        doubt = "" if authenticated else " (unauthenticated answer)"
        super().__init__(f"the CA answered {status} [{bits}]: {text or 'no text'}{doubt}")
        self.text = text
        self.status = status
        self.failures = failures  # PKIFailureInfo bit names, RFC 9810, 5.2.3
        self.authenticated = authenticated


class Expired(CmpError):
    code = "CMP_TIMEOUT"


class TransportError(CmpError):
    code = "CMP_TRANSPORT"


class Unreachable(TransportError):
    code = "CMP_UNREACHABLE"


class NoAnswer(TransportError):
    code = "CMP_NO_ANSWER"


class BadHttp(TransportError):
    """An HTTP answer without a PKIMessage. `retry_after` is the server's wish, if it named one."""

    code = "CMP_HTTP"

    def __init__(self, message: str, *, status: int, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
