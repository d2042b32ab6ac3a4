"""The statements that every enrolment takes, written out in SQL.

To compose one anew, Django takes many times as long as PostgreSQL takes to run it, and a worker
runs a dozen for each certificate. What is not on that way is left to the ORM. Values are converted
by the model's fields in both directions, as the ORM does it. PostgreSQL plans each of them once for
a connection.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from django.db import connection, models
from django.db.backends.utils import CursorWrapper

Model = type[models.Model]
M = TypeVar("M", bound=models.Model)


def update(
    model: Model,
    changes: Mapping[str, Any],
    *,
    where: str,
    matching: Sequence[Any],
    written_as: Mapping[str, str] | None = None,
) -> int:
    """Change the rows that `where` matches, and return how many.

    `written_as` names columns that are set to more than a value: SQL with one %s for it.
    """
    special = written_as or {}
    assigned = ", ".join(f"{_field(model, it).column} = {special.get(it, '%s')}" for it in changes)
    values = [value_of(model, name, value) for name, value in changes.items()]
    with _cursor() as cursor:
        cursor.execute(
            f"UPDATE {model._meta.db_table} SET {assigned} WHERE {where}",  # noqa: S608, SLF001
            [*values, *matching],
        )
        return int(cursor.rowcount)


def one(sql: str, params: Sequence[Any]) -> Sequence[Any] | None:
    """Run a statement that returns at most one row."""
    with _cursor() as cursor:
        cursor.execute(sql, params)
        found = cursor.fetchall()  # to its end, which is when SQLite has done what it says
    row: Sequence[Any] | None = found[0] if found else None
    return row


def _cursor() -> CursorWrapper:
    """Open a cursor; with PostgreSQL one whose values go beside the statement, that it is prepared.

    Django puts values into the text, which is another each time.
    """
    if connection.vendor != "postgresql":
        return connection.cursor()
    from psycopg import Cursor  # noqa: PLC0415 - with SQLite there may be none

    connection.close_if_health_check_failed()
    connection.ensure_connection()
    cursor: Any = Cursor(connection.connection)
    wrapped = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    return wrapped(cursor)


def value_of(model: Model, name: str, value: Any) -> Any:
    """Return a value as the database takes it for this column."""
    return _field(model, name).get_db_prep_save(value, connection)


def columns(model: Model, names: tuple[str, ...] = (), *, alias: str = "") -> str:
    """Return these columns, or all, as a statement names them; `row` understands their values."""
    prefix = f"{alias}." if alias else ""
    return ", ".join(prefix + it for it in _reading(model, names, connection.vendor).columns)


def row(model: type[M], values: Sequence[Any], names: tuple[str, ...] = ()) -> M:
    """Make an instance of the values of `columns`; what else it is asked for, it fetches itself."""
    reading, read = _reading(model, names, connection.vendor), list(values)
    for place, column, convert in reading.converters:
        read[place] = convert(read[place], column, connection)
    return model.from_db(connection.alias, reading.attributes, read)


def split(values: Sequence[Any], models_: Sequence[Model]) -> list[Sequence[Any]]:
    """Divide a row of a join into the values of all columns of each model."""
    found, rest = [], values
    for model in models_:
        count = len(_reading(model, (), connection.vendor).columns)
        found.append(rest[:count])
        rest = rest[count:]
    return found


class _Reading(NamedTuple):
    columns: tuple[str, ...]
    attributes: tuple[str, ...]
    converters: tuple[tuple[int, Any, Callable[..., Any]], ...]


@lru_cache(maxsize=32)
def _reading(model: Model, names: tuple[str, ...], _vendor: str) -> _Reading:
    """Tell how columns are read; that is the same for all connections to such a database."""
    meta = model._meta  # noqa: SLF001
    fields = [it for it in meta.concrete_fields if not names or it.name in names]
    converters = []
    for place, field in enumerate(fields):
        column = field.get_col(meta.db_table)
        each = connection.ops.get_db_converters(column) + field.get_db_converters(connection)
        converters += [(place, column, convert) for convert in each]
    return _Reading(
        columns=tuple(str(it.column) for it in fields),
        attributes=tuple(it.attname for it in fields),
        converters=tuple(converters),
    )


@lru_cache(maxsize=512)
def _field(model: Model, name: str) -> "models.Field[Any, Any]":
    return next(it for it in model._meta.concrete_fields if it.name == name)  # noqa: SLF001
