"""Writing what was issued into its secrets, until it is there. The CA is not asked again.

All secrets are tried dry before the first is written. From DELIVERING on it only goes forward: the
same contents are written again by whoever takes the row up, and that changes nothing.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction

from certificates import metrics
from certificates.domain import contents, errands, failures, identity, means, policy, watch
from certificates.domain.contents import Parcel
from certificates.domain.world import LeasedSecrets, World
from certificates.models import Certificate, Enrollment, LeaseLost
from issuers import statements
from secretstore import ABSENT, CERTIFICATE_LABEL, Conflict, Secret, SecretMissing

Phase = Enrollment.Phase

ROUNDS: Final = 5  # of reading and writing against others that change the same secret
DECIDING: Final = (
    "id",
    "name",
    "cert_type",
    "creation_mode",
    "renew_before_expiration_days",
    "chain_output_key",
)
NO_CHAIN = "The CA sent no certificate chain; what lies at the chain output was left as it is."


def deliver(enrollment: Enrollment, world: World) -> None:
    """Write what was issued into its secrets, and close the errand."""
    means.require_own_places(enrollment)
    secrets = LeasedSecrets(world.secrets, enrollment, world.clock)
    chain_is_ours = settings.OCCM_EXTRACT_CERT_CHAIN_FROM_CMP_RESPONSE
    parcel = contents.unpack(enrollment, chain_is_ours=chain_is_ours)
    if enrollment.phase == Phase.ISSUED and len(parcel.secrets) > 1:
        _go_forward(enrollment, parcel, secrets)
    versions = {where: _write(parcel, *where, secrets, dry_run=False) for where in parcel.secrets}
    now = world.clock()
    _finish(enrollment, parcel, versions, now=now)
    metrics.delivered(enrollment, now=now)


def _go_forward(enrollment: Enrollment, parcel: Parcel, secrets: LeasedSecrets) -> None:
    """Commit to writing several secrets, once each could be; one is written at once or not at all.

    For a while they will not match.
    """
    for namespace, secret in parcel.secrets:
        _write(parcel, namespace, secret, secrets, dry_run=True)
    with transaction.atomic():
        Certificate.objects.filter(pk=enrollment.certificate_id).update(in_place=False)
        enrollment.move(Phase.DELIVERING)


def _write(
    parcel: Parcel, namespace: str, secret: str, secrets: LeasedSecrets, *, dry_run: bool
) -> str:
    """Merge our keys into one secret, conditioned on what was read, and return its new version.

    Raises SecretStoreError.
    """
    left = ROUNDS
    while True:
        present = _read(secrets, namespace, secret)
        try:
            return secrets.write(
                namespace,
                secret,
                contents.changes(parcel, namespace, secret, present=present),
                version=present.version,
                labels={CERTIFICATE_LABEL: secrets.enrollment.certificate.name},
                secret_type=contents.secret_type(parcel, namespace, secret),
                dry_run=dry_run,
            )
        except Conflict:  # somebody wrote in between: read, extend the lease and write again
            left -= 1
            if not left:
                raise


def _read(secrets: LeasedSecrets, namespace: str, secret: str) -> Secret:
    try:
        return secrets.read(namespace, secret)
    except SecretMissing:
        return ABSENT


@transaction.atomic
def _finish(
    enrollment: Enrollment, parcel: Parcel, versions: watch.Versions, *, now: datetime
) -> None:
    """Everything is written: take the certificate over and close the errand."""
    row = _locked(enrollment.certificate_id)
    _take_over(row, enrollment, parcel, now=now)
    enrollment.certificate = row
    watch.note_versions(row, versions)
    is_identity = row.cert_type == Certificate.CertType.OCCM
    kept = ("private_key", "certificate_der", "chain_der") if is_identity else ()
    emptied = {name: value for name, value in errands.emptied().items() if name not in kept}
    enrollment.move(Phase.DELIVERED, **emptied | failures.overcome() | errands.closed(now=now))
    if is_identity:
        identity.forget_superseded_keys(row)
        identity.wake_waiting(row.issuer_id, now=now)


def _locked(pk: int) -> Certificate:
    """Return what a certificate's row says now; nobody changes it before we are done."""
    lock = " FOR UPDATE" if connection.features.has_select_for_update else ""
    wanted = statements.columns(Certificate, DECIDING)
    sql = f"SELECT {wanted} FROM certificates_certificate WHERE id = %s{lock}"  # noqa: S608
    found = statements.one(sql, (pk,))
    if found is None:
        raise LeaseLost(f"certificate {pk} was deleted meanwhile")
    return statements.row(Certificate, found, DECIDING)


def _take_over(row: Certificate, enrollment: Enrollment, parcel: Parcel, *, now: datetime) -> None:
    leaf = parcel.leaf
    renewal = policy.renewal(
        name=row.name,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        renew_before=timedelta(days=row.renew_before_expiration_days),
        issued_at=enrollment.issued_at,
    )
    wants_chain = parcel.chain_is_ours and bool(row.chain_output_key)
    changes: dict[str, Any] = {
        "issuer": enrollment.ca.pk,
        "certificate_der": bytes(enrollment.certificate_der),
        "serial_number": f"{leaf.serial_number:x}",
        "fingerprint": enrollment.issued_fingerprint,
        "not_before": leaf.not_valid_before_utc,
        "not_after": leaf.not_valid_after_utc,
        "delivered_at": now,
        "renew_at": renewal.at,
        "in_place": True,
        "modifications": enrollment.modifications,
        "renewal_warning": renewal.warning,
        "attention": NO_CHAIN if wants_chain and not parcel.chain else "",
        "chain_der": enrollment.chain_der,
        "drift": "",
        "drifted_at": None,
        "contested": False,
        "updated_at": now,
    }
    if row.creation_mode == Certificate.CreationMode.AUTOMATIC:
        changes["look_due_at"] = now + settings.OCCM_LOOK_INTERVAL
    statements.update(Certificate, changes, where="id = %s", matching=(row.pk,))
    row.issuer_id, row.fingerprint = enrollment.ca.pk, enrollment.issued_fingerprint
    row.not_after = leaf.not_valid_after_utc
