"""An issuer's fields in the operator's guide's groups: which apply when, what they mean."""

from issuers.admin.forms import Group, OperatorForm, When
from issuers.models import Issuer

MAC = When("initial_auth_type", (Issuer.InitialAuthType.MAC,))
SIGNATURE = When("initial_auth_type", (Issuer.InitialAuthType.SIGNATURE,))
ANY = When("initial_auth_type", tuple(Issuer.InitialAuthType.values))
TLS = When("tls_enabled", ("True",))

GROUPS = (
    Group(
        "Issuer",
        ("name", "recipient_dn", "server_url", "issuer_dn", "total_timeout_s", "message_timeout_s"),
        columns=2,
    ),
    Group(
        "Initial CMP Client (OCCM) Authentication Options",
        (
            "initial_auth_type",
            "initial_auth_digest",
            "initial_auth_mac_algorithm",
            "initial_response_auth",
        ),
        columns=2,
        about="How the first request to this CA is authenticated. Leave the type out when an "
        "existing key and certificate serve as the OCCM certificate (creation mode MANUAL).",
    ),
    Group(
        "MAC Authentication Input",
        ("mac_namespace", "mac_secret", "mac_password_key", "mac_reference_key"),
        sub=True,
        columns=2,
        about="The secret that holds the pre-shared password and the reference the CA gave with "
        "it.",
    ),
    Group(
        "Signature Authentication Input",
        (
            "initial_signature_namespace",
            "initial_signature_secret",
            "initial_signature_key",
            "initial_signature_cert",
            "initial_signature_extra_certs",
        ),
        sub=True,
        columns=2,
        about="The secret with the pre-configured key and certificate that sign the first request.",
    ),
    Group(
        "CMP Client Authentication Options For Other certificate",
        ("other_auth_type", "other_auth_digest"),
        columns=2,
        about="How every later request is authenticated: signed with the OCCM certificate.",
    ),
    Group(
        "Signature Authentication Input",
        (
            "other_signature_namespace",
            "other_signature_secret",
            "other_signature_key",
            "other_signature_cert",
            "other_signature_extra_certs",
        ),
        sub=True,
        columns=2,
        about="Where the OCCM key and certificate are provided (MANUAL) or will be created "
        "(AUTOMATIC).",
    ),
    Group(
        "OCCM Trust-Store Secret Input",
        (
            "trust_store_namespace",
            "trust_store_secret",
            "trust_store_root_ca_certs",
            "trust_store_intermediate_ca_certs",
            "trust_store_server_cert",
            "expected_sender_dn",
        ),
        columns=2,
        about="The certificates by which the CA's answers and the certificates it issues are "
        "verified. Name root CA certs or a server cert.",
    ),
    Group("TLS Configuration", ("tls_enabled",)),
    Group(
        "TLS Trust-Store Secret Input",
        ("tls_namespace", "tls_secret", "tls_trusted_certs"),
        sub=True,
        columns=2,
        about="The CA certificates by which the server's TLS certificate is verified. Several "
        "issuers may name the same secret.",
    ),
    Group(
        "Compatibility",
        (
            "cert_profile",
            "implicit_confirmation",
            "send_root_cert",
            "null_dn_sender",
            "allow_missing_digital_signature",
        ),
        optional=True,
        columns=2,
        about="What some CAs need that RFC 9483 does not ask for. Most need nothing of it.",
    ),
)
DN = (
    "Written /type=value/type=value. A backslash escapes the next character, + joins two parts of "
    "one RDN, an empty value leaves its type out."
)
NAMESPACE = "Kubernetes namespace of the secret."
HELP = {
    "name": "1 to 63 letters, digits, hyphens, underscores and dots. It cannot change once "
    "certificates use the issuer.",
    "recipient_dn": f"Distinguished name of the CMP server, for the header of each request. {DN} "
    "A single / is the NULL-DN.",
    "server_url": "Where the CA answers CMP over HTTP: https:// with TLS enabled, else http://.",
    "issuer_dn": f"Distinguished name of the CA to ask for in the certificate template. {DN}",
    "total_timeout_s": "Longest time for a whole transaction, polling included: 1 to 604800.",
    "message_timeout_s": "Longest time for one request and its response: 1 to 600.",
    "initial_auth_type": "MAC: with a pre-shared password. SIGNATURE: with a pre-configured key "
    "and certificate.",
    "initial_response_auth": "How the CA's answers to the first request must be protected.",
    "mac_namespace": NAMESPACE,
    "mac_password_key": "Key in the secret under which the password lies, plain or as pass:VALUE.",
    "mac_reference_key": "Key in the secret under which the reference (sender KID) lies.",
    "initial_signature_namespace": NAMESPACE,
    "initial_signature_key": "Key in the secret under which the private key lies.",
    "initial_signature_cert": "Key in the secret under which the certificate lies.",
    "initial_signature_extra_certs": "Keys in the secret of further certificates to send along.",
    "other_signature_namespace": NAMESPACE,
    "other_signature_key": "Key in the secret for the OCCM private key.",
    "other_signature_cert": "Key in the secret for the OCCM certificate.",
    "other_signature_extra_certs": "Keys in the secret for the certificates sent along with it; "
    "filled from the CA's answer when the OCCM certificate is created.",
    "trust_store_namespace": NAMESPACE,
    "trust_store_root_ca_certs": "Keys in the secret of the trust anchors. Not used for the CA's "
    "answers when a server cert is named.",
    "trust_store_intermediate_ca_certs": "Keys in the secret of CA certificates that help to build "
    "a path, without being trusted themselves.",
    "trust_store_server_cert": "Key in the secret of the CMP server's certificate, to be trusted "
    "directly.",
    "expected_sender_dn": "Only answers from this sender are accepted. Left out: the subject of "
    "the server cert, when one is named.",
    "tls_enabled": "Speak HTTPS to the CA and verify its TLS certificate.",
    "tls_namespace": NAMESPACE,
    "tls_trusted_certs": "Keys in the secret of the CA certificates to trust.",
    "cert_profile": "Name of the CA's profile for our certificates, sent with each request for "
    "one. For CAs that choose it by the URL, put it there.",
    "implicit_confirmation": "Ask the CA to do without a confirmation (certConf) of each "
    "certificate. If it declines, it is confirmed as ever.",
    "send_root_cert": "Send the root CA cert along, after the chain of the certificate that signs.",
    "null_dn_sender": "Leave the sender of requests with MAC unnamed; the reference says who it "
    "is.",
    "allow_missing_digital_signature": "Accept responses signed with a certificate whose key usage "
    "does not allow it. Lowers security: any CA certificate below the roots may then sign them.",
}


