"""CMP (RFC 9810, profiled by RFC 9483) as a client speaks it: no Django, no clock, no database.

Read in this order: `messages` (what is said), `request` (what a client may ask), `states` and
`transaction` (who may say what next) with `saying` (the message for each state), `authentication`
(whose word it is) with `protection` (how it is proven) and `trust` (whom to believe), `acceptance`
(what an answer must be), `codec` (how it looks in DER), `http` (how it travels). `support` is what
may be asked beside certificates.

`http`, with `connection`, is all here that touches the network. Everything else turns values into
values, so a test is bytes in and bytes out, and a transaction survives the worker that began it.
"""

from cmp.acceptance import Issued, require_serial_number
from cmp.errors import (
    BadHttp,
    CmpError,
    Expired,
    LocalError,
    Malformed,
    NoAnswer,
    OutOfSequence,
    Rejected,
    RemoteError,
    TransportError,
    Unacceptable,
    Unprotected,
    Unreachable,
)
from cmp.messages import CertTemplate, InfoTypeAndValue, PKIStatus
from cmp.names import format_name, parse_name, same_name
from cmp.profile import Profile
from cmp.protection import Credentials, MacCredentials, SignatureCredentials
from cmp.request import Ask, Certify, Enroll, Request, Revoke, SignCsr, Update
from cmp.states import State
from cmp.support import (
    ask_ca_certificates,
    ask_certificate_template,
    ask_crl,
    ask_root_update,
    read_ca_certificates,
    read_certificate_template,
    read_crls,
    read_root_update,
)
from cmp.transaction import Transaction
from cmp.trust import TrustStore

__all__ = [
    "Ask",
    "BadHttp",
    "CertTemplate",
    "Certify",
    "CmpError",
    "Credentials",
    "Enroll",
    "Expired",
    "InfoTypeAndValue",
    "Issued",
    "LocalError",
    "MacCredentials",
    "Malformed",
    "NoAnswer",
    "OutOfSequence",
    "PKIStatus",
    "Profile",
    "Rejected",
    "RemoteError",
    "Request",
    "Revoke",
    "SignCsr",
    "SignatureCredentials",
    "State",
    "Transaction",
    "TransportError",
    "TrustStore",
    "Unacceptable",
    "Unprotected",
    "Unreachable",
    "Update",
    "ask_ca_certificates",
    "ask_certificate_template",
    "ask_crl",
    "ask_root_update",
    "format_name",
    "parse_name",
    "read_ca_certificates",
    "read_certificate_template",
    "read_crls",
    "read_root_update",
    "require_serial_number",
    "same_name",
]
