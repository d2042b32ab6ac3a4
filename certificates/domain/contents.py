"""What is written into each secret: key, certificate and chain, as an enrollment's request says.

Pure: what was issued and what lies there now in, the changes to one secret out.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

import secretstore
from certificates.domain import keys
from certificates.domain.means import place
from certificates.models import Enrollment
from secretstore import OPAQUE, TLS, PrivateKey, Secret, SecretKeyRef


@dataclass(frozen=True, slots=True)
class Parcel:
    """A certificate with its key and chain, and where they go."""

    request: Mapping[str, Any]
    key: PrivateKey
    leaf: x509.Certificate
    chain: Sequence[x509.Certificate]  # issuer of the leaf first, without the root
    chain_is_ours: bool  # the CA's chain is extracted; else the operator provides it

    @property
    def secrets(self) -> tuple[tuple[str, str], ...]:
        """The secrets that are written, by namespace and name, in a fixed order."""
        refs = [place(self.request, name) for name in ("private_key", "certificate")]
        if self.chain_is_ours or self.request["merge_certificate_and_chain"]:
            refs.append(place(self.request, "chain"))
        return tuple(sorted({(ref.namespace, ref.secret) for ref in refs if ref is not None}))


def unpack(enrollment: Enrollment, *, chain_is_ours: bool) -> Parcel:
    """Return what an enrollment holds and has not delivered. Raises Undecryptable."""
    return Parcel(
        request=enrollment.request,
        key=keys.from_der(enrollment.private_key.reveal()),
        leaf=x509.load_der_x509_certificate(bytes(enrollment.certificate_der)),
        chain=tuple(
            x509.load_der_x509_certificate(base64.b64decode(der)) for der in enrollment.chain_der
        ),
        chain_is_ours=chain_is_ours,
    )


def changes(parcel: Parcel, namespace: str, secret: str, *, present: Secret) -> dict[str, bytes]:
    """Return the keys of one secret that change, given what is in it at present."""
    request, encoding = parcel.request, parcel.request["key_encoding"]
    key, leaf, chain = (
        here if here is not None and (here.namespace, here.secret) == (namespace, secret) else None
        for here in (place(request, name) for name in ("private_key", "certificate", "chain"))
    )
    found: dict[str, bytes] = {}
    if key is not None:
        found[key.key] = secretstore.encode_private_key(parcel.key, encoding)
    if leaf is not None:
        found[leaf.key] = secretstore.encode_certificate(parcel.leaf, encoding)
        found |= _extra_certs(parcel, present)
    if chain is not None and request["merge_certificate_and_chain"]:
        above = parcel.chain if parcel.chain_is_ours else _operators_chain(present, chain)
        found[chain.key] = secretstore.encode_chain([parcel.leaf, *above])
    elif chain is not None and parcel.chain_is_ours and parcel.chain:
        found[chain.key] = secretstore.encode_chain(parcel.chain)
    return found


def secret_type(parcel: Parcel, namespace: str, secret: str) -> str:
    """Return the type to create a secret with: kubernetes.io/tls for what its readers expect.

    Those want key and certificate under its names, in PEM. A secret that exists keeps its type.
    """
    names = ("private_key", "certificate")
    refs = tuple(place(parcel.request, name) for name in names)
    expected = (
        SecretKeyRef(namespace, secret, "tls.key"),
        SecretKeyRef(namespace, secret, "tls.crt"),
    )
    return TLS if refs == expected and parcel.request["key_encoding"] == "PEM" else OPAQUE


def _extra_certs(parcel: Parcel, present: Secret) -> dict[str, bytes]:
    """Spread an identity's intermediates over its extra-certs keys, the last taking the rest.

    A key that was filled by a longer chain is emptied: it would be sent as an extra cert.
    """
    names, chain = parcel.request["extra_certs"], parcel.chain
    if not (names and chain and parcel.chain_is_ours):
        return {}
    last = len(names) - 1
    found = {}
    for index, name in enumerate(names):
        part = chain[index:] if index == last else chain[index : index + 1]
        if part or present.data.get(name):
            found[name] = secretstore.encode_chain(part)
    return found


def _operators_chain(present: Secret, ref: SecretKeyRef) -> list[x509.Certificate]:
    """Return the CA certificates that the operator put where leaf and chain are merged."""
    if not present.data.get(ref.key):
        return []
    return [one for one in secretstore.certificates(present, ref) if _is_ca(one)]


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
