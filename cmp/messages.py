"""What is said in CMP: frozen values under the names of RFC 9810 and RFC 4211, no ASN.1.

`codec` turns them into DER and back. OIDs, names and certificates are `cryptography.x509` objects;
what has no fixed type in the RFC (ANY) stays DER in bytes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


@dataclass(frozen=True, slots=True)
class AlgorithmIdentifier:
    algorithm: x509.ObjectIdentifier
    parameters: bytes | None = None  # DER


@dataclass(frozen=True, slots=True)
class InfoTypeAndValue:
    type: x509.ObjectIdentifier
    value: bytes | None = None  # DER


@dataclass(frozen=True, slots=True)
class PKIHeader:
    """RFC 9810, 5.1.1. Answers may leave out nearly everything; requests of ours do not."""

    sender: x509.GeneralName
    recipient: x509.GeneralName
    transaction_id: bytes | None = None
    sender_nonce: bytes | None = None
    recip_nonce: bytes | None = None
    message_time: datetime | None = None
    protection_alg: AlgorithmIdentifier | None = None
    sender_kid: bytes | None = None
    recip_kid: bytes | None = None
    free_text: tuple[str, ...] = ()
    general_info: tuple[InfoTypeAndValue, ...] = ()
    pvno: int = 2


@dataclass(frozen=True, slots=True)
class CertTemplate:
    """RFC 4211, 5. Every field may be absent."""

    subject: x509.Name | None = None
    public_key: PublicKeyTypes | None = None
    issuer: x509.Name | None = None
    serial_number: int | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    extensions: tuple[x509.Extension[x509.ExtensionType], ...] = ()


@dataclass(frozen=True, slots=True)
class Control:
    """An AttributeTypeAndValue among a request's controls or regInfo, RFC 4211, 6 and 7."""

    type: x509.ObjectIdentifier
    value: bytes  # DER


@dataclass(frozen=True, slots=True)
class CertRequest:
    cert_req_id: int
    template: CertTemplate
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True, slots=True)
class ProofOfPossession:
    """POPOSigningKey without poposkInput: signed is the DER of the CertRequest, RFC 4211, 4.1."""

    algorithm: AlgorithmIdentifier
    signature: bytes


@dataclass(frozen=True, slots=True)
class CertReqMsg:
    cert_req: CertRequest
    popo: ProofOfPossession | None = None
    reg_info: tuple[Control, ...] = ()
    cert_req_der: bytes = b""  # as received: what the proof of possession signs


@dataclass(frozen=True, slots=True)
class CertReqMessages:
    requests: tuple[CertReqMsg, ...]


class Ir(CertReqMessages):
    __slots__ = ()


class Cr(CertReqMessages):
    __slots__ = ()


class Kur(CertReqMessages):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class P10cr:
    csr: bytes  # DER of the CertificationRequest


class PKIStatus(IntEnum):
    accepted = 0
    grantedWithMods = 1  # noqa: N815 - RFC 9810, 5.2.3
    rejection = 2
    waiting = 3
    revocationWarning = 4  # noqa: N815
    revocationNotification = 5  # noqa: N815
    keyUpdateWarning = 6  # noqa: N815


@dataclass(frozen=True, slots=True)
class PKIStatusInfo:
    status: PKIStatus
    status_string: tuple[str, ...] = ()
    fail_info: frozenset[str] = frozenset()  # PKIFailureInfo bit names


@dataclass(frozen=True, slots=True)
class CertResponse:
    cert_req_id: int
    status: PKIStatusInfo
    certificate: x509.Certificate | None = None
    encrypted: bool = False  # an encryptedCert was sent in place of a certificate


@dataclass(frozen=True, slots=True)
class CertRepMessage:
    responses: tuple[CertResponse, ...]
    ca_pubs: tuple[x509.Certificate, ...] = ()


class Ip(CertRepMessage):
    __slots__ = ()


class Cp(CertRepMessage):
    __slots__ = ()


class Kup(CertRepMessage):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class CertStatus:
    cert_hash: bytes
    cert_req_id: int
    status_info: PKIStatusInfo | None = None
    hash_alg: AlgorithmIdentifier | None = None


@dataclass(frozen=True, slots=True)
class CertConf:
    statuses: tuple[CertStatus, ...]


@dataclass(frozen=True, slots=True)
class PkiConf:
    pass


@dataclass(frozen=True, slots=True)
class PollReq:
    cert_req_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PollRepEntry:
    cert_req_id: int
    check_after: timedelta
    reason: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PollRep:
    entries: tuple[PollRepEntry, ...]


@dataclass(frozen=True, slots=True)
class RevDetails:
    cert_details: CertTemplate  # issuer and serial_number name the certificate
    extensions: tuple[x509.Extension[x509.ExtensionType], ...] = ()  # reasonCode


@dataclass(frozen=True, slots=True)
class Rr:
    details: tuple[RevDetails, ...]


@dataclass(frozen=True, slots=True)
class CertId:
    issuer: x509.GeneralName
    serial_number: int


@dataclass(frozen=True, slots=True)
class Rp:
    statuses: tuple[PKIStatusInfo, ...]
    rev_certs: tuple[CertId, ...] = ()


@dataclass(frozen=True, slots=True)
class GenM:
    items: tuple[InfoTypeAndValue, ...]


@dataclass(frozen=True, slots=True)
class GenP:
    items: tuple[InfoTypeAndValue, ...]


@dataclass(frozen=True, slots=True)
class ErrorMsg:
    status: PKIStatusInfo
    error_code: int | None = None
    details: tuple[str, ...] = ()


Body = (
    Ir
    | Ip
    | Cr
    | Cp
    | P10cr
    | Kur
    | Kup
    | Rr
    | Rp
    | GenM
    | GenP
    | CertConf
    | PkiConf
    | PollReq
    | PollRep
    | ErrorMsg
)


@dataclass(frozen=True, slots=True)
class PKIMessage:
    """A message as received. `protected_part` is the DER that its protection covers."""

    header: PKIHeader
    body: Body
    protection: bytes | None = None
    extra_certs: tuple[x509.Certificate, ...] = ()
    protected_part: bytes = b""
