"""What a list of certificates can be narrowed to."""

from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter

from certificates.domain import figures
from certificates.models import Certificate, Enrollment, Readiness


class ReadinessFilter(DropdownFilter):  # type: ignore[misc]
    title = "readiness"
    parameter_name = "readiness"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(label)) for value, label in Readiness.choices]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Certificate]
    ) -> QuerySet[Certificate]:
        return queryset.filter(Q(readiness=self.value())) if self.value() else queryset


class BandFilter(DropdownFilter):  # type: ignore[misc]
    title = "days left"
    parameter_name = "band"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words.capitalize()) for name, _, words in figures.BANDS]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Certificate]
    ) -> QuerySet[Certificate]:
        return queryset.filter(Q(band=self.value())) if self.value() else queryset


class UnderWayFilter(DropdownFilter):  # type: ignore[misc]
    title = "under way"
    parameter_name = "under_way"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = [(value, f"{label.capitalize()}") for value, label in Enrollment.Kind.choices]
        return [
            ("NONE", "Nothing"),
            ("ANY", "Anything"),
            *kinds,
            ("FAILING", "Failing"),
            ("STOPPED", "Stopped"),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Certificate]
    ) -> QuerySet[Certificate]:
        errands = Enrollment.objects.open().filter(certificate=OuterRef("pk"))
        match self.value():
            case None | "":
                return queryset
            case "NONE":
                return queryset.filter(~Exists(errands))
            case "ANY":
                return queryset.filter(Exists(errands))
            case "FAILING":
                return queryset.filter(Exists(errands.exclude(error_code="")))
            case "STOPPED":
                return queryset.filter(Exists(errands.filter(Q(due_at=None))))
            case kind:
                return queryset.filter(Exists(errands.filter(kind=kind)))


class NetworkFunctionFilter(DropdownFilter):  # type: ignore[misc]
    title = "network function"
    parameter_name = "network_function"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = Certificate.objects.order_by("network_function")
        return [(n, n) for n in names.values_list("network_function", flat=True).distinct()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Certificate]
    ) -> QuerySet[Certificate]:
        return queryset.filter(network_function=self.value()) if self.value() else queryset
