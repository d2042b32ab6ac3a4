"""Every procedure with every option of the peers; docs/cmp.md shows what each came to."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from cmp import Rejected, SignatureCredentials, TrustStore
from cmp.http import TlsTrust
from tests import cmp_page
from tests.interop import matrix
from tests.interop.asking import Asking
from tests.interop.matrix import MOCK, ROWS, Row
from tests.interop.procedures import COLUMNS, REFUSALS, Subject
from tests.parts import need
from tests.peers import openssl, siemens
from tests.peers.openssl import OpenSslMock
from tests.peers.siemens import SiemensRa

# What an option is for, seen in the answers.
EFFECTS: dict[str, Callable[[Asking], bool]] = {
    "--sig-out": lambda ask: set(ask.protections) == {"signature"},
    "--pbmac1": lambda ask: "PBM" not in ask.protections,
    "--delay 1 --retry-after 1": lambda ask: "PollRep" in ask.answers or "GenP" in ask.answers,
    "--https": lambda ask: ask.peer.url.startswith("https:"),
    "--http11-only": lambda ask: ask.http_version == "1.1",
    "--html503 2": lambda ask: ask.turned_away > 0 or len(ask.answers) < 2,
}


class Bench:
    """The peer of a row, started when first asked, and once more with each further option.

    OpenSSL's mock is started for each procedure: it does not live through all of them.
    """

    def __init__(self, row: Row, folder: Path, ends: contextlib.ExitStack) -> None:
        self.row, self._folder, self._ends = row, folder, ends
        self._started: dict[str, OpenSslMock | SiemensRa] = {}
        self._count = 0
        self._known: dict[str, dict[str, SignatureCredentials]] = {}
        self.asked: list[Asking] = []

    def subject(self, column: str) -> Subject:
        more = self.row.when.get(column, "")
        if self.row.peer == MOCK:
            self._started.clear()
            self._ends.close()
        known = self._known.setdefault(more, {})
        return Subject(lambda: self._ask(self._peer(more)), known)

    def _peer(self, more: str) -> OpenSslMock | SiemensRa:
        if more not in self._started:
            kind = OpenSslMock if self.row.peer == MOCK else SiemensRa
            options = dict.fromkeys(filter(None, (self.row.options, more)))
            words = " ".join(options).split()
            self._count += 1
            peer = self._started[more] = kind(self._folder / f"peer-{self._count}", *words)
            self._ends.enter_context(peer)
        return self._started[more]

    def _ask(self, peer: OpenSslMock | SiemensRa) -> Asking:
        wanted = dict(self.row.ask)
        pki = peer.peer.pki
        ask = Asking(peer)
        ask.http_version = wanted.pop("http_version", None)
        if wanted.pop("pinned", False):
            ra = x509.load_pem_x509_certificates((peer.folder / "ra.pem").read_bytes())[0]
            ask.trust = TrustStore((pki.root,), pki.chain, server_cert=ra)
        if peer.url.startswith("https:"):
            ask.tls = TlsTrust((pki.root,))
        assert not wanted
        self.asked.append(ask)
        return ask


@pytest.fixture(scope="module")
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    row: Row = request.param
    if row.peer == MOCK:
        need(openssl.program(), openssl.REMEDY)
    else:
        need(siemens.jars(), siemens.REMEDY)
    with contextlib.ExitStack() as ends:
        yield Bench(row, tmp_path_factory.mktemp("peers"), ends)


@pytest.mark.parametrize("bench", ROWS, indirect=True, ids=lambda row: row.id)
@pytest.mark.parametrize("column", COLUMNS)
def test_procedure(bench: Bench, column: str) -> None:
    row, subject = bench.row, bench.subject(column)
    bench.asked.clear()

    with _coming_to_what_is_expected(row, column):
        COLUMNS[column](subject)

    if column in REFUSALS:
        assert bench.asked[-1].answers[-1] == REFUSALS[column]
    if row.options in EFFECTS and column not in row.apart:
        assert EFFECTS[row.options](bench.asked[-1]), "the option had no effect"
    matrix.seen[row.id, column] = matrix.cell(row, column)
    if not cmp_page.WRITING:
        written = matrix.written().get((row.id, column))
        assert written == matrix.cell(row, column), cmp_page.COMMAND


def test_page_has_the_table_of_these_procedures_and_no_other() -> None:
    if not cmp_page.WRITING:
        table = matrix.render(matrix.written())
        assert table == cmp_page.section(matrix.SECTION), cmp_page.COMMAND


@contextlib.contextmanager
def _coming_to_what_is_expected(row: Row, column: str) -> Iterator[None]:
    apart = row.apart.get(column)
    if apart is None and column not in REFUSALS:
        yield
        return
    expected = apart.error if apart else Rejected
    with pytest.raises(expected, match=apart.match if apart else None) as caught:
        yield
    assert type(caught.value) is expected
    if apart is None:
        assert isinstance(caught.value, Rejected)
        assert caught.value.authenticated
