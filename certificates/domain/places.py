"""Where things lie: the secret keys that a certificate writes and that an issuer reads."""

from collections.abc import Iterable

from certificates.models import Certificate
from issuers.models import Issuer
from secretstore import SecretKeyRef


def outputs(certificate: Certificate) -> tuple[SecretKeyRef, ...]:
    """Return every key that this certificate writes, each once; half-given places are left out."""
    found = [
        SecretKeyRef(
            certificate.private_key_output_namespace,
            certificate.private_key_output_secret,
            certificate.private_key_output_key,
        ),
        SecretKeyRef(
            certificate.certificate_output_namespace,
            certificate.certificate_output_secret,
            certificate.certificate_output_key,
        ),
        SecretKeyRef(
            certificate.chain_output_namespace,
            certificate.chain_output_secret,
            certificate.chain_output_key,
        ),
    ]
    if certificate.cert_type == Certificate.CertType.OCCM and certificate.issuer_id is not None:
        found += identity_keys(certificate.issuer)
    return tuple(dict.fromkeys(ref for ref in found if ref.namespace and ref.secret and ref.key))


def identity_keys(issuer: Issuer) -> tuple[SecretKeyRef, ...]:
    """Return where the OCCM identity lies: private key, certificate, then its extra certs."""
    keys = (
        issuer.other_signature_key,
        issuer.other_signature_cert,
        *issuer.other_signature_extra_certs,
    )
    return _keys(issuer.other_signature_namespace, issuer.other_signature_secret, keys)


def inputs(issuer: Issuer) -> frozenset[SecretKeyRef]:
    """Return every key an issuer reads that OCCM never writes: the operator's."""
    mac = (issuer.mac_password_key, issuer.mac_reference_key)
    initial = (
        issuer.initial_signature_key,
        issuer.initial_signature_cert,
        *issuer.initial_signature_extra_certs,
    )
    trust = (
        *issuer.trust_store_root_ca_certs,
        *issuer.trust_store_intermediate_ca_certs,
        issuer.trust_store_server_cert,
    )
    return frozenset(
        _keys(issuer.mac_namespace, issuer.mac_secret, mac)
        + _keys(issuer.initial_signature_namespace, issuer.initial_signature_secret, initial)
        + _keys(issuer.trust_store_namespace, issuer.trust_store_secret, trust)
        + _keys(issuer.tls_namespace, issuer.tls_secret, issuer.tls_trusted_certs)
    )


def _keys(namespace: str, secret: str, keys: Iterable[str]) -> tuple[SecretKeyRef, ...]:
    return tuple(SecretKeyRef(namespace, secret, key) for key in keys if key)
