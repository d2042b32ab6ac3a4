"""Whom we believe: the path from a response's signer, or from a new certificate, to a trust anchor.

OpenSSL builds and checks the paths, through pyOpenSSL (docs/adr/0003). Partial chains are allowed
only where an intermediate or a pinned certificate is the anchor. What else a certificate must be,
to sign responses or to issue, is checked here. Helpers are whatever a message brought along: they
may complete a path, never anchor one, and however many there are, the work stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from OpenSSL import crypto

from cmp.errors import Unacceptable, Unprotected
from cmp.names import format_name
from cmp.text import one_line

Extension = TypeVar("Extension", x509.BasicConstraints, x509.KeyUsage)
Certificates = tuple[x509.Certificate, ...]

MAX_HELPERS = 64  # of a message: more are not looked at
MAX_PATH = 10  # certificates, leaf and anchor included
MAX_DETOURS = 8  # attempts to go round certificates that mislead
NOT_A_CA = "is not a CA's: basicConstraints CA or keyUsage keyCertSign is missing"

SIGNATURE_FAILURE = 7  # X509_V_ERR_CERT_SIGNATURE_FAILURE, openssl/x509_vfy.h


@dataclass(frozen=True, slots=True)
class TrustStore:
    """One issuer's trust anchors, as the operator configured them.

    `roots` anchor the signers of responses; `intermediates` are helpers there, and anchors for
    issued certificates. With a `server_cert`, that one is the only accepted signer.
    `allow_missing_digital_signature` is for CAs that sign responses with a key whose keyUsage
    does not allow it.
    """

    roots: Certificates = ()
    intermediates: Certificates = ()
    server_cert: x509.Certificate | None = None
    allow_missing_digital_signature: bool = False

    @property
    def can_anchor_signers(self) -> bool:
        return bool(self.roots) or self.server_cert is not None

    def can_anchor_issued(self, now: datetime) -> bool:
        """Say whether a path could end here: with the certificate of a CA that is valid."""
        return any(_may_issue(one, now) for one in (*self._partial_anchors, *self.roots))

    @property
    def _partial_anchors(self) -> Certificates:
        """What anchors issued certificates beside the roots."""
        return (*((self.server_cert,) if self.server_cert else ()), *self.intermediates)

    def check_signer(
        self, certificate: x509.Certificate, helpers: Iterable[x509.Certificate], now: datetime
    ) -> None:
        """Raise Unprotected unless `certificate` may protect a response at `now`.

        RFC 9483, 3.2: digitalSignature if there is a keyUsage. An extendedKeyUsage is no reason to
        refuse: id-kp-cmcCA and id-kp-cmcRA prove a delegation that configuration may state as well
        (RFC 9810, 4.5), which here the roots, the server cert and the expected sender do.
        """
        try:
            if not self.allow_missing_digital_signature:
                _require_digital_signature(certificate)
            if self.server_cert is None:
                found = _found(certificate, self)
                if not any(all(_valid(one, now) for one in path) for path in found):
                    found[:] = [self._path_to_root(certificate, helpers, now)]
            else:
                _require_same(certificate, self.server_cert)
                _path(certificate, (certificate,), (), now, partial=True)
        except _NoPathError as error:
            raise Unprotected(f"the response's signer is not trusted: {error}") from None

    def check_issued(
        self, certificate: x509.Certificate, helpers: Iterable[x509.Certificate], now: datetime
    ) -> Certificates:
        """Return the verified chain of a new certificate, or raise Unacceptable.

        It runs from the certificate's issuer upward, as far as it is known, without the root.
        """
        helpers = tuple(islice(helpers, MAX_HELPERS))
        try:
            path = self._path_to_root(certificate, helpers, now)  # the whole way, if it can be had
        except _NoPathError as first:
            anchors = (*self._partial_anchors, *self.roots)
            try:
                path = _path(certificate, anchors, helpers, now, partial=True)
            except _NoPathError as error:
                why = error if not self.roots or str(error) == str(first) else f"{first}; {error}"
                raise Unacceptable(f"the issued certificate is not trusted: {why}") from None
        chain = path[1:]
        above = _further_up(chain[-1:], (*self._partial_anchors, *helpers), now)
        return _without_root(chain + above)

    def roots_of(self, certificates: Certificates) -> Certificates:
        """Return the roots that issued any of these and are not among them."""
        return tuple(
            root
            for root in self.roots
            if root not in certificates
            and any(_named(root, one) and _signed(root, one) for one in certificates)
        )

    def _path_to_root(
        self, certificate: x509.Certificate, helpers: Iterable[x509.Certificate], now: datetime
    ) -> Certificates:
        if not self.roots:
            raise _NoPathError(certificate, "has no root CA certificate configured to lead to")
        untrusted = (*self.intermediates, *islice(helpers, MAX_HELPERS))
        partial = not all(_self_signed(root) for root in self.roots)  # a sub-CA given as a root
        return _path(certificate, self.roots, untrusted, now, partial=partial)


def may_anchor(certificate: x509.Certificate, now: datetime) -> bool:
    """Tell whether a certificate is a root's: self-signed, valid, and a CA's."""
    return _self_signed(certificate) and _may_issue(certificate, now)


@lru_cache(maxsize=256)
def _found(certificate: x509.Certificate, store: TrustStore) -> list[Certificates]:
    """Remember the path of a signer, who signs thousands of answers: only time can break it."""
    return []


class _NoPathError(Exception):
    def __init__(self, certificate: x509.Certificate, why: str) -> None:
        super().__init__(f"{_subject(certificate)} {why}")


@lru_cache(maxsize=512)
def _openssl(certificate: x509.Certificate) -> crypto.X509:
    return crypto.X509.from_cryptography(certificate)


def _path(
    leaf: x509.Certificate,
    anchors: Certificates,
    helpers: Certificates,
    now: datetime,
    *,
    partial: bool,
) -> Certificates:
    """Return leaf, …, anchor, each checked, or raise _NoPathError."""
    helpers = tuple(one for one in dict.fromkeys(helpers) if one != leaf and _readable(one))
    failure: _NoPathError | None = None
    for _ in range(MAX_DETOURS):
        try:
            subject = crypto.X509.from_cryptography(leaf)  # seen once: not worth remembering
            untrusted = [_openssl(helper) for helper in helpers]
            store = _store(anchors, now, partial=partial)
            found = crypto.X509StoreContext(store, subject, untrusted).get_verified_chain()
        except crypto.X509StoreContextError as error:
            failed = error.certificate.to_cryptography()
            failure = failure or _NoPathError(failed, _why(failed, error))
            misleading = _misleading(failed, error.errors[0], anchors, helpers)
            if not misleading:
                break
            anchors = tuple(anchor for anchor in anchors if anchor not in misleading)
            helpers = tuple(helper for helper in helpers if helper not in misleading)
        except crypto.Error as error:
            raise _NoPathError(leaf, f"cannot be checked: {error}") from None
        else:
            path = tuple(certificate.to_cryptography() for certificate in found)
            _require_sound(path)
            return path
    raise failure or _NoPathError(leaf, "leads to no trust anchor")


def _store(anchors: Certificates, now: datetime, *, partial: bool) -> crypto.X509Store:
    """Make one for each path: it takes microseconds, and a store keeps the first time it is set."""
    store = crypto.X509Store()
    for anchor in anchors:
        store.add_cert(_openssl(anchor))
    if partial:
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(now.astimezone(UTC))
    return store


def _readable(certificate: x509.Certificate) -> bool:
    try:
        _openssl(certificate)
    except crypto.Error:
        return False
    return True


def _misleading(
    failed: x509.Certificate, code: int, anchors: Certificates, helpers: Certificates
) -> frozenset[x509.Certificate]:
    """Return what took OpenSSL the wrong way, for it follows only one of several possible issuers.

    These are issuers that bear the right name and have the wrong key, or a helper that leads
    nowhere itself.
    """
    if code == SIGNATURE_FAILURE:
        named = frozenset(one for one in anchors + helpers if _named(one, failed))
        signers = frozenset(one for one in named if _signed(one, failed))
        if signers:
            return named - signers
    return frozenset({failed}.intersection(helpers))


def _named(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        return issuer.subject == certificate.issuer
    except ValueError:  # a name that does not parse
        return False


def _signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


@lru_cache(maxsize=256)
def _self_signed(certificate: x509.Certificate) -> bool:
    return _named(certificate, certificate) and _signed(certificate, certificate)


def _without_root(chain: Certificates) -> Certificates:
    return chain[:-1] if chain and _self_signed(chain[-1]) else chain


def _further_up(top: Certificates, candidates: Certificates, now: datetime) -> Certificates:
    """Return the issuers above a partial anchor, as far as known: others may trust only a root."""
    path = list(top)
    while top and len(path) < MAX_PATH and not _self_signed(top[0]):
        named = (one for one in candidates if one not in path and _named(one, top[0]))
        top = tuple(one for one in named if _may_issue(one, now) and _signed(one, top[0]))[:1]
        path += top
    return tuple(path[1:])


def _require_sound(path: Certificates) -> None:
    """RFC 5280, 6.1.4: each certificate above the leaf says that it is a CA's and may sign."""
    if len(path) > MAX_PATH:
        raise _NoPathError(path[0], f"is {len(path)} certificates away from its anchor")
    for certificate in path[1:]:
        if not _is_ca(certificate):
            raise _NoPathError(certificate, NOT_A_CA)


