"""Past and present errands to CAs: a list to read, never to edit."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from certificates.models import Enrollment
from certificates.serializers import HEAVY
from issuers.admin.pages import Addressed
from issuers.admin.values import EMPTY


class Records(Addressed):
    """A list to read. Nobody adds, changes or deletes a record by hand."""

    actions = None
    list_display_links: tuple[str, ...] | None = None
    list_filter_submit = True
    list_fullwidth = True
    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Enrollment)
class EnrollmentAdmin(Records):
    list_display = (
        "of",
        "kind",
        "phase",
        "tries",
        "created_at",
        "closed_at",
        "why",
        "failure",
    )
    list_filter = (("kind", ChoicesDropdownFilter), ("phase", ChoicesDropdownFilter))
    search_fields = ("certificate__name", "error", "error_code", "transaction_id")
    # Only what may be read: no key, no state of the exchange.
    fields = readonly_fields = (
        "of",
        "kind",
        "phase",
        "tries",
        "created_at",
        "sent_at",
        "closed_at",
        "transaction_id",
        "waiting_for",
        "error_code",
        "failure",
        "first_failed_at",
        "last_failed_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Enrollment]:
        rows: QuerySet[Enrollment] = super().get_queryset(request)
        return rows.select_related("certificate").defer(*HEAVY)

    @admin.display(description="Certificate", ordering="certificate__name")
    def of(self, enrollment: Enrollment) -> SafeString:
        link = reverse("admin:certificates_certificate_view", args=(enrollment.certificate_id,))
        return format_html('<a class="oc-link" href="{}">{}</a>', link, enrollment.certificate)

    @admin.display(description="Reason")
    def why(self, enrollment: Enrollment) -> str:
        return enrollment.reason

    @admin.display(description="Error")
    def failure(self, enrollment: Enrollment) -> SafeString | str:
        if not enrollment.error:
            return EMPTY
        return format_html(
            '<span class="oc-clip" title="{0} {1}"><code>{0}</code> {1}</span>',
            enrollment.error_code,
            enrollment.error,
        )
