"""A certificate's fields in the operator's guide's groups: which apply when, what they mean."""

from certificates.models import Certificate
from issuers.admin.forms import Group, OperatorForm, When

RSA = When("key_algorithm", (Certificate.KeyAlgorithm.RSA,))
EC = When("key_algorithm", (Certificate.KeyAlgorithm.EC,))
PEM = When("key_encoding", (Certificate.KeyEncoding.PEM,))
AUTOMATIC = When("creation_mode", (Certificate.CreationMode.AUTOMATIC,))
OTHER = When("cert_type", (Certificate.CertType.OTHER,))

PRIVATE_KEY_OUTPUT = (
    "private_key_output_namespace",
    "private_key_output_secret",
    "private_key_output_key",
)
CERTIFICATE_OUTPUT = (
    "certificate_output_namespace",
    "certificate_output_secret",
    "certificate_output_key",
)
CHAIN_OUTPUT = ("chain_output_namespace", "chain_output_secret", "chain_output_key")
CA_BUNDLE = ("ca_bundle_namespace", "ca_bundle_secret", "ca_bundle_key")

GROUPS = (
    Group(
        "Certificate",
        ("name", "cert_type", "network_function", "purpose", "issuer", "creation_mode"),
        columns=2,
    ),
    Group(
        "Private Key Options",
        ("key_algorithm", "key_encoding", "key_size", "elliptic_curve"),
        columns=3,
    ),
    Group(
        "Private Key Output",
        PRIVATE_KEY_OUTPUT,
        columns=3,
        about="Where the private key is written (AUTOMATIC) or lies already (MANUAL).",
    ),
    Group(
        "Public Key Certificate Options",
        (
            "key_usage",
            "extended_key_usage",
            "basic_constraints",
            "requested_validity_days",
            "renew_before_expiration_days",
            "repair_drift",
        ),
        columns=3,
    ),
    Group(
        "Subject",
        ("country", "state", "location", "organization", "organization_unit", "common_name"),
        sub=True,
        columns=3,
    ),
    Group(
        "Subject Alternate Names",
        ("ip_addresses", "dns_names", "uri_api_roots", "uri_urns"),
        columns=2,
    ),
    Group(
        "Certificate Output",
        CERTIFICATE_OUTPUT,
        columns=3,
        about="Where the certificate is written (AUTOMATIC) or lies already (MANUAL). In one "
        "secret with the private key, both always change together.",
    ),
    Group(
        "Certificate Chain Output",
        (*CHAIN_OUTPUT, "merge_certificate_and_chain"),
        about="Optional: where the intermediate CA certificates are written, always as PEM.",
        optional=True,
        columns=3,
    ),
    Group(
        "CA Bundle Input",
        CA_BUNDLE,
        about="Optional: CA certificates that you provide and that take part in checking, and "
        "where the CA sends none in building, the chain. OCCM never writes there.",
        optional=True,
        columns=3,
    ),
)
NAMESPACE = "Kubernetes namespace of the secret."
SECRET = "Name of the Kubernetes secret."
HELP = {
    "name": "1 to 63 letters, digits, hyphens, underscores and dots.",
    "cert_type": "OCCM: the CMP identity by which OCCM signs its requests to one issuer. OTHER: "
    "an end entity (NF) certificate.",
    "network_function": "The network function the certificate is for, such as AMF or NRF.",
    "purpose": "What the certificate is for.",
    "issuer": "The CA that issues it.",
    "creation_mode": "AUTOMATIC: OCCM makes the key and asks the CA. MANUAL: key and certificate "
    "lie in the outputs already; OCCM watches and renews them.",
    "key_encoding": "How key and certificate are written. DER holds one certificate, so it cannot "
    "be merged with its chain.",
    "private_key_output_namespace": NAMESPACE,
    "private_key_output_secret": SECRET,
    "private_key_output_key": "Key in the secret under which the private key is stored.",
    "country": "Two letters, as in DE.",
    "state": "State or province.",
    "location": "City or town.",
    "organization": "Name of the organization.",
    "organization_unit": "Name of the business unit.",
    "common_name": "The server name that the certificate protects.",
    "requested_validity_days": "1 to 3650; 3GPP recommends at most 1095.",
    "renew_before_expiration_days": "Renewal starts at the latest this many days before the "
    "certificate expires.",
    "repair_drift": "What somebody else changes in the secrets is put right: written again, or "
    "asked for anew; never twice within a day. Off: it is only told.",
    "ip_addresses": "IPv4 or IPv6 addresses.",
    "dns_names": "A wildcard may stand only at the very left: *.example.org.",
    "uri_api_roots": "API root of the NF instance: https://nrf.example.org:8443.",
    "uri_urns": "NF instance ID: urn:uuid:4947a69a-f61b-4bc1-b9da-47c9c5d14b64.",
    "certificate_output_namespace": NAMESPACE,
    "certificate_output_secret": SECRET,
    "certificate_output_key": "Key in the secret under which the certificate is stored.",
    "chain_output_namespace": NAMESPACE,
    "chain_output_secret": SECRET,
    "chain_output_key": "Key in the secret under which the chain is stored.",
    "merge_certificate_and_chain": "Write the certificate followed by its chain. Both outputs "
    "must then name the same secret.",
    "ca_bundle_namespace": NAMESPACE,
    "ca_bundle_secret": SECRET,
    "ca_bundle_key": "Key in the secret under which the CA certificates lie.",
}
NETWORK_FUNCTIONS = (
    "AMF", "AUSF", "BSF", "CHF", "NEF", "NRF", "NSSF", "NWDAF", "PCF", "SCP", "SEPP", "SMF", "UDM",
    "UDR", "UPF",
)  # fmt: skip


class CertificateForm(OperatorForm):
    groups = GROUPS
    applies_when = {
        "repair_drift": AUTOMATIC,
        "network_function": OTHER,
        "key_size": RSA,
        "elliptic_curve": EC,
        **dict.fromkeys((*PRIVATE_KEY_OUTPUT, *CERTIFICATE_OUTPUT, *CA_BUNDLE), OTHER),
        "merge_certificate_and_chain": PEM,
    }
    needed = frozenset(
        {
            "name",
            "network_function",
            "purpose",
            "issuer",
            *PRIVATE_KEY_OUTPUT,
            *CERTIFICATE_OUTPUT,
            "common_name",
            "key_usage",
            "requested_validity_days",
            "renew_before_expiration_days",
        }
    )

    class Meta:
        model = Certificate
        fields = tuple(name for group in GROUPS for name in group.fields)
        labels = {
            "merge_certificate_and_chain": "Merge Certificate and Certificate Chain",
            "ip_addresses": "IP Address",
        }
        help_texts = HELP
