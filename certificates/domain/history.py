"""What is forgotten of the past, so that the database does not grow for ever.

Of a certificate's closed errands the latest are kept, by number and by age; never one that holds
an OCCM certificate's key, or that a bulk migration's record names. Of what may have been issued
only what is resolved gets old, and of revocations what has ended.
"""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Max, Q, Window
from django.db.models.functions import RowNumber

from certificates.models import Certificate, Enrollment, MaybeIssued, Revocation

TURNS = 360  # an hour: of all certificates so many parts are gone through, one every ten seconds
BATCH = 500


def purge(*, now: datetime, turn: int) -> int:
    """Delete what is too old or too many, of errands in this turn's part; return how many."""
    oldest = now - settings.OCCM_HISTORY_AGE
    resolved = MaybeIssued.objects.filter(resolved_at__lt=oldest)
    unresolved = MaybeIssued.objects.filter(resolved_at=None).exclude(revocation=None)
    ended = Revocation.objects.filter(closed_at__lt=oldest)
    ended = ended.exclude(pk__in=unresolved.values("revocation"))
    gone = 0
    kinds: tuple[models.QuerySet[Any], ...] = (_errands(oldest, turn % TURNS), resolved, ended)
    for rows in kinds:
        pks = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
        if pks:
            deleted, _ = rows.filter(pk__in=pks).delete()
            gone += deleted
    return gone


def _errands(oldest: datetime, part: int) -> "models.QuerySet[Any]":
    """Match errands that are older than that, or more than are kept of their certificate."""
    last = Certificate.objects.aggregate(last=Max("pk"))["last"] or 0
    these = (last * part // TURNS + 1, last * (part + 1) // TURNS)
    latest_first = Window(
        RowNumber(), partition_by="certificate", order_by=(F("closed_at").desc(), F("pk").desc())
    )
    closed = Enrollment.objects.exclude(closed_at=None).filter(certificate__pk__range=these)
    ranked = closed.annotate(rank=latest_first)
    spent = ranked.filter(Q(rank__gt=settings.OCCM_HISTORY_KEEP) | Q(closed_at__lt=oldest))
    return Enrollment.objects.filter(
        pk__in=spent.values("pk"), migration_items=None, certificate_der=b""
    )
