"""Issuers: the CAs that are asked for certificates, and how each is spoken to.

The columns are the guide's fields, group by group. What may be changed while certificates refer to
an issuer is decided in `domain.editing`, for every face alike.
"""

from datetime import datetime

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from issuers import validators


class Digest(models.TextChoices):
    SHA256 = "SHA256", "SHA256"
    SHA384 = "SHA384", "SHA384"
    SHA512 = "SHA512", "SHA512"


class Issuer(models.Model):
    """One CA, as the operator configured it. Fields left empty do not apply."""

    class InitialAuthType(models.TextChoices):
        MAC = "MAC", "MAC"
        SIGNATURE = "SIGNATURE", "SIGNATURE"

    class OtherAuthType(models.TextChoices):
        SIGNATURE = "SIGNATURE", "SIGNATURE"

    class MacAlgorithm(models.TextChoices):
        HMACSHA256 = "HMACSHA256", "HMACSHA256"
        HMACSHA384 = "HMACSHA384", "HMACSHA384"
        HMACSHA512 = "HMACSHA512", "HMACSHA512"

    class InitialResponseAuth(models.TextChoices):
        MAC_OR_SIGNATURE = "MAC_OR_SIGNATURE", "MAC or signature"
        MAC_ONLY = "MAC_ONLY", "MAC only"

    name = models.CharField(
        max_length=63,
        unique=True,
        validators=[validators.object_name],
        help_text="1 to 63 letters, digits, hyphens, underscores and dots; unique.",
    )
    recipient_dn = models.CharField(
        "recipient distinguished name",
        max_length=1000,
        validators=[validators.distinguished_name],
        help_text=(
            "Of the CMP server, for the header of requests: /type=value/type=value, a "
            "backslash escapes, + joins a multi-valued RDN, a lone / is the NULL-DN."
        ),
    )
    server_url = models.CharField(
        "server URL",
        max_length=500,
        validators=[validators.server_url],
        help_text=(
            "http://host:port/path, or https:// with TLS enabled. Without a port the "
            "scheme's default is used."
        ),
    )
    issuer_dn = models.CharField(
        "issuer distinguished name",
        max_length=1000,
        blank=True,
        validators=[validators.distinguished_name],
        help_text=(
            "Of the CA, for the certificate template of requests; written like the "
            "recipient. Left out when empty."
        ),
    )
    total_timeout_s = models.PositiveIntegerField(
        "total timeout (seconds)",
        default=300,
        validators=[MinValueValidator(1), MaxValueValidator(604_800)],
        help_text="How long a CMP transaction may take, polling included.",
    )
    message_timeout_s = models.PositiveIntegerField(
        "message timeout (seconds)",
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(600)],
        help_text="How long one request and its response may take.",
    )

    # Initial CMP Client (OCCM) Authentication Options
    initial_auth_type = models.CharField(
        "type",
        max_length=9,
        choices=InitialAuthType,
        blank=True,
        help_text=(
            "How the first request, for the OCCM certificate, is authenticated. Left out "
            "when the OCCM certificate is provided (MANUAL)."
        ),
    )
    initial_auth_digest = models.CharField(
        "digest algorithm", max_length=6, choices=Digest, default=Digest.SHA256
    )
    initial_auth_mac_algorithm = models.CharField(
        "MAC algorithm", max_length=10, choices=MacAlgorithm, default=MacAlgorithm.HMACSHA256
    )
    initial_response_auth = models.CharField(
        "initial response authentication",
        max_length=16,
        choices=InitialResponseAuth,
        default=InitialResponseAuth.MAC_OR_SIGNATURE,
        help_text="How the CA may protect its responses to a first request with MAC.",
    )
    # MAC Authentication Input
    mac_namespace = models.CharField(
        "namespace", max_length=63, blank=True, validators=[validators.namespace]
    )
    mac_secret = models.CharField(
        "secret name", max_length=253, blank=True, validators=[validators.secret_name]
    )
    mac_password_key = models.CharField(
        "password key",
        max_length=253,
        blank=True,
        validators=[validators.secret_key],
        help_text="Holds the password, as pass:VALUE or VALUE.",
    )
    mac_reference_key = models.CharField(
        "reference key",
        max_length=253,
        blank=True,
        validators=[validators.secret_key],
        help_text="Holds the reference that the CA knows the password by.",
    )
    # Signature Authentication Input of the initial authentication
    initial_signature_namespace = models.CharField(
        "namespace", max_length=63, blank=True, validators=[validators.namespace]
    )
    initial_signature_secret = models.CharField(
        "secret name", max_length=253, blank=True, validators=[validators.secret_name]
    )
    initial_signature_key = models.CharField(
        "key",
        max_length=253,
        blank=True,
        validators=[validators.secret_key],
        help_text="Holds the pre-configured private key.",
    )
    initial_signature_cert = models.CharField(
        "cert",
        max_length=253,
        blank=True,
        validators=[validators.secret_key],
        help_text="Holds the pre-configured certificate.",
    )
    initial_signature_extra_certs = models.JSONField(
        "extra certs",
        default=list,
        blank=True,
        validators=[validators.secret_keys],
        help_text="Keys that hold further certificates to send along.",
    )

    # CMP Client Authentication Options For Other certificate
    other_auth_type = models.CharField(
        "type", max_length=9, choices=OtherAuthType, default=OtherAuthType.SIGNATURE
    )
    other_auth_digest = models.CharField(
        "digest algorithm", max_length=6, choices=Digest, default=Digest.SHA256
    )
    # Signature Authentication Input: where the OCCM identity is provided or will be created
    other_signature_namespace = models.CharField(
        "namespace", max_length=63, validators=[validators.namespace]
    )
    other_signature_secret = models.CharField(
        "secret name",
        max_length=253,
        validators=[validators.secret_name],
        help_text=(
            "Where the OCCM certificate is provided (MANUAL) or will be created (AUTOMATIC)."
        ),
    )
    other_signature_key = models.CharField(
        "key",
        max_length=253,
        validators=[validators.secret_key],
        help_text="Holds the OCCM private key.",
    )
    other_signature_cert = models.CharField(
        "cert",
        max_length=253,
        validators=[validators.secret_key],
        help_text="Holds the OCCM certificate.",
    )
    other_signature_extra_certs = models.JSONField(
        "extra certs",
        default=list,
        blank=True,
        validators=[validators.secret_keys],
        help_text=(
            "Keys that hold further certificates to send along; filled with those the CA "
            "sends when the OCCM certificate is created."
        ),
    )

    # OCCM Trust-Store Secret Input
    trust_store_namespace = models.CharField(
        "namespace", max_length=63, validators=[validators.namespace]
    )
    trust_store_secret = models.CharField(
        "name", max_length=253, validators=[validators.secret_name]
    )
    trust_store_root_ca_certs = models.JSONField(
        "root CA certs",
        default=list,
        blank=True,
        validators=[validators.secret_keys],
        help_text=(
            "Keys that hold the trust anchors of responses and issued certificates. "
            "Ignored for responses when there is a server cert."
        ),
    )
    trust_store_intermediate_ca_certs = models.JSONField(
        "intermediate CA certs",
        default=list,
        blank=True,
        validators=[validators.secret_keys],
        help_text=(
            "Keys that hold CA certificates which complete a path, without being trusted "
            "by themselves in responses."
        ),
    )
    trust_store_server_cert = models.CharField(
        "server cert",
        max_length=253,
        blank=True,
        validators=[validators.secret_key],
        help_text=(
            "Holds the one certificate that is trusted directly for the protection of responses."
        ),
    )
    expected_sender_dn = models.CharField(
        "expected sender distinguished name",
        max_length=1000,
        blank=True,
        validators=[validators.distinguished_name],
        help_text=(
            "Who must have sent a response. When empty, the subject of the server cert, "
            "if there is one."
        ),
    )

    # TLS Configuration
    tls_enabled = models.BooleanField(
        "enable TLS", default=False, help_text="Needs a server URL with https://."
    )
    tls_namespace = models.CharField(
        "namespace", max_length=63, blank=True, validators=[validators.namespace]
    )
    tls_secret = models.CharField(
        "name", max_length=253, blank=True, validators=[validators.secret_name]
    )
    tls_trusted_certs = models.JSONField(
        "TLS trusted certs",
        default=list,
        blank=True,
        validators=[validators.secret_keys],
        help_text="Keys that hold the CA certificates which the TLS server is checked with.",
    )

    # Compatibility: docs/cmp.md says which CA needs what
    cert_profile = models.CharField(
        "certificate profile",
        max_length=255,
        blank=True,
        validators=[validators.profile_name],
        help_text=(
            "Name of the CA's profile for our certificates, sent with each request for one. "
            "Left out when empty."
        ),
    )
    implicit_confirmation = models.BooleanField(
        default=False,
        help_text="Ask the CA to do without our confirmation of each certificate; it may decline.",
    )
    send_root_cert = models.BooleanField(
        "send root certificate",
        default=False,
        help_text="Send the root CA cert along, after the chain of the certificate that signs.",
    )
    null_dn_sender = models.BooleanField(
        "NULL-DN sender",
        default=False,
        help_text="Leave the sender of requests with MAC unnamed; the reference says who it is.",
    )
    allow_missing_digital_signature = models.BooleanField(
        "allow signers without digitalSignature",
        default=False,
        help_text=(
            "Accept responses signed with a certificate whose key usage does not allow it. "
            "Lowers security: any CA certificate below the roots may then sign responses."
        ),
    )

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def configured(cls) -> tuple[str, ...]:
        """Name the fields that operators fill in, in the guide's order."""
        kept_by_us = {"id", "created_at", "updated_at"}
        return tuple(f.name for f in cls._meta.concrete_fields if f.name not in kept_by_us)

    @classmethod
    def lists(cls) -> tuple[str, ...]:
        """Name those of them that hold lists."""
        return tuple(f.name for f in cls._meta.concrete_fields if isinstance(f, models.JSONField))


