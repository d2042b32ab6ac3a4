"""The panels "End Entity Certificate Expiry Time" and "… Readiness Status": lists to read.

They show the certificates of network functions, not OCCM's own, to whoever may view certificates.
"""

from typing import Any

from django.contrib import admin
from django.db.models import F, Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RelatedDropdownFilter

from certificates.admin import standing
from certificates.admin.certificate import badge, clipped, readiness
from certificates.admin.filters import BandFilter, NetworkFunctionFilter, ReadinessFilter
from certificates.admin.records import Records
from certificates.domain import figures
from certificates.models import Certificate, Enrollment, ExpiryTime, ReadinessStatus
from certificates.serializers import HEAVY
from issuers.admin.pages import LiveList
from issuers.admin.values import EMPTY
from issuers.domain.clock import database_time

LEVELS = {
    "EXPIRED": "expired",
    "DAYS_7": "bad",
    "DAYS_30": "warn",
    "DAYS_90": "soon",
    "DAYS_180": "info",
    "LATER": "good",
    "NONE": "none",
}


class Panel(LiveList, Records):
    """What both panels share."""

    list_select_related = ("issuer",)
    search_fields = ("name", "network_function", "purpose", "issuer__name")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("certificates.view_certificate")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        now = database_time()
        panel: Any = self.model.objects  # not ours by `super`: that one orders before it annotates
        rows = panel.filter(cert_type=Certificate.CertType.OTHER).with_readiness(now=now)
        errands = Prefetch(
            "enrollments",
            Enrollment.objects.open().with_delays(now=now).defer(*HEAVY),
            "open_errands",
        )
        return figures.banded(rows, now=now).prefetch_related(errands)

    @admin.display(description="Certificate", ordering="name")
    def certificate(self, row: Certificate) -> SafeString:
        link = reverse("admin:certificates_certificate_view", args=(row.pk,))
        return format_html('<a class="oc-link" href="{}">{}</a>', link, row.name)


@admin.register(ExpiryTime)
class ExpiryTimeAdmin(Panel):
    list_display = (
        "certificate",
        "issuer",
        "network_function",
        "purpose",
        "expiry_time",
        "days_left",
    )
    list_filter = (BandFilter, ("issuer", RelatedDropdownFilter), NetworkFunctionFilter)

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        return (F("not_after").asc(nulls_last=True), "name")

    @admin.display(description="Expiry time (UTC)", ordering="not_after")
    def expiry_time(self, row: Certificate) -> str:
        return f"{row.not_after:%Y-%m-%d %H:%M}" if row.not_after else EMPTY

    @admin.display(description="Days left", ordering="not_after")
    def days_left(self, row: Any) -> SafeString | str:
        left, _ = standing.expiry(row, now=database_time())
        return badge(LEVELS[row.band], left or "no certificate yet")


@admin.register(ReadinessStatus)
class ReadinessStatusAdmin(Panel):
    list_display = (
        "certificate",
        "issuer",
        "network_function",
        "purpose",
        "status",
        "failing_since",
        "attempts",
        "error_reason",
    )
    list_filter = (ReadinessFilter, ("issuer", RelatedDropdownFilter), NetworkFunctionFilter)

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        return ("readiness", "name")

    @admin.display(description="Readiness", ordering="readiness")
    def status(self, row: Any) -> SafeString:
        return badge(*readiness(row))

    @admin.display(description="Failing since (UTC)")
    def failing_since(self, row: Any) -> str:
        errand = next(iter(row.open_errands), None)
        if errand is None or errand.first_failed_at is None:
            return EMPTY
        return f"{errand.first_failed_at:%Y-%m-%d %H:%M}"

    @admin.display(description="Failed attempts")
    def attempts(self, row: Any) -> int:
        errand = next(iter(row.open_errands), None)
        return errand.tries if errand is not None else 0

    @admin.display(description="Error reason")
    def error_reason(self, row: Any) -> SafeString | str:
        errand = next(iter(row.open_errands), None)
        if errand is not None and errand.error:
            return clipped("bad", errand.error)
        if errand is not None and errand.waiting_for:
            return clipped("warn", f"waits for {errand.waiting_for}")
        odd = row.attention or row.renewal_warning
        return clipped("warn", odd) if odd else EMPTY
