"""The OCCM certificate of an issuer: whether others may be signed with it, and who waits for it."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import Prefetch

from certificates.domain.errands import emptied, signed_by_identity
from certificates.models import Certificate, Enrollment, Readiness

LOOK_AGAIN = timedelta(seconds=30)  # at an obstacle; when it is gone, the rows are woken


def obstacles(issuers: Collection[int], *, now: datetime) -> dict[int, str]:
    """Say for each issuer why no request may be signed with its OCCM certificate now.

    An issuer that is left out has a certificate fit to sign with: one that is READY, and not being
    replaced. A claimed enrollment knows that as `identity_is_fit`.
    """
    open_ones = Enrollment.objects.open().only("certificate", "issued_fingerprint")
    found = dict.fromkeys(
        issuers, "the OCCM certificate of this issuer: there is none, add it first"
    )
    identities = Certificate.objects.filter(
        issuer__in=issuers, cert_type=Certificate.CertType.OCCM, deleting=False
    )
    ready = identities.with_readiness(now=now)
    for row in ready.prefetch_related(Prefetch("enrollments", open_ones)):
        if row.readiness != Readiness.READY:
            found[row.issuer_id] = (
                f"OCCM certificate {row}: it is {row.readiness}"
                f"{f' ({row.attention})' if row.attention else ''}"
            )[:300]
        elif any(
            one.issued_fingerprint for one in row.enrollments.all()
        ):  # granted, and not delivered
            found[row.issuer_id] = f"OCCM certificate {row}: it is being replaced"
        else:
            del found[row.issuer_id]
    return found


def wake_waiting(issuer: int, *, now: datetime) -> int:
    """Make due at once what waited for this issuer's OCCM certificate; return how many."""
    waiting = Enrollment.objects.open().filter(signed_by_identity(), issuer=issuer)
    return (
        waiting.exclude(waiting_for="")
        .filter(due_at__isnull=False)
        .update(due_at=now, waiting_for="")
    )


def superseded_key(enrollment: Enrollment) -> Enrollment | None:
    """Return the closed errand that holds the identity an open transaction was begun with."""
    past = Enrollment.objects.filter(
        issuer=enrollment.issuer,
        certificate__cert_type=Certificate.CertType.OCCM,
        phase=Enrollment.Phase.DELIVERED,
        issued_fingerprint=enrollment.signer_fingerprint,
    )
    return past.order_by("-closed_at").first()


def kept(certificate: Certificate) -> Enrollment | None:
    """Return the closed errand that holds an identity's present key."""
    past = certificate.enrollments.filter(
        phase=Enrollment.Phase.DELIVERED, issued_fingerprint=certificate.fingerprint
    )
    return past.order_by("-closed_at").first()


def forget_superseded_keys(certificate: Certificate) -> None:
    """Drop the keys of earlier identities that no open transaction was begun with."""
    needed = Enrollment.objects.open().exclude(signer_fingerprint="")
    kept = certificate.enrollments.filter(phase=Enrollment.Phase.DELIVERED)
    kept.exclude(issued_fingerprint=certificate.fingerprint).exclude(
        issued_fingerprint__in=needed.values("signer_fingerprint")
    ).update(**emptied())