def _may_issue(certificate: x509.Certificate, now: datetime) -> bool:
    return _valid(certificate, now) and _is_ca(certificate)


def _valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


@lru_cache(maxsize=512)
def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        constraints = _extension(certificate, x509.BasicConstraints)
        usage = _extension(certificate, x509.KeyUsage)
    except _NoPathError:
        return False
    return bool(constraints and constraints.ca) and (usage is None or usage.key_cert_sign)


def _require_digital_signature(certificate: x509.Certificate) -> None:
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise _NoPathError(certificate, "may not sign: its keyUsage lacks digitalSignature")


def _require_same(certificate: x509.Certificate, pinned: x509.Certificate) -> None:
    if certificate != pinned:
        raise _NoPathError(certificate, f"is not the configured server cert {_subject(pinned)}")


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise _NoPathError(certificate, f"has extensions that do not parse: {error}") from None


def _why(certificate: x509.Certificate, error: crypto.X509StoreContextError) -> str:
    code, _, text = error.errors
    unanchored = "is self-signed and no configured trust anchor"
    issuerless = f"leads to no trust anchor: there is no certificate of {_issuer(certificate)}"
    reasons = {  # by X509_V_ERR_*
        2: issuerless,
        SIGNATURE_FAILURE: f"was not signed by the {_issuer(certificate)} at hand",
        9: f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC",
        10: f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
        18: unanchored,
        19: unanchored,
        20: issuerless,
        32: NOT_A_CA,
        79: NOT_A_CA,
    }
    return reasons.get(code, f"does not pass: {text}")


def _subject(certificate: x509.Certificate) -> str:
    try:
        return one_line(format_name(certificate.subject), 300) or "NULL-DN"
    except ValueError:
        return "a certificate whose subject does not parse"


def _issuer(certificate: x509.Certificate) -> str:
    try:
        return one_line(format_name(certificate.issuer), 300) or "NULL-DN"
    except ValueError:
        return "(a name that does not parse)"
