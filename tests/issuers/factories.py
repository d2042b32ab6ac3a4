"""Valid issuers with nothing surprising in them; a test states only what it is about."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

from issuers.domain import editing
from issuers.models import Issuer

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
_n = count(1)


def issuer_spec(**fields: Any) -> dict[str, Any]:
    """Return what an operator fills in for a CA that knows us by a password."""
    name = f"ca{next(_n)}"
    spec = {
        "name": name,
        "recipient_dn": f"/C=DE/O=operator/CN={name}",
        "server_url": "http://ca.example:8080/pkix/",
        "initial_auth_type": "MAC",
        "mac_namespace": "ns1",
        "mac_secret": f"{name}-mac",
        "mac_password_key": "pwd",
        "mac_reference_key": "ref",
        "other_signature_namespace": "ns1",
        "other_signature_secret": f"{name}-occm",
        "other_signature_key": "key.pem",
        "other_signature_cert": "cert.pem",
        "trust_store_namespace": "ns1",
        "trust_store_secret": f"{name}-trust",
        "trust_store_root_ca_certs": ["root.pem"],
    }
    return spec | fields


def an_issuer(**fields: Any) -> Issuer:
    return editing.register(now=NOW, **issuer_spec(**fields))
