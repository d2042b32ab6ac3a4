"""What a worker needs from outside: a clock, the secrets, a way to a CA. A test brings its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import sleep
from typing import Protocol, Self

from certificates import metrics
from certificates.models import Enrollment
from issuers.models import Issuer
from secretstore import DEADLINE, OPAQUE, Secret, SecretStore

MARGIN = timedelta(seconds=30)  # a lease outlives the I/O it was taken for by this


class Transport(Protocol):
    """Carries one message to a CA, and its answer back."""

    @property
    def http_version(self) -> str | None: ...
    def post(self, der: bytes) -> bytes: ...  # raises TransportError
    def __enter__(self) -> Self: ...
    def __exit__(self, *details: object) -> None: ...


class Connect(Protocol):
    def __call__(
        self, issuer: Issuer, *, secrets: SecretStore, http_version: str, url: str
    ) -> Transport: ...


@dataclass(frozen=True, slots=True)
class World:
    clock: Callable[[], datetime]
    secrets: SecretStore
    connect: Connect
    pause: Callable[[float], None] = sleep


@dataclass(frozen=True, slots=True)
class LeasedSecrets:
    """A secret store whose every call is covered by the enrollment's lease.

    A read, and a write that is only tried, extend it when it would not last. A write always does:
    between the reading it builds on and the write itself, the fence is looked at. The first one
    moves the enrollment on to DELIVERING.
    """

    store: SecretStore
    enrollment: Enrollment
    clock: Callable[[], datetime]

    def read(self, namespace: str, secret: str, *, deadline: float = DEADLINE) -> Secret:
        self._have_lease(deadline)
        with metrics.secret_store("read"):
            return self.store.read(namespace, secret, deadline=deadline)

    def write(  # noqa: PLR0913 - as the protocol has it
        self,
        namespace: str,
        secret: str,
        changes: Mapping[str, bytes],
        *,
        version: str | None,
        labels: Mapping[str, str] = {},
        secret_type: str = OPAQUE,
        dry_run: bool = False,
        deadline: float = DEADLINE,
    ) -> str:
        if dry_run:
            self._have_lease(deadline)
        else:
            first = self.enrollment.phase == Enrollment.Phase.ISSUED
            to = Enrollment.Phase.DELIVERING if first else None
            self.enrollment.extend(self._end(deadline), to=to)
        with metrics.secret_store("try" if dry_run else "write"):
            return self.store.write(
                namespace,
                secret,
                changes,
                version=version,
                labels=labels,
                secret_type=secret_type,
                dry_run=dry_run,
                deadline=deadline,
            )

    def _have_lease(self, deadline: float) -> None:
        until = self._end(deadline)
        if self.enrollment.leased_until is None or self.enrollment.leased_until < until:
            self.enrollment.extend(until + MARGIN)

    def _end(self, deadline: float) -> datetime:
        return self.clock() + timedelta(seconds=deadline) + MARGIN
