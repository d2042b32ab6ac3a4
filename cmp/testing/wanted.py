"""What a certification request asks for, once its form and its proof of possession are right.

Looks at the request alone; whether the CA grants it is for `ca`, with its register, to say.
"""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from cmp import algorithms, codec
from cmp.errors import Malformed, Unprotected
from cmp.messages import (
    CertReqMsg,
    CertTemplate,
    Control,
    Cr,
    Ir,
    Kur,
    P10cr,
    PKIStatus,
    PKIStatusInfo,
)
from cmp.names import format_name, same_name
from cmp.request import OLD_CERT_ID

LEAST_RSA_BITS = 2048


class Refused(Exception):
    """The CA says no; `info` is what it tells the client."""

    def __init__(self, failure: str, text: str) -> None:
        super().__init__(f"{failure}: {text}")
        self.info = PKIStatusInfo(PKIStatus.rejection, (text,), frozenset({failure}))


@dataclass(frozen=True, slots=True)
class Wanted:
    """`old_serial` names the certificate to be updated, of those this CA issued."""

    template: CertTemplate
    cert_req_id: int | None  # a p10cr has none
    old_serial: int | None = None


def read(body: Ir | Cr | Kur | P10cr, *, authority: x509.Name) -> Wanted:
    """Return what is asked of `authority`, or raise Refused (badPOP, badCertTemplate, …)."""
    if isinstance(body, P10cr):
        wanted = _from_csr(body.csr)
    elif len(body.requests) != 1:
        raise Refused("badRequest", "exactly one certificate is asked for at a time")
    else:
        wanted = _from_message(body.requests[0], authority)
    key, issuer = wanted.template.public_key, wanted.template.issuer
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        raise Refused("badCertTemplate", f"RSA keys have at least {LEAST_RSA_BITS} bits here")
    if issuer is not None and not same_name(issuer, authority):
        raise Refused(
            "wrongAuthority", f"the issuer asked for is {format_name(issuer)}, not this CA"
        )
    return wanted


def _from_csr(der: bytes) -> Wanted:
    try:
        csr = x509.load_der_x509_csr(der)
        template = CertTemplate(csr.subject, csr.public_key(), extensions=tuple(csr.extensions))
    except ValueError as error:
        text = f"the PKCS #10 request does not parse: {error}"
        raise Refused("badDataFormat", text) from None
    if not csr.is_signature_valid:
        raise Refused("badPOP", "the PKCS #10 request is not signed by its own key")
    return Wanted(template, None)


def _from_message(message: CertReqMsg, authority: x509.Name) -> Wanted:
    request = message.cert_req
    key = request.template.public_key
    if key is None or request.template.subject is None:
        raise Refused("badCertTemplate", "the template has no subject or no public key")
    if message.popo is None:
        raise Refused("badPOP", "a signature by the new key has to prove its possession")
    try:  # over CertRequest: subject and key are in the template, RFC 4211, 4.1
        algorithms.verify(key, message.popo.algorithm, message.popo.signature, message.cert_req_der)
    except Unprotected as error:
        raise Refused("badPOP", str(error)) from None
    return Wanted(request.template, request.cert_req_id, _old_serial(request.controls, authority))


def _old_serial(controls: tuple[Control, ...], authority: x509.Name) -> int | None:
    value = next((each.value for each in controls if each.type == OLD_CERT_ID), None)
    if value is None:
        return None
    try:
        old = codec.decode_cert_id(value)
    except Malformed as error:
        raise Refused("badDataFormat", str(error)) from None
    issuer = old.issuer
    if not isinstance(issuer, x509.DirectoryName) or not same_name(issuer.value, authority):
        raise Refused("badCertId", "oldCertId names a certificate of another CA")
    return old.serial_number
