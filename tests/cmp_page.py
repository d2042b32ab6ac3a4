"""The tables of docs/cmp.md that tests write: each between two comments, compared at every run.

`OCCM_WRITE_DOCS=1 ./occm test tests/interop tests/cmp/test_page.py` writes them anew.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "cmp.md"
WRITING = bool(os.environ.get("OCCM_WRITE_DOCS"))
COMMAND = "OCCM_WRITE_DOCS=1 ./occm test tests/interop tests/cmp/test_page.py"


def section(name: str) -> str:
    """Return what stands between the comments of a section."""
    return _between(name, PAGE.read_text())[1]


def write_section(name: str, text: str) -> None:
    before, _, after = _between(name, PAGE.read_text())
    PAGE.write_text(f"{before}{text}{after}")


def rows(name: str) -> list[list[str]]:
    """Return the cells of the section's first table, heading included."""
    lines = [line for line in section(name).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def table(heading: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _between(name: str, page: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name}: written by tests -->\n", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    text, ended, after = rest.partition(end)
    assert found, f"docs/cmp.md has no section {name}"
    assert ended, f"section {name} of docs/cmp.md does not end"
    return before + found, text, ended + after
