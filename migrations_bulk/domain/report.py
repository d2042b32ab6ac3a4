"""A migration's items as rows for other programs: CSV and JSON."""

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from migrations_bulk.models import BulkMigration

COLUMNS: Final = (
    "certificate_name",
    "state",
    "reason",
    "error_code",
    "attempts",
    "wave",
    "begun_at",
    "settled_at",
    "old_serial_number",
    "old_not_after",
    "new_serial_number",
    "new_not_after",
)
TYPES: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute
CHUNK: Final = 1000


def lines(migration: BulkMigration, kind: str) -> Iterator[str]:
    """Yield the report line by line, so that no size needs memory."""
    return _csv(migration) if kind == "csv" else _json(migration)


def _rows(migration: BulkMigration) -> Iterator[dict[str, Any]]:
    items = migration.items.order_by("certificate_name").values(*COLUMNS)
    for row in items.iterator(chunk_size=CHUNK):
        yield {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, line: str) -> str:
        return line


def _csv(migration: BulkMigration) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for row in _rows(migration):
        yield writer.writerow([_harmless(row[name]) for name in COLUMNS])


def _harmless(value: Any) -> Any:
    """Keep a CA's words from being a formula: a quote makes them text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _json(migration: BulkMigration) -> Iterator[str]:
    yield "["
    for number, row in enumerate(_rows(migration)):
        yield f"{',' if number else ''}\n{json.dumps(row)}"
    yield "\n]\n"
