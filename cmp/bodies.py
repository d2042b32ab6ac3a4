"""The bodies of a PKIMessage (RFC 9810, 5.1.2 and 5.3), between values and DER.

One function a body and direction, and a table of them. What bodies have in common is in `parts`;
errors of the parsers below are left to `codec`.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.asn1 import Null, decode_der, encode_der

from cmp import asn1, crmf, parts
from cmp.errors import LocalError, Malformed
from cmp.messages import (
    Body,
    CertConf,
    CertRepMessage,
    CertResponse,
    CertStatus,
    Cp,
    Cr,
    ErrorMsg,
    GenM,
    GenP,
    Ip,
    Ir,
    Kup,
    Kur,
    P10cr,
    PkiConf,
    PollRep,
    PollRepEntry,
    PollReq,
    RevDetails,
    Rp,
    Rr,
)

# PKIBody's choices by their tags, RFC 9810, 5.1.2
NAMES = (
    "ir", "ip", "cr", "cp", "p10cr", "popdecc", "popdecr", "kur", "kup", "krr", "krp", "rr", "rp",
    "ccr", "ccp", "ckuann", "cann", "rann", "crlann", "pkiconf", "nested", "genm", "genp", "error",
    "certConf", "pollReq", "pollRep",
)  # fmt: skip
LONGEST_WAIT = timedelta(days=365)  # longer ones are cut, so that nobody's calendar overflows

_Replies = TypeVar("_Replies", bound=CertRepMessage)
_General = TypeVar("_General", GenM, GenP)


def encode_body(body: Body) -> bytes:
    tag, encoder = _ENCODERS[type(body)]
    return asn1.wrap(0xA0 | tag, encoder(body))


def decode_body(identifier: bytes, content: bytes) -> Body:
    """Read the body whose identifier octets and content these are."""
    decoder = _DECODERS.get(identifier)
    if decoder is None:
        raise Malformed(f"{name_of(identifier)} is not read here")
    return decoder(content)


def name_of(identifier: bytes) -> str:
    """Say which body has these identifier octets, for people."""
    tag = identifier[0] & 0x1F
    if len(identifier) > 1 or identifier[0] >> 5 != 0b101 or tag >= len(NAMES):
        return f"a body with the identifier {identifier[:4].hex()}"
    return f"a body of type {NAMES[tag]}"


# --- answers with certificates: ip, cp, kup


def _cert_rep(body: CertRepMessage) -> bytes:
    return encode_der(
        asn1.CertRepMessage(
            ca_pubs=asn1.elements(asn1.sequence_of(parts.certificates(body.ca_pubs))) or None,
            response=[_cert_response(r) for r in body.responses],
        )
    )


def _cert_response(response: CertResponse) -> asn1.CertResponse:
    pair = None
    if response.encrypted:
        raise LocalError("an encrypted certificate cannot be written")
    if response.certificate:
        pair = asn1.CertifiedKeyPair(
            cert_or_enc_cert=response.certificate, private_key=None, publication_info=None
        )
    return asn1.CertResponse(
        cert_req_id=response.cert_req_id,
        status=parts.status(response.status),
        certified_key_pair=pair,
        rsp_info=None,
    )


def _read_cert_rep(kind: type[_Replies]) -> Callable[[bytes], _Replies]:
    def read(content: bytes) -> _Replies:
        message = decode_der(asn1.CertRepMessage, content)
        return kind(
            tuple(_read_cert_response(r) for r in message.response),
            parts.read_certificates(message.ca_pubs),
        )

    return read


def _read_cert_response(response: asn1.CertResponse) -> CertResponse:
    pair = response.certified_key_pair
    granted = pair.cert_or_enc_cert if pair else None
    certificate = None
    if isinstance(granted, x509.Certificate):
        certificate = parts.require_names(granted)
    return CertResponse(
        parts.number(response.cert_req_id),
        parts.read_status(response.status),
        certificate,
        encrypted=granted is not None and certificate is None,
    )


# --- confirmation: certConf, pkiconf


def _cert_conf(body: CertConf) -> bytes:
    statuses = [
        asn1.CertStatus(
            cert_hash=s.cert_hash,
            cert_req_id=s.cert_req_id,
            status_info=parts.status(s.status_info) if s.status_info else None,
            hash_alg=parts.algorithm(s.hash_alg) if s.hash_alg else None,
        )
        for s in body.statuses
    ]
    return asn1.encode_list(asn1.CertConfirmContent(items=statuses))


def _read_cert_conf(content: bytes) -> CertConf:
    return CertConf(
        tuple(
            CertStatus(
                s.cert_hash,
                parts.number(s.cert_req_id),
                parts.read_status(s.status_info) if s.status_info else None,
                None if s.hash_alg is None else parts.read_algorithm(s.hash_alg),
            )
            for s in asn1.decode_list(asn1.CertConfirmContent, content).items
        )
    )


def _pki_conf(_: PkiConf) -> bytes:
    return encode_der(Null())


def _read_pki_conf(content: bytes) -> PkiConf:
    decode_der(Null, content)
    return PkiConf()


# --- polling: pollReq, pollRep


def _poll_req(body: PollReq) -> bytes:
    entries = [asn1.PollReqEntry(cert_req_id=i) for i in body.cert_req_ids]
    return asn1.encode_list(asn1.PollReqContent(items=entries))


def _read_poll_req(content: bytes) -> PollReq:
    entries = asn1.decode_list(asn1.PollReqContent, content).items
    return PollReq(tuple(parts.number(e.cert_req_id) for e in entries))


def _poll_rep(body: PollRep) -> bytes:
    entries = [
        asn1.PollRepEntry(
            cert_req_id=e.cert_req_id,
            check_after=int(e.check_after.total_seconds()),
            reason=list(e.reason) or None,
        )
        for e in body.entries
    ]
    return asn1.encode_list(asn1.PollRepContent(items=entries))


def _read_poll_rep(content: bytes) -> PollRep:
    entries = asn1.decode_list(asn1.PollRepContent, content).items
    return PollRep(
        tuple(
            PollRepEntry(parts.number(e.cert_req_id), _wait(e.check_after), tuple(e.reason or ()))
            for e in entries
        )
    )


def _wait(seconds: int) -> timedelta:
    longest = int(LONGEST_WAIT.total_seconds())
    return timedelta(seconds=min(max(seconds, 0), longest))


# --- revocation: rr, rp


def _rr(body: Rr) -> bytes:
    details = [
        asn1.RevDetails(
            cert_details=crmf.template(d.cert_details),
            crl_entry_details=parts.extensions(d.extensions),
        )
        for d in body.details
    ]
    return asn1.encode_list(asn1.RevReqContent(items=details))


def _read_rr(content: bytes) -> Rr:
    details = asn1.decode_list(asn1.RevReqContent, content).items
    return Rr(
        tuple(
            RevDetails(
                crmf.read_template(d.cert_details), parts.read_extensions(d.crl_entry_details)
            )
            for d in details
        )
    )


def _rp(body: Rp) -> bytes:
    return encode_der(
        asn1.RevRepContent(
            status=[parts.status(s) for s in body.statuses],
            rev_certs=[parts.cert_id(c) for c in body.rev_certs] or None,
            crls=None,
        )
    )


def _read_rp(content: bytes) -> Rp:
    reply = decode_der(asn1.RevRepContent, content)
    certs = tuple(parts.read_cert_id(c) for c in reply.rev_certs or ())
    return Rp(tuple(parts.read_status(s) for s in reply.status), certs)


# --- general messages and errors: genm, genp, error


def _gen(body: GenM | GenP) -> bytes:
    return asn1.encode_list(asn1.GenContent(items=[parts.info(i) for i in body.items]))


def _read_gen(kind: type[_General]) -> Callable[[bytes], _General]:
    def read(content: bytes) -> _General:
        items = asn1.decode_list(asn1.GenContent, content).items
        return kind(tuple(parts.read_info(i) for i in items))

    return read


def _error(body: ErrorMsg) -> bytes:
    return encode_der(
        asn1.ErrorMsgContent(
            pki_status_info=parts.status(body.status),
            error_code=body.error_code,
            error_details=list(body.details) or None,
        )
    )


def _read_error(content: bytes) -> ErrorMsg:
    message = decode_der(asn1.ErrorMsgContent, content)
    status = parts.read_status(message.pki_status_info)
    code = None if message.error_code is None else parts.number(message.error_code)
    return ErrorMsg(status, code, tuple(message.error_details or ()))


def _csr(body: P10cr) -> bytes:
    return body.csr


_BODIES: tuple[tuple[int, type[Body], Callable[[Any], bytes], Callable[[bytes], Body]], ...] = (
    (0, Ir, crmf.messages, crmf.reader(Ir)),
    (1, Ip, _cert_rep, _read_cert_rep(Ip)),
    (2, Cr, crmf.messages, crmf.reader(Cr)),
    (3, Cp, _cert_rep, _read_cert_rep(Cp)),
    (4, P10cr, _csr, P10cr),
    (7, Kur, crmf.messages, crmf.reader(Kur)),
    (8, Kup, _cert_rep, _read_cert_rep(Kup)),
    (11, Rr, _rr, _read_rr),
    (12, Rp, _rp, _read_rp),
    (19, PkiConf, _pki_conf, _read_pki_conf),
    (21, GenM, _gen, _read_gen(GenM)),
    (22, GenP, _gen, _read_gen(GenP)),
    (23, ErrorMsg, _error, _read_error),
    (24, CertConf, _cert_conf, _read_cert_conf),
    (25, PollReq, _poll_req, _read_poll_req),
    (26, PollRep, _poll_rep, _read_poll_rep),
)
_ENCODERS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    kind: (tag, encoder) for tag, kind, encoder, _ in _BODIES
}
_DECODERS: dict[bytes, Callable[[bytes], Body]] = {
    bytes((0xA0 | tag,)): decoder for tag, _, _, decoder in _BODIES
}
