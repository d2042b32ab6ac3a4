import base64
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from secretstore import (
    ABSENT,
    EncodingName,
    KeyMissing,
    PrivateKey,
    Secret,
    SecretKeyRef,
    SecretMissing,
    Unreadable,
    certificates,
    encode_certificate,
    encode_chain,
    encode_private_key,
    is_pair,
    private_key,
    text,
)
from tests.parts import need

REF = SecretKeyRef("ns1", "ca1-trust", "root.pem")
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
ED_KEY = ed25519.Ed25519PrivateKey.generate()
KEYS = [EC_KEY, ec.generate_private_key(ec.SECP384R1()), RSA_KEY]


def secret(content: bytes) -> Secret:
    return Secret({REF.key: content}, "1")


def certificate(key: PrivateKey, name: str = "root") -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, SHA256())


ROOT, OTHER = certificate(EC_KEY), certificate(RSA_KEY, "other")
PEM, DER = ROOT.public_bytes(Encoding.PEM), ROOT.public_bytes(Encoding.DER)
OTHER_PEM, OTHER_DER = OTHER.public_bytes(Encoding.PEM), OTHER.public_bytes(Encoding.DER)
KEY_PEM = encode_private_key(EC_KEY, "PEM")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (PEM, (ROOT,)),
        (DER, (ROOT,)),
        (PEM + OTHER_PEM, (ROOT, OTHER)),
        (OTHER_PEM + b"\n\n" + PEM, (OTHER, ROOT)),
        (DER + OTHER_DER, (ROOT, OTHER)),
        (
            b"subject=CN = root\n" + PEM + b"subject=CN = other\n" + OTHER_PEM + b"end",
            (ROOT, OTHER),
        ),
        (PEM.replace(b"\n", b"\r\n"), (ROOT,)),
        (b"\xef\xbb\xbf" + PEM, (ROOT,)),
        (PEM.replace(b"CERTIFICATE", b"X509 CERTIFICATE"), (ROOT,)),
        (KEY_PEM + PEM, (ROOT,)),
    ],
)
def test_certificates_are_read_in_every_common_form(
    content: bytes, expected: tuple[x509.Certificate, ...]
) -> None:
    assert certificates(secret(content), REF) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"no certificate",
        KEY_PEM,
        PEM[:-40],
        PEM + OTHER_PEM[:-40],
        PEM[:-40] + OTHER_PEM,
        PEM.replace(b"MII", b"M!!", 1),
        DER[:-1],
        DER + b"\n",
        DER + OTHER_DER[:-1],
        b"\x30\x80",
        b"\x30",
        b"\x30\xff",
    ],
)
def test_what_is_no_certificate_is_refused_naming_the_place(content: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^ns1/ca1-trust\[root.pem\] cannot be read: "):
        certificates(secret(content), REF)


def test_a_bundle_that_was_cut_off_is_not_taken_for_a_shorter_one() -> None:
    with pytest.raises(Unreadable, match="only 1 of 2 PEM certificates are whole"):
        certificates(secret(PEM + OTHER_PEM[:-40]), REF)


@pytest.mark.parametrize("content", [PEM, DER, KEY_PEM])
def test_content_that_was_encoded_once_too_often_is_recognised(content: bytes) -> None:
    twice = secret(base64.encodebytes(content))

    with pytest.raises(Unreadable, match="is base64 of what is to be there"):
        certificates(twice, REF)
    with pytest.raises(Unreadable, match="is base64 of what is to be there"):
        private_key(twice, REF)


@pytest.mark.parametrize("key", KEYS, ids=["P-256", "P-384", "RSA"])
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_private_keys_are_read_in_every_common_form(
    key: PrivateKey, encoding: Encoding, form: PrivateFormat
) -> None:
    content = key.private_bytes(encoding, form, NoEncryption())

    assert private_key(secret(content), REF).private_numbers() == key.private_numbers()


@pytest.mark.parametrize(
    "content", [PEM + KEY_PEM, b"key: \r\n" + KEY_PEM.replace(b"\n", b"\r\n"), KEY_PEM + PEM]
)
def test_a_private_key_is_found_among_other_things(content: bytes) -> None:
    assert private_key(secret(content), REF).private_numbers() == EC_KEY.private_numbers()


def test_a_private_key_made_by_openssl_is_read_and_ours_by_openssl(tmp_path: Path) -> None:
    need(shutil.which("openssl"), "openssl: apt-get install openssl")

    def openssl(*arguments: str, given: bytes = b"") -> bytes:
        done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True)
        return done.stdout

    theirs = openssl("ecparam", "-name", "prime256v1", "-genkey")
    assert theirs.startswith(b"-----BEGIN EC PARAMETERS-----")
    read = private_key(secret(theirs), REF)
    described = openssl("x509", "-text", given=PEM)
    assert certificates(secret(described), REF) == (ROOT,)

    for form in ("PEM", "DER"):
        ours = encode_private_key(read, form)
        assert openssl("pkey", "-inform", form, "-pubout", given=ours) == openssl(
            "pkey", "-pubout", given=theirs
        )


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_private_key_is_refused_saying_so(
    encoding: Encoding, form: PrivateFormat
) -> None:
    if (encoding, form) == (Encoding.DER, PrivateFormat.TraditionalOpenSSL):
        return  # there is no such form
    content = EC_KEY.private_bytes(encoding, form, BestAvailableEncryption(b"sesame"))

    with pytest.raises(Unreadable, match="an encrypted private key: put it there without"):
        private_key(secret(content), REF)


