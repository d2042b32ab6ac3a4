"""What the rest of the project knows about secrets: how to name, read and write one.

    SecretStoreError
    ├── SecretMissing        no such secret (or no such namespace, when it was to be created)
    ├── KeyMissing           the secret is there, the key in it is not
    ├── Unreadable           the key's content is not what it is to be
    ├── Conflict             the secret changed since it was read: read, merge and write again
    ├── Forbidden            we may not
    │   └── Unauthenticated  the store does not know who we are
    ├── Throttled            later, please: after `retry_after`, if it said so
    ├── Invalid              refused for what it is (name, size, immutable): retrying does not help
    └── Unavailable          the store cannot be reached or does not work
        └── TimedOut         no answer within the deadline: a write may have been done

`code` is for metrics, the API and alerts, and never changes. A message names namespace, secret and
key and says what to do; it never holds anything of a secret's content.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, Final, Protocol

DEADLINE: Final = 10.0  # seconds a call may take altogether, unless its caller says otherwise
OPAQUE: Final = "Opaque"
TLS: Final = "kubernetes.io/tls"
CERTIFICATE_LABEL: Final = "occm/certificate"  # names the certificate a secret was written for


class SecretStoreError(Exception):
    code: ClassVar[str] = "SECRET_STORE"


class SecretMissing(SecretStoreError):
    code = "SECRET_MISSING"


class KeyMissing(SecretStoreError):
    code = "SECRET_KEY_MISSING"


class Unreadable(SecretStoreError):
    code = "SECRET_UNREADABLE"


class Conflict(SecretStoreError):
    code = "SECRET_CONFLICT"


class Forbidden(SecretStoreError):
    code = "SECRET_FORBIDDEN"


class Unauthenticated(Forbidden):
    code = "SECRET_UNAUTHENTICATED"


class Throttled(SecretStoreError):
    code = "SECRET_THROTTLED"

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Invalid(SecretStoreError):
    code = "SECRET_INVALID"


class Unavailable(SecretStoreError):
    code = "SECRET_STORE_UNAVAILABLE"


class TimedOut(Unavailable):
    code = "SECRET_STORE_TIMEOUT"


@dataclass(frozen=True, slots=True, order=True)
class SecretKeyRef:
    """One value: a key in a secret in a namespace."""

    namespace: str
    secret: str
    key: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.secret}[{self.key}]"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret as it was read: all its values at one moment."""

    data: Mapping[str, bytes] = field(repr=False)
    version: str | None  # opaque; what a write that builds on this reading is conditioned on
    exists: bool = True


ABSENT: Final = Secret(data={}, version=None, exists=False)  # what a writer creates from


@dataclass(frozen=True, slots=True)
class Change:
    """A secret is, or may be, another than before. Of what is in it nothing is told."""

    namespace: str
    secret: str
    version: str | None  # None: it is gone


@dataclass(frozen=True, slots=True)
class Listed:
    """These are all secrets of a namespace: what is not among them is gone, or never was."""

    namespace: str
    secrets: frozenset[str]


class SecretWatch(Protocol):
    """Notices changes in one namespace. For one thread."""

    @property
    def pause(self) -> float:
        """How many seconds to leave between two calls of `changes`."""
        ...

    def changes(self) -> Iterator[Change | Listed]:
        """Yield what has changed since the last call, or goes on to change for a while.

        At the beginning, and when it cannot be told what has changed meanwhile, that is every
        secret there is, and then `Listed`. Raises SecretStoreError; the next call goes on.
        """
        ...


class SecretStore(Protocol):
    """Reads and writes secrets, safe to share among threads and processes."""

    def read(self, namespace: str, secret: str, *, deadline: float = DEADLINE) -> Secret:
        """Return the secret, or raise SecretMissing or another SecretStoreError.

        `deadline` is how many seconds the call may take altogether, then TimedOut.
        """
        ...

    def write(  # noqa: PLR0913 (all but the first three by keyword)
        self,
        namespace: str,
        secret: str,
        changes: Mapping[str, bytes],
        *,
        version: str | None,
        labels: Mapping[str, str] = ...,
        secret_type: str = ...,
        dry_run: bool = ...,
        deadline: float = DEADLINE,
    ) -> str:
        """Set the keys in `changes`, all at once or not at all, and return the new version.

        Other keys stay. The write is conditioned on `version`, that of the reading it builds on;
        None means that the secret must not exist yet and is to be created, with `secret_type`.
        Raises Conflict when that no longer holds. With `dry_run` everything is checked, nothing
        changes, and the version returned is the one given ("" for None). Labels and type mean
        something to a cluster only.
        """
        ...


class WatchableStore(SecretStore, Protocol):
    """A store that tells what others change in it."""

    def watch(self, namespace: str) -> SecretWatch: ...
