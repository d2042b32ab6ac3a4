"""What is known of an issuer's condition: its secrets, as a look finds them; its CA, as it answers.

Looks are claimed by moving `look_due_at`, so that two workers do not look at the same time and an
edit meanwhile makes another look due. That a CA answers is written only when it says something new.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from cmp import TrustStore
from issuers import statements
from issuers.domain import inputs
from issuers.domain.inputs import ConfigurationError, Input
from issuers.models import Issuer, IssuerHealth, SecretStoreHealth
from secretstore import (
    ABSENT,
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
FAILURES = 8  # in a row, and a CA or the secret store is left alone but for probes
NOTED_FOR = timedelta(seconds=10)  # how long an answer's time stands before it is noted again
FRESH = timedelta(seconds=1)  # how long what a worker has read of a CA's health is believed


def look(*, secrets: SecretStore, now: datetime) -> bool:
    """Look at the secrets of the issuer that waits longest for it, and note what is wrong.

    Returns whether to go on with the next: not when none is due or the secret store is away, which
    is no fault of the issuer's.
    """
    row = _claim(now)
    if row is None:
        return False
    ours = IssuerHealth.objects.filter(pk=row.pk, look_due_at=row.look_due_at)
    try:
        warnings = list(_warnings(row.issuer, secrets, now))
    except (Unavailable, Throttled) as error:
        ours.update(look_due_at=now + LOOK_AGAIN)
        patience = settings.OCCM_RETRY_INTERVAL
        store_failed(now=now, error=str(error), patience=patience, first=True)
        return False
    again = now + (LOOK_AGAIN if warnings else LOOK_LATER)
    ours.update(warnings=warnings, looked_at=now, look_due_at=again)
    return True


def answered(issuer: Issuer, *, now: datetime, http_version: str | None = None) -> None:
    """Note that the CA answered as it should, and what HTTP version to begin with next time."""
    if _is_known(issuer, now, http_version):
        return
    said = Q(answered_at__isnull=True) | Q(answered_at__lt=now - NOTED_FOR) | ~Q(error="")
    new = said | Q(failing_since__isnull=False)
    changes = {"answered_at": now, **_well(now)}
    if http_version is not None:
        new |= ~Q(http_version=http_version)
        changes["http_version"] = http_version
    IssuerHealth.objects.filter(new, pk=issuer.pk).update(**changes)


def failed(  # noqa: PLR0913 - all by keyword
    issuer: Issuer,
    *,
    now: datetime,
    error: str,
    http_version: str | None = None,
    patience: timedelta | None = None,
    probe: int | None = None,
) -> None:
    """Note that the CA did not, and since when; HTTP version as for `answered`.

    `patience` is how long the CA is left alone if that was once too often, `probe` the enrollment
    that found out.
    """
    changes = _ill(now, error, patience, probe)
    if http_version is not None:
        changes["http_version"] = http_version
    IssuerHealth.objects.filter(pk=issuer.pk).update(**changes)


def reached(issuer: Issuer, *, now: datetime) -> None:
    """Note that the CA can be reached, where nothing can be asked: it is no longer left alone."""
    failing = IssuerHealth.objects.filter(pk=issuer.pk, failing_since__isnull=False)
    failing.update(**_well(now))


def store_answered(*, now: datetime) -> None:
    """Note that the secret store works."""
    SecretStoreHealth.objects.filter(failing_since__isnull=False).update(**_well(now))


def store_failed(
    *, now: datetime, error: str, patience: timedelta, first: bool, probe: int | None = None
) -> None:
    """Note that the secret store does not work, or only that it began to: if this is the `first`.

    Other arguments as for `failed`.
    """
    rows = SecretStoreHealth.objects.filter(pk=secret_store().pk)
    if first:
        rows = rows.filter(failing_since__isnull=True)
    rows.update(**_ill(now, error, patience, probe))


def secret_store() -> SecretStoreHealth:
    """Return what is known of the secret store."""
    return SecretStoreHealth.objects.get_or_create(pk=SecretStoreHealth.ONLY)[0]


def _is_known(issuer: Issuer, now: datetime, http_version: str | None) -> bool:
    """Say whether an answer is no news: every enrolment asks, and a lock is spared by asking.

    What was read with the claim serves for a second.
    """
    known, since = issuer.health, now - NOTED_FOR
    if known.read_at is not None and now - known.read_at < FRESH:
        noted = known.answered_at is not None and known.answered_at >= since
        well = known.failing_since is None and not known.error
        return noted and well and http_version in {None, known.http_version}
    same_version = "" if http_version is None else " AND http_version = %s"
    found = statements.one(
        "SELECT 1 FROM issuers_issuerhealth WHERE issuer_id = %s AND answered_at >= %s"  # noqa: S608
        f" AND error = '' AND failing_since IS NULL{same_version}",
        (
            issuer.pk,
            statements.value_of(IssuerHealth, "answered_at", since),
            *([] if http_version is None else [http_version]),
        ),
    )
    return found is not None


def _well(now: datetime) -> dict[str, Any]:
    """Return the changes that close a breaker, or keep it closed."""
    opened = When(probe_at__isnull=False, then=Value(now))
    return {
        "failing_since": None,
        "failures": 0,
        "error": "",
        "probe_at": None,
        "probe": None,
        "recovered_at": Case(
            opened, default=F("recovered_at"), output_field=models.DateTimeField()
        ),
    }


def _ill(
    now: datetime, error: str, patience: timedelta | None, probe: int | None
) -> dict[str, Any]:
    """Return the changes that count a failure, and open the breaker if that was one too many."""
    another = Q(probe__isnull=False) & ~Q(probe=probe)  # is out: it is its answer that counts
    enough = Q(probe_at__isnull=False) | Q(failures__gte=FAILURES - 1)
    again = now + (patience or settings.OCCM_RETRY_INTERVAL)
    return {
        "failing_since": Coalesce(F("failing_since"), now),
        "failures": F("failures") + 1,
        "error": error,
        "probe_at": Case(
            When(another, then=F("probe_at")),
            When(enough, then=Value(again)),
            output_field=models.DateTimeField(),
        ),
        "probe": Case(
            When(another, then=F("probe")), output_field=models.PositiveBigIntegerField()
        ),
    }


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
    yield from _anchor_warnings(issuer, read, now)


def _anchor_warnings(
    issuer: Issuer, read: Mapping[tuple[str, str], Secret | None], now: datetime
) -> Iterator[str]:
    """Tell of a trust store that no issued certificate leads to, where no CA bundle is at hand.

    What is missing there, does not parse or has expired is told already.
    """
    found: list[x509.Certificate] = []
    for wanted in inputs.trust_store(issuer):
        secret = read.get((wanted.ref.namespace, wanted.ref.secret))
        try:
            found += wanted.read(secret or ABSENT, wanted.ref)
        except SecretStoreError:
            return
    valid = tuple(one for one in found if one.not_valid_after_utc >= now)
    if not valid or TrustStore(roots=valid).can_anchor_issued(now):
        return
    if not issuer.certificates.exclude(ca_bundle_key="").exists():
        place = f"{issuer.trust_store_namespace}/{issuer.trust_store_secret}"
        yield (
            f"OCCM trust store: secret {place} holds no CA certificate that issued ones could lead"
            " to: add the CA's to the intermediate CA certs"
        )


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
