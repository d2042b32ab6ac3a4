"""Values of every kind that a CMP message can hold, for hypothesis to choose from."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st

from cmp.messages import (
    AlgorithmIdentifier,
    Body,
    CertConf,
    CertId,
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
from cmp.parts import FAIL_INFO
from tests.cmp import vectors

T = TypeVar("T")

KEYS = (
    ec.generate_private_key(ec.SECP256R1()).public_key(),
    ec.generate_private_key(ec.SECP384R1()).public_key(),
    rsa.generate_private_key(65537, 2048).public_key(),
    ed25519.Ed25519PrivateKey.generate().public_key(),
    ed448.Ed448PrivateKey.generate().public_key(),
)
CERTIFICATES = tuple(
    vectors.certificate(name)
    for name in ("recorded/keys/srv.crt", "recorded/keys/ca.crt", "recorded/keys/siemens/root.crt")
)
CSRS = (
    vectors.named("openssl-3.0.22/65-test_cmp_msg_data/pkcs10.der"),
    x509.CertificateSigningRequestBuilder(x509.Name([]))
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    .public_bytes(Encoding.DER),
)


def several(of: st.SearchStrategy[T], *, least: int = 0) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(of, min_size=least, max_size=3).map(tuple)


def maybe(of: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | of


octets = st.binary(max_size=20)
text = st.text(max_size=20)  # never half a surrogate pair, as hypothesis draws it
texts = several(text)
# -128 is missing: pyasn1 writes it with an octet too many
numbers = st.integers(0, 2**160 - 1) | st.sampled_from([-1, -2, -127, -129, -(2**64)])
oids = st.sampled_from(
    ["1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2", "1.3.6.1.5.5.7.4.13", "2.5.29.37", "2.999.1"]
).map(x509.ObjectIdentifier)
anything = st.sampled_from(
    [b"\x05\x00", b"\x02\x01\x2a", b"\x04\x03abc", b"\x30\x00", b"\xa0\x02\x05\x00", b"\x80\x00"]
)
moments = st.datetimes(datetime(1930, 1, 1), datetime(2110, 1, 1)).map(  # noqa: DTZ001 - next line
    lambda moment: moment.replace(tzinfo=UTC, microsecond=0)
)
algorithms = st.builds(AlgorithmIdentifier, oids, maybe(anything))
infos = st.builds(InfoTypeAndValue, oids, maybe(anything))
extensions = st.builds(
    lambda oid, critical, value: x509.Extension(
        oid, critical, x509.UnrecognizedExtension(oid, value)
    ),
    oids,
    st.booleans(),
    octets,
)

_attributes = st.builds(
    x509.NameAttribute,
    st.sampled_from(
        [
            x509.NameOID.COMMON_NAME,
            x509.NameOID.ORGANIZATION_NAME,
            x509.NameOID.USER_ID,
            x509.ObjectIdentifier("2.999.3"),
        ]
    ),
    st.text(min_size=1, max_size=10),
)
names = st.builds(
    lambda rdns: x509.Name(x509.RelativeDistinguishedName(rdn) for rdn in rdns),
    st.lists(st.lists(_attributes, min_size=1, max_size=2, unique=True), max_size=3),
)
_dns = st.from_regex(r"[a-z0-9]{1,9}(\.[a-z]{1,5}){0,2}", fullmatch=True)
general_names: st.SearchStrategy[x509.GeneralName] = st.one_of(
    names.map(x509.DirectoryName),
    _dns.map(x509.DNSName),
    _dns.map(lambda host: x509.RFC822Name(f"ca@{host}")),
    _dns.map(lambda host: x509.UniformResourceIdentifier(f"https://{host}/cmp")),
    st.ip_addresses().map(lambda ip: x509.IPAddress(ipaddress.ip_address(str(ip)))),
    oids.map(x509.RegisteredID),
    st.builds(x509.OtherName, oids, anything),
)

headers = st.builds(
    PKIHeader,
    sender=general_names,
    recipient=general_names,
    transaction_id=maybe(octets),
    sender_nonce=maybe(octets),
    recip_nonce=maybe(octets),
    message_time=maybe(moments),
    protection_alg=maybe(algorithms),
    sender_kid=maybe(octets),
    recip_kid=maybe(octets),
    free_text=texts,
    general_info=several(infos),
    pvno=st.integers(1, 3),
)
templates = st.builds(
    CertTemplate,
    subject=maybe(names),
    public_key=maybe(st.sampled_from(KEYS)),
    issuer=maybe(names),
    serial_number=maybe(numbers),
    not_before=maybe(moments),
    not_after=maybe(moments),
    extensions=several(extensions),
)
controls = several(st.builds(Control, oids, anything))
requests = st.builds(
    CertReqMsg,
    st.builds(CertRequest, numbers, templates, controls),
    maybe(st.builds(ProofOfPossession, algorithms, octets)),
    controls,
)
statuses = st.builds(
    PKIStatusInfo, st.sampled_from(PKIStatus), texts, st.frozensets(st.sampled_from(FAIL_INFO))
)
responses = st.builds(CertResponse, numbers, statuses, maybe(st.sampled_from(CERTIFICATES)))
certificates = several(st.sampled_from(CERTIFICATES))
cert_ids = st.builds(CertId, general_names, numbers)
waits = st.integers(0, 365 * 86400).map(lambda seconds: timedelta(seconds=seconds))

BODIES: dict[type[Body], st.SearchStrategy[Body]] = {
    **{kind: st.builds(kind, several(requests, least=1)) for kind in (Ir, Cr, Kur)},
    **{kind: st.builds(kind, several(responses), certificates) for kind in (Ip, Cp, Kup)},
    P10cr: st.builds(P10cr, st.sampled_from(CSRS)),
    CertConf: st.builds(
        CertConf,
        several(st.builds(CertStatus, octets, numbers, maybe(statuses), maybe(algorithms))),
    ),
    PkiConf: st.builds(PkiConf),
    PollReq: st.builds(PollReq, several(numbers, least=1)),
    PollRep: st.builds(PollRep, several(st.builds(PollRepEntry, numbers, waits, texts))),
    Rr: st.builds(Rr, several(st.builds(RevDetails, templates, several(extensions)))),
    Rp: st.builds(Rp, several(statuses, least=1), several(cert_ids)),
    GenM: st.builds(GenM, several(infos)),
    GenP: st.builds(GenP, several(infos)),
    ErrorMsg: st.builds(ErrorMsg, statuses, maybe(numbers), texts),
}
