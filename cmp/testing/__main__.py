"""Run a demo CA as a process of its own: `python -m cmp.testing --folder DIR`.

Its certificates and its register live in the folder, so that a restart forgets nothing it issued.
Once it answers it prints one line, READY url=… root=…; SIGTERM or Ctrl-C ends it. Every knob can be
turned while it runs: POST a JSON object of them to /control; GET shows them, and what was asked.
"""

import argparse
import re
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from cmp.testing import Behaviour, DemoCA, Design, Pki, Refusal, Register, serve, tls_context
from cmp.testing.pki import DEMO

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(text: str) -> timedelta:
    """Read 90, 90s, 10m, 8h or 30d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 30s, 10m, 8h or 365d")
    return timedelta(**{UNITS[match[2] or "s"]: float(match[1])})


def arguments() -> argparse.ArgumentParser:
    usual = Behaviour()
    parser = argparse.ArgumentParser(
        prog="python -m cmp.testing", description="A CMP CA for demos and tests, never production."
    )
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="keeps its certificates and its register")
    add("--name", default="Demo CA 1", help="in its certificates' names, when they are made")
    add("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    add("--port", type=int, default=0, help="default: a free one")
    add("--hosts", nargs="+", default=DEMO.hosts, help="names in the certificate for --https")
    add("--https", action="store_true", help="with a certificate of its own PKI")
    add("--reference", default="demo", help="names the shared secret in senderKID")
    add("--mac-secret-file", type=Path, help="holds the shared secret; without it, no MAC")
    add("--vendor-roots", type=Path, help="PEM: roots of certificates that may ask for the first")
    add("--validity", type=duration, default=usual.validity, help="granted at most: 10m, 365d")
    add("--delay", type=duration, default=usual.delay, help="before each answer")
    add("--polls", type=int, default=usual.polls, help="say `waiting` so many times")
    add("--check-after", type=duration, default=usual.check_after, help="between polls")
    add("--implicit", action="store_true", help="grant implicit confirmation to who asks for it")
    add("--refuse", metavar="TEXT", help="refuse every request, saying this")
    add("--stall", action="store_true", help="never answer")
    add("--http11-only", action="store_true", help="refuse HTTP/1.0 by 505")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments().parse_args(argv)
    now = datetime.now(UTC)
    design = Design(hosts=tuple(options.hosts))
    pki = Pki.open(options.folder, options.name, now=now, design=design)
    secrets = {}
    if options.mac_secret_file:
        secret = options.mac_secret_file.read_bytes().strip()
        secrets[options.reference.encode()] = secret
    roots = options.vendor_roots.read_bytes() if options.vendor_roots else b""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with Register(options.folder / "register.jsonl") as register:
        ca = DemoCA(
            pki=pki,
            secrets=secrets,
            vendor_roots=tuple(x509.load_pem_x509_certificates(roots)) if roots else (),
            register=register,
            validity=options.validity,
            delay=options.delay,
            polls=options.polls,
            check_after=options.check_after,
            implicit_confirm=options.implicit,
            refuse=Refusal(text=(options.refuse,)) if options.refuse else None,
            stall=options.stall,
            http11_only=options.http11_only,
        )
        tls = tls_context(pki) if options.https else None
        with serve(ca, host=options.host, port=options.port, tls=tls) as server:
            root = (options.folder / "ca-00.pem").resolve()
            sys.stdout.write(f"READY url={server.url} root={root}\n")
            sys.stdout.flush()
            stopping.wait()


if __name__ == "__main__":
    main()
