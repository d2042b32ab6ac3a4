"""Whose word an answer is: which protection counts, under which certificate, of which sender.

Fails closed: what is not shown to be the CA's raises Unprotected. The signature or MAC itself is
checked by `protection`, the path of its signer by `trust`.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from cryptography import x509

from cmp.errors import Unprotected
from cmp.messages import PKIHeader, PKIMessage
from cmp.names import format_name, same_name
from cmp.profile import Profile
from cmp.protection import (
    Credentials,
    MacCredentials,
    is_mac,
    subject_key_identifier,
    verify_mac,
    verify_signature,
)
from cmp.text import one_line
from cmp.trust import TrustStore

MAX_CANDIDATES = 8  # certificates of a message that are tried as its signer's


def authenticate(  # noqa: PLR0913 - all that a verdict depends on
    message: PKIMessage,
    *,
    credentials: Credentials,
    trust: TrustStore,
    profile: Profile,
    known_signer: x509.Certificate | None,
    now: datetime,
) -> x509.Certificate | None:
    """Return the certificate of an answer's signer, None where a MAC protects it.

    `known_signer` was authenticated earlier in the transaction; later answers may leave it out
    (RFC 9483, 3.3). Raises Unprotected.
    """
    if message.protection is None:
        raise Unprotected("the answer is not protected")
    signer = None
    if is_mac(message.header):
        _require_mac(message, credentials)
    else:
        _require_signature_allowed(credentials, trust, profile)
        signer = _signer(message, trust, known_signer, now)
    _require_sender(message.header, signer, trust, profile)
    return signer


def _require_mac(message: PKIMessage, credentials: Credentials) -> None:
    """RFC 9810, 5.1.3: who has no shared secret must not believe in one."""
    if not isinstance(credentials, MacCredentials):
        raise Unprotected("the answer to a signed request is protected by a MAC")
    verify_mac(message, credentials.secret)


def _require_signature_allowed(
    credentials: Credentials, trust: TrustStore, profile: Profile
) -> None:
    if isinstance(credentials, MacCredentials) and profile.mac_only:
        raise Unprotected("the answer is signed, and only a MAC is accepted from this CA")
    if not trust.can_anchor_signers:
        raise Unprotected("the answer is signed, and no root or server cert is configured")


def _signer(
    message: PKIMessage, trust: TrustStore, known: x509.Certificate | None, now: datetime
) -> x509.Certificate:
    """Find the certificate that verifies the signature and is trusted."""
    untrusted = unverified = None
    for candidate in _candidates(message, trust, known):
        try:
            verify_signature(message, candidate)
        except Unprotected as error:
            unverified = error
            continue
        try:
            if candidate != known or candidate.not_valid_after_utc < now:
                trust.check_signer(candidate, message.extra_certs, now)
        except Unprotected as error:
            untrusted = error
        else:
            return candidate
    raise (
        untrusted
        or unverified
        or Unprotected("the answer is signed, and its signer's certificate did not come with it")
    )


def _candidates(
    message: PKIMessage, trust: TrustStore, known: x509.Certificate | None
) -> Iterator[x509.Certificate]:
    """RFC 9483, 3.3: the signer comes first in extraCerts; its key identifier is in senderKID.

    Both are hints: some CAs send no senderKID, a wrong one, or ours.
    """
    if trust.server_cert is not None:
        yield trust.server_cert
        return
    kid, others = message.header.sender_kid, []
    brought = islice(message.extra_certs, MAX_CANDIDATES)
    for one in dict.fromkeys((known, *brought) if known else brought):
        if kid is None or subject_key_identifier(one) == kid:
            yield one
        else:
            others.append(one)
    yield from others


def _require_sender(
    header: PKIHeader, signer: x509.Certificate | None, trust: TrustStore, profile: Profile
) -> None:
    """Else any holder of a certificate below the roots could answer in the CA's place."""
    expected = profile.expected_sender
    if expected is None and signer is not None and trust.server_cert is not None:
        expected = trust.server_cert.subject
    if expected is None:
        return
    named = header.sender.value if isinstance(header.sender, x509.DirectoryName) else None
    _require_name("sender", named, expected)
    if signer is not None:
        _require_name("signer", _subject(signer), expected)


def _require_name(what: str, name: x509.Name | None, expected: x509.Name) -> None:
    if name is None or not same_name(name, expected):
        found = "none" if name is None else one_line(format_name(name), 300)
        raise Unprotected(f"the answer's {what} is {found}, expected is {format_name(expected)}")


def _subject(certificate: x509.Certificate) -> x509.Name | None:
    try:
        return certificate.subject
    except ValueError:  # it does not parse
        return None
