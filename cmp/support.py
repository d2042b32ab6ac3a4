"""What a client may ask beside certificates (RFC 9483, 4.3), and how the answers read.

`ask_…` makes the request, `read_…` takes the `answers` of its transaction. A CA that has nothing to
give answers without a value. That an answer is the CA's own word has been checked before; what is
to become a trust anchor needs more than that, and `read_root_update` checks it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.asn1 import TLV, decode_der, encode_der
from cryptography.hazmat.primitives.serialization import Encoding

from cmp import asn1, codec, crmf, parts
from cmp.errors import Unacceptable
from cmp.messages import CertTemplate, Control, InfoTypeAndValue
from cmp.request import Ask
from cmp.trust import TrustStore, may_anchor

_ID_IT = "1.3.6.1.5.5.7.4"
CA_CERTS = x509.ObjectIdentifier(f"{_ID_IT}.17")
ROOT_CA_KEY_UPDATE = x509.ObjectIdentifier(f"{_ID_IT}.18")
CERT_REQ_TEMPLATE = x509.ObjectIdentifier(f"{_ID_IT}.19")
ROOT_CA_CERT = x509.ObjectIdentifier(f"{_ID_IT}.20")
CRL_STATUS_LIST = x509.ObjectIdentifier(f"{_ID_IT}.22")
CRLS = x509.ObjectIdentifier(f"{_ID_IT}.23")

Answers = Iterable[InfoTypeAndValue]


@dataclass(frozen=True, slots=True)
class RootUpdate:
    """RootCaKeyUpdateContent, RFC 9810, 5.3.19.15: the links show that the old root goes on."""

    new_root: x509.Certificate
    new_with_old: x509.Certificate
    old_with_new: x509.Certificate | None


@dataclass(frozen=True, slots=True)
class Requirements:
    """CertReqTemplateContent, RFC 9810, 5.3.19.16: what a request has to look like for this CA."""

    template: CertTemplate
    key_specs: tuple[Control, ...]  # algorithms and key lengths to choose from


def ask_ca_certificates() -> Ask:
    """4.3.1."""
    return Ask((InfoTypeAndValue(CA_CERTS),))


def read_ca_certificates(answers: Answers) -> tuple[x509.Certificate, ...]:
    """Return what the CA would like to be known: helpers, and no anchors."""
    with codec.reading("the CA's certificates"):
        return tuple(one.parse(x509.Certificate) for one in _elements(answers, CA_CERTS))


def ask_root_update(root: x509.Certificate) -> Ask:
    """4.3.2: whether this root has a successor."""
    return Ask((InfoTypeAndValue(ROOT_CA_CERT, root.public_bytes(Encoding.DER)),))


def read_root_update(
    answers: Answers, root: x509.Certificate, *, now: datetime
) -> RootUpdate | None:
    """Return what follows `root`, if anything does. Raises Unacceptable unless `root` vouches."""
    value = _value(answers, ROOT_CA_KEY_UPDATE)
    if value is None:
        return None
    with codec.reading("the new root"):
        update = decode_der(asn1.RootCaKeyUpdate, value)
        new, link = update.new_with_new, update.new_with_old
        linked = link is not None and (link.subject, link.public_key()) == (
            new.subject,
            new.public_key(),
        )
    if link is None or not linked:
        raise Unacceptable("no newWithOld of its own comes with the new root")
    if not may_anchor(new, now):
        raise Unacceptable("the new root is not self-signed, not valid, or not a CA's")
    try:
        TrustStore(roots=(root,)).check_issued(link, (), now)
    except Unacceptable as error:
        raise Unacceptable(f"the old root does not vouch for the new one: {error}") from None
    return RootUpdate(new, link, update.old_with_new)


def ask_certificate_template() -> Ask:
    """4.3.3."""
    return Ask((InfoTypeAndValue(CERT_REQ_TEMPLATE),))


def read_certificate_template(answers: Answers) -> Requirements | None:
    """Return the CA's requirements; None where it has none."""
    value = _value(answers, CERT_REQ_TEMPLATE)
    if value is None:
        return None
    with codec.reading("the CA's template"):
        found = decode_der(asn1.CertReqTemplate, value)
        return Requirements(
            crmf.read_template(found.cert_template), crmf.read_controls(found.key_spec)
        )


def ask_crl(issuer: x509.Name, *, newer_than: datetime | None = None) -> Ask:
    """4.3.4: the revocation list of an issuer, if there is one that began later."""
    source = asn1.wrap(0xA1, asn1.sequence_of(parts.general_name(x509.DirectoryName(issuer))))
    since = encode_der(crmf.time(newer_than)) if newer_than else b""
    status = asn1.sequence_of(source + since)
    return Ask((InfoTypeAndValue(CRL_STATUS_LIST, asn1.sequence_of(status)),))


def read_crls(answers: Answers) -> tuple[x509.CertificateRevocationList, ...]:
    """Return the lists as they came: their signatures are for their reader to check."""
    with codec.reading("a revocation list"):
        return tuple(x509.load_der_x509_crl(asn1.bytes_of(one)) for one in _elements(answers, CRLS))


def _elements(answers: Answers, kind: x509.ObjectIdentifier) -> list[TLV]:
    value = _value(answers, kind)
    return [] if value is None else asn1.elements(value)


def _value(answers: Answers, kind: x509.ObjectIdentifier) -> bytes | None:
    return next((answer.value for answer in answers if answer.type == kind), None)
