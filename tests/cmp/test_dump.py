"""`python -m cmp` shows what is in a message, readable for us or not, and nothing secret."""

from __future__ import annotations

import base64
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.asn1 import decode_der
from cryptography.hazmat.primitives import hashes

from cmp import CertTemplate, InfoTypeAndValue, Profile, asn1, codec, parse_name
from cmp.dump import dump
from cmp.errors import Malformed
from cmp.messages import CertReqMsg, CertRequest, Control, GenP, Ir, P10cr, PKIHeader
from cmp.protection import MacCredentials
from cmp.support import CA_CERTS
from tests.cmp import certs, vectors
from tests.cmp.test_ber import Writer
from tests.fuzz import elements

RECORDED = vectors.FOLDER / "recorded"
NOBODY = x509.DirectoryName(x509.Name([]))
REG_TOKEN = x509.ObjectIdentifier("1.3.6.1.5.5.7.5.1.1")  # regCtrl-regToken: a password


def shown(message: bytes) -> list[str]:
    return [line.strip() for line in dump(message)]


def named(name: str) -> list[str]:
    return shown(vectors.named(f"recorded/{name}"))


def test_a_refusal_is_shown_with_its_status_texts_and_bits() -> None:
    lines = named("ossl30-rejection/rsp1.der")

    assert lines[0] == "PKIMessage of 1248 bytes, which OCCM can read"
    assert "directoryName: /C=DE/O=Peer/CN=Mock CMP Server" in lines
    assert "algorithm: 1.2.840.113533.7.66.13 (PasswordBasedMac)" in lines
    assert "iterationCount: 500" in lines
    assert "status: rejection" in lines
    assert "statusString 1: no way, José" in lines
    assert "failInfo: badAlg, badRequest, certRevoked" in lines
    assert any(line.startswith("extraCerts 1: /C=DE/O=Peer/CN=Mock Root CA, iss") for line in lines)


def test_a_certificate_is_one_line() -> None:
    (line,) = [line for line in named("siemens-ir-mac/rsp1.der") if line.startswith("certificate:")]

    assert line == (
        "certificate: /C=DE/O=NF/CN=nf1, issued by /C=DE/O=PeerRA/CN=Peer Issuing CA,"
        " serial a21fb29626758d44fbb5fa3f689e81, 2026-11-23 17:04 to 2027-02-21 17:05 UTC"
    )


def test_the_certificate_that_an_update_replaces_is_named() -> None:
    lines = named("ossl30-kur/req1.der")

    control = lines.index("type: 1.3.6.1.5.5.7.5.1.5 (regCtrl-oldCertID)")
    assert "directoryName: /C=DE/O=Peer/CN=Mock Root CA" in lines[control:]


def test_neither_passwords_nor_macs_are_shown() -> None:
    control = Control(REG_TOKEN, asn1.wrap(0x0C, b"one-time password"))
    request = CertRequest(0, CertTemplate(subject=parse_name("/CN=amf")), (control,))
    credentials = MacCredentials(secret=b"secret", reference=b"4711")
    seal = credentials.seal()
    header = PKIHeader(NOBODY, NOBODY, sender_kid=b"4711", protection_alg=seal.algorithm)
    der = codec.encode(header, Ir((CertReqMsg(request),)), protect=seal.protect)
    mac = codec.decode(der).protection
    assert mac

    lines = shown(der)

    assert "senderKID: 34 37 31 31 (4711)" in lines
    assert "value: (not shown)" in lines
    assert "protection: (not shown)" in lines
    text = "\n".join(lines)
    assert "password" not in text
    assert b"one".hex(" ") not in text
    assert mac[:4].hex(" ") not in text


def test_the_password_in_a_pkcs_10_request_is_not_shown() -> None:
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(parse_name("/CN=amf"))
        .add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"open sesame")
        .sign(certs.an_ec_key(), hashes.SHA256())
    )
    body = P10cr(csr.public_bytes(certs.DER))

    lines = shown(codec.encode(PKIHeader(NOBODY, NOBODY), body, protect=None))

    assert "subject: /CN=amf" in lines
    assert "type: 1.2.840.113549.1.9.7 (challengePassword)" in lines
    text = "\n".join(lines)
    assert "sesame" not in text
    assert b"sesame".hex(" ") not in text


def test_what_is_asked_and_told_in_general_is_shown_where_it_is_known() -> None:
    root = certs.a_root().certificate
    known = Profile(parse_name("/"), implicit_confirm=True, cert_profile="amf")
    secret = InfoTypeAndValue(x509.ObjectIdentifier("1.3.6.1.5.5.7.4.12"), b"\x04\x01s")
    header = PKIHeader(NOBODY, NOBODY, general_info=known.certification_info())
    told = asn1.sequence_of(root.public_bytes(certs.DER))
    body = GenP((InfoTypeAndValue(CA_CERTS, told), secret))

    lines = shown(codec.encode(header, body, protect=None))

    assert "infoType: 1.3.6.1.5.5.7.4.13 (id-it-implicitConfirm)" in lines
    assert "infoValue 1: amf" in lines
    assert any(line.startswith("infoValue 1: /O=Example/CN=Root, issued by") for line in lines)
    assert lines[-1] == "infoValue: (not shown)"


def test_what_occm_refuses_is_shown_beside_the_reason() -> None:
    envelope = decode_der(asn1.Envelope, vectors.named("recorded/siemens-ir-mac/req1.der"))
    krr = asn1.wrap(0xA9, bytes(envelope.body.data))  # a key recovery request looks like an ir

    lines = shown(asn1.sequence_of(asn1.bytes_of(envelope.header) + krr))

    assert lines[0].endswith("bytes, which OCCM refuses: a body of type krr is not read here")
    assert "subject: /C=DE/O=NF/CN=nf1" in lines


def test_ber_is_shown_as_the_der_it_stands_for() -> None:
    der = vectors.named("recorded/siemens-ir-mac/rsp1.der")
    first, second, *rest = shown(Writer(random.Random(1)).write(der))

    assert "which OCCM can read" in first
    assert second.startswith("It is BER")
    assert rest == shown(der)[1:]


def test_no_message_at_all_is_malformed() -> None:
    with pytest.raises(Malformed):
        list(dump(b"<html>"))


@pytest.mark.filterwarnings("ignore")
def test_whatever_is_wrong_with_a_message_it_is_shown_or_malformed() -> None:
    messages = [vectors.named(name) for name in vectors.message_names()]
    readable = 0
    for seed in range(150):
        dice = random.Random(seed)
        spoiled = elements.spoil(dice.choice(messages), dice, messages)
        try:
            readable += len(list(dump(spoiled))) > 2
        except Malformed:
            continue

    assert readable > 20


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cmp", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def test_files_and_base64_from_standard_input_are_shown_by_the_command(tmp_path: Path) -> None:
    der = vectors.named("recorded/ossl30-rejection/rsp1.der")
    (tmp_path / "page.html").write_bytes(b"<html>")

    ended = run(str(RECORDED / "ossl30-rejection" / "rsp1.der"), "-", stdin=base64.encodebytes(der))
    assert ended.returncode == 0
    assert ended.stderr == b""
    assert ended.stdout.decode().splitlines() == 2 * list(dump(der))

    ended = run(str(tmp_path / "page.html"), str(tmp_path / "absent"))
    assert ended.returncode == 1
    assert b"page.html: " in ended.stderr
    assert b"No such file" in ended.stderr
    assert b"Traceback" not in ended.stderr
