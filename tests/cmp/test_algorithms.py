"""Algorithms go on the wire as RFC 9481 wants them, and only what is listed there is accepted."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.asn1 import encode_der
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    PrivateKeyTypes,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from cmp import algorithms, codec
from cmp.algorithms import NULL, OID
from cmp.asn1 import sequence_of, wrap
from cmp.errors import LocalError, Unprotected
from cmp.messages import AlgorithmIdentifier
from tests.cmp.certs import a_name, an_ec_key, an_rsa_key

DATA = b"what is signed"
KEYS: dict[str, PrivateKeyTypes] = {
    "RSA": an_rsa_key(),
    "P-256": an_ec_key(),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate(),
    "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate(),
    "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate(),
}
RSA = an_rsa_key()
IDENTIFIERS = {  # RFC 9481, 3, and RFC 9881: dotted OID, parameters
    ("RSA", "SHA256"): ("1.2.840.113549.1.1.11", NULL),
    ("RSA", "SHA384"): ("1.2.840.113549.1.1.12", NULL),
    ("RSA", "SHA512"): ("1.2.840.113549.1.1.13", NULL),
    ("P-256", "SHA256"): ("1.2.840.10045.4.3.2", None),
    ("P-256", "SHA384"): ("1.2.840.10045.4.3.3", None),
    ("P-384", "SHA512"): ("1.2.840.10045.4.3.4", None),
    ("Ed25519", "SHA256"): ("1.3.101.112", None),
    ("Ed448", "SHA256"): ("1.3.101.113", None),
    ("ML-DSA-44", "SHA256"): ("2.16.840.1.101.3.4.3.17", None),
    ("ML-DSA-65", "SHA384"): ("2.16.840.1.101.3.4.3.18", None),
    ("ML-DSA-87", "SHA512"): ("2.16.840.1.101.3.4.3.19", None),
}
SHA1, MGF1 = OID("1.3.14.3.2.26"), OID("1.2.840.113549.1.1.8")
SHA256, SHA384 = (algorithms.DIGEST_OIDS[name] for name in ("SHA256", "SHA384"))


@pytest.mark.field_note(23)
@pytest.mark.parametrize(("name", "digest"), IDENTIFIERS)
def test_a_key_signs_under_the_identifier_and_parameters_of_the_rfc(name: str, digest: str) -> None:
    oid, parameters = IDENTIFIERS[name, digest]
    signer = algorithms.signer(KEYS[name], digest)

    assert signer.algorithm == AlgorithmIdentifier(OID(oid), parameters)
    algorithms.verify(KEYS[name].public_key(), signer.algorithm, signer.sign(DATA), DATA)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("other", KEYS)
@pytest.mark.parametrize("digest", algorithms.DIGESTS)
def test_a_signature_verifies_only_with_its_key_algorithm_and_data(
    name: str, other: str, digest: str
) -> None:
    signer = algorithms.signer(KEYS[name], digest)
    signature, key = signer.sign(DATA), KEYS[name].public_key()

    algorithms.verify(key, signer.algorithm, signature, DATA)
    with pytest.raises(Unprotected, match="does not verify"):
        algorithms.verify(key, signer.algorithm, signature, DATA + b"!")
    with pytest.raises(Unprotected, match="does not verify"):
        algorithms.verify(key, signer.algorithm, signature[:-1], DATA)
    for another in algorithms.DIGESTS:
        claimed = algorithms.signer(KEYS[other], another).algorithm
        if claimed != signer.algorithm:
            with pytest.raises(Unprotected, match=r"does not verify|is not accepted with"):
                algorithms.verify(key, claimed, signature, DATA)
    if other != name:
        with pytest.raises(Unprotected, match=r"does not verify|is not accepted with"):
            algorithms.verify(KEYS[other].public_key(), signer.algorithm, signature, DATA)


@pytest.mark.parametrize("digest", ["SHA256", "SHA384", "SHA512"])
@pytest.mark.parametrize("name", ["RSA", "P-256", "P-384"])
def test_openssl_verifies_what_we_sign(name: str, digest: str, tmp_path: Path) -> None:
    key = KEYS[name]
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key").write_bytes(public)
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "signature").write_bytes(algorithms.signer(key, digest).sign(DATA))

    command = ["openssl", "dgst", f"-{digest}", "-verify", "key", "-signature", "signature", "data"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.stdout == "Verified OK\n", done.stderr


@pytest.mark.field_note(23)
def test_sha_1_and_md5_signatures_are_not_accepted() -> None:
    signature = RSA.sign(DATA, padding.PKCS1v15(), hashes.SHA1())
    for oid in ("1.2.840.113549.1.1.5", "1.2.840.113549.1.1.4"):  # sha1, md5WithRSAEncryption
        with pytest.raises(Unprotected, match=f"{oid} is not accepted with the signer's RSAPublic"):
            algorithms.verify(
                RSA.public_key(), AlgorithmIdentifier(OID(oid), NULL), signature, DATA
            )


def test_a_dsa_key_neither_signs_nor_verifies() -> None:
    key = dsa.generate_private_key(2048)
    signature = key.sign(DATA, hashes.SHA256())

    with pytest.raises(LocalError, match="cannot sign CMP messages; use RSA or EC"):
        algorithms.signer(key, "SHA256")
    with pytest.raises(Unprotected, match="is not accepted with the signer's DSAPublicKey"):
        algorithms.verify(
            key.public_key(),
            AlgorithmIdentifier(OID("2.16.840.1.101.3.4.3.2")),
            signature,
            DATA,
        )


def test_an_unknown_digest_is_refused_with_those_there_are() -> None:
    with pytest.raises(LocalError, match="MD5 is not a digest algorithm; use one of SHA256, SHA38"):
        algorithms.signer(RSA, "MD5")


def test_a_signer_does_not_show_its_key() -> None:
    for name, key in KEYS.items():
        signer = algorithms.signer(key, "SHA256")
        assert repr(signer) == f"Signer(algorithm={signer.algorithm!r})", name


# RSASSA-PSS, which answers may be signed with


def identifier(oid: OID, parameters: bytes = NULL) -> bytes:
    return codec.encode_algorithm(AlgorithmIdentifier(oid, parameters))


def pss(
    digest: OID = SHA256,
    mgf_digest: OID = SHA256,
    salt: int = 32,
    mgf: OID = MGF1,
    trailer: int | None = None,
) -> AlgorithmIdentifier:
    parts = wrap(0xA0, identifier(digest)) + wrap(0xA1, identifier(mgf, identifier(mgf_digest)))
    parts += wrap(0xA2, encode_der(salt))
    if trailer is not None:
        parts += wrap(0xA3, encode_der(trailer))
    return AlgorithmIdentifier(OID("1.2.840.113549.1.1.10"), sequence_of(parts))


def pss_signature(digest: hashes.HashAlgorithm, salt: int) -> bytes:
    return RSA.sign(DATA, padding.PSS(padding.MGF1(digest), salt), digest)


@pytest.mark.parametrize(
    ("digest", "name", "salt"),
    [
        (hashes.SHA256(), "SHA256", 32),
        (hashes.SHA384(), "SHA384", 48),
        (hashes.SHA512(), "SHA512", 0),
    ],
)
def test_pss_is_verified_by_the_parameters_it_names(
    digest: hashes.HashAlgorithm, name: str, salt: int
) -> None:
    oid, key = algorithms.DIGEST_OIDS[name], RSA.public_key()
    signature = pss_signature(digest, salt)

    algorithms.verify(key, pss(oid, oid, salt), signature, DATA)
    algorithms.verify(key, pss(oid, oid, salt, trailer=1), signature, DATA)
    for other in (pss(oid, oid, salt + 1), pss(SHA1, oid, salt), pss(oid, SHA1, salt)):
        with pytest.raises(Unprotected):
            algorithms.verify(key, other, signature, DATA)


@pytest.mark.parametrize(
    ("algorithm", "why"),
    [
        (pss(digest=SHA1), "with SHA-256, SHA-384 and SHA-512 only"),
        (pss(mgf_digest=SHA1), "with SHA-256, SHA-384 and SHA-512 only"),
        (pss(mgf=SHA256), "with SHA-256, SHA-384 and SHA-512 only"),
        (pss(salt=-1), "out of bounds"),
        (pss(salt=10**30), "out of bounds"),
        (pss(trailer=2), "out of bounds"),
        (AlgorithmIdentifier(pss().algorithm), "do not decode"),
        (AlgorithmIdentifier(pss().algorithm, NULL), "do not decode"),
        (AlgorithmIdentifier(pss().algorithm, sequence_of(b"")), "SHA-256, SHA-384 and SHA-512"),
    ],
)
def test_other_pss_parameters_are_refused(algorithm: AlgorithmIdentifier, why: str) -> None:
    with pytest.raises(Unprotected, match=why):
        algorithms.verify(RSA.public_key(), algorithm, pss_signature(hashes.SHA256(), 32), DATA)


@given(st.data())
def test_spoiled_pss_parameters_raise_nothing_but_unprotected(data: st.DataObject) -> None:
    spoiled = bytearray(pss().parameters or b"")
    for _ in range(data.draw(st.integers(1, 3))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    algorithm = AlgorithmIdentifier(pss().algorithm, bytes(spoiled))

    with pytest.raises(Unprotected):
        algorithms.verify(RSA.public_key(), algorithm, b"no signature", DATA)


def test_a_key_too_small_for_its_digest_is_refused() -> None:
    tiny = rsa.RSAPublicNumbers(e=65537, n=2**255 + 111).public_key()

    with pytest.raises(Unprotected, match="cannot be checked: Digest too large for key size"):
        algorithms.verify(tiny, pss(), bytes(32), DATA)


# certHash, RFC 9810, 5.3.18


def certificate(
    key: CertificateIssuerPrivateKeyTypes,
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None,
    rsa_padding: padding.PSS | None = None,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(a_name("x"))
        .issuer_name(a_name("x"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(key, digest, rsa_padding=rsa_padding)
    )


def der(one: x509.Certificate) -> bytes:
    return one.public_bytes(Encoding.DER)


@pytest.mark.field_note(36)
@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (certificate(RSA, hashes.SHA256()), "sha256"),
        (certificate(RSA, hashes.SHA512()), "sha512"),
        (certificate(an_ec_key(), hashes.SHA384()), "sha384"),
        (
            certificate(RSA, hashes.SHA384(), padding.PSS(padding.MGF1(hashes.SHA384()), 48)),
            "sha384",
        ),
        (certificate(ed25519.Ed25519PrivateKey.generate(), None), "sha512"),
    ],
    ids=["RSA-SHA256", "RSA-SHA512", "ECDSA-SHA384", "PSS-SHA384", "Ed25519"],
)
def test_a_certificate_is_confirmed_by_the_hash_of_its_own_signature(
    one: x509.Certificate, expected: str
) -> None:
    assert algorithms.certificate_hash(one) == (hashlib.new(expected, der(one)).digest(), None)


@pytest.mark.field_note(36)
def test_an_ed448_certificate_is_confirmed_by_shake256_with_512_bits() -> None:
    one = certificate(ed448.Ed448PrivateKey.generate(), None)

    assert algorithms.certificate_hash(one) == (hashlib.shake_256(der(one)).digest(64), None)


@pytest.mark.field_note(36)
@pytest.mark.parametrize("name", ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"])
def test_an_ml_dsa_certificate_has_no_hash_of_its_own_so_ours_is_named(name: str) -> None:
    key = KEYS[name]
    assert isinstance(
        key, mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
    )
    one = certificate(key, None)

    assert algorithms.certificate_hash(one) == (
        hashlib.sha256(der(one)).digest(),
        AlgorithmIdentifier(SHA256),
    )


def test_a_certificate_of_an_unknown_algorithm_can_be_hashed_too_to_be_refused() -> None:
    known = encode_der(OID("1.2.840.10045.4.3.2"))
    unknown = der(certificate(an_ec_key(), hashes.SHA256())).replace(known, known[:-1] + b"\x7f")
    one = x509.load_der_x509_certificate(unknown)

    digest, named = algorithms.certificate_hash(one)

    assert digest == hashlib.sha256(unknown).digest()
    assert named == AlgorithmIdentifier(SHA256)
