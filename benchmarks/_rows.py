"""What benchmarks ask of OCCM's rows, in a process whose environment names the database."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.management import call_command
from django.db import InterfaceError, OperationalError, connection

import benchmarks._django  # noqa: F401 - before models can be imported
import secretstore
from certificates.domain import lifecycle
from certificates.models import Certificate, Enrollment, MaybeIssued
from cmp import format_name
from issuers.domain import editing
from issuers.domain.clock import DatabaseClock
from issuers.models import Issuer
from secretstore import ABSENT, FolderSecretStore, SecretKeyRef, SecretMissing
from tests.peers.demo_ca import REFERENCE, SECRET

NAMESPACE = "nf"
OPERATORS = "operators"
Answer = TypeVar("Answer")


def migrate() -> None:
    call_command("migrate", verbosity=0)


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask the database, again and again while it is away."""
    while True:
        try:
            return ask()
        except (OperationalError, InterfaceError):
            connection.close()
            time.sleep(0.2)


def an_issuer(secrets: Path, authorities: list[x509.Certificate], **fields: Any) -> Issuer:
    """Register an issuer with its inputs; `authorities` are its CA's, root first."""
    name = fields.setdefault("name", "ca")
    put(secrets, f"{name}-mac", {"pwd": SECRET.encode(), "ref": REFERENCE.encode()})
    root = authorities[0].public_bytes(Encoding.PEM)
    put(secrets, f"{name}-trust", {"root.pem": root})
    spec = {
        "recipient_dn": format_name(authorities[-1].subject),
        "initial_auth_type": Issuer.InitialAuthType.MAC,
        "mac_namespace": OPERATORS,
        "mac_secret": f"{name}-mac",
        "mac_password_key": "pwd",
        "mac_reference_key": "ref",
        "other_signature_namespace": OPERATORS,
        "other_signature_secret": f"{name}-occm",
        "other_signature_key": "key.pem",
        "other_signature_cert": "cert.pem",
        "trust_store_namespace": OPERATORS,
        "trust_store_secret": f"{name}-trust",
        "trust_store_root_ca_certs": ["root.pem"],
    }
    return editing.register(now=DatabaseClock()(), **spec | fields)


def ask_for_identity(issuer: Issuer) -> Certificate:
    """Register the OCCM certificate; what waits for it goes ahead once it is READY."""
    return lifecycle.register(
        now=DatabaseClock()(),
        name=f"occm-{issuer.name}",
        cert_type=Certificate.CertType.OCCM,
        purpose="CMP identity",
        issuer=issuer,
        common_name=f"occm-{issuer.name}",
    )


def certificates_in(folder: Path) -> list[x509.Certificate]:
    """Return a demo CA's own certificates, root first."""
    paths = sorted(folder.glob("ca-*.pem"))
    return [x509.load_pem_x509_certificate(path.read_bytes()) for path in paths]


def put(root: Path, secret: str, values: dict[str, bytes]) -> None:
    """Write a secret as an operator does."""
    store = FolderSecretStore(root)
    try:
        present = store.read(OPERATORS, secret)
    except SecretMissing:
        present = ABSENT
    store.write(OPERATORS, secret, values, version=present.version)


def ask_for(issuer: Issuer, name: str) -> Certificate:
    """Register the certificate of a network function: key and certificate in one secret."""
    return lifecycle.register(
        now=DatabaseClock()(),
        name=name,
        network_function="AMF",
        purpose="benchmark",
        issuer=issuer,
        common_name=f"{name}.example",
        private_key_output_namespace=NAMESPACE,
        private_key_output_secret=name,
        private_key_output_key="tls.key",
        certificate_output_namespace=NAMESPACE,
        certificate_output_secret=name,
        certificate_output_key="tls.crt",
    )


def make_renewals_due() -> None:
    """Have all network functions' certificates renewed now."""
    certificates = Certificate.objects.filter(cert_type=Certificate.CertType.OTHER)
    certificates.update(renew_at=DatabaseClock()())


def unfinished() -> int:
    """Count the certificates that are not READY, or have an errand open or due."""
    now = DatabaseClock()()
    ready = Certificate.objects.ready(now=now).filter(renew_at__gt=now)
    idle = ready.exclude(enrollments__in=Enrollment.objects.open())
    return Certificate.objects.count() - idle.count()


def ready() -> int:
    return Certificate.objects.ready(now=DatabaseClock()()).count()


def failed_tries() -> int:
    return sum(Enrollment.objects.values_list("tries", flat=True))


def last_failed(certificate: Certificate) -> float | None:
    """Return when the last try for a certificate failed, in seconds of the database's clock."""
    moment = certificate.enrollments.values_list("last_failed_at", flat=True).first()
    return moment.timestamp() if moment else None


def errors_shown() -> list[str]:
    """Name the errors that open errands show now."""
    shown = Enrollment.objects.open().exclude(error="").order_by("error_code")
    return list(shown.values_list("error", flat=True).distinct()[:5])


def serials() -> dict[int, str]:
    """Return the serial numbers of the certificates held, with their names."""
    rows = Certificate.objects.values_list("serial_number", "name")
    return {int(serial, 16): name for serial, name in rows if serial}


def maybe_issued() -> dict[str, str]:
    """Return the transactions listed as maybe issued, with the serial number where known."""
    return dict(MaybeIssued.objects.values_list("transaction_id", "serial_number"))


def mismatches(root: Path) -> list[str]:
    """Name certificates whose secret does not hold them with their key."""
    store, wrong = FolderSecretStore(root), []
    for row in Certificate.objects.filter(cert_type=Certificate.CertType.OTHER):
        found = store.read(NAMESPACE, row.certificate_output_secret)
        leaf = secretstore.certificates(found, ref(row, "tls.crt"))[0]
        key = secretstore.private_key(found, ref(row, "tls.key"))
        if not secretstore.is_pair(key, leaf) or f"{leaf.serial_number:x}" != row.serial_number:
            wrong.append(row.name)
    return wrong


def ref(row: Certificate, key: str) -> SecretKeyRef:
    return SecretKeyRef(NAMESPACE, row.certificate_output_secret, key)
