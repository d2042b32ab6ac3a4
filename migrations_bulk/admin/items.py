"""The certificates of migrations, and the panel "Bulk Cert Migrations Error": lists to read."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from certificates.admin.certificate import badge
from certificates.admin.records import Records
from issuers.admin.pages import LiveList
from issuers.admin.values import EMPTY
from migrations_bulk.models import BulkMigration, MigrationError, MigrationItem

State = MigrationItem.State

LEVELS = {
    State.PENDING: "none",
    State.BEGUN: "info",
    State.ISSUED: "info",
    State.DONE: "good",
    State.FAILED: "bad",
    State.SKIPPED: "warn",
    State.STOPPED: "warn",
}


class MigrationFilter(DropdownFilter):  # type: ignore[misc]
    """By UUID; there are few migrations at any time."""

    title = "Bulk Migration UUID"
    parameter_name = "migration"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (str(row.pk), f"{row.pk} ({row.source_name} → {row.destination_name})")
            for row in BulkMigration.objects.all()
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        known = {value for value, _ in self.lookup_choices}
        return queryset.filter(migration=self.value()) if self.value() in known else queryset


class DestinationFilter(DropdownFilter):  # type: ignore[misc]
    title = "issuer"
    parameter_name = "destination"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = BulkMigration.objects.order_by("destination_name")
        return [(n, n) for n in names.values_list("destination_name", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return queryset.filter(migration__destination_name=self.value())


class Items(LiveList, Records):
    """What both lists share."""

    list_select_related = ("migration",)
    search_fields = ("certificate_name", "reason", "error_code")

    @admin.display(description="Certificate", ordering="certificate_name")
    def name(self, item: MigrationItem) -> SafeString | str:
        return certificate_link(item)

    @admin.display(description="Bulk Migration UUID", ordering="migration")
    def uuid(self, item: MigrationItem) -> SafeString:
        link = reverse("admin:migrations_bulk_bulkmigration_view", args=(item.migration_id,))
        return format_html('<a class="oc-link" href="{}">{}</a>', link, item.migration_id)

    @admin.display(description="Reason")
    def why(self, item: MigrationItem) -> SafeString | str:
        if not item.reason:
            return EMPTY
        return format_html(
            '<span class="oc-clip" title="{0} {1}"><code>{0}</code> {1}</span>',
            item.error_code,
            item.reason,
        )


@admin.register(MigrationItem)
class MigrationItemAdmin(Items):
    list_display = ("name", "badge", "attempts", "begun_at", "settled_at", "why", "uuid")
    list_filter = (MigrationFilter, ("state", ChoicesDropdownFilter))
    fields = readonly_fields = (
        "certificate_name",
        "state",
        "attempts",
        "error_code",
        "reason",
        "begun_at",
        "settled_at",
        "old_serial_number",
        "old_not_after",
        "new_serial_number",
        "new_not_after",
    )

    @admin.display(description="State", ordering="state")
    def badge(self, item: MigrationItem) -> SafeString:
        return state_badge(item)


@admin.register(MigrationError)
class MigrationErrorAdmin(Items):
    list_display = ("name", "issuer", "why", "attempts", "settled_at", "uuid")
    list_filter = (MigrationFilter, DestinationFilter)
    ordering = ("-settled_at", "certificate_name")
    fields = readonly_fields = ("certificate_name", "error_code", "reason", "attempts")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("migrations_bulk.view_migrationitem")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[MigrationError]:
        rows: QuerySet[MigrationError] = super().get_queryset(request)
        return rows.filter(state=State.FAILED)

    @admin.display(description="Issuer", ordering="migration__destination_name")
    def issuer(self, item: MigrationItem) -> str:
        return item.migration.destination_name


def certificate_link(item: MigrationItem) -> SafeString | str:
    """Return the certificate's name, as a link while it is there."""
    if item.certificate_id is None:
        return item.certificate_name
    link = reverse("admin:certificates_certificate_view", args=(item.certificate_id,))
    return format_html('<a class="oc-link" href="{}">{}</a>', link, item.certificate_name)


def state_badge(item: MigrationItem) -> SafeString:
    return badge(LEVELS[State(item.state)], item.state)
