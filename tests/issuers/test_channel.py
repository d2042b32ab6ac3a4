"""From an issuer's row and its secrets to credentials, trust and a way to the CA."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption as Encrypted
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from django.conf import LazySettings

from cmp import (
    MacCredentials,
    Profile,
    SignatureCredentials,
    TrustStore,
    Unprotected,
    Unreachable,
    parse_name,
)
from cmp.http import TlsTrust
from cmp.testing.ca import DemoCA
from cmp.testing.pki import pem, private_pem
from cmp.testing.server import Server, serve, tls_context
from issuers.domain import channel
from issuers.models import Issuer
from secretstore import (
    FolderSecretStore,
    KeyMissing,
    MemorySecretStore,
    SecretMissing,
    SecretStoreError,
    Unreadable,
)
from tests.issuers.factories import NOW, an_issuer, issuer_spec
from tests.issuers.secrets import identity, pki, provide, put
from tests.issuers.test_editing import NO_INITIAL_AUTH, SIGNATURE, TLS


@pytest.fixture
def secrets() -> MemorySecretStore:
    return MemorySecretStore()


def an_unsaved(**fields: Any) -> Issuer:
    return Issuer(**issuer_spec(**fields))


def with_signature(secrets: MemorySecretStore, **fields: Any) -> Issuer:
    """Return an issuer that knows us by a certificate, which is in place."""
    issuer = an_unsaved(**SIGNATURE | fields)
    pair = {
        "cmpkey.pem": private_pem(pki().signer.key),
        "cmpcert.pem": pem(pki().signer.certificate),
    }
    put(secrets, "ns1", issuer.initial_signature_secret, pair)
    return issuer


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"open sesame", b"open sesame"),
        (b"pass:open sesame", b"open sesame"),
        (b"pass:open sesame\n", b"open sesame"),
        (b"pass:pass:x", b"pass:x"),
        (b"pass:file:x", b"file:x"),
        ("Sesam öffne dich ".encode(), "Sesam öffne dich ".encode()),
        (b"password", b"password"),
    ],
)
def test_a_password_is_taken_with_or_without_pass(
    secrets: MemorySecretStore, written: bytes, meant: bytes
) -> None:
    issuer = an_unsaved(initial_auth_digest="SHA384", initial_auth_mac_algorithm="HMACSHA512")
    provide(secrets, issuer)
    put(secrets, "ns1", issuer.mac_secret, {"pwd": written})

    credentials = channel.initial_credentials(issuer, secrets=secrets)

    assert credentials == MacCredentials(meant, b"3078", digest="SHA384", mac="HMACSHA512")
    assert "sesame" not in repr(credentials)


@pytest.mark.parametrize("source", [b"file:/etc/passwd", b"env:HOME", b"fd:3", b"stdin", b"pass:"])
def test_other_sources_of_a_password_are_refused(secrets: MemorySecretStore, source: bytes) -> None:
    issuer = an_unsaved(mac_secret="ca-mac")
    provide(secrets, issuer)
    put(secrets, "ns1", "ca-mac", {"pwd": source})

    with pytest.raises(channel.ConfigurationError, match=r"^ns1/ca-mac\[pwd\] ") as caught:
        channel.initial_credentials(issuer, secrets=secrets)

    assert caught.value.code == "CONFIGURATION"


def test_a_pre_configured_pair_signs_with_its_extra_certs(secrets: MemorySecretStore) -> None:
    issuer = with_signature(
        secrets, initial_signature_extra_certs=["ca.pem"], initial_auth_digest="SHA512"
    )
    chain = b"".join(map(pem, [*pki().chain, pki().root]))
    put(secrets, "ns1", issuer.initial_signature_secret, {"ca.pem": chain})

    credentials = channel.initial_credentials(issuer, secrets=secrets)

    assert isinstance(credentials, SignatureCredentials)
    assert credentials.sent_certs == (pki().signer.certificate, *pki().chain, pki().root)
    assert credentials.digest == "SHA512"


def test_without_initial_authentication_there_is_no_first_request(
    secrets: MemorySecretStore,
) -> None:
    with pytest.raises(channel.ConfigurationError, match="has no initial authentication: add it"):
        channel.initial_credentials(an_unsaved(**NO_INITIAL_AUTH), secrets=secrets)


def test_the_identity_is_the_pair_in_place_with_the_certs_the_ca_sent(
    secrets: MemorySecretStore,
) -> None:
    issuer = an_unsaved(other_signature_extra_certs=["1.pem", "2.pem"], other_auth_digest="SHA384")
    sent = {"1.pem": pem(pki().chain[0]), "2.pem": b""}  # fewer than there are keys for
    put(secrets, "ns1", issuer.other_signature_secret, identity() | sent)

    credentials = channel.identity_credentials(issuer, secrets=secrets)

    assert credentials.sent_certs == (pki().signer.certificate, pki().chain[0])
    assert credentials.digest == "SHA384"


def test_a_certificate_may_be_followed_by_its_chain(secrets: MemorySecretStore) -> None:
    issuer = an_unsaved()
    merged = pem(pki().signer.certificate) + pem(pki().chain[0])
    put(secrets, "ns1", issuer.other_signature_secret, identity() | {"cert.pem": merged})

    credentials = channel.identity_credentials(issuer, secrets=secrets)

    assert credentials.sent_certs == (pki().signer.certificate, pki().chain[0])


def test_a_key_that_is_not_the_certificates_never_signs(secrets: MemorySecretStore) -> None:
    issuer = an_unsaved(other_signature_secret="occm")
    put(secrets, "ns1", "occm", identity() | {"key.pem": private_pem(pki().tls.key)})

    with pytest.raises(channel.ConfigurationError) as caught:
        channel.identity_credentials(issuer, secrets=secrets)

    assert str(caught.value).startswith(
        "ns1/occm[key.pem] is not the private key of ns1/occm[cert.pem]: put a pair there"
    )


def encrypted_key() -> bytes:
    form = PrivateFormat.PKCS8
    return pki().signer.key.private_bytes(Encoding.PEM, form, Encrypted(b"x"))


@pytest.mark.parametrize(
    ("held", "error", "named"),
    [
        (None, SecretMissing, "ns1/occm"),
        ({"cert.pem": b""}, KeyMissing, "secret ns1/occm has no key 'key.pem'"),
        ({"key.pem": b"junk"}, Unreadable, r"ns1/occm\[key.pem\] cannot be read"),
        ({"key.pem": "encrypted"}, Unreadable, r"ns1/occm\[key.pem\] is an encrypted"),
        ({"key.pem": "good", "cert.pem": b"junk"}, Unreadable, r"ns1/occm\[cert.pem\] cannot"),
        ({"key.pem": "good"}, KeyMissing, "secret ns1/occm has no key 'cert.pem'"),
    ],
)
def test_what_is_missing_or_unreadable_is_named(
    secrets: MemorySecretStore,
    held: dict[str, Any] | None,
    error: type[SecretStoreError],
    named: str,
) -> None:
    issuer = an_unsaved(other_signature_secret="occm")
    values = {"good": private_pem(pki().signer.key), "encrypted": encrypted_key()}
    if held is not None:
        put(secrets, "ns1", "occm", {key: values.get(v, v) for key, v in held.items()})

    with pytest.raises(error, match=named):
        channel.identity_credentials(issuer, secrets=secrets)


def test_the_trust_store_holds_every_certificate_of_its_keys(secrets: MemorySecretStore) -> None:
    issuer = an_unsaved(
        trust_store_root_ca_certs=["roots.pem"],
        trust_store_intermediate_ca_certs=["sub.pem"],
        trust_store_server_cert="server.pem",
    )
    other = pki("Other").root
    held = {
        "roots.pem": pem(pki().root) + pem(other),
        "sub.pem": pki().chain[0].public_bytes(Encoding.DER),
        "server.pem": pem(pki().signer.certificate),
    }
    put(secrets, "ns1", issuer.trust_store_secret, held)

    assert channel.trust_store(issuer, secrets=secrets) == TrustStore(
        roots=(pki().root, other),
        intermediates=(pki().chain[0],),
        server_cert=pki().signer.certificate,
    )


def test_a_server_cert_is_one_certificate(secrets: MemorySecretStore) -> None:
    issuer = an_unsaved(trust_store_server_cert="root.pem", trust_store_secret="trust")
    put(secrets, "ns1", "trust", {"root.pem": pem(pki().root) + pem(pki().chain[0])})

    with pytest.raises(channel.ConfigurationError, match=r"ns1/trust\[root.pem\] holds 2 cert"):
        channel.trust_store(issuer, secrets=secrets)


def test_a_change_in_the_secrets_takes_effect_at_the_next_call(secrets: MemorySecretStore) -> None:
    issuer = an_unsaved()
    provide(secrets, issuer)
    put(secrets, "ns1", issuer.other_signature_secret, identity())
    assert channel.trust_store(issuer, secrets=secrets).roots == (pki().root,)
    before = channel.identity_credentials(issuer, secrets=secrets)

    put(secrets, "ns1", issuer.trust_store_secret, {"root.pem": pem(pki("Other").root)})
    put(secrets, "ns1", issuer.other_signature_secret, identity(pki("Other")))

    assert channel.trust_store(issuer, secrets=secrets).roots == (pki("Other").root,)
    after = channel.identity_credentials(issuer, secrets=secrets)
    assert (before.certificate, after.certificate) == (
        pki().signer.certificate,
        pki("Other").signer.certificate,
    )


def test_a_key_that_did_not_change_is_not_checked_again(secrets: MemorySecretStore) -> None:
    issuer = an_unsaved()
    put(secrets, "ns1", issuer.other_signature_secret, identity())
    first = channel.identity_credentials(issuer, secrets=secrets)

    put(secrets, "ns1", issuer.other_signature_secret, {"another": b"key of the secret"})
    second = channel.identity_credentials(issuer, secrets=secrets)

    assert first.private_key is second.private_key


def test_the_profile_says_how_the_ca_is_spoken_to() -> None:
    issuer = an_unsaved(recipient_dn="/C=DE/CN=ca", total_timeout_s=600)

    assert channel.profile(issuer) == Profile(
        recipient=parse_name("/C=DE/CN=ca"), total_timeout=timedelta(minutes=10)
    )


def test_the_profile_binds_responses_as_the_issuer_says() -> None:
    profile = channel.profile(
        an_unsaved(initial_response_auth="MAC_ONLY", expected_sender_dn="/CN=ra")
    )

    assert profile.mac_only
    assert profile.expected_sender == parse_name("/CN=ra")


def test_what_a_ca_needs_beside_the_rfc_is_part_of_the_profile() -> None:
    profile = channel.profile(
        an_unsaved(
            cert_profile="nf-tls",
            implicit_confirmation=True,
            send_root_cert=True,
            null_dn_sender=True,
        )
    )

    assert profile.cert_profile == "nf-tls"
    assert profile.implicit_confirm
    assert profile.send_root
    assert profile.null_dn_sender


def test_signers_without_digital_signature_are_let_through_only_where_the_operator_says_so(
    secrets: MemorySecretStore,
) -> None:
    strict = an_unsaved(trust_store_secret="trust")
    lenient = an_unsaved(trust_store_secret="trust", allow_missing_digital_signature=True)
    put(secrets, "ns1", "trust", {"root.pem": pem(pki().root)})
    issuing = pki().chain[0]  # keyCertSign and cRLSign only

    with pytest.raises(Unprotected, match="digitalSignature"):
        channel.trust_store(strict, secrets=secrets).check_signer(issuing, (), NOW)
    channel.trust_store(lenient, secrets=secrets).check_signer(issuing, (), NOW)


@pytest.mark.parametrize(("dn", "name"), [("", None), ("/CN=ca", "/CN=ca"), ("/", "/")])
def test_the_issuer_dn_goes_into_templates_when_given(dn: str, name: str | None) -> None:
    found = channel.issuer_name(an_unsaved(issuer_dn=dn))

    assert found == (parse_name(name) if name else None)


def ask(server: Server, secrets: MemorySecretStore, url: str = "", **fields: Any) -> bytes:
    """Send something through the issuer's transport; the demo CA answers anything."""
    issuer = an_unsaved(server_url=server.url, message_timeout_s=5, **fields)
    with channel.transport(issuer, secrets=secrets, http_version="1.1", url=url) as transport:
        answer = transport.post(b"?")
        assert transport.http_version == "1.1"
    return answer


