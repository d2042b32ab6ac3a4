"""What an answer must be to be accepted: one function a check, each with its rule.

They look at decoded messages only, and raise what the transaction passes on. Protection is the
business of `authentication`.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from cmp.errors import OutOfSequence, Rejected, Unacceptable
from cmp.messages import (
    Body,
    CertRepMessage,
    CertResponse,
    CertTemplate,
    ErrorMsg,
    PKIMessage,
    PKIStatus,
    PKIStatusInfo,
    PollRep,
    PollRepEntry,
    Rp,
)
from cmp.names import format_name, same_name
from cmp.request import CERT_REQ_ID, NO_CERT_REQ_ID, CertificateRequest, Update
from cmp.text import one_line
from cmp.trust import TrustStore

IMPLICIT_CONFIRM = x509.ObjectIdentifier("1.3.6.1.5.5.7.4.13")  # id-it-implicitConfirm
CLOCK_SKEW = timedelta(minutes=5)  # a new certificate may begin that much after our now
CLOSE_ENOUGH = timedelta(days=1)  # between a validity asked for and the one granted
MAX_TEXT = 8192  # characters of a CA's explanation; some append a certificate in words
MAX_SERIAL_NUMBER = 8 * 20  # bits; an octet more for the sign is let pass

GRANTED = frozenset(
    {
        PKIStatus.accepted,
        PKIStatus.grantedWithMods,
        PKIStatus.revocationWarning,
        PKIStatus.revocationNotification,
        PKIStatus.keyUpdateWarning,
    }
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that passed. `chain` runs from its issuer upward, without the root."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    modifications: tuple[str, ...]  # what differs from the template, a sentence each
    status: PKIStatus


# The header


def require_transaction(message: PKIMessage, transaction_id: bytes) -> None:
    """transactionID is the request's: RFC 9810, 5.1.1."""
    if message.header.transaction_id != transaction_id:
        raise OutOfSequence("the answer belongs to another transaction (transactionID)")


def require_nonce(message: PKIMessage, ours: Container[bytes | None]) -> None:
    """recipNonce is the senderNonce of what is answered: RFC 9810, 5.1.1.

    After polling, of the last pollReq or of the request itself: CAs do either.
    """
    if message.header.recip_nonce not in ours:
        raise OutOfSequence("the answer belongs to another message (recipNonce)")


def require_version(message: PKIMessage) -> None:
    """RFC 9810, 7: cmp2000 or cmp2021."""
    if message.header.pvno not in (2, 3):
        raise OutOfSequence(f"the answer's pvno is {message.header.pvno}, not 2 or 3")


def confirms_implicitly(message: PKIMessage) -> bool:
    """RFC 9810, 5.1.1.1."""
    return any(info.type == IMPLICIT_CONFIRM for info in message.header.general_info)


# The body


def only_response(body: CertRepMessage, ids: frozenset[int]) -> CertResponse:
    """One request was made, so one response answers it, by its number: RFC 9810, 5.3.4."""
    if len(body.responses) != 1:
        raise OutOfSequence(f"{len(body.responses)} responses answer one request")
    (response,) = body.responses
    if response.cert_req_id not in ids:
        raise OutOfSequence(f"certReqId {response.cert_req_id} was not requested")
    return response


def only_status(body: Rp) -> PKIStatusInfo:
    """One revocation was asked for: RFC 9810, 5.3.10."""
    if len(body.statuses) != 1:
        raise OutOfSequence(f"{len(body.statuses)} statuses answer one revocation request")
    return body.statuses[0]


def poll_entry(body: PollRep, cert_req_id: int) -> PollRepEntry:
    """RFC 9810, 5.3.22.

    One request is waited for, so an only entry is about it: where requests have no number and -1 is
    asked for, Siemens' RA answers about 0.
    """
    mine = [entry for entry in body.entries if entry.cert_req_id == cert_req_id]
    if not mine and cert_req_id == NO_CERT_REQ_ID and len(body.entries) == 1:
        mine = [entry for entry in body.entries if entry.cert_req_id == CERT_REQ_ID]
    if not mine:
        raise OutOfSequence(f"pollRep says nothing about certReqId {cert_req_id}")
    return mine[0]


def negative(body: Body) -> PKIStatusInfo | None:
    """Return the status of a body that says no, whatever else may be wrong with the message."""
    infos: tuple[PKIStatusInfo, ...] = ()
    match body:
        case ErrorMsg(status=info):
            return None if info.status is PKIStatus.waiting else info
        case CertRepMessage(responses=responses):
            infos = tuple(response.status for response in responses)
        case Rp(statuses=statuses):
            infos = statuses
    return next((info for info in infos if info.status is PKIStatus.rejection), None)


