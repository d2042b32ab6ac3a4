"""What is known of an issuer's condition: its secrets, as a look finds them; its CA, as it answers.

Looks are claimed by moving `look_due_at`, so that two workers do not look at the same time and an
edit meanwhile makes another look due. What workers note while they enrol is written only when it
says something new.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from cryptography import x509
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from issuers.domain import inputs
from issuers.domain.inputs import ConfigurationError, Input
from issuers.models import Issuer, IssuerHealth
from secretstore import (
    Secret,
    SecretKeyRef,
    SecretStore,
    SecretStoreError,
    Throttled,
    Unavailable,
    is_pair,
)

LOOK_LEASE = timedelta(seconds=60)  # longer than a look may take
LOOK_AGAIN = timedelta(seconds=5)  # while something is missing
LOOK_LATER = timedelta(seconds=60)
NOTED_FOR = timedelta(seconds=10)  # how long an answer's time stands before it is noted again


def look(*, secrets: SecretStore, now: datetime) -> bool:
    """Look at the secrets of the issuer that waits longest for it, and note what is wrong.

    Returns whether to go on with the next: not when none is due or the secret store is away.
    """
    row = _claim(now)
    if row is None:
        return False
    reachable = True
    try:
        warnings = list(_warnings(row.issuer, secrets, now))
    except (Unavailable, Throttled) as error:
        reachable, warnings = False, [str(error)]
    again = now + (LOOK_AGAIN if warnings else LOOK_LATER)
    ours = IssuerHealth.objects.filter(pk=row.pk, look_due_at=row.look_due_at)
    ours.update(warnings=warnings, looked_at=now, look_due_at=again)
    return reachable


def answered(issuer: Issuer, *, now: datetime, http_version: str | None = None) -> None:
    """Note that the CA answered as it should, and what HTTP version to begin with next time."""
    said = Q(answered_at__isnull=True) | Q(answered_at__lt=now - NOTED_FOR) | ~Q(error="")
    new = said | Q(failing_since__isnull=False)
    changes = {"answered_at": now, "failing_since": None, "error": ""}
    if http_version is not None:
        new |= ~Q(http_version=http_version)
        changes["http_version"] = http_version
    IssuerHealth.objects.filter(new, pk=issuer.pk).update(**changes)


def failed(issuer: Issuer, *, now: datetime, error: str, http_version: str | None = None) -> None:
    """Note that the CA did not, and since when; HTTP version as for `answered`."""
    new = Q(failing_since__isnull=True) | ~Q(error=error)
    changes = {"failing_since": Coalesce(F("failing_since"), now), "error": error}
    if http_version is not None:
        new |= ~Q(http_version=http_version)
        changes["http_version"] = http_version
    IssuerHealth.objects.filter(new, pk=issuer.pk).update(**changes)


def _claim(now: datetime) -> IssuerHealth | None:
    """Take the row whose look is longest due, or None. Another worker may be quicker."""
    due = IssuerHealth.objects.filter(look_due_at__lte=now).select_related("issuer")
    for row in due.order_by("look_due_at")[:5]:
        leased = now + LOOK_LEASE
        same = IssuerHealth.objects.filter(pk=row.pk, look_due_at=row.look_due_at)
        if same.update(look_due_at=leased):
            row.look_due_at = leased
            return row
    return None


def _warnings(issuer: Issuer, secrets: SecretStore, now: datetime) -> Iterator[str]:
    read: dict[tuple[str, str], Secret | None] = {}
    for wanted in inputs.provided(issuer, with_identity=_identity_is_provided(issuer)):
        place = wanted.ref.namespace, wanted.ref.secret
        if place not in read:
            read[place] = None
            try:
                read[place] = secrets.read(*place)
            except (Unavailable, Throttled):
                raise
            except SecretStoreError as error:
                yield f"{wanted.purpose}: {error}"
        secret = read[place]
        if secret is not None:
            yield from _content_warnings(wanted, secret, now)


def _content_warnings(wanted: Input, secret: Secret, now: datetime) -> Iterator[str]:
    try:
        content = wanted.read(secret, wanted.ref)
    except (SecretStoreError, ConfigurationError) as error:
        yield f"{wanted.purpose}: {error}"
        return
    if wanted.pair is not None and not _is_pair(secret, wanted.pair, content[0]):
        yield f"{wanted.purpose}: {wanted.pair} is not the private key of {wanted.ref}"
    if wanted.read is inputs.certificates:
        for certificate in content:
            if certificate.not_valid_after_utc < now:
                day = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
                yield f"{wanted.purpose}: {wanted.ref} expired on {day}: replace it"


def _is_pair(secret: Secret, key: SecretKeyRef, certificate: x509.Certificate) -> bool:
    try:
        return is_pair(inputs.private_key(secret, key), certificate)
    except SecretStoreError:  # the key has its own warning
        return True


def _identity_is_provided(issuer: Issuer) -> bool:
    """Say whether the OCCM certificate is provided by the operator, and not created by us."""
    manual = issuer.certificates.filter(cert_type="OCCM", creation_mode="MANUAL")
    return not issuer.initial_auth_type or manual.exists()
