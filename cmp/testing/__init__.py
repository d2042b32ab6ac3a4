"""A CA for demos and tests that speaks real CMP; nothing that runs in production imports it.

`Pki` makes its certificates, `DemoCA` answers (bytes in, bytes out, no clock), `serve` puts it
behind HTTP(S). `python -m cmp.testing --help` runs one as a process. What a CA can be told to do
otherwise, down to its faults, is listed in `behaviour`.
"""

from cmp.testing.behaviour import Behaviour, Refusal, Reply, When
from cmp.testing.ca import DemoCA
from cmp.testing.pki import Design, Pki
from cmp.testing.register import Issued, Register, State
from cmp.testing.server import Server, serve, tls_context

__all__ = [
    "Behaviour",
    "DemoCA",
    "Design",
    "Issued",
    "Pki",
    "Refusal",
    "Register",
    "Reply",
    "Server",
    "State",
    "When",
    "serve",
    "tls_context",
]
