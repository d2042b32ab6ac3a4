"""What dashboards count and list: readiness, days left, what is under way, what needs a person.

Read only, and a fixed number of queries whatever there is.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    F,
    IntegerField,
    Min,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)

from certificates.models import (
    Certificate,
    CertificateQuerySet,
    Enrollment,
    MaybeIssued,
    Readiness,
)
from issuers.models import Issuer, SecretStoreHealth

# How long a certificate is still valid: the name of the band, its upper bound in days, its words.
BANDS: tuple[tuple[str, int | None, str], ...] = (
    ("EXPIRED", 0, "expired"),
    ("DAYS_7", 7, "7 days or less"),
    ("DAYS_30", 30, "30 days or less"),
    ("DAYS_90", 90, "90 days or less"),
    ("DAYS_180", 180, "180 days or less"),
    ("LATER", None, "more than 180 days"),
    ("NONE", None, "no certificate yet"),
)


# What is told of an open errand in a list.
LISTED = (
    "certificate",
    "issuer_name",
    "kind",
    "phase",
    "due_at",
    "called_until",
    "leased_until",
    "tries",
    "waiting_for",
    "error_code",
    "error",
)


@dataclass(frozen=True, slots=True)
class Band:
    name: str
    words: str
    count: int


@dataclass(frozen=True, slots=True)
class Errands:
    """The open enrollments of one kind."""

    kind: str
    count: int
    failing: int
    stopped: int
    next_at: datetime | None


def banded(rows: QuerySet[Any], *, now: datetime) -> QuerySet[Any]:
    """Annotate `band`, the name of the band of days left that a certificate is in."""
    whens = [When(not_after=None, then=Value("NONE"))]
    whens += [
        When(not_after__lte=now + timedelta(days=days), then=Value(name))
        for name, days, _ in BANDS
        if days is not None
    ]
    band = Case(*whens, default=Value("LATER"), output_field=CharField(max_length=8))
    found: QuerySet[Any] = rows.annotate(band=band)
    return found


def bands(*, now: datetime) -> list[Band]:
    """Count the certificates by days left, in the order of urgency."""
    rows = banded(Certificate.objects.all(), now=now).order_by()
    counts = dict(rows.values_list("band").annotate(Count("pk")))
    return [Band(name, words, counts.get(name, 0)) for name, _, words in BANDS]


def by_readiness(*, now: datetime) -> dict[str, int]:
    """Count the certificates by readiness; every value is there."""
    rows = Certificate.objects.with_readiness(now=now).order_by()
    counts = dict(rows.values_list("readiness").annotate(Count("pk")))
    return {value: counts.get(value, 0) for value in Readiness.values}


def errands() -> list[Errands]:
    """Count what is under way by kind."""
    rows = Enrollment.objects.open().order_by("kind").values("kind")
    counted = rows.annotate(
        count=Count("pk"),
        failing=Count("pk", filter=~Q(error_code="")),
        stopped=Count("pk", filter=Q(due_at=None)),
        next_at=Min("due_at"),
    )
    return [Errands(**row) for row in counted]


def needing_attention(*, now: datetime) -> CertificateQuerySet:
    """Return the certificates that a person should look at, the most urgent first.

    Each is annotated with its `readiness`, and has its open errand in `open_errands`.
    """
    open_ones = Enrollment.objects.open().filter(certificate=OuterRef("pk"))
    troubled = open_ones.filter(~Q(error_code="") | Q(due_at=None))
    rows = Certificate.objects.with_readiness(now=now).filter(deleting=False)
    rows = rows.annotate(troubled=Exists(troubled), busy=Exists(open_ones))
    rows = rows.filter(
        Q(troubled=True)
        | Q(readiness=Readiness.EXPIRED)
        | Q(readiness=Readiness.NOT_READY, busy=False)
        | ~Q(attention="")
        | ~Q(renewal_warning="")
        | ~Q(drift="")
    )
    identity = Q(cert_type=Certificate.CertType.OCCM)
    urgency = Case(
        When(identity & ~Q(readiness=Readiness.READY), then=Value(0)),
        When(readiness=Readiness.EXPIRED, then=Value(1)),
        When(readiness=Readiness.NOT_READY, then=Value(2)),
        When(troubled=True, then=Value(3)),
        default=Value(4),
        output_field=IntegerField(),
    )
    errand = Prefetch(
        "enrollments",
        Enrollment.objects.open().with_delays(now=now).only(*LISTED),
        "open_errands",
    )
    found: CertificateQuerySet = (
        rows.annotate(urgency=urgency)
        .select_related("issuer")
        .defer("certificate_der")
        .prefetch_related(errand)
        .order_by("urgency", F("not_after").asc(nulls_last=True), "name")
    )
    return found


def maybe_issued() -> int:
    """Count the certificates that a CA may have issued unseen, and that nobody has dealt with."""
    return MaybeIssued.objects.filter(resolved_at=None).count()


def failing_store() -> SecretStoreHealth | None:
    """Return what is known of the secret store, if it does not work."""
    return SecretStoreHealth.objects.filter(failing_since__isnull=False).first()


def issuers(*, now: datetime) -> QuerySet[Any]:
    """Return every issuer with its health, its identity's `readiness` and its `certificate_count`.

    `identity_readiness` is None where an issuer has no OCCM certificate yet.
    """
    identities = Certificate.objects.with_readiness(now=now).filter(
        issuer=OuterRef("pk"), cert_type=Certificate.CertType.OCCM
    )
    rows = Issuer.objects.select_related("health").annotate(
        certificate_count=Count("certificates"),
        identity_readiness=Subquery(identities.values("readiness")[:1]),
        identity_not_after=Subquery(identities.values("not_after")[:1]),
    )
    return rows.order_by(F("health__failing_since").asc(nulls_last=True), "name")
