"""One CA: its key, its certificate, and the RFC 5280 profile of what it signs.

It knows no CMP: whether a certificate may be issued at all is for `ca` to say.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from cmp.messages import CertTemplate
from cmp.testing.keys import Digest, Identity, PrivateKey, PublicKey, digest_for

BACKDATED = timedelta(minutes=5)  # clients' clocks run late
END_ENTITY = x509.BasicConstraints(ca=False, path_length=None)
Part = tuple[x509.ExtensionType, bool]  # an extension and whether it is critical


class NotIssuable(Exception):
    """The certificate asked for breaks the CA's profile; the message says where."""


@dataclass(frozen=True, slots=True, repr=False)
class Authority(Identity):
    digest: Digest

    @classmethod
    def self_signed(
        cls, subject: x509.Name, key: PrivateKey, *, digest: Digest, now: datetime, ends: datetime
    ) -> "Authority":
        builder = _builder(subject, key.public_key(), now - BACKDATED, ends).issuer_name(subject)
        for value, critical in _authority_parts():
            builder = builder.add_extension(value, critical=critical)
        return cls(key, builder.sign(key, digest_for(key, digest)), digest)

    def subordinate(
        self, subject: x509.Name, key: PrivateKey, *, now: datetime, ends: datetime
    ) -> "Authority":
        """Certify a CA below this one, or (same subject) the link to another root."""
        certificate = self._certify(
            subject, key.public_key(), _authority_parts(), starts=now - BACKDATED, ends=ends
        )
        return Authority(key, certificate, self.digest)

    def issue(
        self, template: CertTemplate, *, now: datetime, validity: timedelta
    ) -> x509.Certificate:
        """Issue an end entity certificate as the template asks, or raise NotIssuable.

        Subject, public key, SANs and (extended) key usage are honoured, other extensions are left
        out. The dates asked for are honoured within `validity` and this CA's own lifetime.
        """
        if template.public_key is None:
            raise NotIssuable("no public key was asked for")
        if not isinstance(template.public_key, PublicKey):
            raise NotIssuable("a key of this kind cannot be certified")
        subject = template.subject or x509.Name([])
        starts = template.not_before or now - BACKDATED
        ends = min(template.not_after or now + validity, now + validity)
        if ends <= max(starts, now):
            raise NotIssuable("the validity asked for is over before it begins")
        parts = _end_entity_parts(subject, {each.oid: each.value for each in template.extensions})
        leaf = self._certify(subject, template.public_key, parts, starts=starts, ends=ends)
        _require_end_entity(leaf)
        return leaf

    def revocation_list(
        self, revoked: Iterable[tuple[int, datetime]], *, now: datetime
    ) -> x509.CertificateRevocationList:
        """Sign a CRL of the (serial number, moment) pairs given, good for a day."""
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self.certificate.subject,
            last_update=now,
            next_update=now + timedelta(days=1),
        )
        for serial, moment in revoked:
            entry = x509.RevokedCertificateBuilder(serial, moment).build()
            builder = builder.add_revoked_certificate(entry)
        number = x509.CRLNumber(int(now.timestamp()))
        builder = builder.add_extension(number, critical=False)
        return builder.sign(self.key, digest_for(self.key, self.digest))

    def _certify(
        self,
        subject: x509.Name,
        public_key: PublicKey,
        parts: Iterable[Part],
        *,
        starts: datetime,
        ends: datetime,
    ) -> x509.Certificate:
        own = self.certificate
        ends = min(ends, own.not_valid_after_utc)
        if ends <= starts:
            raise NotIssuable("this CA's own certificate ends before that")
        key_id = own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
        builder = _builder(subject, public_key, max(starts, own.not_valid_before_utc), ends)
        builder = builder.issuer_name(own.subject).add_extension(above, critical=False)
        for value, critical in parts:
            builder = builder.add_extension(value, critical=critical)
        return builder.sign(self.key, digest_for(self.key, self.digest))


def _builder(
    subject: x509.Name, public_key: PublicKey, starts: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .subject_name(subject)
        .public_key(public_key)
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _authority_parts() -> Iterable[Part]:
    yield x509.BasicConstraints(ca=True, path_length=None), True
    yield _usage(key_cert_sign=True, crl_sign=True), True


def _end_entity_parts(
    subject: x509.Name, asked: dict[x509.ObjectIdentifier, x509.ExtensionType]
) -> Iterable[Part]:
    """Say what goes into a leaf; what was asked for goes in as it came, read or unread."""
    constraints = asked.get(ExtensionOID.BASIC_CONSTRAINTS, END_ENTITY)
    if constraints.public_bytes() != END_ENTITY.public_bytes():
        raise NotIssuable("this CA certifies end entities only, not other CAs")
    yield END_ENTITY, True
    yield asked.get(ExtensionOID.KEY_USAGE, _usage(digital_signature=True)), True

    names = asked.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    nameless = not list(subject)
    if names is not None:
        yield names, nameless  # critical where they are all there is: RFC 5280, 4.2.1.6
    elif nameless:
        raise NotIssuable("neither a subject nor subject alternative names were asked for")

    if ExtensionOID.EXTENDED_KEY_USAGE in asked:
        yield asked[ExtensionOID.EXTENDED_KEY_USAGE], False


def _require_end_entity(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except ValueError as error:
        raise NotIssuable(f"an extension asked for does not parse: {error}") from None
    if usage.key_cert_sign or usage.crl_sign:
        raise NotIssuable("keyCertSign and cRLSign are for CAs")


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