def test_http_goes_to_the_server_url_in_the_version_remembered(secrets: MemorySecretStore) -> None:
    with serve(DemoCA(pki=pki())) as server:
        assert ask(server, secrets)

    assert [(visit.version, visit.path) for visit in server.visits] == [("1.1", "/pkix/")]


@pytest.fixture
def tls(secrets: MemorySecretStore) -> dict[str, Any]:
    put(secrets, "ns1", TLS["tls_secret"], {"caroot1.pem": pem(pki().root)})
    return {key: value for key, value in TLS.items() if key != "server_url"}


def test_https_trusts_what_the_tls_trust_store_holds_now(
    secrets: MemorySecretStore, tls: dict[str, Any]
) -> None:
    with serve(DemoCA(pki=pki()), tls=tls_context(pki())) as server:
        assert ask(server, secrets, **tls)
        put(secrets, "ns1", TLS["tls_secret"], {"caroot1.pem": pem(pki("Other").root)})
        with pytest.raises(Unreachable):
            ask(server, secrets, **tls)


def test_https_without_its_trust_store_goes_nowhere(
    secrets: MemorySecretStore, tls: dict[str, Any]
) -> None:
    with pytest.raises(SecretMissing, match="ns1/elsewhere"):
        channel.transport(an_unsaved(**TLS | {"tls_secret": "elsewhere"}), secrets=secrets)


