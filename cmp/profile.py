"""How one CA is spoken to: what its operator chose, apart from credentials and trust.

docs/cmp.md says which CA needs what. The defaults are what RFC 9483 asks of everybody.
"""

from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509

from cmp.acceptance import IMPLICIT_CONFIRM
from cmp.algorithms import NULL
from cmp.asn1 import sequence_of, wrap
from cmp.messages import InfoTypeAndValue
from cmp.protection import Credentials, MacCredentials
from cmp.trust import TrustStore

CERT_PROFILE = x509.ObjectIdentifier("1.3.6.1.5.5.7.4.21")  # id-it-certProfile
_UTF8_STRING = 0x0C


@dataclass(frozen=True, slots=True)
class Profile:
    """`total_timeout` bounds a transaction, polling included, until a certificate is granted.

    `mac_only` refuses signed answers to requests under a MAC. `expected_sender` binds answers to
    one name; without it, signed ones are bound to the server cert's subject if there is one.
    """

    recipient: x509.Name
    total_timeout: timedelta = timedelta(seconds=300)
    implicit_confirm: bool = False  # ask for it; it counts only if the CA grants it
    mac_only: bool = False
    expected_sender: x509.Name | None = None
    cert_profile: str = ""  # a name the CA gave to a kind of certificate
    null_dn_sender: bool = False  # under a MAC, leave the naming to senderKID
    send_root: bool = False  # after our certificate's chain, if the trust store has it

    def sender(self, credentials: Credentials) -> x509.GeneralName:
        """A signature's sender is always the subject of its certificate: RFC 9483, 3.1."""
        if self.null_dn_sender and isinstance(credentials, MacCredentials):
            return x509.DirectoryName(x509.Name([]))
        return credentials.sender

    def sent_certs(
        self, credentials: Credentials, trust: TrustStore
    ) -> tuple[x509.Certificate, ...]:
        """Return the extraCerts of every message: the signer first, RFC 9483, 3.3."""
        certificates = credentials.sent_certs
        return (*certificates, *trust.roots_of(certificates)) if self.send_root else certificates

    def certification_info(self) -> tuple[InfoTypeAndValue, ...]:
        """Return the generalInfo of a request for one certificate: RFC 9810, 5.1.1.1 and .4."""
        items = []
        if self.implicit_confirm:
            items.append(InfoTypeAndValue(IMPLICIT_CONFIRM, NULL))
        if self.cert_profile:
            name = wrap(_UTF8_STRING, self.cert_profile.encode())
            items.append(InfoTypeAndValue(CERT_PROFILE, sequence_of(name)))
        return tuple(items)
