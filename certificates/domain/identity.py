"""The OCCM certificate of an issuer: whether others may be signed with it, and who needs it."""

import base64
from collections.abc import Collection
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from django.db.models import Prefetch, QuerySet

from certificates.domain import errands, keys
from certificates.fields import Sealed
from certificates.models import Certificate, Enrollment, Readiness
from cmp import Credentials, SignatureCredentials
from issuers.domain.editing import running_migration
from secretstore import PrivateKey

LOOK_AGAIN = timedelta(seconds=30)  # at an obstacle; when it is gone, the rows are woken
NAMED = 10  # certificates that a message lists before it only counts
PROVIDED = "put there by somebody else; its key is kept for requests that it has signed"


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


def why_needed(row: Certificate) -> str:
    """Say why an OCCM certificate cannot be done without now; empty when it can."""
    if others := _named(row.issuer.certificates.exclude(pk=row.pk)):
        return (
            f"{row} signs the requests for other certificates of issuer {row.issuer}: {others}. "
            "Delete or migrate them first."
        )
    if migration := running_migration(row.issuer):
        return f"{row} signs the requests of {migration}: wait for it, or stop it."
    open_ones = Enrollment.objects.open().filter(issuer=row.issuer).exclude(certificate=row)
    if coming := _named(Certificate.objects.filter(enrollments__in=open_ones)):
        return (
            f"{row} will sign the requests for certificates that issuer {row.issuer} has issued "
            f"and that are not written yet: {coming}. Wait for them."
        )
    return ""


def _named(certificates: QuerySet[Certificate]) -> str:
    names = list(certificates.order_by("name").values_list("name", flat=True)[: NAMED + 1])
    return ", ".join(names[:NAMED]) + (" and more" if len(names) > NAMED else "")


def wake_waiting(issuer: int, *, now: datetime) -> int:
    """Make due at once what waited for this issuer's OCCM certificate; return how many."""
    waiting = Enrollment.objects.open().filter(errands.signed_by_identity(), issuer=issuer)
    return (
        waiting.exclude(waiting_for="")
        .filter(due_at__isnull=False)
        .update(due_at=now, waiting_for="")
    )


def kept(issuer: int | None, fingerprint: str) -> Enrollment | None:
    """Return the closed errand that holds the key of this issuer's identity of that fingerprint."""
    past = Enrollment.objects.filter(
        certificate__issuer=issuer,
        certificate__cert_type=Certificate.CertType.OCCM,
        phase=Enrollment.Phase.DELIVERED,
        issued_fingerprint=fingerprint,
    )
    return next((row for row in past.order_by("-closed_at") if row.private_key), None)


def keep(certificate: Certificate, signer: Credentials, *, now: datetime) -> None:
    """Keep the key of an identity that somebody else put there, before its renewal supersedes it.

    It is kept as those that OCCM delivers are, in a closed errand: open transactions go on with it.
    """
    own = certificate.cert_type == Certificate.CertType.OCCM
    if not (own and isinstance(signer, SignatureCredentials)):
        return
    leaf, key = signer.certificate, signer.private_key
    fingerprint = leaf.fingerprint(hashes.SHA256()).hex()
    if not isinstance(key, PrivateKey) or kept(certificate.issuer_id, fingerprint) is not None:
        return
    row = errands.new(certificate, Enrollment.Kind.CREATE, PROVIDED, leaf.not_valid_before_utc)
    row.phase = Enrollment.Phase.DELIVERED
    row.private_key = Sealed(keys.to_der(key))
    row.public_key_sha256 = keys.public_key_sha256(key)
    row.certificate_der = _der(leaf)
    row.chain_der = [base64.b64encode(_der(one)).decode() for one in signer.extra_certs]
    row.issued_fingerprint = fingerprint
    row.due_at, row.closed_at = None, now
    row.save(force_insert=True)


def forget_superseded_keys(certificate: Certificate) -> None:
    """Drop the keys of earlier identities that no open transaction was begun with."""
    needed = Enrollment.objects.open().exclude(signer_fingerprint="")
    kept = certificate.enrollments.filter(phase=Enrollment.Phase.DELIVERED)
    kept.exclude(issued_fingerprint=certificate.fingerprint).exclude(
        issued_fingerprint__in=needed.values("signer_fingerprint")
    ).update(**errands.emptied())


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
