"""From an issuer's row, and the secrets it names, to what `cmp` needs to speak to its CA.

Secrets are read at every call, one read each, so that a change in the cluster takes effect at the
next transaction. `deadline` is how many seconds that read may take.

Raises a SecretStoreError that names namespace, secret and key when one of these is the trouble, and
ConfigurationError for the rest.
"""

from datetime import timedelta
from functools import lru_cache
from urllib.parse import urlsplit

from cryptography import x509
from django.conf import settings

import secretstore
from cmp import (
    Credentials,
    MacCredentials,
    Profile,
    SignatureCredentials,
    TrustStore,
    parse_name,
)
from cmp.http import HttpTransport, HttpVersion, TlsTrust
from issuers.domain import inputs
from issuers.domain.inputs import ConfigurationError
from issuers.models import Issuer
from secretstore import DEADLINE, Secret, SecretKeyRef, SecretStore, WatchableStore

__all__ = [
    "ConfigurationError",
    "identity_credentials",
    "initial_credentials",
    "issuer_name",
    "profile",
    "secret_store",
    "tls_trust",
    "transport",
    "trust_store",
]

HTTP_VERSIONS: dict[str, HttpVersion] = {"1.0": "1.0", "1.1": "1.1"}


def initial_credentials(
    issuer: Issuer, *, secrets: SecretStore, deadline: float = DEADLINE
) -> Credentials:
    """Return what protects the first request, for the OCCM certificate."""
    match issuer.initial_auth_type:
        case Issuer.InitialAuthType.MAC:
            return _mac(issuer, secrets, deadline)
        case Issuer.InitialAuthType.SIGNATURE:
            namespace = issuer.initial_signature_namespace
            name = issuer.initial_signature_secret
            secret = secrets.read(namespace, name, deadline=deadline)
            return _signature(
                secret,
                key=SecretKeyRef(namespace, name, issuer.initial_signature_key),
                cert=SecretKeyRef(namespace, name, issuer.initial_signature_cert),
                extra_certs=[
                    SecretKeyRef(namespace, name, key)
                    for key in issuer.initial_signature_extra_certs
                ],
                digest=issuer.initial_auth_digest,
            )
        case _:
            raise ConfigurationError(
                f"issuer {issuer} has no initial authentication: add it,"
                " or provide the OCCM certificate (MANUAL)"
            )


def identity_credentials(
    issuer: Issuer, *, secrets: SecretStore, deadline: float = DEADLINE
) -> SignatureCredentials:
    """Return the OCCM identity, which signs all but the first request; verified to be a pair.

    Of its extra certs those count that are there: a CA sends as many as it likes.
    """
    namespace, name = issuer.other_signature_namespace, issuer.other_signature_secret
    secret = secrets.read(namespace, name, deadline=deadline)
    return _signature(
        secret,
        key=SecretKeyRef(namespace, name, issuer.other_signature_key),
        cert=SecretKeyRef(namespace, name, issuer.other_signature_cert),
        extra_certs=[
            SecretKeyRef(namespace, name, key)
            for key in issuer.other_signature_extra_certs
            if secret.data.get(key)
        ],
        digest=issuer.other_auth_digest,
    )


def trust_store(issuer: Issuer, *, secrets: SecretStore, deadline: float = DEADLINE) -> TrustStore:
    """Return whom to believe, in responses and for issued certificates."""
    namespace, name = issuer.trust_store_namespace, issuer.trust_store_secret
    secret = secrets.read(namespace, name, deadline=deadline)

    def each(keys: list[str]) -> tuple[x509.Certificate, ...]:
        refs = (SecretKeyRef(namespace, name, key) for key in keys)
        return tuple(one for ref in refs for one in inputs.certificates(secret, ref))

    server_cert = None
    if issuer.trust_store_server_cert:
        server_certs = each([issuer.trust_store_server_cert])
        if len(server_certs) > 1:
            ref = SecretKeyRef(namespace, name, issuer.trust_store_server_cert)
            raise ConfigurationError(
                f"{ref} holds {len(server_certs)} certificates: the server cert is one;"
                " put the others under the intermediate CA certs"
            )
        (server_cert,) = server_certs
    return TrustStore(
        roots=each(issuer.trust_store_root_ca_certs),
        intermediates=each(issuer.trust_store_intermediate_ca_certs),
        server_cert=server_cert,
        allow_missing_digital_signature=issuer.allow_missing_digital_signature,
    )