class Breaker(models.Model):
    """How something that is asked over the network has been answering.

    Open from so many failures in a row (`probe_at` is set) to the next answer: meanwhile one probe
    an interval is sent, and whatever else there is waits. `domain.health` writes what workers see,
    the dispatcher sends probes.
    """

    failing_since = models.DateTimeField(null=True, blank=True)  # first failure since an answer
    failures = models.PositiveIntegerField(default=0)  # since then
    error = models.TextField(blank=True)
    probe_at = models.DateTimeField(null=True, blank=True)  # open: when to probe next
    probe = models.PositiveBigIntegerField(null=True, blank=True)  # the enrollment that is one
    recovered_at = models.DateTimeField(null=True, blank=True)  # when it was closed again

    class Meta:
        abstract = True

    @property
    def is_open(self) -> bool:
        return self.probe_at is not None


class SecretStoreHealth(Breaker):
    """The one row about the secret store; whoever calls to what writes secrets holds it locked."""

    ONLY = 1

    def __str__(self) -> str:
        return "health of the secret store"


class IssuerHealth(Breaker):
    """What workers found out about an issuer; a row of its own, so that edits never wait for it."""

    issuer = models.OneToOneField(Issuer, models.CASCADE, primary_key=True, related_name="health")
    http_version = models.CharField(max_length=3, blank=True)  # what worked last; A3
    looked_at = models.DateTimeField(null=True, blank=True)  # last look at its secrets; C6
    look_due_at = models.DateTimeField(db_index=True)
    warnings = models.JSONField(default=list, blank=True)  # one sentence each
    answered_at = models.DateTimeField(null=True, blank=True)  # last answer of the CA
    paced_until = models.DateTimeField(null=True, blank=True)  # requests granted last until then
    queued = models.PositiveIntegerField(default=0)  # how many were due when some were granted
    # "Test connection": due while an operator waits for it
    test_due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    tested_at = models.DateTimeField(null=True, blank=True)
    test_passed = models.BooleanField(null=True, blank=True)
    test_outcome = models.TextField(blank=True)

    read_at: datetime | None = None  # when a worker read this, with what it claimed

    def __str__(self) -> str:
        return f"health of {self.issuer_id}"
