"""Lists come in pages, by cursor."""

from typing import TYPE_CHECKING, Any

from django.db.models import Model, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView


class Pages(CursorPagination):
    """Keeps the view's order; the last page of a million rows comes as fast as the first."""

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000

    def get_ordering(
        self, request: Request, queryset: QuerySet[Model], view: "APIView | None"
    ) -> tuple[str, ...]:
        return tuple(str(name) for name in queryset.query.order_by) or ("pk",)

    def get_page_size(self, request: Request) -> int:
        """Return the size asked for; raise ValidationError where DRF would pass over a mistake."""
        asked = request.query_params.get(self.page_size_query_param, str(self.page_size))
        if asked.isascii() and asked.isdigit() and 1 <= int(asked[:9]) <= self.max_page_size:
            return int(asked)
        raise ValidationError(
            {self.page_size_query_param: [f"Give a number from 1 to {self.max_page_size}."]}
        )

    def get_schema_operation_parameters(self, view: "APIView") -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] |= {
                    "minimum": 1,
                    "maximum": self.max_page_size,
                    "default": self.page_size,
                }
        return parameters

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "properties": {
                "next": {**page, "description": "Where the next page is."},
                "previous": {**page, "description": "Where the page before is."},
                "results": schema,
            },
            "required": ["next", "previous", "results"],
        }
