"""How one CA is spoken to: what its operator chose, apart from credentials and trust."""

from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509


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
