"""docs/field-notes.md says of every note which tests show it: it must not say what is not so.

The markers are read from the source files, so that nothing has to be run, or be there, for it.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "field-notes.md"
NUMBERS = range(1, 45)
ROW = re.compile(r"\| *(\d+) *\| *([^|]+?) *\| *([^|]+?) *\|")
NAME = re.compile(r"`(test_\w+)`")


def marked() -> dict[int, set[str]]:
    """Return the names of the tests that show each note."""
    found: dict[int, set[str]] = defaultdict(set)
    for file in TESTS.rglob("test_*.py"):
        source = file.read_text(encoding="utf-8")
        if "field_note" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                for number in _numbers(node):
                    found[number].add(node.name)
    return found


def _numbers(function: ast.FunctionDef) -> Iterator[int]:
    for decorator in function.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and isinstance(decorator.func, ast.Attribute)
            and decorator.func.attr == "field_note"
        ):
            for argument in decorator.args:
                yield ast.literal_eval(argument)


ROWS = [(int(row[1]), row[2], row[3]) for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
MARKED = marked()


def test_there_is_a_row_for_every_note_and_for_nothing_else() -> None:
    assert [number for number, _, _ in ROWS] == list(NUMBERS)
    assert set(MARKED) <= set(NUMBERS)


@pytest.mark.parametrize(("number", "shown"), [(number, shown) for number, _, shown in ROWS])
def test_a_note_has_the_tests_its_row_names_or_the_reason_why_it_has_none(
    number: int, shown: str
) -> None:
    named = set(NAME.findall(shown))

    assert named <= MARKED[number]
    if not named:
        assert not MARKED[number]
        assert len(shown.split()) > 3