def test_a_transaction_begun_before_the_scheme_changed_keeps_its_url(
    secrets: MemorySecretStore, tls: dict[str, Any]
) -> None:
    with serve(DemoCA(pki=pki())) as server:
        issuer = an_unsaved(**TLS, message_timeout_s=5)
        with channel.transport(issuer, secrets=secrets, url=server.url) as transport:
            assert transport.post(b"?")
    with pytest.raises(channel.ConfigurationError, match="TLS was disabled since: begin anew"):
        channel.transport(an_unsaved(), secrets=secrets, url="https://ca.example/")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("ignore", [True, False])
def test_tls_is_checked_as_the_deployment_wants(
    secrets: MemorySecretStore, settings: LazySettings, strict: bool, ignore: bool
) -> None:
    settings.OCCM_TLS_ENABLE_X509_STRICT_CHECK = strict
    settings.OCCM_TLS_IGNORE_CRITICAL_EXTENSIONS_CHECK = ignore
    put(secrets, "ns1", TLS["tls_secret"], {"caroot1.pem": pem(pki().root)})

    trust = channel.tls_trust(an_unsaved(**TLS), secrets=secrets)

    assert trust == TlsTrust((pki().root,), strict=strict, ignore_critical=ignore)


def test_tls_is_limited_to_what_the_deployment_allows(
    secrets: MemorySecretStore, settings: LazySettings
) -> None:
    settings.OCCM_TLS_MIN_VERSION = "1.3"
    settings.OCCM_TLS_CIPHERS, settings.OCCM_TLS_GROUPS = "ECDHE+AESGCM", "secp384r1"
    put(secrets, "ns1", TLS["tls_secret"], {"caroot1.pem": pem(pki().root)})

    trust = channel.tls_trust(an_unsaved(**TLS), secrets=secrets)

    assert trust == TlsTrust(
        (pki().root,), minimum="1.3", ciphers="ECDHE+AESGCM", group="secp384r1"
    )


def test_the_secret_store_is_the_one_of_the_settings(
    settings: LazySettings, tmp_path: Path
) -> None:
    settings.OCCM_SECRET_STORE = f"folder:{tmp_path}"

    store = channel.secret_store()

    assert isinstance(store, FolderSecretStore)
    assert channel.secret_store() is store


@pytest.mark.django_db
def test_a_saved_issuer_works_as_an_unsaved_one(secrets: MemorySecretStore) -> None:
    issuer = an_issuer()
    provide(secrets, issuer)
    assert issuer.health.look_due_at == NOW

    assert channel.initial_credentials(
        Issuer.objects.get(pk=issuer.pk), secrets=secrets
    ) == channel.initial_credentials(issuer, secrets=secrets)
