"""Messages are believed only under the right secret or key, and at a bounded cost."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import time
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.asn1 import TLV, encode_der
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der import decoder
from pyasn1_modules import rfc4210, rfc8018

from cmp import algorithms, asn1, codec
from cmp.algorithms import NULL, OID
from cmp.errors import CmpError, LocalError, Unprotected
from cmp.messages import AlgorithmIdentifier, PkiConf, PKIHeader, PKIMessage
from cmp.protection import (
    Credentials,
    MacCredentials,
    Seal,
    SignatureCredentials,
    is_mac,
    subject_key_identifier,
    verify_mac,
    verify_signature,
)
from tests.cmp.certs import a_certificate, a_root, an_ec_key, an_rsa_key

SECRET, REFERENCE = b"between you and me", b"4711"
NOBODY = x509.DirectoryName(x509.Name([]))
DIGESTS = ("SHA256", "SHA384", "SHA512")
MACS = ("HMACSHA256", "HMACSHA384", "HMACSHA512")
ANY_MAC = [
    MacCredentials(SECRET, REFERENCE, digest, mac, pbmac1=pbmac1)
    for digest, mac, pbmac1 in itertools.product(DIGESTS, MACS, (False, True))
]
SHA1, HMAC_SHA1, MD5 = OID("1.3.14.3.2.26"), OID("1.3.6.1.5.5.8.1.2"), OID("1.2.840.113549.2.5")
MESSAGE = codec.decode(codec.encode(PKIHeader(NOBODY, NOBODY), PkiConf(), protect=None))
PART = MESSAGE.protected_part


def sealed(credentials: Credentials) -> PKIMessage:
    """Return a message as its recipient has it."""
    seal = credentials.seal()
    header = PKIHeader(NOBODY, NOBODY, protection_alg=seal.algorithm, sender_nonce=os.urandom(16))
    return codec.decode(codec.encode(header, PkiConf(), protect=seal.protect))


def claiming(algorithm: AlgorithmIdentifier, protection: bytes = b"?") -> PKIMessage:
    """Return a message that names its protection freely, as an attacker may."""
    header = replace(MESSAGE.header, protection_alg=algorithm)
    return replace(MESSAGE, header=header, protection=protection)


def pbm(iterations: int = 1000, owf: OID = SHA1, mac: OID = HMAC_SHA1) -> AlgorithmIdentifier:
    parameters = asn1.PBMParameter(
        salt=b"salt",
        owf=asn1.elements(codec.encode_algorithm(AlgorithmIdentifier(owf, NULL))),
        iteration_count=iterations,
        mac=asn1.elements(codec.encode_algorithm(AlgorithmIdentifier(mac, NULL))),
    )
    return AlgorithmIdentifier(algorithms.PASSWORD_BASED_MAC, encode_der(parameters))


def pbmac1(
    iterations: int = 1000,
    key_length: int | None = 32,
    prf: OID | None = algorithms.MAC_OIDS["HMACSHA256"],
    mac: OID = algorithms.MAC_OIDS["HMACSHA256"],
    derivation: OID = algorithms.PBKDF2,
) -> AlgorithmIdentifier:
    def elements(oid: OID, parameters: bytes) -> list[TLV]:
        return asn1.elements(codec.encode_algorithm(AlgorithmIdentifier(oid, parameters)))

    pbkdf2 = asn1.PBKDF2Params(
        salt=b"salt",
        iteration_count=iterations,
        key_length=key_length,
        prf=elements(prf, NULL) if prf else None,
    )
    parameters = asn1.PBMAC1Params(
        key_derivation_func=elements(derivation, encode_der(pbkdf2)),
        message_auth_scheme=elements(mac, NULL),
    )
    return AlgorithmIdentifier(algorithms.PBMAC1, encode_der(parameters))


# A shared secret


@pytest.mark.parametrize("credentials", ANY_MAC, ids=repr)
def test_a_mac_verifies_with_the_secret_and_with_nothing_else(credentials: MacCredentials) -> None:
    message = sealed(credentials)

    assert is_mac(message.header)
    verify_mac(message, SECRET)
    for wrong in (b"", b"between you and m", b"\0" + SECRET, SECRET.upper()):
        with pytest.raises(Unprotected, match="does not verify"):
            verify_mac(message, wrong)


@pytest.mark.parametrize("credentials", ANY_MAC[:2], ids=["PBM", "PBMAC1"])
def test_a_mac_covers_every_byte_of_header_and_body(credentials: MacCredentials) -> None:
    message = sealed(credentials)

    for i in range(len(message.protected_part)):
        changed = bytearray(message.protected_part)
        changed[i] ^= 1
        with pytest.raises(Unprotected, match="does not verify"):
            verify_mac(replace(message, protected_part=bytes(changed)), SECRET)


@pytest.mark.field_note(15)
@pytest.mark.parametrize("credentials", ANY_MAC, ids=repr)
def test_the_digest_and_the_mac_that_were_chosen_go_on_the_wire(
    credentials: MacCredentials,
) -> None:
    algorithm = sealed(credentials).header.protection_alg
    assert algorithm is not None

    if credentials.pbmac1:
        parameters, _ = decoder.decode(algorithm.parameters, asn1Spec=rfc8018.PBMAC1_params())
        derivation = parameters["keyDerivationFunc"]
        pbkdf2, _ = decoder.decode(derivation["parameters"], asn1Spec=rfc8018.PBKDF2_params())
        digest, mac = pbkdf2["prf"]["algorithm"], parameters["messageAuthScheme"]["algorithm"]
        chosen = algorithms.MAC_OIDS["HMAC" + credentials.digest]
    else:
        parameters, _ = decoder.decode(algorithm.parameters, asn1Spec=rfc4210.PBMParameter())
        digest, mac = parameters["owf"]["algorithm"], parameters["mac"]["algorithm"]
        chosen = algorithms.DIGEST_OIDS[credentials.digest]
    assert OID(str(digest)) == chosen
    assert OID(str(mac)) == algorithms.MAC_OIDS[credentials.mac]


def test_a_password_based_mac_is_what_rfc_9810_says() -> None:
    message = sealed(MacCredentials(SECRET, REFERENCE, "SHA384", "HMACSHA512"))
    algorithm = message.header.protection_alg
    assert algorithm is not None
    parameters, _ = decoder.decode(algorithm.parameters, asn1Spec=rfc4210.PBMParameter())

    key = SECRET + bytes(parameters["salt"])
    for _ in range(int(parameters["iterationCount"])):
        key = hashlib.sha384(key).digest()

    assert message.protection == hmac.digest(key, message.protected_part, "sha512")


def test_no_two_seals_have_the_same_salt() -> None:
    assert len({one.seal().algorithm for one in ANY_MAC for _ in range(3)}) == 3 * len(ANY_MAC)


@pytest.mark.field_note(14)
@pytest.mark.parametrize("algorithm", [pbm(100), pbm(100_000), pbmac1(1), pbmac1(600_000)])
def test_the_peer_chooses_the_iterations_within_limits(algorithm: AlgorithmIdentifier) -> None:
    with pytest.raises(Unprotected, match="does not verify"):
        verify_mac(claiming(algorithm), SECRET)


@pytest.mark.field_note(14)
@pytest.mark.parametrize("iterations", [10**9, 10**30, 1_000_001, 0, -1])
@pytest.mark.parametrize("algorithm", [pbm, pbmac1])
def test_iterations_out_of_bounds_are_refused_before_hashing(
    algorithm: type, iterations: int
) -> None:
    message = claiming(algorithm(iterations))
    began = time.perf_counter()

    with pytest.raises(Unprotected, match=f"asks for {iterations} iterations"):
        verify_mac(message, SECRET)

    assert time.perf_counter() - began < 0.5


def test_a_mac_over_sha_1_is_read_for_servers_choose_their_own() -> None:
    key = SECRET + b"salt"
    for _ in range(1000):
        key = hashlib.sha1(key).digest()

    verify_mac(claiming(pbm(), hmac.digest(key, PART, "sha1")), SECRET)


def test_a_short_key_is_refused_for_it_can_be_guessed_without_the_secret() -> None:
    for octets in (1, 2, 8, 16, 19):
        message = claiming(pbmac1(1, octets))
        for key in range(256):
            forged = hmac.digest(bytes([key]), PART, "sha256")
            with pytest.raises(Unprotected, match=f"key of {octets} octets"):
                verify_mac(replace(message, protection=forged), SECRET)


@pytest.mark.field_note(16)
@pytest.mark.parametrize(
    ("said", "octets"),
    [(20, 20), (32, 32), (64, 64), (256, 32), (256, 256), (512, 64), (4096, 512), (None, 32)],
)
def test_key_length_is_read_in_octets_and_as_bouncy_castle_writes_it_in_bits(
    said: int | None, octets: int
) -> None:
    key = hashlib.pbkdf2_hmac("sha256", SECRET, b"salt", 1000, octets)

    verify_mac(claiming(pbmac1(1000, said), hmac.digest(key, PART, "sha256")), SECRET)


@pytest.mark.field_note(16)
@pytest.mark.parametrize(
    ("iterations", "key_length", "why"),
    [
        (1000, 0, "key of 0 octets"),
        (1000, -8, "key of -8 octets"),
        (1, 10**9, "key of 1000000000 octets"),
        (1, 8 * 10**9, "key of 8000000000 octets"),
        (1_000_000, 32, "costs too much"),
        (300_000, 512, "does not verify"),  # read as bits it can be afforded
    ],
)
def test_the_cost_of_a_derived_key_is_bounded(iterations: int, key_length: int, why: str) -> None:
    began = time.process_time()

    with pytest.raises(Unprotected, match=why):
        verify_mac(claiming(pbmac1(iterations, key_length)), SECRET)

    assert time.process_time() - began < 3  # on a slow machine, and busy


@pytest.mark.parametrize(
    ("algorithm", "what"),
    [
        (pbm(owf=MD5), "one-way function 1.2.840.113549.2.5 is not accepted"),
        (pbm(mac=MD5), "MAC 1.2.840.113549.2.5 is not accepted"),
        (pbmac1(mac=MD5), "MAC 1.2.840.113549.2.5 is not accepted"),
        (pbmac1(prf=MD5), "pseudorandom function 1.2.840.113549.2.5 is not accepted"),
        (pbmac1(derivation=MD5), "PBKDF2 only"),
        (AlgorithmIdentifier(MD5), "not protected by a MAC"),
        (AlgorithmIdentifier(algorithms.PBMAC1), "do not decode"),
        (AlgorithmIdentifier(algorithms.PASSWORD_BASED_MAC, NULL), "do not decode"),
    ],
)
def test_unknown_macs_are_refused_by_name(algorithm: AlgorithmIdentifier, what: str) -> None:
    with pytest.raises(Unprotected, match=what):
        verify_mac(claiming(algorithm), SECRET)


def test_hmac_sha1_is_the_default_pseudorandom_function() -> None:
    key = hashlib.pbkdf2_hmac("sha1", SECRET, b"salt", 1000, 32)

    verify_mac(claiming(pbmac1(prf=None), hmac.digest(key, PART, "sha256")), SECRET)


@given(
    st.sampled_from([algorithms.PASSWORD_BASED_MAC, algorithms.PBMAC1]),
    st.one_of(st.none(), st.binary(max_size=60)),
)
def test_whatever_the_parameters_are_nothing_but_unprotected_is_raised(
    oid: OID, parameters: bytes | None
) -> None:
    with pytest.raises(Unprotected):
        verify_mac(claiming(AlgorithmIdentifier(oid, parameters)), SECRET)


@given(st.data())
def test_spoiled_parameters_raise_nothing_but_unprotected(data: st.DataObject) -> None:
    algorithm = data.draw(st.sampled_from([pbm(), pbmac1(), pbmac1(prf=None)]))
    spoiled = bytearray(algorithm.parameters or b"")
    for _ in range(data.draw(st.integers(1, 3))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))

    with pytest.raises(Unprotected):
        verify_mac(claiming(replace(algorithm, parameters=bytes(spoiled))), SECRET)


def test_a_message_without_protection_is_not_protected() -> None:
    for message in (
        MESSAGE,
        replace(MESSAGE, protection=b"?"),
        claiming(pbm(), b""),
        replace(claiming(pbm()), protection=None),
    ):
        with pytest.raises(Unprotected, match="not protected"):
            verify_mac(message, SECRET)
        with pytest.raises(Unprotected, match="not protected"):
            verify_signature(message, a_root().certificate)


@pytest.mark.field_note(1)
def test_the_reference_is_senderkid_and_the_senders_common_name() -> None:
    credentials = MacCredentials(SECRET, "Größe 1".encode())

    assert credentials.sender_kid == "Größe 1".encode()
    assert credentials.sender.value.rfc4514_string() == "CN=Größe 1"
    assert credentials.sent_certs == ()


@pytest.mark.field_note(2)
@pytest.mark.parametrize("reference", [b"\xff\xfe", b"x" * 65, "ü".encode() * 65])
def test_a_reference_that_is_no_common_name_makes_the_sender_the_null_dn(reference: bytes) -> None:
    credentials = MacCredentials(SECRET, reference)

    assert credentials.sender.value == x509.Name([])
    assert sealed(credentials).protection


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"secret": b""}, "must not be empty"),
        ({"reference": b""}, "must not be empty"),
        ({"digest": "MD5"}, "no password-based MAC with MD5"),
        ({"mac": "HMACSHA1"}, "no password-based MAC with SHA256 and HMACSHA1"),
    ],
)
def test_unusable_mac_credentials_are_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(LocalError, match=why):
        replace(MacCredentials(SECRET, REFERENCE), **fields)


# A key and its certificate


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize(
    "key", [an_ec_key(), ec.generate_private_key(ec.SECP384R1()), an_rsa_key()]
)
def test_a_signature_verifies_with_the_signers_certificate_and_no_other(
    key: ec.EllipticCurvePrivateKey, digest: str
) -> None:
    signer = a_root(key=key)
    message = sealed(SignatureCredentials(key, signer.certificate, digest=digest))

    assert not is_mac(message.header)
    verify_signature(message, signer.certificate)
    with pytest.raises(Unprotected, match=r"does not verify|not accepted"):
        verify_signature(message, a_root().certificate)
    with pytest.raises(Unprotected, match="does not verify"):
        verify_signature(replace(message, protected_part=PART), signer.certificate)


def test_a_mac_is_no_signature_and_a_signature_is_no_mac() -> None:
    signer = a_root()
    signed = sealed(SignatureCredentials(signer.key, signer.certificate))

    with pytest.raises(Unprotected, match="not protected by a MAC"):
        verify_mac(signed, SECRET)
    for credentials in ANY_MAC[:2]:
        with pytest.raises(Unprotected, match="is not accepted with the signer's"):
            verify_signature(sealed(credentials), signer.certificate)


@pytest.mark.field_note(21)
def test_the_certificate_leads_what_a_signer_sends() -> None:
    root = a_root()
    signer = a_certificate("signer", root)
    credentials = SignatureCredentials(signer.key, signer.certificate, (root.certificate,))

    assert credentials.sent_certs == (signer.certificate, root.certificate)
    assert credentials.sender.value == signer.certificate.subject
    assert credentials.sender_kid == subject_key_identifier(signer.certificate)
    assert len(credentials.sender_kid or b"") == 20


def test_a_certificate_without_a_usable_key_identifier_has_none() -> None:
    without = a_certificate("no identifier", key_ids=False).certificate
    assert subject_key_identifier(without) is None

    twice = spoiled(b"\x06\x03\x55\x1d\x23", b"\x06\x03\x55\x1d\x0e")  # AKI becomes a second SKI
    assert subject_key_identifier(twice) is None

    wrong = spoiled(b"\x06\x03\x55\x1d\x0e\x04\x16\x04", b"\x06\x03\x55\x1d\x0e\x04\x16\x02")
    assert subject_key_identifier(wrong) is None


def test_a_signer_whose_key_cannot_be_read_is_refused() -> None:
    unreadable = spoiled(
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x7f"
    )
    no_point = spoiled(b"\x03\x42\x00\x04", b"\x03\x42\x00\x05")

    for certificate in (unreadable, no_point):
        with pytest.raises(Unprotected, match="key cannot be read"):
            verify_signature(claiming(pbm()), certificate)
        with pytest.raises(LocalError, match="no usable key"):
            SignatureCredentials(an_ec_key(), certificate)


def spoiled(old: bytes, new: bytes) -> x509.Certificate:
    der = a_root().certificate.public_bytes(Encoding.DER)
    assert old in der
    return x509.load_der_x509_certificate(der.replace(old, new))


def test_a_key_that_is_not_the_certificates_is_refused() -> None:
    with pytest.raises(LocalError, match="does not belong to the signer's certificate"):
        SignatureCredentials(an_ec_key(), a_root().certificate)


def test_a_key_that_cannot_sign_is_refused() -> None:
    key = x25519.X25519PrivateKey.generate()

    with pytest.raises(LocalError, match="cannot sign CMP messages; use RSA or EC"):
        algorithms.signer(key, "SHA256")


# What must not show


def test_secrets_and_keys_are_in_no_repr_and_no_error() -> None:
    key = an_ec_key()
    signing = SignatureCredentials(key, a_root(key=key).certificate)
    mac = MacCredentials(SECRET, REFERENCE)
    shown = [repr(mac), repr(mac.seal()), repr(signing), repr(signing.seal()), repr(key)]
    for attempt in (
        lambda: verify_mac(claiming(pbm()), SECRET),
        lambda: replace(mac, digest="MD5"),
        lambda: SignatureCredentials(key, a_root().certificate),
    ):
        with pytest.raises(CmpError) as caught:
            attempt()
        shown.append(repr(caught.value))

    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    number = key.private_numbers().private_value
    for text in shown:
        assert SECRET.decode() not in text
        assert SECRET.hex() not in text
        assert private.hex() not in text
        assert str(number) not in text
    assert "4711" in shown[0]
    assert "private_key" not in repr(signing)


def test_a_seal_keeps_the_derived_key_to_itself() -> None:
    seal = MacCredentials(SECRET, REFERENCE).seal()

    assert repr(seal) == f"Seal(algorithm={seal.algorithm!r})"
    assert isinstance(seal, Seal)