class IssuerForm(OperatorForm):
    groups = GROUPS
    applies_when = {
        "initial_auth_digest": ANY,
        "initial_auth_mac_algorithm": MAC,
        "initial_response_auth": MAC,
        "mac_namespace": MAC,
        "mac_secret": MAC,
        "mac_password_key": MAC,
        "mac_reference_key": MAC,
        "initial_signature_namespace": SIGNATURE,
        "initial_signature_secret": SIGNATURE,
        "initial_signature_key": SIGNATURE,
        "initial_signature_cert": SIGNATURE,
        "initial_signature_extra_certs": SIGNATURE,
        "tls_namespace": TLS,
        "tls_secret": TLS,
        "tls_trusted_certs": TLS,
        "null_dn_sender": MAC,
    }
    needed = frozenset(
        {
            "name",
            "recipient_dn",
            "server_url",
            "total_timeout_s",
            "message_timeout_s",
            "mac_namespace",
            "mac_secret",
            "mac_password_key",
            "mac_reference_key",
            "initial_signature_namespace",
            "initial_signature_secret",
            "initial_signature_key",
            "initial_signature_cert",
            "other_signature_namespace",
            "other_signature_secret",
            "other_signature_key",
            "other_signature_cert",
            "trust_store_namespace",
            "trust_store_secret",
            "tls_namespace",
            "tls_secret",
            "tls_trusted_certs",
        }
    )

    class Meta:
        model = Issuer
        fields = tuple(name for group in GROUPS for name in group.fields)
        help_texts = HELP
