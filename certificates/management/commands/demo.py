"""Demo content: two CAs, an issuer and an OCCM certificate each, and a small 5G core.

Names are those 3GPP gives them: FQDNs by TS 23.003, instance ids and API roots by TS 33.310 and
TS 29.501. What was made once is remembered in a secret, so a second start adds nothing, and what an
operator deleted does not come back.
"""

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from certificates.domain import lifecycle
from cmp import format_name
from issuers.domain import channel, editing
from issuers.domain.clock import DatabaseClock
from issuers.models import Issuer
from secretstore import ABSENT, Secret, SecretMissing, SecretStore

OPERATORS, CORE = "occm-demo", "5gc-demo"  # namespaces
MEMORY, MADE = "made", "names"  # the secret, and its key, that remembers
PLMN = "5gc.mnc001.mcc001.3gppnetwork.org"

# Network function, how many, and what its certificates show of OCCM's options.
FIRST_CA: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("NRF", 1, {"chain_output_key": "tls.crt", "merge_certificate_and_chain": True}),
    ("AMF", 2, {"chain_output_key": "chain.pem"}),
    ("SMF", 2, {"chain_output_key": "chain.pem", "elliptic_curve": "SECP384r1"}),
    ("UPF", 1, {"key_algorithm": "RSA"}),
    ("AUSF", 1, {}),
)
SECOND_CA: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("UDM", 1, {"key_encoding": "DER", "chain_output_key": "chain.pem"}),
    ("PCF", 1, {"chain_output_key": "fullchain.pem", "merge_certificate_and_chain": True}),
    ("NSSF", 1, {"requested_validity_days": 90, "renew_before_expiration_days": 14}),
    ("SEPP", 1, {"key_algorithm": "RSA", "key_size": "KEYSIZE_4096"}),
)


class Command(BaseCommand):
    help = "Add issuers for running demo CAs, with the certificates of a small 5G core."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--ca-folder", action="append", dest="ca_folders", default=[])
        parser.add_argument("--ca-url", action="append", dest="ca_urls", default=[])

    def handle(self, *, ca_folders: list[str], ca_urls: list[str], **_: Any) -> None:
        if len(ca_folders) != len(ca_urls):
            raise CommandError("give a --ca-folder and a --ca-url for each demo CA")
        secrets, clock = channel.secret_store(), DatabaseClock()
        cores = (FIRST_CA, SECOND_CA)
        made = _made(secrets)
        cas = zip(map(Path, ca_folders), ca_urls, cores, strict=False)
        for number, (folder, url, core) in enumerate(cas, start=1):
            name = f"demo-ca-{number}"
            if name not in made:
                _prepare(secrets, name, folder)
                editing.register(now=clock(), **_issuer(name, url, folder))
                made.add(name)
            issuer = Issuer.objects.filter(name=name).first()
            if issuer is None:
                continue
            for spec in _certificates(issuer, number, core):
                if spec["name"] not in made:
                    self._register(spec, clock())
                    made.add(spec["name"])
            _remember(secrets, made)

    def _register(self, spec: dict[str, Any], now: datetime) -> None:
        try:
            lifecycle.register(now=now, **spec)
        except ValidationError as error:  # an operator was quicker to take the name or the secret
            self.stderr.write(f"demo: {spec['name']} is left out: {' '.join(error.messages)}")
        else:
            self.stdout.write(f"demo: {spec['name']} is asked for")


def _issuer(name: str, url: str, folder: Path) -> dict[str, Any]:
    return {
        "name": name,
        "server_url": url,
        "recipient_dn": format_name(_authorities(folder)[-1].subject),
        "initial_auth_type": Issuer.InitialAuthType.MAC,
        "mac_namespace": OPERATORS,
        "mac_secret": f"{name}-mac",
        "mac_password_key": "pwd",
        "mac_reference_key": "ref",
        "other_signature_namespace": OPERATORS,
        "other_signature_secret": f"{name}-occm",
        "other_signature_key": "occmkey.pem",
        "other_signature_cert": "occmcert.pem",
        "other_signature_extra_certs": ["extra.pem"],
        "trust_store_namespace": OPERATORS,
        "trust_store_secret": f"{name}-trust",
        "trust_store_root_ca_certs": ["caroot.pem"],
    }


def _certificates(
    issuer: Issuer, number: int, core: tuple[tuple[str, int, dict[str, Any]], ...]
) -> Iterator[dict[str, Any]]:
    yield {
        "name": f"occm-{issuer.name}",
        "cert_type": "OCCM",
        "purpose": f"CMP identity at {issuer.name}",
        "issuer": issuer,
        "country": "DE",
        "organization": "Example Operator",
        "common_name": f"occm{number}.{PLMN}",
    }
    for network_function, count, options in core:
        for instance in range(1, count + 1):
            yield _network_function(issuer, network_function, instance, options)


def _network_function(
    issuer: Issuer, network_function: str, instance: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    name = f"{network_function.lower()}{instance}"
    fqdn = f"{name}.{network_function.lower()}.{PLMN}"
    secret = f"{name}-tls"
    spec: dict[str, Any] = {
        "name": name,
        "network_function": network_function,
        "purpose": "N4" if network_function == "UPF" else "SBI",
        "issuer": issuer,
        "country": "DE",
        "organization": "Example Operator",
        "organization_unit": "5G core",
        "common_name": fqdn,
        "dns_names": [fqdn, f"{name}.{CORE}.svc.cluster.local"],
        "uri_urns": [f"urn:uuid:{uuid5(NAMESPACE_DNS, fqdn)}"],
        "private_key_output_namespace": CORE,
        "private_key_output_secret": secret,
        "private_key_output_key": "tls.key",
        "certificate_output_namespace": CORE,
        "certificate_output_secret": secret,
        "certificate_output_key": "tls.crt",
    }
    if network_function == "UPF":
        spec["ip_addresses"] = [f"192.0.2.{instance}", f"2001:db8::{instance}"]
    else:
        spec["uri_api_roots"] = [f"https://{fqdn}"]
    if "chain_output_key" in options:
        spec |= {"chain_output_namespace": CORE, "chain_output_secret": secret}
    return {**spec, **options}


def _prepare(secrets: SecretStore, name: str, folder: Path) -> None:
    """Write what an operator would: the shared secret, and the CA to trust."""
    root = _authorities(folder)[0].public_bytes(Encoding.PEM)
    password = (folder / "mac-secret").read_bytes().strip()
    _put(secrets, f"{name}-mac", {"pwd": b"pass:" + password, "ref": b"demo"})
    _put(secrets, f"{name}-trust", {"caroot.pem": root})


def _authorities(folder: Path) -> list[x509.Certificate]:
    """Return a demo CA's certificates, root first, issuing CA last."""
    found = sorted(folder.glob("ca-*.pem"))
    if not found:
        raise CommandError(f"{folder} holds no demo CA: start it first")
    return [x509.load_pem_x509_certificate(path.read_bytes()) for path in found]


def _made(secrets: SecretStore) -> set[str]:
    data = _present(secrets, MEMORY).data
    return set(json.loads(data[MADE])) if MADE in data else set()


def _remember(secrets: SecretStore, made: set[str]) -> None:
    _put(secrets, MEMORY, {MADE: json.dumps(sorted(made)).encode()})


def _put(secrets: SecretStore, secret: str, values: Mapping[str, bytes]) -> None:
    present = _present(secrets, secret)
    secrets.write(OPERATORS, secret, values, version=present.version)


def _present(secrets: SecretStore, secret: str) -> Secret:
    try:
        return secrets.read(OPERATORS, secret)
    except SecretMissing:
        return ABSENT
