"""Changes of secrets that a store reports: whose they are, and that a look is due at once.

Rows only. What we wrote or saw ourselves is known by the secret's version, and no news.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime

from certificates.models import Certificate, Output
from secretstore import Change

AT_ONCE = 500  # secrets in a query


def namespaces() -> set[str]:
    """Return the namespaces that certificates are written to."""
    return set(Output.objects.order_by().values_list("namespace", flat=True).distinct())


def note(changes: Iterable[Change], *, now: datetime) -> int:
    """Have the certificates looked at whose secrets have changed; return how many."""
    latest = {(change.namespace, change.secret): change.version for change in changes}
    by_namespace: dict[str, list[str]] = defaultdict(list)
    for namespace, secret in latest:
        by_namespace[namespace].append(secret)
    found: set[int] = set()
    for namespace, secrets in by_namespace.items():
        for begin in range(0, len(secrets), AT_ONCE):
            mine = Output.objects.filter(
                namespace=namespace, secret__in=secrets[begin : begin + AT_ONCE]
            )
            found.update(
                certificate
                for certificate, secret, version in mine.values_list(
                    "certificate", "secret", "version"
                )
                if version != latest[namespace, secret]
            )
    return _look(found, now)


def note_missing(namespace: str, present: Collection[str], *, now: datetime) -> int:
    """Have those looked at whose secrets are none of these, which are all there are."""
    written = Output.objects.filter(namespace=namespace).exclude(version="")
    return _look(
        {
            pk
            for pk, secret in written.values_list("certificate", "secret")
            if secret not in present
        },
        now,
    )


def _look(certificates: Collection[int], now: datetime) -> int:
    due = 0
    pks = sorted(certificates)
    for begin in range(0, len(pks), AT_ONCE):
        rows = Certificate.objects.filter(pk__in=pks[begin : begin + AT_ONCE])
        due += rows.filter(look_due_at__gt=now).update(look_due_at=now)
    return due
