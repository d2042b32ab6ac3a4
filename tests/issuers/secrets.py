"""The secrets that the issuers of `factories` name, with a small PKI in them."""

from collections.abc import Mapping
from functools import cache

from cmp.testing.pki import Pki, pem, private_pem
from issuers.models import Issuer
from secretstore import MemorySecretStore
from tests.issuers.factories import NOW


@cache
def pki(name: str = "Core") -> Pki:
    return Pki.generate(name, now=NOW)


def put(secrets: MemorySecretStore, namespace: str, secret: str, data: Mapping[str, bytes]) -> None:
    """Write keys into a secret, which is made if need be."""
    held = secrets.secrets.get((namespace, secret))
    secrets.write(namespace, secret, data, version=held.version if held else None)


def provide(secrets: MemorySecretStore, issuer: Issuer) -> None:
    """Put there what an operator does before the OCCM certificate is made."""
    put(secrets, "ns1", issuer.mac_secret, {"pwd": b"pass:open sesame\n", "ref": b"3078\n"})
    put(secrets, "ns1", issuer.trust_store_secret, {"root.pem": pem(pki().root)})


def identity(of: Pki | None = None) -> dict[str, bytes]:
    """Return a key and its certificate, under the keys that `factories` names."""
    signer = (of or pki()).signer
    return {"key.pem": private_pem(signer.key), "cert.pem": pem(signer.certificate)}
