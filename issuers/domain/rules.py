"""Which fields of an issuer go together: those that apply are needed, the others stay empty.

Each rule yields the field it is about and a sentence that says what to do. A rule judges only
values that are valid by themselves.
"""

from collections.abc import Callable, Collection, Iterator
from urllib.parse import urlsplit

from issuers.models import Issuer

MAC_INPUT = ("mac_namespace", "mac_secret", "mac_password_key", "mac_reference_key")
INITIAL_SIGNATURE_INPUT = (
    "initial_signature_namespace",
    "initial_signature_secret",
    "initial_signature_key",
    "initial_signature_cert",
)
INITIAL_EXTRA_CERTS = ("initial_signature_extra_certs",)
IDENTITY_KEYS = ("other_signature_key", "other_signature_cert", "other_signature_extra_certs")
TRUST_ANCHORS = ("trust_store_root_ca_certs", "trust_store_server_cert")
TLS_STORE = ("tls_namespace", "tls_secret", "tls_trusted_certs")
DEFAULT_PORTS = {"http": 80, "https": 443}

Broken = Iterator[tuple[str, str]]


def mac_input_goes_with_mac(issuer: Issuer) -> Broken:
    applies = issuer.initial_auth_type == Issuer.InitialAuthType.MAC
    yield from _together(issuer, MAC_INPUT, applies, "the initial authentication is of type MAC")


def signature_input_goes_with_signature(issuer: Issuer) -> Broken:
    applies = issuer.initial_auth_type == Issuer.InitialAuthType.SIGNATURE
    when = "the initial authentication is of type SIGNATURE"
    yield from _together(issuer, INITIAL_SIGNATURE_INPUT, applies, when)
    if not applies:
        yield from _together(issuer, INITIAL_EXTRA_CERTS, applies, when)


def identity_keys_are_distinct(issuer: Issuer) -> Broken:
    """Each of them gets a value of its own in the same secret when the identity is created."""
    if issuer.other_signature_cert == issuer.other_signature_key:
        yield "other_signature_cert", "Name another key than that of the private key."
    taken = {issuer.other_signature_key, issuer.other_signature_cert}
    for key in taken.intersection(issuer.other_signature_extra_certs):
        yield (
            "other_signature_extra_certs",
            f"Leave “{key}” out: the private key or the certificate lies there.",
        )


def trust_store_has_an_anchor(issuer: Issuer) -> Broken:
    if not issuer.trust_store_root_ca_certs and not issuer.trust_store_server_cert:
        yield "trust_store_root_ca_certs", "Name at least one root CA cert, or a server cert."


def scheme_follows_tls(issuer: Issuer) -> Broken:
    scheme = urlsplit(issuer.server_url).scheme
    if issuer.tls_enabled and scheme != "https":
        yield "server_url", "Begin the URL with https://, or switch TLS off."
    if not issuer.tls_enabled and scheme != "http":
        yield "server_url", "Begin the URL with http://, or enable TLS."


def tls_store_goes_with_tls(issuer: Issuer) -> Broken:
    yield from _together(issuer, TLS_STORE, issuer.tls_enabled, "TLS is enabled")


def total_covers_one_message(issuer: Issuer) -> Broken:
    if issuer.total_timeout_s < issuer.message_timeout_s:
        yield (
            "total_timeout_s",
            f"Give at least the message timeout, {issuer.message_timeout_s} seconds.",
        )


def root_is_there_to_be_sent(issuer: Issuer) -> Broken:
    if issuer.send_root_cert and not issuer.trust_store_root_ca_certs:
        yield "send_root_cert", "Name the root CA certs in the trust store, or switch this off."


def null_dn_goes_with_mac(issuer: Issuer) -> Broken:
    if issuer.null_dn_sender and issuer.initial_auth_type != Issuer.InitialAuthType.MAC:
        yield (
            "null_dn_sender",
            "Switch this off: it applies only when the initial authentication is of type MAC.",
        )


# Which fields a rule reads, and the rule.
RULES: tuple[tuple[Collection[str], Callable[[Issuer], Broken]], ...] = (
    (("initial_auth_type", *MAC_INPUT), mac_input_goes_with_mac),
    (
        ("initial_auth_type", *INITIAL_SIGNATURE_INPUT, *INITIAL_EXTRA_CERTS),
        signature_input_goes_with_signature,
    ),
    (IDENTITY_KEYS, identity_keys_are_distinct),
    (TRUST_ANCHORS, trust_store_has_an_anchor),
    (("server_url", "tls_enabled"), scheme_follows_tls),
    (("tls_enabled", *TLS_STORE), tls_store_goes_with_tls),
    (("total_timeout_s", "message_timeout_s"), total_covers_one_message),
    (("send_root_cert", "trust_store_root_ca_certs"), root_is_there_to_be_sent),
    (("null_dn_sender", "initial_auth_type"), null_dn_goes_with_mac),
)


def broken(issuer: Issuer, *, invalid: Collection[str]) -> Broken:
    """Yield (field, advice) for each rule that does not hold.

    `invalid` names the fields that are wrong by themselves: rules on those wait until they are not.
    """
    for fields, rule in RULES:
        if not set(fields).intersection(invalid):
            yield from rule(issuer)


def differs_only_in_scheme(old: str, new: str) -> bool:
    """Say whether two valid server URLs name the same endpoint, once by http and once by https.

    An explicit port stays, unless it was the default of the old scheme: then so is the new one.
    """
    before, after = urlsplit(old), urlsplit(new)
    port = before.port
    if port is None or port == DEFAULT_PORTS[before.scheme]:
        port = DEFAULT_PORTS[after.scheme]
    return (
        before.scheme != after.scheme
        and before.hostname == after.hostname
        and before.path == after.path
        and port == (after.port or DEFAULT_PORTS[after.scheme])
    )


def _together(issuer: Issuer, fields: Collection[str], applies: bool, when: str) -> Broken:
    for field in fields:
        filled = bool(getattr(issuer, field))
        if applies and not filled:
            yield field, f"Fill this in: it is needed when {when}."
        if filled and not applies:
            yield field, f"Leave this empty: it applies only when {when}."