def rejected(
    message: PKIMessage, info: PKIStatusInfo, *, now: datetime, unproven: str = ""
) -> Rejected:
    """Put a CA's no into words. `unproven` says why it may not be the CA's."""
    parts = list(info.status_string)
    if isinstance(message.body, ErrorMsg):
        parts += message.body.details
        if message.body.error_code is not None:
            parts.append(f"error code {message.body.error_code}")
    if "badTime" in info.fail_info:
        theirs = message.header.message_time
        parts.append(
            f"our clock says {_utc(now)}, the CA's {_utc(theirs) if theirs else 'nothing'}"
        )
    if unproven:
        parts.append(f"[{unproven}]")
    return Rejected(
        one_line("; ".join(part.strip() for part in parts), MAX_TEXT),
        status=info.status.name,
        failures=info.fail_info,
        authenticated=not unproven,
    )


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


# The certificate


def accept(
    response: CertResponse,
    request: CertificateRequest,
    *,
    trust: TrustStore,
    helpers: Iterable[x509.Certificate],
    now: datetime,
) -> Issued:
    """Return what was issued if it is what was asked for, or raise Unacceptable."""
    certificate = _certificate(response)
    _require_no_earlier_update(response, request)
    _require_key(certificate, request)
    require_serial_number(certificate)
    chain = trust.check_issued(certificate, helpers, _moment(certificate, now))
    return Issued(
        certificate,
        chain,
        tuple(differences(request.wanted, certificate)),
        response.status.status,
    )


def _certificate(response: CertResponse) -> x509.Certificate:
    """RFC 9810, 5.3.4: a positive status comes with a certificate; we open no envelopes."""
    if response.certificate is not None:
        return response.certificate
    if response.encrypted:
        raise Unacceptable("the CA encrypted the certificate, which was not asked for")
    raise Unacceptable(f"the CA said {response.status.status.name} and sent no certificate")


def _require_no_earlier_update(response: CertResponse, request: CertificateRequest) -> None:
    """keyUpdateWarning is about the oldCertId of a kur: RFC 9810, 5.2.3."""
    if response.status.status is PKIStatus.keyUpdateWarning and not isinstance(request, Update):
        raise Unacceptable("the CA says keyUpdateWarning, and no update was asked for")


def _require_key(certificate: x509.Certificate, request: CertificateRequest) -> None:
    """The certificate is for the key that was proven: RFC 9483, 4.1.1."""
    try:
        same = certificate.public_key() == request.public_key
    except (ValueError, TypeError, UnsupportedAlgorithm):
        same = False
    if not same:
        raise Unacceptable("the issued certificate is for another public key")


def require_serial_number(certificate: x509.Certificate) -> None:
    """RFC 5280, 4.1.2.2: positive, and of at most 20 octets. Raises Unacceptable."""
    number = certificate.serial_number
    if number <= 0 or number.bit_length() > MAX_SERIAL_NUMBER:
        raise Unacceptable(
            f"the certificate's serial number {one_line(f'{number:x}', 60)} is none that a CA may"
            " give: RFC 5280 allows positive ones of up to 20 octets"
        )


def _moment(certificate: x509.Certificate, now: datetime) -> datetime:
    """Return when to check the path: some CAs' clocks are a little ahead, and do not backdate."""
    begins = certificate.not_valid_before_utc
    return begins if now < begins <= now + CLOCK_SKEW else now


def differences(wanted: CertTemplate, certificate: x509.Certificate) -> Iterable[str]:
    """Say what of a template a certificate does not show."""
    try:
        if wanted.subject is not None and not same_name(wanted.subject, certificate.subject):
            yield f"subject is {one_line(format_name(certificate.subject), 300)}"
    except ValueError:
        yield "subject does not parse"
    granted = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    for what, asked, got in zip(
        ("begins", "ends"), (wanted.not_before, wanted.not_after), granted, strict=True
    ):
        if asked is not None and abs(asked - got) > CLOSE_ENOUGH:
            yield f"validity {what} {got:%Y-%m-%d} instead of {asked:%Y-%m-%d}"
    yield from _differing_extensions(wanted, certificate)


def _differing_extensions(wanted: CertTemplate, certificate: x509.Certificate) -> Iterable[str]:
    try:
        present = {extension.oid: extension.value for extension in certificate.extensions}
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        yield "its extensions do not parse"
        return
    for extension in wanted.extensions:
        asked, got = extension.value, present.get(extension.oid)
        if asked == got or _same_meaning(asked, got):
            continue
        name = getattr(extension.oid, "_name", extension.oid.dotted_string)
        if got is None:
            yield f"{name} is missing"
        elif isinstance(asked, x509.SubjectAlternativeName):
            yield from _differing_names(asked, got)
        else:
            yield f"{name} differs"


def _same_meaning(asked: x509.ExtensionType, got: x509.ExtensionType | None) -> bool:
    match asked, got:
        case x509.BasicConstraints(ca=False), None:
            return True
        case x509.ExtendedKeyUsage(), x509.ExtendedKeyUsage():
            return set(asked) == set(got)
    return False


def _differing_names(asked: x509.SubjectAlternativeName, got: x509.ExtensionType) -> Iterable[str]:
    names = list(got) if isinstance(got, x509.SubjectAlternativeName) else []
    for word, these, those in (("lacks", asked, names), ("adds", names, asked)):
        for name in these:
            if name not in those:
                yield f"subjectAltName {word} {one_line(str(name.value), 300)}"
