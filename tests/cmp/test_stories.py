"""Whole transactions with the demo CA: every request, kind of key and kind of credentials."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cmp import (
    Ask,
    Certify,
    CertTemplate,
    Credentials,
    Enroll,
    InfoTypeAndValue,
    MacCredentials,
    Profile,
    Rejected,
    Request,
    Revoke,
    SignatureCredentials,
    SignCsr,
    State,
    Transaction,
    TrustStore,
    Unacceptable,
    Update,
)
from cmp.http import HttpTransport, HttpVersion, TlsTrust
from cmp.testing import DemoCA, Design, Pki, serve, tls_context
from cmp.testing.keys import KeyKind, PrivateKey, generate_key
from tests.cmp import certs
from tests.cmp.certs import NOW, a_name

MAC = MacCredentials(b"a pre-shared secret", b"4711")
CA_CERTS = x509.ObjectIdentifier("1.3.6.1.5.5.7.4.17")  # id-it-caCerts
DIGESTS = ("SHA256", "SHA384", "SHA512")


@cache
def a_pki(key: KeyKind = "EC", intermediates: int = 1) -> Pki:
    design = Design(key=key, intermediates=intermediates)
    return Pki.generate("Stories", now=NOW - certs.DAY, design=design)


def a_ca(pki: Pki, **behaviour: Any) -> DemoCA:
    return DemoCA(pki=pki, secrets={MAC.reference: MAC.secret}, **behaviour)


def template(name: str) -> CertTemplate:
    extensions = (certs.key_usage("digital_signature"), certs.hosts(f"{name}.example"))
    return CertTemplate(a_name(name), extensions=extensions)


def tell(
    ca: DemoCA,
    request: Request,
    by: Credentials,
    *,
    post: Callable[[bytes], bytes] | None = None,
    now: datetime = NOW,
    **profile: Any,
) -> Transaction:
    """Run a transaction to its end; time passes only while the CA asks for patience."""
    tx = Transaction.begin(
        request,
        credentials=by,
        trust=TrustStore(roots=(ca.pki.root,)),
        profile=replace(Profile(ca.pki.issuing.certificate.subject), **profile),
        now=now,
    )
    while tx.state is not State.DONE:
        message = tx.outgoing(now=now)
        if message is None:
            assert tx.wake_at is not None
            now = tx.wake_at
        else:
            answer = post(message) if post else ca.answer(message, now=now)
            tx.receive(answer, now=now)
    return tx


def held(tx: Transaction, key: PrivateKey, **fields: Any) -> SignatureCredentials:
    assert tx.issued is not None
    return SignatureCredentials(key, tx.issued.certificate, tx.issued.chain, **fields)


def an_identity(ca: DemoCA, kind: KeyKind = "EC", **fields: Any) -> SignatureCredentials:
    key = generate_key(kind)
    return held(tell(ca, Enroll(template("occm"), key), MAC), key, **fields)


@pytest.mark.parametrize("of_ca", ["EC", "RSA", "ED25519"])
@pytest.mark.parametrize("of_identity", ["EC", "EC384", "RSA"])
@pytest.mark.parametrize("of_entity", ["EC", "EC384", "RSA"])
def test_identity_enrolls_under_a_mac_and_signs_for_keys_of_any_kind(
    of_ca: KeyKind, of_identity: KeyKind, of_entity: KeyKind
) -> None:
    ca = a_ca(a_pki(of_ca))
    identity = an_identity(ca, of_identity)
    key = generate_key(of_entity)

    done = tell(ca, Enroll(template("nrf"), key), identity)

    assert done.issued is not None
    assert done.issued.certificate.public_key() == key.public_key()
    assert done.issued.chain == ca.pki.chain
    assert done.issued.modifications == ()
    assert list(ca.asked) == ["ir", "certConf"] * 2


@pytest.mark.field_note(15)
@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_digests_are_honoured_in_macs_signatures_and_proofs(  # A8
    digest: str, kind: KeyKind
) -> None:
    ca = a_ca(a_pki())
    key = generate_key(kind)
    mac = replace(MAC, digest=digest, mac=f"HMAC{digest}")
    first = tell(ca, Enroll(template("occm"), key), mac)

    done = tell(ca, Enroll(template("nrf"), generate_key()), held(first, key, digest=digest))

    assert done.state is State.DONE
    (signature,) = {
        message.header.protection_alg.algorithm.dotted_string
        for message in list(ca.heard)[2:]
        if message.header.protection_alg
    }
    assert (
        signature
        in {
            "EC": ("1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.4"),
            "RSA": ("1.2.840.113549.1.1.11", "1.2.840.113549.1.1.12", "1.2.840.113549.1.1.13"),
        }[kind][DIGESTS.index(digest)]
    )


@pytest.mark.field_note(11, 16)
@pytest.mark.parametrize("pbmac1", [False, True])
@pytest.mark.parametrize("answered", ["mac", "pbmac1", "signature"])
def test_initial_trust_by_mac_whatever_the_ca_answers_with(pbmac1: bool, answered: str) -> None:
    ca = a_ca(a_pki(), pbmac1=answered == "pbmac1", sign_mac_answers=answered == "signature")

    done = tell(ca, Enroll(template("occm"), generate_key()), replace(MAC, pbmac1=pbmac1))

    assert done.state is State.DONE


def test_initial_trust_by_a_vendors_certificate() -> None:
    vendor = certs.a_root("Vendor")
    device = certs.a_signer(vendor, "device")
    ca = a_ca(a_pki(), vendor_roots=(vendor.certificate,))
    by = SignatureCredentials(device.key, device.certificate)

    assert tell(ca, Enroll(template("occm"), generate_key()), by).state is State.DONE


@pytest.mark.field_note(26)
@pytest.mark.parametrize("by", ["itself", "identity"])
@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_update_is_signed_by_the_old_certificate_or_by_the_identity(by: str, kind: KeyKind) -> None:
    ca = a_ca(a_pki())
    identity = an_identity(ca)
    old_key, new_key = generate_key(kind), generate_key(kind)
    old = held(tell(ca, Enroll(template("nrf"), old_key), identity), old_key)

    request = Update(template("nrf"), new_key, old.certificate)
    done = tell(ca, request, old if by == "itself" else identity)

    assert done.issued is not None
    assert done.issued.certificate.public_key() == new_key.public_key()
    with pytest.raises(Rejected):
        tell(ca, Update(template("nrf"), generate_key(), old.certificate), identity)


def test_cr_p10cr_rr_and_genm_are_answered() -> None:
    ca = a_ca(a_pki())
    identity = an_identity(ca)
    key = certs.an_ec_key()
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(a_name("smf"))
        .add_extension(certs.hosts("smf.example").value, critical=False)
        .sign(key, hashes.SHA256())
    )

    certified = tell(ca, Certify(template("amf"), generate_key()), identity)
    signed = tell(ca, SignCsr(csr), identity)
    assert certified.issued is not None
    assert signed.issued is not None
    assert signed.issued.certificate.public_key() == key.public_key()
    assert signed.issued.modifications == ()
    revoked = tell(ca, Revoke.of(certified.issued.certificate), identity)
    asked = tell(ca, Ask((InfoTypeAndValue(CA_CERTS),)), identity)

    assert revoked.state is State.DONE
    assert [item.type for item in asked.answers] == [CA_CERTS]
    with pytest.raises(Rejected, match="certRevoked"):
        tell(ca, Revoke.of(certified.issued.certificate), identity)


@pytest.mark.parametrize("original_nonce", [False, True])
def test_everything_may_take_its_time(original_nonce: bool) -> None:
    everything = frozenset({"ir", "cr", "kur", "p10cr", "rr", "genm", "certConf"})
    ca = a_ca(a_pki(), polls=3, polls_on=everything, original_nonce=original_nonce)
    key = generate_key()

    done = tell(ca, Enroll(template("occm"), key), MAC)
    asked = tell(ca, Ask((InfoTypeAndValue(CA_CERTS),)), held(done, key))

    assert done.state is asked.state is State.DONE
    assert list(ca.asked) == [
        *("ir", "pollReq", "pollReq", "pollReq"),
        *("certConf", "pollReq", "pollReq", "pollReq"),
        *("genm", "pollReq", "pollReq", "pollReq"),
    ]


@pytest.mark.field_note(34)
@pytest.mark.parametrize("order", ["reversed", "with unrelated"])
def test_chain_is_sorted_out_of_whatever_the_ca_sends(order: Any) -> None:
    pki = a_pki("EC", 3)
    ca = a_ca(pki, extra_chain_order=order, root_in_extra_certs=True, ca_pubs=True)

    done = tell(ca, Enroll(template("occm"), generate_key()), MAC)

    assert done.issued is not None
    assert done.issued.chain == pki.chain
    assert len(pki.chain) == 3


@pytest.mark.field_note(5)
def test_headers_may_lack_what_a_ca_may_leave_out() -> None:
    omitted = frozenset({"sender_nonce", "message_time", "sender_kid"})
    ca = a_ca(a_pki(), omit_header=omitted)

    done = tell(ca, Ask((InfoTypeAndValue(CA_CERTS),)), an_identity_elsewhere(ca))

    assert done.state is State.DONE


def an_identity_elsewhere(ca: DemoCA) -> SignatureCredentials:
    """Enroll while the CA's headers are whole: its own certConf check wants the nonce back."""
    omitted, ca.omit_header = ca.omit_header, frozenset()
    identity = an_identity(ca)
    ca.omit_header = omitted
    return identity


