from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from cmp.messages import CertTemplate
from cmp.testing.authority import NotIssuable
from cmp.testing.keys import KeyKind, generate_key
from cmp.testing.pki import Design, Pki

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
KEY_CERT_SIGN = b"\x03\x02\x02\x84"  # with digitalSignature, in DER
YEAR = timedelta(days=365)
NRF = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nrf.5gc.example")])
SANS = x509.SubjectAlternativeName([x509.DNSName("nrf.5gc.example")])


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki.generate("Demo CA 1", now=NOW)


def extension(value: x509.ExtensionType) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, False, value)


def template(*extensions: x509.ExtensionType, subject: x509.Name = NRF) -> CertTemplate:
    return CertTemplate(
        subject=subject,
        public_key=generate_key().public_key(),
        extensions=tuple(map(extension, extensions)),
    )


def test_names_say_which_ca_it_is(pki: Pki) -> None:
    names = [each.certificate.subject.rfc4514_string() for each in pki.authorities]

    assert names == ["CN=Demo CA 1 Root,O=OCCM demo", "CN=Demo CA 1 Issuing CA,O=OCCM demo"]
    assert pki.signer.certificate.subject.rfc4514_string() == (
        "CN=Demo CA 1 CMP signer,O=OCCM demo"
    )


@pytest.mark.parametrize("key", ["EC", "EC384", "RSA", "ED25519"])
def test_every_kind_of_key_makes_a_chain_that_verifies(key: KeyKind) -> None:
    pki = Pki.generate("Any", now=NOW, design=Design(key=key, intermediates=2))

    leaf = pki.issuing.issue(template(SANS), now=NOW, validity=YEAR)

    chain = [leaf, *pki.chain, pki.root]
    for certificate, issuer in pairwise(chain):
        certificate.verify_directly_issued_by(issuer)
    assert len(pki.chain) == 2


def test_the_leaf_passes_the_path_validation_browsers_have(pki: Pki) -> None:
    asked = template(SANS, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]))

    leaf = pki.issuing.issue(asked, now=NOW, validity=YEAR)

    verifier = (
        PolicyBuilder()
        .store(Store([pki.root]))
        .time(NOW)
        .build_server_verifier(x509.DNSName("nrf.5gc.example"))
    )
    assert verifier.verify(leaf, list(pki.chain)) == [leaf, *pki.chain, pki.root]


def test_the_leaf_has_what_the_template_asks_for_and_no_more(pki: Pki) -> None:
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    asked = template(SANS, both, x509.OCSPNoCheck())

    leaf = pki.issuing.issue(asked, now=NOW, validity=YEAR)

    assert leaf.subject == NRF
    assert leaf.public_key() == asked.public_key
    assert {type(each.value).__name__: each.critical for each in leaf.extensions} == {
        "SubjectKeyIdentifier": False,
        "AuthorityKeyIdentifier": False,
        "BasicConstraints": True,
        "KeyUsage": True,
        "SubjectAlternativeName": False,
        "ExtendedKeyUsage": False,
    }
    assert leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value == both
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == SANS


def test_names_are_critical_where_there_is_no_subject(pki: Pki) -> None:
    leaf = pki.issuing.issue(template(SANS, subject=x509.Name([])), now=NOW, validity=YEAR)

    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_validity_is_capped_by_policy_and_by_the_issuing_ca(pki: Pki) -> None:
    wish = CertTemplate(
        subject=NRF,
        public_key=generate_key().public_key(),
        not_before=NOW - timedelta(hours=1),
        not_after=NOW + timedelta(days=10),
    )

    honoured = pki.issuing.issue(wish, now=NOW, validity=YEAR)
    by_policy = pki.issuing.issue(wish, now=NOW, validity=timedelta(minutes=10))
    by_ca = pki.issuing.issue(template(), now=NOW, validity=timedelta(days=36500))

    assert honoured.not_valid_after_utc == NOW + timedelta(days=10)
    assert honoured.not_valid_before_utc == pki.issuing.certificate.not_valid_before_utc
    assert by_policy.not_valid_after_utc == NOW + timedelta(minutes=10)
    assert by_ca.not_valid_after_utc == pki.issuing.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (template(x509.BasicConstraints(ca=True, path_length=None)), "end entities only"),
        (template(x509.UnrecognizedExtension(x509.KeyUsage.oid, KEY_CERT_SIGN)), "keyCertSign"),
        (template(x509.UnrecognizedExtension(SANS.oid, b"no DER")), "does not parse"),
        (template(subject=x509.Name([])), "neither a subject"),
        (CertTemplate(subject=NRF), "no public key"),
        (
            CertTemplate(subject=NRF, public_key=generate_key().public_key(), not_after=NOW - YEAR),
            "over before it begins",
        ),
    ],
)
def test_what_breaks_the_profile_is_not_issued(
    pki: Pki, asked: CertTemplate, complaint: str
) -> None:
    with pytest.raises(NotIssuable, match=complaint):
        pki.issuing.issue(asked, now=NOW, validity=YEAR)


def test_a_saved_pki_is_the_same_one_after_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    design = Design(digest=hashes.SHA384(), intermediates=2)
    pki = Pki.generate("Kept", now=NOW, design=design)
    pki.save(folder)

    loaded = Pki.load(folder)

    assert loaded.root == pki.root
    assert loaded.chain == pki.chain
    assert loaded.signer.certificate == pki.signer.certificate
    leaf = loaded.issuing.issue(template(), now=NOW, validity=YEAR)
    leaf.verify_directly_issued_by(pki.chain[0])
    assert isinstance(leaf.signature_hash_algorithm, hashes.SHA384)
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}


def test_open_makes_a_pki_once(tmp_path: Path) -> None:
    first = Pki.open(tmp_path / "ca", "Demo CA 1", now=NOW)
    second = Pki.open(tmp_path / "ca", "Demo CA 1", now=NOW + YEAR)

    assert first.root == second.root


def test_the_next_root_is_linked_to_the_old_one_both_ways(pki: Pki) -> None:
    update = pki.successor(now=NOW)

    update.new_with_old.verify_directly_issued_by(pki.root)
    update.old_with_new.verify_directly_issued_by(update.root.certificate)
    assert update.new_with_old.public_key() == update.root.certificate.public_key()
    assert update.old_with_new.public_key() == pki.root.public_key()


def test_revocation_list_names_what_is_revoked(pki: Pki) -> None:
    crl = pki.issuing.revocation_list([(7, NOW)], now=NOW)

    assert crl.is_signature_valid(pki.chain[0].public_key())  # type: ignore[arg-type]
    assert [entry.serial_number for entry in crl] == [7]


def test_private_keys_do_not_show(pki: Pki) -> None:
    key = Pki.generate("RSA", now=NOW, design=Design(key="RSA", intermediates=0)).issuing.key
    assert isinstance(key, rsa.RSAPrivateKey)

    assert "Demo CA 1 Root" in repr(pki)
    assert "PrivateKey" not in repr(pki)
