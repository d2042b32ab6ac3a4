"""pyasn1 and the schemas of pyasn1-modules read what we write, and we read what they write.

Their schema of RFC 4210 knows no CertStatus.hashAlg (it is of RFC 9480) and takes the revCerts of
an rp for something else; and pyasn1 writes no empty name where a name is optional. These three are
left out here; `test_vectors` and `test_codec` hold them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import univ
from pyasn1_modules import rfc4210

from cmp import codec
from cmp.asn1 import wrap
from cmp.messages import (
    AlgorithmIdentifier,
    Body,
    CertConf,
    CertReqMessages,
    CertReqMsg,
    CertRequest,
    CertResponse,
    CertStatus,
    CertTemplate,
    Control,
    Cp,
    Cr,
    ErrorMsg,
    GenM,
    GenP,
    InfoTypeAndValue,
    Ip,
    Ir,
    Kup,
    Kur,
    P10cr,
    PkiConf,
    PKIHeader,
    PKIStatus,
    PKIStatusInfo,
    PollRep,
    PollRepEntry,
    PollReq,
    ProofOfPossession,
    RevDetails,
    Rp,
    Rr,
)
from cmp.protection import Credentials, MacCredentials, SignatureCredentials
from tests.cmp import values
from tests.cmp.certs import a_root, an_ec_key, an_rsa_key

Theirs = Any  # pyasn1 brings no types

NAMES = {
    Ir: "ir", Ip: "ip", Cr: "cr", Cp: "cp", P10cr: "p10cr", Kur: "kur", Kup: "kup", Rr: "rr",
    Rp: "rp", PkiConf: "pkiconf", GenM: "genm", GenP: "gen", ErrorMsg: "error",
    CertConf: "certConf", PollReq: "pollReq", PollRep: "pollRep",
}  # fmt: skip
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # pyasn1 is too slow for shrinking
SECRET, REFERENCE = b"between you and me", b"4711"


def theirs(der: bytes) -> Theirs:
    message, rest = decoder.decode(der, asn1Spec=rfc4210.PKIMessage())
    assert rest == b""
    return message


# They read what we write


@pytest.mark.parametrize("kind", list(values.BODIES))
@settings(max_examples=20, phases=QUICK)
@given(data=st.data())
def test_whatever_we_write_they_read_and_write_again(kind: type[Body], data: st.DataObject) -> None:
    body = plain(data.draw(values.BODIES[kind]))
    header, certificates = data.draw(values.headers), data.draw(values.certificates)
    der = codec.encode(header, body, protect=lambda _: b"protected", extra_certs=certificates)

    message = theirs(der)

    assert encoder.encode(message) == der
    assert message["body"].getName() == NAMES[kind]
    assert int(message["header"]["pvno"]) == header.pvno
    for field, value in (
        ("transactionID", header.transaction_id),
        ("senderNonce", header.sender_nonce),
        ("recipNonce", header.recip_nonce),
        ("senderKID", header.sender_kid),
        ("recipKID", header.recip_kid),
    ):
        found = message["header"][field]
        assert (bytes(found) if found.isValue else None) == value
    assert message["protection"].asOctets() == b"protected"
    assert len(message["extraCerts"]) == len(certificates)


def plain(body: Body) -> Body:
    """Take away what they cannot read or write."""
    match body:
        case CertConf():
            return CertConf(tuple(replace(one, hash_alg=None) for one in body.statuses))
        case Rp():
            return Rp(body.statuses)
        case CertReqMessages():
            return type(body)(
                tuple(
                    replace(
                        one, cert_req=replace(one.cert_req, template=named(one.cert_req.template))
                    )
                    for one in body.requests
                )
            )
        case Rr():
            return Rr(
                tuple(replace(one, cert_details=named(one.cert_details)) for one in body.details)
            )
    return body


def named(template: CertTemplate) -> CertTemplate:
    empty = x509.Name([])
    subject = None if template.subject == empty else template.subject
    return replace(
        template, subject=subject, issuer=None if template.issuer == empty else template.issuer
    )


def an_ed25519_signer() -> SignatureCredentials:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signer")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=9))
    return SignatureCredentials(key, builder.sign(key, None))


def a_signer(key: Any) -> SignatureCredentials:
    return SignatureCredentials(key, a_root(key=key).certificate, digest="SHA384")


PROTECTIONS: dict[str, Credentials] = {
    "PBM": MacCredentials(SECRET, REFERENCE),
    "PBM SHA-512": MacCredentials(SECRET, REFERENCE, "SHA512", "HMACSHA512"),
    "PBMAC1": MacCredentials(SECRET, REFERENCE, pbmac1=True),
    "RSA": a_signer(an_rsa_key()),
    "EC": a_signer(an_ec_key()),
    "Ed25519": an_ed25519_signer(),
}


@pytest.mark.parametrize("kind", list(values.BODIES))
@pytest.mark.parametrize("protection", list(PROTECTIONS))
@settings(max_examples=2, phases=QUICK)
@given(data=st.data())
def test_every_protection_of_every_body_is_read_by_them(
    protection: str, kind: type[Body], data: st.DataObject
) -> None:
    credentials = PROTECTIONS[protection]
    seal = credentials.seal()
    header = PKIHeader(
        credentials.sender,
        credentials.sender,
        transaction_id=b"t" * 16,
        sender_nonce=b"n" * 16,
        message_time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        sender_kid=credentials.sender_kid,
        protection_alg=seal.algorithm,
    )
    signatures: list[bytes] = []

    def protect(part: bytes) -> bytes:
        signatures.append(seal.protect(part))
        return signatures[-1]

    der = codec.encode(
        header,
        plain(data.draw(values.BODIES[kind])),
        protect=protect,
        extra_certs=credentials.sent_certs,
    )

    message = theirs(der)
    assert encoder.encode(message) == der
    algorithm = message["header"]["protectionAlg"]
    assert str(algorithm["algorithm"]) == seal.algorithm.algorithm.dotted_string
    parameters = algorithm["parameters"]
    assert (bytes(parameters) if parameters.isValue else None) == seal.algorithm.parameters
    assert message["protection"].asOctets() == signatures[0]
    part = rfc4210.ProtectedPart()
    part["header"], part["infoValue"] = message["header"], message["body"]
    assert encoder.encode(part) == codec.decode(der).protected_part


# We read what they write


@dataclass(frozen=True)
class Der:
    """An element as bytes, its tags included."""

    bytes: bytes


def fill(made: Theirs, value: Any) -> Theirs:
    """Fill a pyasn1 object: SEQUENCE or CHOICE from a dict, SEQUENCE OF from a list."""
    types = made.componentType
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, Der):
            listed = isinstance(value, list)
            schema = types if listed else types.getTypeByPosition(types.getPositionByName(key))
            made[key], rest = decoder.decode(inner.bytes, asn1Spec=schema)
            assert rest == b""
        elif isinstance(inner, dict | list):
            fill(made[key], inner)
        else:
            made[key] = inner
    return made


CERTIFICATE, ROOT = values.CERTIFICATES[0], values.CERTIFICATES[1]
CERTIFICATE_DER, ROOT_DER = (c.public_bytes(Encoding.DER) for c in (CERTIFICATE, ROOT))
SUBJECT, ISSUER = CERTIFICATE.subject, CERTIFICATE.issuer
KEY = values.KEYS[0]
SPKI = KEY.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
ECDSA = AlgorithmIdentifier(x509.ObjectIdentifier("1.2.840.10045.4.3.2"))
IMPLICIT_CONFIRM = x509.ObjectIdentifier("1.3.6.1.5.5.7.4.13")
OLD_CERT_ID = x509.ObjectIdentifier("1.3.6.1.5.5.7.5.1.5")
EKU = x509.ObjectIdentifier("2.5.29.37")
REASON = x509.ObjectIdentifier("2.5.29.21")
NULL = b"\x05\x00"


def unrecognized(oid: x509.ObjectIdentifier, critical: bool, value: bytes) -> Any:
    return x509.Extension(oid, critical, x509.UnrecognizedExtension(oid, value))


REJECTED = PKIStatusInfo(
    PKIStatus.rejection, ("no", "way, Jos\u00e9"), frozenset({"badAlg", "badPOP"})
)
THEIR_REJECTED = {
    "status": 2,
    "statusString": ["no", "way, Jos\u00e9"],
    "failInfo": "1000000001",
}
REQUEST = CertRequest(
    7,
    CertTemplate(
        subject=SUBJECT,
        public_key=KEY,
        issuer=ISSUER,
        serial_number=2**70,
        not_before=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        not_after=datetime(2051, 1, 2, 3, 4, 5, tzinfo=UTC),
        extensions=(unrecognized(EKU, True, b"\x30\x00"), unrecognized(EKU, False, b"?")),
    ),
    (Control(OLD_CERT_ID, NULL),),
)
THEIR_REQUEST = {
    "certReqId": 7,
    "certTemplate": {
        "serialNumber": 2**70,
        "issuer": Der(wrap(0xA3, ISSUER.public_bytes())),
        "validity": Der(
            wrap(0xA4, b"\xa0\x0f\x17\x0d260102030405Z\xa1\x11\x18\x0f20510102030405Z")
        ),
        "subject": Der(wrap(0xA5, SUBJECT.public_bytes())),
        "publicKey": Der(b"\xa6" + SPKI[1:]),
        "extensions": [
            {"extnID": EKU.dotted_string, "critical": True, "extnValue": b"\x30\x00"},
            {"extnID": EKU.dotted_string, "extnValue": b"?"},
        ],
    },
    "controls": [{"type": OLD_CERT_ID.dotted_string, "value": NULL}],
}
REQUESTS = (CertReqMsg(REQUEST, ProofOfPossession(ECDSA, b"proof"), (Control(EKU, NULL),)),)
THEIR_REQUESTS = [
    {
        "certReq": THEIR_REQUEST,
        "pop": {
            "signature": {
                "algorithmIdentifier": {"algorithm": ECDSA.algorithm.dotted_string},
                "signature": univ.BitString.fromOctetString(b"proof"),
            }
        },
        "regInfo": [{"type": EKU.dotted_string, "value": NULL}],
    }
]
RESPONSES = (
    CertResponse(0, PKIStatusInfo(PKIStatus.grantedWithMods), CERTIFICATE),
    CertResponse(-1, REJECTED),
)
THEIR_RESPONSES = {
    "caPubs": [Der(ROOT_DER)],
    "response": [
        {
            "certReqId": 0,
            "status": {"status": 1},
            "certifiedKeyPair": {
                "certOrEncCert": {"certificate": Der(wrap(0xA0, CERTIFICATE_DER))}
            },
        },
        {"certReqId": -1, "status": THEIR_REJECTED},
    ],
}
INFOS = (InfoTypeAndValue(IMPLICIT_CONFIRM, NULL), InfoTypeAndValue(EKU))
THEIR_INFOS = [
    {"infoType": IMPLICIT_CONFIRM.dotted_string, "infoValue": NULL},
    {"infoType": EKU.dotted_string},
]
ENTRIES = (PollRepEntry(0, timedelta(seconds=9), ("soon",)), PollRepEntry(1, timedelta(hours=1)))

BODIES: list[tuple[Body, Any]] = [
    (Ir(REQUESTS), THEIR_REQUESTS),
    (Cr(REQUESTS), THEIR_REQUESTS),
    (Kur(REQUESTS), THEIR_REQUESTS),
    (Ip(RESPONSES, (ROOT,)), THEIR_RESPONSES),
    (Cp(RESPONSES, (ROOT,)), THEIR_RESPONSES),
    (Kup(RESPONSES, (ROOT,)), THEIR_RESPONSES),
    (P10cr(values.CSRS[0]), Der(wrap(0xA4, values.CSRS[0]))),
    (
        CertConf((CertStatus(b"hash", 0, REJECTED), CertStatus(b"#", 1))),
        [
            {"certHash": b"hash", "certReqId": 0, "statusInfo": THEIR_REJECTED},
            {"certHash": b"#", "certReqId": 1},
        ],
    ),
    (PkiConf(), ""),
    (PollReq((0, -1)), [{"certReqId": 0}, {"certReqId": -1}]),
    (
        PollRep(ENTRIES),
        [
            {"certReqId": 0, "checkAfter": 9, "reason": ["soon"]},
            {"certReqId": 1, "checkAfter": 3600},
        ],
    ),
    (
        Rr((RevDetails(REQUEST.template, (unrecognized(REASON, False, b"\x0a\x01\x01"),)),)),
        [
            {
                "certDetails": THEIR_REQUEST["certTemplate"],
                "crlEntryDetails": [{"extnID": REASON.dotted_string, "extnValue": b"\x0a\x01\x01"}],
            }
        ],
    ),
    (Rp((REJECTED,)), {"status": [THEIR_REJECTED]}),
    (GenM(INFOS), THEIR_INFOS),
    (GenP(INFOS), THEIR_INFOS),
    (
        ErrorMsg(REJECTED, 42, ("why",)),
        {"pKIStatusInfo": THEIR_REJECTED, "errorCode": 42, "errorDetails": ["why"]},
    ),
]
HEADER = PKIHeader(
    x509.DirectoryName(SUBJECT),
    x509.DNSName("ca.example"),
    transaction_id=b"t" * 16,
    sender_nonce=b"n" * 16,
    recip_nonce=b"r" * 16,
    message_time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    protection_alg=ECDSA,
    sender_kid=b"ours",
    recip_kid=b"theirs",
    free_text=("hello", "Gr\u00fc\u00dfe"),
    general_info=INFOS,
    pvno=2,
)
THEIR_HEADER = {
    "pvno": 2,
    "sender": Der(wrap(0xA4, SUBJECT.public_bytes())),
    "recipient": {"dNSName": "ca.example"},
    "messageTime": "20260102030405Z",
    "protectionAlg": {"algorithm": ECDSA.algorithm.dotted_string},
    "senderKID": b"ours",
    "recipKID": b"theirs",
    "transactionID": b"t" * 16,
    "senderNonce": b"n" * 16,
    "recipNonce": b"r" * 16,
    "freeText": ["hello", "Gr\u00fc\u00dfe"],
    "generalInfo": THEIR_INFOS,
}


def test_they_write_every_body() -> None:
    assert {type(body) for body, _ in BODIES} == set(get_args(Body))


@pytest.mark.parametrize(("body", "content"), BODIES, ids=[type(b).__name__ for b, _ in BODIES])
def test_what_they_write_is_read_to_the_same_values(body: Body, content: Any) -> None:
    message = fill(
        rfc4210.PKIMessage(),
        {
            "header": THEIR_HEADER,
            "body": {NAMES[type(body)]: content},
            "protection": Der(b"\xa0\x06\x03\x04\x00abc"),
            "extraCerts": [Der(CERTIFICATE_DER), Der(ROOT_DER)],
        },
    )
    der = encoder.encode(message)

    read = codec.decode(der)

    assert read.header == HEADER
    assert as_written(read.body) == body
    assert read.protection == b"abc"
    assert read.extra_certs == (CERTIFICATE, ROOT)
    ours = codec.encode(HEADER, body, protect=lambda _: b"abc", extra_certs=(CERTIFICATE, ROOT))
    assert ours == der


def as_written(body: Body) -> Body:
    if not isinstance(body, CertReqMessages):
        return body
    return type(body)(tuple(replace(one, cert_req_der=b"") for one in body.requests))