@pytest.mark.field_note(30)
def test_modifications_are_told() -> None:
    ca = a_ca(a_pki(), grant_with_mods=True)
    wanted = replace(template("nrf"), not_before=NOW, not_after=NOW + timedelta(days=200))

    done = tell(ca, Enroll(wanted, generate_key()), MAC)

    assert done.issued is not None
    assert done.issued.status.name == "grantedWithMods"
    assert done.issued.modifications == ("validity ends 2026-12-01 instead of 2026-12-18",)


@pytest.mark.field_note(31)
def test_a_certificate_for_another_key_is_revoked_by_our_refusal() -> None:
    ca = a_ca(a_pki(), issue_for_another_key=True)

    with pytest.raises(Unacceptable, match="another public key"):
        tell(ca, Enroll(template("nrf"), generate_key()), MAC)

    assert list(ca.asked) == ["ir", "certConf"]
    assert ca.issued[-1].revoked_at is not None


@pytest.mark.field_note(37)
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("granted", [False, True])
def test_implicit_confirmation_is_used_if_asked_for_and_granted(asked: bool, granted: bool) -> None:
    ca = a_ca(a_pki(), implicit_confirm=granted)

    tell(ca, Enroll(template("occm"), generate_key()), MAC, implicit_confirm=asked)

    assert ("certConf" in ca.asked) is not (asked and granted)


@pytest.mark.parametrize("version", [None, "1.0", "1.1"])
@pytest.mark.parametrize("secured", [False, True])
@pytest.mark.parametrize("habit", [{}, {"http11_only": True}, {"chunked": True}])
def test_stories_are_told_over_http_and_https(
    version: HttpVersion | None, secured: bool, habit: dict[str, Any]
) -> None:
    now = datetime.now(UTC)
    pki = Pki.generate("Served", now=now - certs.DAY)
    ca = a_ca(pki, **habit)
    with serve(ca, tls=tls_context(pki) if secured else None) as server:
        trust = TlsTrust((pki.root,)) if secured else None
        with HttpTransport(
            server.url, tls=trust, message_timeout=timedelta(seconds=10), http_version=version
        ) as transport:
            request = Enroll(template("occm"), generate_key())
            done = tell(ca, request, MAC, post=transport.post, now=now)

    assert done.state is State.DONE
    expected = "1.1" if habit.get("http11_only") or version == "1.1" else "1.0"
    assert transport.http_version == expected
