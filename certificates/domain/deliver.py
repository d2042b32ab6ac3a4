"""Writing what was issued into its secrets, until it is there. The CA is not asked again.

All secrets are tried dry before the first is written. From DELIVERING on it only goes forward: the
same contents are written again by whoever takes the row up, and that changes nothing.
"""

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from certificates import metrics
from certificates.domain import contents, errands, failures, identity, policy
from certificates.domain.contents import Parcel
from certificates.domain.world import LeasedSecrets, World
from certificates.models import Certificate, Enrollment
from secretstore import ABSENT, CERTIFICATE_LABEL, Conflict, Secret, SecretMissing

Phase = Enrollment.Phase

ROUNDS: Final = 5  # of reading and writing against others that change the same secret
TAKEN_OVER: Final = (
    "issuer",
    "certificate_der",
    "serial_number",
    "fingerprint",
    "not_before",
    "not_after",
    "delivered_at",
    "renew_at",
    "in_place",
    "modifications",
    "attention",
    "updated_at",
)
NO_CHAIN = "The CA sent no certificate chain; what lies at the chain output was left as it is."


def deliver(enrollment: Enrollment, world: World) -> bool:
    """Take the next step of writing; True when another may follow at once."""
    secrets = LeasedSecrets(world.secrets, enrollment, world.clock)
    chain_is_ours = settings.OCCM_EXTRACT_CERT_CHAIN_FROM_CMP_RESPONSE
    parcel = contents.unpack(enrollment, chain_is_ours=chain_is_ours)
    several = len(parcel.secrets) > 1  # one is written at once or not at all
    if enrollment.phase == Phase.DELIVERING or several:
        for namespace, secret in parcel.secrets:
            _write(parcel, namespace, secret, secrets, dry_run=enrollment.phase == Phase.ISSUED)
    if enrollment.phase == Phase.DELIVERING:
        now = world.clock()
        _finish(enrollment, parcel, now=now)
        metrics.delivered(enrollment, now=now)
        return False
    with transaction.atomic():
        if several:  # for a while they will not match
            Certificate.objects.filter(pk=enrollment.certificate_id).update(in_place=False)
        enrollment.move(Phase.DELIVERING)
    return True


def _write(
    parcel: Parcel, namespace: str, secret: str, secrets: LeasedSecrets, *, dry_run: bool
) -> None:
    """Merge our keys into one secret, conditioned on what was read. Raises SecretStoreError."""
    for round_ in range(1, ROUNDS + 1):
        present = _read(secrets, namespace, secret)
        try:
            secrets.write(
                namespace,
                secret,
                contents.changes(parcel, namespace, secret, present=present),
                version=present.version,
                labels={CERTIFICATE_LABEL: secrets.enrollment.certificate.name},
                secret_type=contents.secret_type(parcel, namespace, secret),
                dry_run=dry_run,
            )
        except Conflict:  # somebody wrote in between: read, extend the lease and write again
            if round_ == ROUNDS:
                raise
        else:
            return


def _read(secrets: LeasedSecrets, namespace: str, secret: str) -> Secret:
    try:
        return secrets.read(namespace, secret)
    except SecretMissing:
        return ABSENT


@transaction.atomic
def _finish(enrollment: Enrollment, parcel: Parcel, *, now: datetime) -> None:
    """Everything is written: take the certificate over and close the errand."""
    row = Certificate.objects.select_for_update().get(pk=enrollment.certificate_id)
    _take_over(row, enrollment, parcel, now=now)
    enrollment.certificate = row
    is_identity = row.cert_type == Certificate.CertType.OCCM
    kept = ("private_key", "certificate_der", "chain_der") if is_identity else ()
    emptied = {name: value for name, value in errands.emptied().items() if name not in kept}
    enrollment.move(Phase.DELIVERED, **emptied | failures.overcome() | errands.closed(now=now))
    if is_identity:
        identity.forget_superseded_keys(row)
        identity.wake_waiting(row.issuer_id, now=now)


def _take_over(row: Certificate, enrollment: Enrollment, parcel: Parcel, *, now: datetime) -> None:
    leaf = parcel.leaf
    renewal = policy.renewal(
        name=row.name,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        renew_before=timedelta(days=row.renew_before_expiration_days),
    )
    wants_chain = parcel.chain_is_ours and bool(row.chain_output_key)
    notes = [renewal.warning, NO_CHAIN if wants_chain and not parcel.chain else ""]
    row.issuer_id = enrollment.ca.pk
    row.certificate_der = bytes(enrollment.certificate_der)
    row.serial_number = f"{leaf.serial_number:x}"
    row.fingerprint = enrollment.issued_fingerprint
    row.not_before, row.not_after = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    row.delivered_at, row.renew_at, row.in_place = now, renewal.at, True
    row.modifications = enrollment.modifications
    row.attention = " ".join(note for note in notes if note)
    row.save(update_fields=TAKEN_OVER)
