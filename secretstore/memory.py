"""A secret store that forgets: for tests and for trying things out. Versions count up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

from secretstore.base import (
    ABSENT,
    DEADLINE,
    OPAQUE,
    Conflict,
    Secret,
    SecretMissing,
    SecretStoreError,
)
from secretstore.limits import check_names, merge
from secretstore.watches import PolledWatch


@dataclass
class MemorySecretStore:
    """Behaves as a cluster does; raises `outage` instead for as long as one is set."""

    secrets: dict[tuple[str, str], Secret] = field(default_factory=dict, repr=False)
    labels: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    outage: SecretStoreError | None = None
    _last_version: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def read(self, namespace: str, secret: str, *, deadline: float = DEADLINE) -> Secret:
        check_names(namespace, secret)
        if self.outage is not None:
            raise self.outage
        try:
            return self.secrets[namespace, secret]
        except KeyError:
            raise SecretMissing(
                f"secret {namespace}/{secret} does not exist: create it, or correct the name"
            ) from None

    def watch(self, namespace: str) -> PolledWatch:
        return PolledWatch(namespace, lambda: self._versions(namespace), self._version_of)

    def _versions(self, namespace: str) -> dict[str, object]:
        if self.outage is not None:
            raise self.outage
        return {
            name: held.version for (there, name), held in self.secrets.items() if there == namespace
        }

    def _version_of(self, namespace: str, secret: str) -> str | None:
        return self.secrets.get((namespace, secret), ABSENT).version

    def write(  # noqa: PLR0913 (all but the first three by keyword)
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
        check_names(namespace, secret, changes)
        if self.outage is not None:
            raise self.outage
        with self._lock:
            current = self.secrets.get((namespace, secret), ABSENT)
            if current.version != version:
                raise Conflict(
                    f"secret {namespace}/{secret} has changed since it was read: it is read again"
                )
            merged = merge(namespace, secret, current.data, changes)
            if dry_run:
                return version or ""
            self.labels.setdefault((namespace, secret), {}).update(labels)
            if current.version is not None and merged == current.data:
                return current.version
            self._last_version += 1
            written = str(self._last_version)
            self.secrets[namespace, secret] = Secret(merged, written)
        return written
