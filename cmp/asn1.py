"""The structures of RFC 9810 and RFC 4211 as `cryptography.hazmat.asn1` wants them declared.

Only `codec` and `protection` look in here. What the RFCs leave open (ANY) is a raw TLV. The
declarative API knows no OPTIONAL ANY, so an AlgorithmIdentifier or InfoTypeAndValue is a list of
one or two TLVs; it knows no SEQUENCE OF on its own, so such a body has a wrapper of one field.
"""

from typing import Annotated, TypeVar

from cryptography import x509
from cryptography.hazmat.asn1 import (
    TLV,
    BitString,
    Default,
    Explicit,
    GeneralizedTime,
    Implicit,
    Null,
    Size,
    UTCTime,
    decode_der,
    encode_der,
    sequence,
)

T = TypeVar("T")
TypeAndAny = Annotated[list[TLV], Size(min=1, max=2)]


@sequence
class Envelope:
    """PKIMessage. Header and body stay raw, so protection is checked over what was received."""

    header: TLV
    body: TLV
    protection: Annotated[BitString | None, Explicit(0)]
    extra_certs: Annotated[list[TLV] | None, Explicit(1)]


@sequence
class Header:
    pvno: int
    sender: TLV
    recipient: TLV
    message_time: Annotated[list[TLV] | None, Implicit(0)]  # EXPLICIT; read by us: see `parts`
    protection_alg: Annotated[list[TLV] | None, Explicit(1)]
    sender_kid: Annotated[bytes | None, Explicit(2)]
    recip_kid: Annotated[bytes | None, Explicit(3)]
    transaction_id: Annotated[bytes | None, Explicit(4)]
    sender_nonce: Annotated[bytes | None, Explicit(5)]
    recip_nonce: Annotated[bytes | None, Explicit(6)]
    free_text: Annotated[list[str] | None, Explicit(7)]
    general_info: Annotated[list[TypeAndAny] | None, Explicit(8)]


@sequence
class Extension:
    extn_id: x509.ObjectIdentifier
    critical: Annotated[bool, Default(False)]
    extn_value: bytes


@sequence
class SubjectPublicKeyInfo:
    algorithm: TLV
    subject_public_key: BitString


@sequence
class OptionalValidity:
    not_before: Annotated[UTCTime | GeneralizedTime | None, Explicit(0)]
    not_after: Annotated[UTCTime | GeneralizedTime | None, Explicit(1)]


@sequence
class CertTemplate:
    version: Annotated[int | None, Implicit(0)]
    serial_number: Annotated[int | None, Implicit(1)]
    signing_alg: Annotated[list[TLV] | None, Implicit(2)]
    issuer: Annotated[x509.Name | None, Explicit(3)]
    validity: Annotated[OptionalValidity | None, Implicit(4)]
    subject: Annotated[x509.Name | None, Explicit(5)]
    public_key: Annotated[SubjectPublicKeyInfo | None, Implicit(6)]
    issuer_uid: Annotated[BitString | None, Implicit(7)]
    subject_uid: Annotated[BitString | None, Implicit(8)]
    extensions: Annotated[list[Extension] | None, Implicit(9)]


@sequence
class AttributeTypeAndValue:
    type: x509.ObjectIdentifier
    value: TLV


@sequence
class CertRequest:
    cert_req_id: int
    cert_template: CertTemplate
    controls: list[AttributeTypeAndValue] | None


@sequence
class POPOSigningKey:
    poposk_input: Annotated[list[TLV] | None, Implicit(0)]
    algorithm_identifier: TypeAndAny
    signature: BitString


@sequence
class CertReqMsg:
    cert_req: TLV  # raw: the proof of possession signs these bytes
    popo: Annotated[Null, Implicit(0)] | Annotated[POPOSigningKey, Implicit(1)] | None
    reg_info: list[AttributeTypeAndValue] | None


@sequence
class CertReqMessages:
    items: list[CertReqMsg]


@sequence
class PKIStatusInfo:
    status: int
    status_string: list[str] | None
    fail_info: BitString | None


@sequence
class CertifiedKeyPair:
    cert_or_enc_cert: Annotated[x509.Certificate, Explicit(0)] | Annotated[TLV, Explicit(1)]
    private_key: Annotated[list[TLV] | None, Explicit(0)]
    publication_info: Annotated[list[TLV] | None, Explicit(1)]


@sequence
class CertResponse:
    cert_req_id: int
    status: PKIStatusInfo
    certified_key_pair: CertifiedKeyPair | None
    rsp_info: bytes | None


