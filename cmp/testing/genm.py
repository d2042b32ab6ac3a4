"""General messages a client may ask a CA: RFC 9483, 4.3. What is not listed there goes unanswered.

Values in, values out: the questions arrive as InfoTypeAndValue, and so do the answers leave.
"""

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cmp.asn1 import sequence_of, wrap
from cmp.messages import InfoTypeAndValue
from cmp.support import (
    CA_CERTS,
    CERT_REQ_TEMPLATE,
    CRL_STATUS_LIST,
    CRLS,
    ROOT_CA_CERT,
    ROOT_CA_KEY_UPDATE,
)
from cmp.testing.pki import Pki, RootUpdate
from cmp.testing.register import Register


def answers(
    items: Iterable[InfoTypeAndValue],
    *,
    pki: Pki,
    update: RootUpdate | None,
    register: Register,
    now: datetime,
) -> tuple[InfoTypeAndValue, ...]:
    """Answer each question that is known; an absent value means there is nothing (new) to give."""
    found = []
    for item in items:
        if item.type == CA_CERTS:  # RFC 9483, 4.3.1
            found.append(InfoTypeAndValue(CA_CERTS, _certificates(pki.chain)))
        elif item.type == ROOT_CA_CERT:  # 4.3.2
            mine = item.value == pki.root.public_bytes(Encoding.DER)
            value = _key_update(update) if update and mine else None
            found.append(InfoTypeAndValue(ROOT_CA_KEY_UPDATE, value))
        elif item.type == CERT_REQ_TEMPLATE:  # 4.3.3: no requirements
            found.append(InfoTypeAndValue(CERT_REQ_TEMPLATE))
        elif item.type == CRL_STATUS_LIST:  # 4.3.4
            revoked = [(each.serial, each.revoked_at) for each in register if each.revoked_at]
            crl = pki.issuing.revocation_list(revoked, now=now)
            found.append(InfoTypeAndValue(CRLS, sequence_of(crl.public_bytes(Encoding.DER))))
    return tuple(found)


def _certificates(certificates: Iterable[x509.Certificate]) -> bytes | None:
    der = b"".join(each.public_bytes(Encoding.DER) for each in certificates)
    return sequence_of(der) if der else None


def _key_update(update: RootUpdate) -> bytes:
    """RootCaKeyUpdateContent, RFC 9810, 5.3.19.15."""
    new, new_with_old, old_with_new = (
        each.public_bytes(Encoding.DER)
        for each in (update.root.certificate, update.new_with_old, update.old_with_new)
    )
    return sequence_of(new + wrap(0xA0, new_with_old) + wrap(0xA1, old_with_new))
