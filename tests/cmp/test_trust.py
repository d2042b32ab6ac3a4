"""Who may sign an answer, and which chain an issued certificate has. The clock stands at NOW."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cmp import trust
from cmp.errors import Unacceptable, Unprotected
from cmp.trust import MAX_HELPERS, TrustStore
from tests.cmp import certs
from tests.cmp.certs import DAY, NOW, YEAR, Holder, a_certificate, a_root, a_signer, a_sub_ca

CMC_CA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.27")
CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")


@pytest.fixture(scope="module")
def root() -> Holder:
    return a_root()


@pytest.fixture(scope="module")
def issuing(root: Holder) -> Holder:
    return a_sub_ca("Issuing CA", root)


@pytest.fixture(scope="module")
def store(root: Holder, issuing: Holder) -> TrustStore:
    return TrustStore(roots=(root.certificate,), intermediates=(issuing.certificate,))


def an_entity(issuer: Holder, name: str = "nrf", **fields: Any) -> Holder:
    return a_signer(issuer, name, **fields)


def of(*holders: Holder) -> tuple[x509.Certificate, ...]:
    return tuple(holder.certificate for holder in holders)


# The signer of a response


def test_signer_is_trusted_by_a_path_to_a_root_through_configured_intermediates(
    store: TrustStore, issuing: Holder
) -> None:
    store.check_signer(a_signer(issuing).certificate, (), NOW)


def test_signer_is_trusted_by_a_path_to_a_root_through_what_the_message_brought(
    root: Holder, issuing: Holder
) -> None:
    signer = a_signer(issuing).certificate

    TrustStore(roots=of(root)).check_signer(signer, of(issuing), NOW)


@pytest.mark.field_note(34)
def test_an_intermediate_is_no_anchor_for_signers(issuing: Holder) -> None:
    store = TrustStore(roots=of(a_root("Other")), intermediates=of(issuing))

    with pytest.raises(Unprotected, match="/O=Example/CN=Root"):
        store.check_signer(a_signer(issuing).certificate, (), NOW)


def test_what_a_message_brings_along_is_no_anchor(root: Holder, issuing: Holder) -> None:
    stranger = a_root("Stranger")

    with pytest.raises(Unprotected, match="CN=Stranger is self-signed and no configured"):
        TrustStore(roots=of(root), intermediates=of(issuing)).check_signer(
            a_signer(stranger).certificate, of(stranger), NOW
        )


def test_a_self_signed_signer_is_not_trusted_for_its_own_sake(store: TrustStore) -> None:
    signer = a_certificate("CMP signer", extensions=certs.SIGNER_EXTENSIONS).certificate

    with pytest.raises(Unprotected, match="CN=CMP signer is self-signed and no configured"):
        store.check_signer(signer, (signer,), NOW)


def test_a_root_may_sign_responses_itself() -> None:
    usage = certs.key_usage("key_cert_sign", "digital_signature")
    root = a_root(extensions=(certs.constraints(), usage))

    TrustStore(roots=of(root)).check_signer(root.certificate, (), NOW)


def test_a_sub_ca_given_as_a_root_is_an_anchor(issuing: Holder) -> None:
    TrustStore(roots=of(issuing)).check_signer(a_signer(issuing).certificate, (), NOW)


def test_without_any_anchor_no_signer_is_trusted(issuing: Holder) -> None:
    store = TrustStore(intermediates=of(issuing))

    assert not store.can_anchor_signers
    with pytest.raises(Unprotected, match="no root CA certificate"):
        store.check_signer(a_signer(issuing).certificate, (), NOW)


def test_a_server_cert_is_trusted_directly(root: Holder) -> None:
    pinned = a_signer(a_root("Unknown"))
    store = TrustStore(roots=of(root), server_cert=pinned.certificate)

    assert store.can_anchor_signers
    store.check_signer(pinned.certificate, (), NOW)


@pytest.mark.parametrize(
    ("field", "holder", "possible"),
    [
        ("roots", a_root(), True),
        ("intermediates", a_root(), True),
        ("server_cert", a_root(), True),
        ("server_cert", a_signer(a_root()), False),
        ("roots", a_signer(a_root()), False),
        ("intermediates", a_root(ends=NOW - DAY), False),
        ("roots", a_root(starts=NOW + DAY), False),
    ],
)
def test_a_valid_ca_has_to_be_there_for_issued_certificates_to_lead_to(
    field: str, holder: Holder, possible: bool
) -> None:
    held: Any = holder.certificate if field == "server_cert" else of(holder)

    assert TrustStore(**{field: held}).can_anchor_issued(NOW) is possible


def test_with_a_server_cert_the_roots_do_not_count(
    store: TrustStore, root: Holder, issuing: Holder
) -> None:
    pinned = replace(store, server_cert=a_signer(issuing, "The signer").certificate)

    with pytest.raises(
        Unprotected, match="CN=Another is not the configured server cert /O=Example/CN=The signer"
    ):
        pinned.check_signer(a_signer(issuing, "Another").certificate, of(issuing), NOW)


def test_an_expired_server_cert_is_not_trusted(issuing: Holder) -> None:
    pinned = a_signer(issuing, ends=NOW - DAY).certificate

    with pytest.raises(Unprotected, match="CN=CMP signer expired on 2026-05-31 12:00:00 UTC"):
        TrustStore(server_cert=pinned).check_signer(pinned, (), NOW)


def test_signer_without_key_usage_may_sign(store: TrustStore, issuing: Holder) -> None:
    store.check_signer(a_signer(issuing, extensions=()).certificate, (), NOW)


@pytest.mark.field_note(18)
def test_signer_whose_key_usage_lacks_digital_signature_may_not_sign_unless_waived(
    store: TrustStore, issuing: Holder
) -> None:
    signer = a_signer(issuing, extensions=(certs.key_usage("key_encipherment"),)).certificate

    with pytest.raises(Unprotected, match="lacks digitalSignature"):
        store.check_signer(signer, (), NOW)
    replace(store, allow_missing_digital_signature=True).check_signer(signer, (), NOW)


@pytest.mark.field_note(18)
@pytest.mark.parametrize("purpose", [CMC_CA, CMC_RA, ExtendedKeyUsageOID.SERVER_AUTH])
def test_extended_key_usage_is_no_reason_to_refuse_a_signer(
    store: TrustStore, issuing: Holder, purpose: x509.ObjectIdentifier
) -> None:
    extensions = (*certs.SIGNER_EXTENSIONS, certs.purposes(purpose))

    store.check_signer(a_signer(issuing, extensions=extensions).certificate, (), NOW)


def test_signer_with_an_unknown_critical_extension_is_refused(
    store: TrustStore, issuing: Holder
) -> None:
    extensions = (*certs.SIGNER_EXTENSIONS, certs.unknown_extension())

    with pytest.raises(Unprotected, match="CN=CMP signer does not pass: unhandled critical"):
        store.check_signer(a_signer(issuing, extensions=extensions).certificate, (), NOW)


# Time


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        (NOW + YEAR + timedelta(seconds=1), "expired on 2027-06-01 12:00:00 UTC"),
        (NOW - YEAR - timedelta(seconds=1), "is not valid before 2025-06-01 12:00:00 UTC"),
    ],
)
def test_time_is_what_the_caller_says_it_is(
    store: TrustStore, issuing: Holder, when: datetime, reason: str
) -> None:
    signer = a_signer(issuing).certificate
    store.check_signer(signer, (), NOW + YEAR)
    store.check_signer(signer, (), NOW - YEAR)

    with pytest.raises(Unprotected, match=reason):
        store.check_signer(signer, (), when)


def test_the_certificate_that_has_expired_is_named(root: Holder) -> None:
    issuing = a_sub_ca("Old CA", root, ends=NOW - DAY)

    with pytest.raises(Unprotected, match="CN=Old CA expired on 2026-05-31"):
        TrustStore(roots=of(root)).check_signer(a_signer(issuing).certificate, of(issuing), NOW)


def test_stores_check_different_times_at_once(store: TrustStore, issuing: Holder) -> None:
    signer = a_signer(issuing).certificate

    def is_trusted(index: int) -> bool:
        try:
            store.check_signer(signer, (), NOW if index % 2 else NOW + 2 * YEAR)
        except Unprotected:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(is_trusted, range(400)))

    assert verdicts == [bool(index % 2) for index in range(400)]


# CAs that are none


@pytest.mark.parametrize(
    "extensions",
    [
        (),
        (certs.key_usage(*certs.CA_USAGE),),
        (certs.constraints(ca=False), certs.key_usage(*certs.CA_USAGE)),
        (certs.constraints(), certs.key_usage("digital_signature", "crl_sign")),
    ],
    ids=["nothing", "no basicConstraints", "no CA", "no keyCertSign"],
)
@pytest.mark.parametrize("anchored", ["root", "partial", "pinned"])
def test_a_ca_that_may_not_issue_makes_no_path(
    root: Holder, extensions: tuple[x509.Extension[x509.ExtensionType], ...], anchored: str
) -> None:
    false_ca = a_certificate("False CA", root, extensions=extensions)
    stores = {
        "root": TrustStore(roots=of(root)),
        "partial": TrustStore(intermediates=of(false_ca)),
        "pinned": TrustStore(server_cert=false_ca.certificate),
    }
    leaf = an_entity(false_ca).certificate

    with pytest.raises(Unacceptable, match="CN=False CA is not a CA's"):
        stores[anchored].check_issued(leaf, of(false_ca), NOW)
    with pytest.raises(Unprotected):
        stores[anchored].check_signer(leaf, of(false_ca), NOW)


@pytest.mark.parametrize(
    "extensions", [(), (certs.constraints(), certs.key_usage("digital_signature"))]
)
def test_a_root_that_may_not_issue_anchors_nothing(
    extensions: tuple[x509.Extension[x509.ExtensionType], ...],
) -> None:
    root = a_root(extensions=extensions)

    with pytest.raises(Unprotected, match="CN=Root is not a CA's"):
        TrustStore(roots=of(root)).check_signer(a_signer(root).certificate, (), NOW)


def test_a_path_longer_than_a_ca_allows_is_refused(root: Holder) -> None:
    limited = a_sub_ca("Limited", root, extensions=(certs.constraints(path_length=0),))
    below = a_sub_ca("Below", limited)

    with pytest.raises(Unprotected, match="path length"):
        TrustStore(roots=of(root)).check_signer(
            a_signer(below).certificate, of(limited, below), NOW
        )


def test_a_forged_signature_is_no_path(root: Holder) -> None:
    forger = a_root(key_ids=False)  # the root's name, another key

    with pytest.raises(Unprotected, match="was not signed by the /O=Example/CN=Root at hand"):
        TrustStore(roots=of(root)).check_signer(
            a_signer(forger, key_ids=False).certificate, (), NOW
        )


# The chain of an issued certificate


@pytest.mark.field_note(34)
def test_chain_runs_from_the_issuer_upward_without_the_root(root: Holder, issuing: Holder) -> None:
    regional = a_sub_ca("Regional CA", issuing)
    stray = [a_sub_ca("Stray", root), a_signer(issuing), an_entity(root), a_root("Elsewhere")]
    brought = of(stray[0], issuing, stray[1], root, regional, *stray[2:])

    chain = TrustStore(roots=of(root)).check_issued(an_entity(regional).certificate, brought, NOW)

    assert chain == of(regional, issuing)


@pytest.mark.field_note(34)
def test_chain_is_completed_from_configured_intermediates(
    store: TrustStore, issuing: Holder
) -> None:
    assert store.check_issued(an_entity(issuing).certificate, (), NOW) == of(issuing)


def test_a_certificate_of_the_root_has_an_empty_chain(store: TrustStore, root: Holder) -> None:
    assert store.check_issued(an_entity(root).certificate, of(root), NOW) == ()


def test_an_intermediate_alone_leads_to_an_issued_certificate(issuing: Holder) -> None:
    store = TrustStore(intermediates=of(issuing))

    assert store.check_issued(an_entity(issuing).certificate, (), NOW) == of(issuing)


def test_a_server_cert_that_is_the_issuer_leads_to_an_issued_certificate(issuing: Holder) -> None:
    store = TrustStore(server_cert=issuing.certificate)

    assert store.check_issued(an_entity(issuing).certificate, (), NOW) == of(issuing)


def test_roots_lead_to_an_issued_certificate_in_spite_of_a_server_cert(
    store: TrustStore, issuing: Holder
) -> None:
    pinned = replace(store, server_cert=a_signer(issuing).certificate)

    assert pinned.check_issued(an_entity(issuing).certificate, (), NOW) == of(issuing)


def test_chain_goes_on_above_a_partial_anchor_as_far_as_it_is_known(
    root: Holder, issuing: Holder
) -> None:
    regional = a_sub_ca("Regional CA", issuing)
    store = TrustStore(intermediates=of(regional))
    leaf = an_entity(regional).certificate

    assert store.check_issued(leaf, of(root, issuing), NOW) == of(regional, issuing)
    assert store.check_issued(leaf, (), NOW) == of(regional)


def test_nothing_expired_or_forged_is_put_above_a_partial_anchor(root: Holder) -> None:
    key = certs.an_ec_key()
    expired = a_sub_ca("Issuing CA", root, key=key, ends=NOW - DAY)
    namesake = a_sub_ca("Issuing CA", root, key_ids=False)
    regional = a_sub_ca("Regional CA", Holder(expired.certificate, key))
    store = TrustStore(intermediates=of(regional))

    chain = store.check_issued(an_entity(regional).certificate, of(expired, namesake), NOW)

    assert chain == of(regional)


def test_a_certificate_that_nothing_leads_to_is_unacceptable(store: TrustStore) -> None:
    leaf = an_entity(a_root("Other")).certificate

    with pytest.raises(
        Unacceptable,
        match=r"CN=nrf leads to no trust anchor: .* certificate of /O=Example/CN=Other",
    ):
        store.check_issued(leaf, (), NOW)


def test_what_a_message_brings_along_does_not_anchor_an_issued_certificate(
    store: TrustStore,
) -> None:
    stranger = a_root("Stranger")

    with pytest.raises(Unacceptable, match="CN=Stranger is self-signed and no configured"):
        store.check_issued(an_entity(stranger).certificate, of(stranger), NOW)


def test_after_a_root_key_update_both_keys_lead_to_their_certificates() -> None:
    old, new = a_root(key_ids=False), a_root(key_ids=False)  # one name, no identifiers
    store = TrustStore(roots=of(old, new))

    for holder in (old, new):
        assert store.check_issued(an_entity(holder, key_ids=False).certificate, (), NOW) == ()


def test_the_link_between_old_and_new_root_is_part_of_the_chain() -> None:
    old, new = a_root(), a_root()
    link = a_certificate(  # new with old, RFC 9810, 4.4
        old.certificate.subject, old, key=new.key, extensions=certs.CA_EXTENSIONS
    )

    chain = TrustStore(roots=of(old)).check_issued(an_entity(new).certificate, of(link, new), NOW)

    assert chain == of(link)


# Names


def test_names_are_compared_as_rfc_5280_says(root: Holder) -> None:
    shouted = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "EXAMPLE"),
            x509.NameAttribute(NameOID.COMMON_NAME, " rOOt "),
        ]
    )
    same_root = Holder(a_certificate(shouted).certificate, root.key)

    TrustStore(roots=of(root)).check_signer(a_signer(same_root).certificate, (), NOW)


def test_what_a_name_holds_cannot_break_out_of_one_line() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil\n\x1b[31mok \u202e")])
    signer = a_certificate(name).certificate

    with pytest.raises(Unprotected) as caught:
        TrustStore(roots=of(a_root())).check_signer(signer, (), NOW)

    assert str(caught.value).isprintable()
    assert r"evil\n\x1b[31mok" in str(caught.value)


# Hostile helpers


def test_issuers_with_the_right_name_and_the_wrong_key_do_not_hide_the_right_one(
    root: Holder, issuing: Holder
) -> None:
    leaf = an_entity(issuing, key_ids=False).certificate
    decoys = [a_sub_ca("Issuing CA", root, key_ids=False) for _ in range(10)]

    chain = TrustStore(roots=of(root)).check_issued(leaf, of(*decoys, issuing), NOW)

    assert chain == of(issuing)


def test_helpers_that_issue_each_other_lead_nowhere(root: Holder) -> None:
    one, two = certs.an_ec_key(), certs.an_ec_key()
    first = a_sub_ca("One", Holder(a_root("Two", key=two).certificate, two), key=one)
    second = a_sub_ca("Two", first, key=two)

    with pytest.raises(Unacceptable):
        TrustStore(roots=of(root)).check_issued(
            an_entity(first).certificate, of(first, second), NOW
        )
    with pytest.raises(Unacceptable):
        TrustStore(intermediates=of(a_sub_ca("Else", root))).check_issued(
            an_entity(first).certificate, of(first, second), NOW
        )


def test_a_loop_above_a_partial_anchor_ends(root: Holder) -> None:
    one, two = certs.an_ec_key(), certs.an_ec_key()
    first = a_sub_ca("One", Holder(a_root("Two", key=two).certificate, two), key=one)
    second = a_sub_ca("Two", first, key=two)
    store = TrustStore(intermediates=of(first))

    chain = store.check_issued(an_entity(first).certificate, of(second), NOW)

    assert chain == of(first, second)


def test_more_helpers_than_the_limit_are_not_looked_at(root: Holder, issuing: Holder) -> None:
    padding = of(a_signer(root)) * MAX_HELPERS
    store = TrustStore(roots=of(root))
    leaf = an_entity(issuing).certificate

    assert store.check_issued(leaf, (*padding[1:], issuing.certificate), NOW) == of(issuing)
    with pytest.raises(Unacceptable):
        store.check_issued(leaf, (*padding, issuing.certificate), NOW)


def test_a_path_of_absurd_length_is_refused(root: Holder) -> None:
    authority, brought = root, []
    for number in range(12):
        authority = a_sub_ca(f"CA {number}", authority)
        brought.append(authority)

    with pytest.raises(Unacceptable, match="is 14 certificates away from its anchor"):
        TrustStore(roots=of(root)).check_issued(an_entity(authority).certificate, of(*brought), NOW)


@pytest.mark.parametrize("damaged", ["basicConstraints", "subject"])
def test_helpers_that_do_not_parse_do_no_harm(root: Holder, issuing: Holder, damaged: str) -> None:
    der = issuing.certificate.public_bytes(Encoding.DER)
    places = {
        "basicConstraints": (b"\x30\x03\x01\x01\xff", b"\x30\x03\x01\x01\x01"),
        "subject": (b"Issuing CA", b"Issuing\xff\xfeA"),
    }
    broken = x509.load_der_x509_certificate(der.replace(*places[damaged]))
    leaf = an_entity(issuing).certificate

    chain = TrustStore(roots=of(root)).check_issued(leaf, (broken, issuing.certificate), NOW)

    assert chain == of(issuing)
    with pytest.raises((Unprotected, Unacceptable)):
        TrustStore(roots=of(root)).check_signer(broken, of(issuing), NOW)
    with pytest.raises(Unacceptable):
        TrustStore(intermediates=(broken,)).check_issued(leaf, (), NOW)


# Cost


def test_a_path_once_found_holds_without_helpers_until_one_of_it_expires(root: Holder) -> None:
    brief = a_sub_ca("Brief CA", root, ends=NOW + DAY)
    signer = a_signer(brief).certificate
    store = TrustStore(roots=of(root))
    with pytest.raises(Unprotected, match="CN=CMP signer leads to no trust anchor"):
        store.check_signer(signer, (), NOW)
    store.check_signer(signer, of(brief), NOW)

    store.check_signer(signer, (), NOW + DAY)

    with pytest.raises(Unprotected, match="CN=Brief CA expired"):
        store.check_signer(signer, of(brief), NOW + DAY + timedelta(seconds=1))
    with pytest.raises(Unprotected):
        TrustStore(roots=of(a_root())).check_signer(signer, of(brief), NOW)


def test_certificates_are_made_ready_for_openssl_once(root: Holder, issuing: Holder) -> None:
    twin = x509.load_der_x509_certificate(root.certificate.public_bytes(Encoding.DER))
    signer = a_signer(issuing).certificate
    TrustStore(roots=of(root)).check_signer(signer, of(issuing), NOW)
    made = trust._openssl.cache_info().misses

    TrustStore(roots=(twin,)).check_signer(signer, of(issuing), NOW)

    assert TrustStore(roots=(twin,)) == TrustStore(roots=of(root))
    assert trust._openssl.cache_info().misses == made