@sequence
class CertRepMessage:
    ca_pubs: Annotated[list[TLV] | None, Explicit(1)]
    response: list[CertResponse]


@sequence
class CertStatus:
    cert_hash: bytes
    cert_req_id: int
    status_info: PKIStatusInfo | None
    hash_alg: Annotated[list[TLV] | None, Explicit(0)]


@sequence
class CertConfirmContent:
    items: list[CertStatus]


@sequence
class PollReqEntry:
    cert_req_id: int


@sequence
class PollReqContent:
    items: list[PollReqEntry]


@sequence
class PollRepEntry:
    cert_req_id: int
    check_after: int  # seconds
    reason: list[str] | None


@sequence
class PollRepContent:
    items: list[PollRepEntry]


@sequence
class RevDetails:
    cert_details: CertTemplate
    crl_entry_details: list[Extension] | None


@sequence
class RevReqContent:
    items: list[RevDetails]


@sequence
class CertId:
    issuer: TLV
    serial_number: int


@sequence
class RevRepContent:
    status: list[PKIStatusInfo]
    rev_certs: Annotated[list[CertId] | None, Explicit(0)]
    crls: Annotated[list[TLV] | None, Explicit(1)]


@sequence
class GenContent:
    items: list[TypeAndAny]


@sequence
class RootCaKeyUpdate:
    new_with_new: x509.Certificate
    new_with_old: Annotated[x509.Certificate | None, Explicit(0)]
    old_with_new: Annotated[x509.Certificate | None, Explicit(1)]


@sequence
class CertReqTemplate:
    cert_template: CertTemplate
    key_spec: list[AttributeTypeAndValue] | None


@sequence
class ErrorMsgContent:
    pki_status_info: PKIStatusInfo
    error_code: int | None
    error_details: list[str] | None


@sequence
class PBMParameter:
    """RFC 9810, 5.1.3.1."""

    salt: bytes
    owf: TypeAndAny
    iteration_count: int
    mac: TypeAndAny


@sequence
class PBMAC1Params:
    """RFC 8018, A.5."""

    key_derivation_func: TypeAndAny
    message_auth_scheme: TypeAndAny


@sequence
class PBKDF2Params:
    """RFC 8018, A.2. The salt's other choice, an algorithm, is used by nobody."""

    salt: bytes
    iteration_count: int
    key_length: int | None
    prf: list[TLV] | None  # DEFAULT hmacWithSHA1


@sequence
class HashAlgorithm:
    algorithm: x509.ObjectIdentifier
    parameters: Null | None


@sequence
class RSASSAPSSParams:
    """RFC 4055, 3.1. What is absent has SHA-1 as its default."""

    hash_algorithm: Annotated[list[TLV] | None, Explicit(0)]
    mask_gen_algorithm: Annotated[list[TLV] | None, Explicit(1)]
    salt_length: Annotated[int | None, Explicit(2)]
    trailer_field: Annotated[int | None, Explicit(3)]


@sequence
class OtherName:
    type_id: x509.ObjectIdentifier
    value: Annotated[TLV, Explicit(0)]


@sequence
class _Elements:
    items: list[TLV]


def element(identifier: bytes, content: bytes) -> bytes:
    """Return DER of one element: its identifier octets, minimal length, `content`."""
    size = len(content)
    if size < 0x80:
        return identifier + bytes((size,)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return identifier + bytes((0x80 | len(octets),)) + octets + content


def wrap(tag: int, content: bytes) -> bytes:
    """Return DER of one element whose only identifier octet is `tag`."""
    return element(bytes((tag,)), content)


def sequence_of(content: bytes) -> bytes:
    return wrap(0x30, content)


def encode_list(wrapper: object) -> bytes:
    """Return the DER of the SEQUENCE OF inside a wrapper of one field."""
    der = encode_der(wrapper)  # ours, so its header is two octets or as many as it says
    return der[2:] if der[1] < 0x80 else der[2 + (der[1] & 0x7F) :]


def decode_list(wrapper: type[T], content: bytes) -> T:
    """Read the DER of a SEQUENCE OF into its wrapper of one field."""
    return decode_der(wrapper, sequence_of(content))


def raw(der: bytes) -> TLV:
    """Make DER at hand fit where a structure wants a raw element."""
    return decode_der(TLV, der)


def elements(der: bytes) -> list[TLV]:
    """Return the elements of a SEQUENCE."""
    return decode_list(_Elements, der).items


def bytes_of(tlv: TLV) -> bytes:
    return element(tlv.tag_bytes, bytes(tlv.data))
