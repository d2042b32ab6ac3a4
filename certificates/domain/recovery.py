"""Noticing that a CA or the secret store is back where no errand would find out.

What errands need they ask, and what they hear is noted (see `breakers`). What failed last and is
needed by none just now would count as failing for ever: its certificates have moved away, were
deleted, or their errands stopped. There a connection is tested, or a secret read.
"""

from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q

from certificates.domain.breakers import WRITING
from certificates.models import Enrollment, EnrollmentQuerySet, Output, Revocation
from issuers.domain import health, trial
from issuers.models import IssuerHealth, SecretStoreHealth
from secretstore import SecretStore, SecretStoreError, Throttled, Unavailable

OUR_OWN = ("CONFIGURATION", "FIELD_KEY", "UNEXPECTED")  # failures for which nobody was asked
AGAIN = timedelta(minutes=1)  # between two tests of a connection; an errand due by then needs none


def test_connections(*, now: datetime) -> None:
    """Have workers test the connection to each issuer that failed last and that nobody asks."""
    of_issuer = {"issuer": OuterRef("pk")}
    asking = _at_work(now).exclude(phase__in=WRITING).filter(**of_issuer)
    revoking = Revocation.objects.open().filter(due_at__lte=now + AGAIN, **of_issuer)
    rested = Q(tested_at=None) | Q(tested_at__lte=now - AGAIN)
    failing = IssuerHealth.objects.filter(
        rested, ~Exists(asking), ~Exists(revoking), failing_since__isnull=False
    )
    for row in failing.select_related("issuer"):
        trial.request(row.issuer, now=now)


def try_secret_store(*, secrets: SecretStore, now: datetime) -> None:
    """Read a secret if the secret store failed last and no errand will: any answer will do."""
    failing = SecretStoreHealth.objects.filter(failing_since__isnull=False)
    if not failing.exists() or _at_work(now).exists():
        return
    place = Output.objects.order_by("pk").values_list("namespace", "secret").first()
    if place is None:
        return
    try:
        secrets.read(*place)
    except (Unavailable, Throttled):
        return
    except SecretStoreError:
        pass
    health.store_answered(now=now)


def _at_work(now: datetime) -> EnrollmentQuerySet:
    """Return the errands that are worked on, or will be within a minute, and that get to ask."""
    soon = Enrollment.objects.open().filter(waiting_for="", due_at__lte=now + AGAIN)
    return soon.exclude(error_code__in=OUR_OWN)
