"""Bodies are JSON, and their texts can be stored and shown again."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class StorableJSONParser(JSONParser):
    """Refuses what JSON can escape, but neither PostgreSQL's texts nor UTF-8 can hold."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        parsed: dict[str, Any] = super().parse(stream, media_type, parser_context)
        if not _storable(parsed):
            raise ParseError("A text holds a NUL character or half a surrogate pair: remove it.")
        return parsed


def _storable(value: object) -> bool:
    match value:
        case str():
            return "\x00" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
        case list():
            return all(map(_storable, value))
        case dict():
            return all(map(_storable, value)) and all(map(_storable, value.values()))
    return True
