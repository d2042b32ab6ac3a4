"""Seconds from a failure to the next try, as CAs and the secret store see them: 30, for any cause.

For each cause an issuer whose CA fails in that way and no other; its OCCM certificate is asked for
again and again. All causes run side by side, on a dispatcher and a worker as in production. The CAs
note when a question comes and when it is answered; what never reaches one (`refused connection`) is
read in the row.

    ./occm bench retry [--rounds 20]
"""

import argparse
import contextlib
import importlib
import itertools
import os
import socketserver
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks._site import Site
from cmp import codec
from cmp.testing import DemoCA, Pki, Refusal, serve
from cmp.testing.behaviour import Reply
from tests.peers.demo_ca import REFERENCE, SECRET
from tests.peers.process import free_port

INTERVAL_S, TOLERANCE_S = 30.0, 2.0
MESSAGE_TIMEOUT_S = 5
CAUSES: dict[str, dict[str, Any]] = {  # a CA's knobs
    "refused": {"refuse": Refusal()},
    "refused by an error body": {"refuse": Refusal(), "error_body": True},
    "HTTP 503": {"http_503_html": True},
    "connection dropped": {"drop_connection": True},
    "no answer in time": {"stall": True},
    "answer cut off": {"truncate": True},
    "garbage": {"garbage": True},
    "answer not protected": {"unprotected_answers": True},
    "answer's MAC wrong": {"spoil_protection": True},
    "answer's nonce wrong": {"wrong_nonce": True},
    "another transaction's": {"answer_another_transaction": True},
    "another key certified": {"issue_for_another_key": True},
}
TLS, UNREACHABLE, STORE = "TLS handshake fails", "refused connection", "secret not writable"


@dataclass
class Tries:
    """When each began and failed, in seconds."""

    began: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)

    def gaps(self) -> list[float]:
        """Return how long after each failure the next try began."""
        return [
            began - max(failed for failed in self.failed if failed <= began)
            for began in self.began
            if any(failed <= began for failed in self.failed)
        ]


@dataclass(kw_only=True)
class WatchedCA(DemoCA):
    """A demo CA that notes when it is asked and when its answer leaves."""

    tries: Tries = field(default_factory=Tries)

    def respond(self, der: bytes, *, now: datetime) -> Reply:
        if type(codec.decode(der).body).__name__ == "Ir":
            self.tries.began.append(time.monotonic())
        reply = super().respond(der, now=now)
        self.tries.failed.append(time.monotonic() + (MESSAGE_TIMEOUT_S if self.stall else 0))
        return reply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="occm-retry-")))
        site = stack.enter_context(Site(folder))
        os.environ.update(site.environ, OCCM_LOG_LEVEL="ERROR")
        rows = importlib.import_module("benchmarks._rows")
        rows.migrate()
        tries = {cause: stack.enter_context(failing(cause, site, rows)) for cause in CAUSES}
        tries[TLS] = stack.enter_context(failing_handshakes(site, rows))
        gaps: dict[str, Callable[[], list[float]]] = {
            cause: found.gaps for cause, found in tries.items()
        }
        gaps[UNREACHABLE] = unreachable(site, rows)
        gaps[STORE] = stack.enter_context(not_writable(site, rows))
        begin(site)
        wait(gaps, options.rounds)
        if not told({cause: found()[: options.rounds] for cause, found in gaps.items()}):
            sys.exit(1)


def begin(site: Site) -> None:
    refusing = {"OCCM_BENCH_REFUSES": "1", "OCCM_BENCH_REFUSED": "store-occm"}
    log = {"OCCM_BENCH_REFUSALS": str(refusals(site))}
    site.start("worker", app="benchmarks._refusing", **refusing, **log)
    site.start("dispatch")
    site.start("beat")


def wait(gaps: dict[str, Callable[[], list[float]]], rounds: int) -> None:
    deadline = time.monotonic() + 60 + rounds * (INTERVAL_S + MESSAGE_TIMEOUT_S + TOLERANCE_S)
    while time.monotonic() < deadline and min([len(it()) for it in gaps.values()]) < rounds:
        time.sleep(0.5)


