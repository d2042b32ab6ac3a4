"""The rows of the table in docs/cmp.md: peers, each with one of its options, and what to expect.

A cell says what a procedure came to. Where that is not success, `apart` says why; what can be tried
is tried all the same, and has to fail in just that way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cmp import CmpError, Rejected, Unprotected
from tests import cmp_page
from tests.interop.procedures import COLUMNS

SECTION = "interop"
YES = "yes"
seen: dict[tuple[str, str], str] = {}  # by this run


@dataclass(frozen=True)
class Apart:
    """Why a cell is not `yes`: `word` stands in it. `error` is what the procedure ends with."""

    why: str
    word: str
    error: type[CmpError]
    match: str


@dataclass(frozen=True)
class Row:
    """`when` adds options for single columns; `ask` is how an issuer for this peer is set up."""

    peer: str
    options: str = ""
    when: Mapping[str, str] = field(default_factory=dict)
    apart: Mapping[str, Apart] = field(default_factory=dict)
    ask: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.peer} `{self.options}`" if self.options else self.peer

    @property
    def id(self) -> str:
        return f"{self.peer} {self.options}".strip().replace(" ", "-").lower()


MOCK, RA = "OpenSSL 3.0 mock", "Siemens RA"
PATIENT = "--delay 1 --retry-after 1"

MOCK_WHEN = {
    "implicit confirmation": "-grant_implicitconf",
    "polling": "-poll_count 2 -check_after 1",
    "error": "-send_error",
    "rejection": "-pkistatus 2 -failure 2",
}
RA_WHEN = {"implicit confirmation": "--implicit", "polling": PATIENT}

UNPROTECTED = Apart(
    "nothing protects the answer: refused, and nothing of it is believed",
    "refused",
    Unprotected,
    "not protected",
)
UNPROVEN = Apart(
    "the refusal is not protected: it is shown as unauthenticated and ends nothing for good",
    "unauthenticated",
    Rejected,
    "unauthenticated answer",
)
NO_PATIENCE = Apart(
    "CmpRaComponent 4.1.4 cannot let a p10cr wait: it refuses its own answer",
    "n/a",
    Rejected,
    "request was not answered by cert response for ERROR",
)


ROWS = (
    Row(MOCK, when=MOCK_WHEN),
    Row(MOCK, "-send_unprot_err", MOCK_WHEN, dict.fromkeys(("error", "rejection"), UNPROVEN)),
    Row(
        MOCK,
        "-send_unprotected",
        MOCK_WHEN,
        dict.fromkeys(COLUMNS, UNPROTECTED) | dict.fromkeys(("error", "rejection"), UNPROVEN),
    ),
    Row(RA, "", RA_WHEN),
    Row(RA, "--implicit", RA_WHEN),
    Row(RA, PATIENT, RA_WHEN, {"p10cr": NO_PATIENCE}),
    Row(RA, "--sig-out", RA_WHEN),
    Row(RA, "--pbmac1", RA_WHEN),
    Row(RA, "--cache", RA_WHEN),
    Row(RA, "--cache --suppress", RA_WHEN, ask={"pinned": True}),
    Row(RA, "--https", RA_WHEN),
    Row(RA, "--http11-only", RA_WHEN),
    Row(RA, "--chunked", RA_WHEN, ask={"http_version": "1.1"}),
    Row(RA, "--html503 2", RA_WHEN),
)

# Asked for of every peer, and not to be had of this one.
WITHOUT_ROW = {
    "HTTPS, HTTP/1.1 only, chunked answers, 503 pages": (
        MOCK,
        "its HTTP server speaks plain HTTP/1.0 and has no option for these",
    ),
    "PBMAC1": (MOCK, "OpenSSL 3.0 takes PBMAC1 for a signature algorithm"),
    "signed answers to a request under a MAC": (
        MOCK,
        "it answers a MAC with a MAC as soon as it knows a secret",
    ),
    "requests under PBMAC1": (
        RA,
        "it reads keyLength as bits, where RFC 9481 counts octets; its own answers are understood",
    ),
}


def render(cells: Mapping[tuple[str, str], str]) -> str:
    """Return the section: the table, then why some cells are not `yes`."""
    body = [[row.name, *(cells.get((row.id, column), "?") for column in COLUMNS)] for row in ROWS]
    notes = "".join(f"{number}. {why}\n" for number, why in enumerate(_reasons(), 1))
    missing = "".join(f"- {what}: {peer}, {why}\n" for what, (peer, why) in WITHOUT_ROW.items())
    return (
        f"\n{cmp_page.table(['', *COLUMNS], body)}\n{notes}\nNot to be had of one of the two:\n\n"
        f"{missing}\n"
    )


def cell(row: Row, column: str) -> str:
    """Return what is to stand in a cell when its procedure came to what is expected."""
    apart = row.apart.get(column)
    return YES if apart is None else f"{apart.word} ({_reasons().index(apart.why) + 1})"


def written() -> dict[tuple[str, str], str]:
    """Return the cells of the page by row and column."""
    by_name = {row.name: row.id for row in ROWS}
    heading, *body = cmp_page.rows(SECTION) or [[]]
    return {
        (by_name.get(name, name), column): text
        for name, *cells in body
        for column, text in zip(heading[1:], cells, strict=True)
    }


def _reasons() -> list[str]:
    every = (apart.why for row in ROWS for apart in row.apart.values())
    return list(dict.fromkeys(every))
