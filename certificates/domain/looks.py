"""Which certificate's secrets are looked at next, and by whom: see `watch` and `drift`."""

from datetime import datetime

from certificates.domain import drift, watch
from certificates.models import Certificate
from secretstore import SecretStore


def look(*, secrets: SecretStore, now: datetime) -> bool:
    """Look at the secrets of the certificate that waits longest for it; False if none is due."""
    row = watch.claim(now=now)
    if row is None:
        return False
    look_at(row, secrets=secrets, now=now)
    return True


def look_at(row: Certificate, *, secrets: SecretStore, now: datetime) -> None:
    """Look at the secrets of a certificate that was claimed for it."""
    if row.creation_mode == Certificate.CreationMode.MANUAL:
        watch.look_at_manual(row, secrets=secrets, now=now)
    else:
        drift.look(row, secrets=secrets, now=now)