def told(gaps: dict[str, list[float]]) -> bool:
    """Print what was seen, and say whether all of it is within bounds."""
    print(f"{'cause':<26}{'times':>6}{'least':>8}{'median':>8}{'most':>8}")
    well = True
    for cause, found in gaps.items():
        fine = bool(found) and all(abs(gap - INTERVAL_S) <= TOLERANCE_S for gap in found)
        numbers = (min(found), statistics.median(found), max(found)) if found else ()
        columns = "".join(f"{number:8.2f}" for number in numbers)
        print(f"{cause:<26}{len(found):6}{columns}{'' if fine else '  out of bounds'}")
        well = well and fine
    return well


@contextlib.contextmanager
def failing(cause: str, site: Site, rows: Any) -> Iterator[Tries]:
    """Run a CA that fails so, ask it, and yield what it saw."""
    pki = Pki.generate(f"CA: {cause}", now=datetime.now(UTC) - timedelta(days=1))
    secrets = {REFERENCE.encode(): SECRET.encode()}
    ca = WatchedCA(pki=pki, secrets=secrets, **CAUSES[cause])
    with serve(ca) as server:
        ask(cause, site, rows, pki, server_url=server.url)
        yield ca.tries


@contextlib.contextmanager
def failing_handshakes(site: Site, rows: Any) -> Iterator[Tries]:
    """Listen where TLS is expected, hang up on everybody, and yield when they came."""
    tries = Tries()

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            tries.began.append(time.monotonic())
            tries.failed.append(time.monotonic())

    pki = Pki.generate("CA: TLS", now=datetime.now(UTC) - timedelta(days=1))
    with socketserver.TCPServer(("127.0.0.1", 0), HangUp) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{server.server_address[1]}/pkix/"
        rows.put(site.secrets, "tls", {"root.pem": pki.root.public_bytes(Encoding.PEM)})
        trust: dict[str, Any] = {"tls_namespace": rows.OPERATORS, "tls_secret": "tls"}
        trust["tls_trusted_certs"] = ["root.pem"]
        ask(TLS, site, rows, pki, server_url=url, tls_enabled=True, **trust)
        yield tries
        server.shutdown()


def unreachable(site: Site, rows: Any) -> Callable[[], list[float]]:
    """Ask where nobody listens; the row says when it failed, so this is from failure to failure."""
    pki = Pki.generate("CA: unreachable", now=datetime.now(UTC) - timedelta(days=1))
    identity = ask(UNREACHABLE, site, rows, pki, server_url=f"http://127.0.0.1:{free_port()}/pkix/")
    moments: list[float] = []

    def gaps() -> list[float]:
        if (last := rows.last_failed(identity)) is not None and last not in moments:
            moments.append(last)
        return [later - earlier for earlier, later in itertools.pairwise(moments)]

    return gaps


@contextlib.contextmanager
def not_writable(site: Site, rows: Any) -> Iterator[Callable[[], list[float]]]:
    """Ask a healthy CA for what cannot be written; from refusal to refusal."""
    pki = Pki.generate("CA: store", now=datetime.now(UTC) - timedelta(days=1))
    ca = DemoCA(pki=pki, secrets={REFERENCE.encode(): SECRET.encode()})

    def gaps() -> list[float]:
        log = refusals(site)
        moments = [float(line) for line in log.read_text().split()] if log.exists() else []
        return [later - earlier for earlier, later in itertools.pairwise(moments)]

    with serve(ca) as server:
        ask("store", site, rows, pki, server_url=server.url)
        yield gaps


def ask(cause: str, site: Site, rows: Any, pki: Pki, **fields: Any) -> Any:
    """Register an issuer for a cause and its OCCM certificate."""
    name = "".join(letter if letter.isalnum() else "-" for letter in cause.lower())
    authorities = [pki.root, pki.signer.certificate]
    timeout = {"message_timeout_s": MESSAGE_TIMEOUT_S}
    issuer = rows.an_issuer(site.secrets, authorities, name=name, **timeout, **fields)
    return rows.ask_for_identity(issuer)


def refusals(site: Site) -> Path:
    return site.folder / "refusals"


if __name__ == "__main__":
    main()