def profile(issuer: Issuer) -> Profile:
    """Return how this CA is spoken to."""
    return Profile(
        recipient=parse_name(issuer.recipient_dn),
        total_timeout=timedelta(seconds=issuer.total_timeout_s),
        mac_only=issuer.initial_response_auth == Issuer.InitialResponseAuth.MAC_ONLY,
        expected_sender=_name(issuer.expected_sender_dn),
        implicit_confirm=issuer.implicit_confirmation,
        cert_profile=issuer.cert_profile,
        null_dn_sender=issuer.null_dn_sender,
        send_root=issuer.send_root_cert,
    )


def issuer_name(issuer: Issuer) -> x509.Name | None:
    """Return the issuer DN for certificate templates; None leaves it out."""
    return _name(issuer.issuer_dn)


def transport(
    issuer: Issuer,
    *,
    secrets: SecretStore,
    http_version: str | None = None,
    url: str = "",
    deadline: float = DEADLINE,
) -> HttpTransport:
    """Return the way to the CA, to be closed by its user.

    `http_version` is what to begin with (as `IssuerHealth` remembers it), `url` that of a
    transaction begun before the issuer's changed.
    """
    url = url or issuer.server_url
    tls = None
    if urlsplit(url).scheme == "https":
        if not issuer.tls_enabled:
            raise ConfigurationError(
                f"a transaction with issuer {issuer} was begun by https, and TLS was disabled"
                " since: begin anew"
            )
        tls = tls_trust(issuer, secrets=secrets, deadline=deadline)
    return HttpTransport(
        url,
        tls=tls,
        message_timeout=timedelta(seconds=issuer.message_timeout_s),
        http_version=HTTP_VERSIONS.get(http_version or ""),
    )


def tls_trust(issuer: Issuer, *, secrets: SecretStore, deadline: float = DEADLINE) -> TlsTrust:
    """Return what the CA's TLS server is checked with, as the deployment wants it checked."""
    namespace, name = issuer.tls_namespace, issuer.tls_secret
    secret = secrets.read(namespace, name, deadline=deadline)
    refs = (SecretKeyRef(namespace, name, key) for key in issuer.tls_trusted_certs)
    return TlsTrust(
        certificates=tuple(one for ref in refs for one in inputs.certificates(secret, ref)),
        strict=settings.OCCM_TLS_ENABLE_X509_STRICT_CHECK,
        ignore_critical=settings.OCCM_TLS_IGNORE_CRITICAL_EXTENSIONS_CHECK,
        minimum=settings.OCCM_TLS_MIN_VERSION,
        ciphers=settings.OCCM_TLS_CIPHERS,
        group=settings.OCCM_TLS_GROUPS,
    )


def _name(dn: str) -> x509.Name | None:
    return parse_name(dn) if dn else None


@lru_cache(maxsize=4)
def _connect(url: str) -> WatchableStore:
    return secretstore.connect(url)


def secret_store() -> WatchableStore:
    """Return the deployment's secret store, one for all threads of a process."""
    return _connect(settings.OCCM_SECRET_STORE)


def _mac(issuer: Issuer, secrets: SecretStore, deadline: float) -> MacCredentials:
    namespace, name = issuer.mac_namespace, issuer.mac_secret
    secret = secrets.read(namespace, name, deadline=deadline)
    password = inputs.password(secret, SecretKeyRef(namespace, name, issuer.mac_password_key))
    reference = secretstore.text(secret, SecretKeyRef(namespace, name, issuer.mac_reference_key))
    return MacCredentials(
        secret=password.encode(),
        reference=reference.encode(),
        digest=issuer.initial_auth_digest,
        mac=issuer.initial_auth_mac_algorithm,
    )


def _signature(
    secret: Secret,
    *,
    key: SecretKeyRef,
    cert: SecretKeyRef,
    extra_certs: list[SecretKeyRef],
    digest: str,
) -> SignatureCredentials:
    private_key = inputs.private_key(secret, key)
    certificate, *more = inputs.certificates(secret, cert)
    if not secretstore.is_pair(private_key, certificate):
        raise ConfigurationError(
            f"{key} is not the private key of {cert}: put a pair there; a bundle begins with the"
            " certificate of the key"
        )
    for ref in extra_certs:
        more.extend(inputs.certificates(secret, ref))
    return SignatureCredentials(
        private_key=private_key, certificate=certificate, extra_certs=tuple(more), digest=digest
    )