def _pkcs8(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content",
    [
        b"no key",
        PEM,
        DER,
        KEY_PEM[:-40],
        KEY_PEM.replace(b"MIG", b"M!!", 1),
        EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        _pkcs8(ED_KEY),
    ],
)
def test_what_is_no_private_key_for_us_is_refused_saying_what_is(content: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^ns1/ca1-trust\[root.pem\] .*RSA or EC private key"):
        private_key(secret(content), REF)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"insta", "insta"),
        (b"insta\n", "insta"),
        (b"insta\r\n", "insta"),
        (b"insta\n\n", "insta\n"),
        (b" in sta \n", " in sta "),
        (b"insta\r", "insta\r"),
        ("pässwört".encode(), "pässwört"),
    ],
)
def test_text_loses_one_line_end_and_nothing_else(content: bytes, expected: str) -> None:
    assert text(secret(content), REF) == expected


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_empty_text_is_refused(content: bytes) -> None:
    with pytest.raises(Unreadable, match=r"ns1/ca1-trust\[root.pem\] is empty"):
        text(secret(content), REF)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(Unreadable, match=r"ns1/ca1-trust\[root.pem\] is not text: put UTF-8 there"):
        text(secret(b"\xff\xfe"), REF)


@pytest.mark.parametrize("read", [certificates, private_key, text])
def test_a_missing_secret_or_key_is_named(read: object) -> None:
    assert callable(read)
    with pytest.raises(SecretMissing, match=r"secret ns1/ca1-trust, .* key 'root.pem'.*create it"):
        read(ABSENT, REF)
    with pytest.raises(KeyMissing, match=r"secret ns1/ca1-trust has no key 'root.pem', only a, b:"):
        read(Secret({"b": b"", "a": b""}, "1"), REF)


@given(st.binary(min_size=1, max_size=300).map(lambda noise: b"sesame" + noise))
def test_no_error_repeats_any_content(content: bytes) -> None:
    for read in (certificates, private_key):
        with pytest.raises(Unreadable) as caught:
            read(secret(content), REF)
        assert "sesame" not in str(caught.value)
        assert caught.value.__cause__ is None  # nor would a traceback, with the parser's words
        assert caught.value.__suppress_context__


def test_a_certificate_belongs_to_its_own_key_only() -> None:
    assert is_pair(EC_KEY, ROOT)
    assert is_pair(RSA_KEY, OTHER)
    assert not is_pair(EC_KEY, OTHER)
    assert not is_pair(ec.generate_private_key(ec.SECP256R1()), ROOT)


@pytest.mark.parametrize("encoding", ["PEM", "DER"])
def test_what_is_encoded_here_is_read_here(encoding: EncodingName) -> None:
    key = private_key(secret(encode_private_key(EC_KEY, encoding)), REF)

    assert key.private_numbers() == EC_KEY.private_numbers()
    assert certificates(secret(encode_certificate(ROOT, encoding)), REF) == (ROOT,)


def test_private_keys_are_written_as_pkcs8() -> None:
    assert encode_private_key(RSA_KEY, "PEM").startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert encode_private_key(EC_KEY, "PEM").startswith(b"-----BEGIN PRIVATE KEY-----\n")


def test_a_chain_is_pem_in_the_order_given() -> None:
    assert encode_chain([OTHER, ROOT]) == OTHER_PEM + PEM
    assert encode_chain([]) == b""
