"""What becomes of a request for a certificate: examined, issued, confirmed or rejected.

Everything that looks into the register before it says yes. Refused carries the failInfo.
"""

import hmac
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from cmp import algorithms
from cmp.messages import (
    Body,
    CertConf,
    CertResponse,
    CertStatus,
    CertTemplate,
    Cp,
    Cr,
    ErrorMsg,
    InfoTypeAndValue,
    Ip,
    Ir,
    Kup,
    Kur,
    P10cr,
    PkiConf,
    PKIStatus,
    PKIStatusInfo,
    Rp,
)
from cmp.names import format_name, same_name
from cmp.testing import wanted
from cmp.testing.authority import NotIssuable
from cmp.testing.behaviour import Behaviour, befalls
from cmp.testing.exchange import Exchange
from cmp.testing.keys import generate_key
from cmp.testing.pki import Pki
from cmp.testing.register import Issued, Register, State
from cmp.testing.wanted import Refused, Wanted

IMPLICIT_CONFIRM = InfoTypeAndValue(x509.ObjectIdentifier("1.3.6.1.5.5.7.4.13"), b"\x05\x00")
RESPONSES: dict[str, type[Ip | Cp | Kup]] = {"ir": Ip, "cr": Cp, "p10cr": Cp, "kur": Kup}
ACCEPTED = PKIStatusInfo(PKIStatus.accepted)


@dataclass(frozen=True, slots=True)
class Certification:
    behaviour: Behaviour
    pki: Pki
    register: Register

    def examine(
        self, exchange: Exchange, body: Ir | Cr | Kur | P10cr, *, now: datetime
    ) -> CertTemplate:
        """Return what may be issued, or raise Refused."""
        request = wanted.read(body, authority=self.pki.issuing.certificate.subject)
        if request.cert_req_id is not None:
            exchange.cert_req_id = request.cert_req_id
        template = request.template
        key, signer = template.public_key, exchange.peer.signer
        if key and self.register.knows_key(key) and not self.behaviour.accept_used_keys:
            raise Refused("badCertTemplate", "this public key was certified before")
        if isinstance(body, Kur):
            exchange.replaces = self._replaceable(request, now)
        if self.behaviour.only_own_subject and signer is not None:
            _require_subject(template, signer.subject, "notAuthorized")
        return template

    def issue(self, exchange: Exchange, template: CertTemplate, *, now: datetime) -> Body:
        """Issue, enter it in the register, and return the positive response."""
        behaviour, question = self.behaviour, exchange.request
        status = ACCEPTED
        validity = behaviour.validity
        if befalls(behaviour.grant_with_mods, question):
            status = PKIStatusInfo(PKIStatus.grantedWithMods, ("shortened, no key purposes",))
            validity /= 2
            template = replace(template, extensions=_without_purposes(template.extensions))
        if befalls(behaviour.issue_for_another_key, question):
            template = replace(template, public_key=generate_key().public_key())
        try:
            certificate = self.pki.issuing.issue(template, now=now, validity=validity)
        except NotIssuable as error:
            raise Refused("badCertTemplate", str(error)) from None
        exchange.issued = self.register.add(
            certificate, asked_by=exchange.asked, transaction_id=exchange.id, now=now
        )
        exchange.until = now + behaviour.confirm_wait
        exchange.implicit = (
            behaviour.implicit_confirm and IMPLICIT_CONFIRM in question.header.general_info
        )
        if exchange.implicit or not behaviour.require_confirm:
            self._accept(exchange, exchange.issued, now)
        wrong = befalls(behaviour.wrong_cert_req_id, question)
        granted = CertResponse(exchange.cert_req_id + wrong, status, certificate)
        ca_pubs = (self.pki.root,) if behaviour.ca_pubs else ()
        return RESPONSES[exchange.asked]((granted,), ca_pubs)

    def confirm(self, exchange: Exchange, issued: Issued, body: CertConf, *, now: datetime) -> Body:
        """Take the client's word on the certificate issued (RFC 9810, 5.3.18)."""
        if len(body.statuses) > 1:
            raise Refused("badRequest", "one certificate was issued, several are confirmed")
        refusal = _refusal_by_client(body)
        if body.statuses:
            self._require_hash(exchange, body.statuses[0], issued)
        if issued.revoked_at:
            if refusal is None:
                raise Refused("certRevoked", f"the certificate is revoked: {issued.reason}")
        elif refusal is not None:
            self.register.revoke(issued, reason=f"rejected by the client: {refusal}", now=now)
        elif issued.state is State.UNCONFIRMED:
            self._accept(exchange, issued, now)
        return PkiConf()

    def _replaceable(self, request: Wanted, now: datetime) -> Issued:
        """RFC 9810, 5.3.5: a kur names the certificate to be updated, and it is still good."""
        if request.old_serial is None:
            raise Refused("badCertId", "oldCertId has to name the certificate to be updated")
        old = self.register.get(request.old_serial)
        if old is None:
            raise Refused("badCertId", "this CA issued no certificate with the number in oldCertId")
        if old.state is not State.VALID:
            raise Refused("certRevoked", f"the certificate in oldCertId is {old.state}")
        certificate = old.certificate
        if certificate.not_valid_after_utc < now:
            raise Refused("badCertId", "the certificate in oldCertId has expired")
        _require_subject(request.template, certificate.subject, "badCertTemplate")
        return old

    def _accept(self, exchange: Exchange, issued: Issued, now: datetime) -> None:
        self.register.confirm(issued, now=now)
        if exchange.replaces is not None:
            self.register.supersede(exchange.replaces, now=now)

    def _require_hash(self, exchange: Exchange, status: CertStatus, issued: Issued) -> None:
        if status.cert_req_id != exchange.cert_req_id:
            raise Refused("badCertId", f"certReqId is not {exchange.cert_req_id}")
        expected, named = algorithms.certificate_hash(issued.certificate)
        if status.hash_alg != named or not hmac.compare_digest(status.cert_hash, expected):
            raise Refused("badCertId", "certHash is not that of the certificate issued")


def response(exchange: Exchange, info: PKIStatusInfo) -> Body:
    """Say no, or not yet, in the body that answers the request."""
    if exchange.asked in RESPONSES:
        return RESPONSES[exchange.asked]((CertResponse(exchange.cert_req_id, info),))
    if exchange.asked == "rr" and info.status is not PKIStatus.waiting:
        return Rp((info,))
    return ErrorMsg(info)


def _require_subject(template: CertTemplate, subject: x509.Name, failure: str) -> None:
    if template.subject is None or not same_name(template.subject, subject):
        raise Refused(failure, f"the subject may only be {format_name(subject)}")


def _refusal_by_client(body: CertConf) -> str | None:
    """RFC 9810, 5.3.18: an empty certConf rejects everything; no statusInfo means accepted."""
    if not body.statuses:
        return "an empty certConf"
    info = body.statuses[0].status_info
    if info is None or info.status is PKIStatus.accepted:
        return None
    return " ".join(info.status_string) or info.status.name


def _without_purposes(
    extensions: tuple[x509.Extension[x509.ExtensionType], ...],
) -> tuple[x509.Extension[x509.ExtensionType], ...]:
    return tuple(each for each in extensions if each.oid != ExtensionOID.EXTENDED_KEY_USAGE)
