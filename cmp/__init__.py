"""CMP (RFC 9810, profiled by RFC 9483) as a client speaks it: no Django, no clock, no database.

Read in this order: `messages` (what is said), `transaction` (who may say what next), `protection`
(how it is authenticated), `trust` (whom to believe), `codec` (how it looks in DER), `http` (how it
travels).

`http` is the only module here that touches the network. Everything else turns values into values,
so a test is bytes in and bytes out, and a transaction survives the worker that began it.
"""

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
from cmp.messages import CertTemplate, PKIStatus
from cmp.names import format_name, parse_name, same_name
from cmp.protection import Credentials, MacCredentials, SignatureCredentials
from cmp.trust import TrustStore

__all__ = [
    "BadHttp",
    "CertTemplate",
    "CmpError",
    "Credentials",
    "Expired",
    "LocalError",
    "MacCredentials",
    "Malformed",
    "NoAnswer",
    "OutOfSequence",
    "PKIStatus",
    "Rejected",
    "RemoteError",
    "SignatureCredentials",
    "TransportError",
    "TrustStore",
    "Unacceptable",
    "Unprotected",
    "Unreachable",
    "format_name",
    "parse_name",
    "same_name",
]
