"""The issuer pages: what an operator configures of a CA, whether it answers, what is missing."""

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from issuers.admin.issuer_form import IssuerForm
from issuers.admin.pages import OperatorAdmin
from issuers.domain import editing, trial
from issuers.domain.clock import database_time
from issuers.models import Issuer, IssuerHealth

LISTED = 20  # certificates a page names before it only counts


@admin.register(Issuer)
class IssuerAdmin(OperatorAdmin):
    form = IssuerForm
    status_template = "issuers/status.html"
    view_template = "issuers/view.html"
    refusals = (editing.IssuerInUse,)
    nouns = {
        "initial_signature_extra_certs": "extra cert",
        "other_signature_extra_certs": "extra cert",
        "trust_store_root_ca_certs": "root CA cert",
        "trust_store_intermediate_ca_certs": "intermediate CA cert",
        "tls_trusted_certs": "trusted cert",
    }
    list_display = ("name", "server_url", "certificate_count", "health_badge")
    list_filter = ("tls_enabled", "initial_auth_type")
    list_select_related = ("health",)
    search_fields = ("name", "server_url", "recipient_dn")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Issuer]:
        rows: QuerySet[Issuer] = super().get_queryset(request)
        return rows.annotate(certificate_count=Count("certificates"))

    @admin.display(description="Certificates", ordering="certificate_count")
    def certificate_count(self, issuer: Issuer) -> int:
        count: int = issuer.certificate_count  # type: ignore[attr-defined]
        return count

    @admin.display(description="Health")
    def health_badge(self, issuer: Issuer) -> SafeString:
        level, text = health_of(issuer)
        return format_html('<span class="oc-badge oc-{}">{}</span>', level, text)

    def get_fields(self, request: HttpRequest, obj: Issuer | None = None) -> list[str]:
        fields = super().get_fields(request, obj)
        if obj is None:
            return fields
        editable = editing.editable_fields(obj)
        return [name for name in fields if name in editable]

    def write(self, request: HttpRequest, spec: dict[str, Any], obj: Issuer | None) -> Issuer:
        if obj is None:
            return editing.register(now=database_time(), **spec)
        return editing.update(issuer=obj, now=database_time(), **spec)

    def remove(self, request: HttpRequest, obj: Issuer) -> str:
        editing.delete(issuer=obj)
        return f"Issuer {obj} is deleted. The secrets it names stay."

    def fixed_reason(self, obj: Issuer) -> str:
        return (
            f"Certificates refer to this issuer: {used_by(obj)}. Until they are deleted or "
            "migrated, only the scheme of the URL may change (http to https and back), with the "
            "TLS settings it needs."
        )

    def kept_from_deletion(self, obj: Issuer) -> str:
        if not (names := used_by(obj)):
            return ""
        return f"Certificates refer to it: {names}. Delete or migrate them first."

    def status(self, request: HttpRequest, obj: Issuer, *, now: datetime) -> dict[str, Any]:
        level, text = health_of(obj)
        return {
            "issuer": obj,
            "health": IssuerHealth.objects.filter(issuer=obj).first(),
            "level": level,
            "text": text,
            "used_by": obj.certificates.order_by("name").values("pk", "name")[:LISTED],
            "used_by_count": obj.certificates.count(),
        }

    def view_context(self, request: HttpRequest, obj: Issuer) -> dict[str, Any]:
        return {"test_url": self._page("test_connection", obj.pk)}

    def get_urls(self) -> list[URLPattern]:
        route = "<path:object_id>/test-connection/"
        return [
            self._url(route, self.test_connection, "test_connection"),
            *super().get_urls(),
        ]

    def test_connection(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Have a worker try the connection; the page's live part shows what came of it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        issuer = self.seen(request, object_id)
        if not self.has_change_permission(request, issuer):
            raise PermissionDenied
        trial.request(issuer, now=database_time())
        messages.success(request, "The connection is being tested; the outcome appears here.")
        return HttpResponseRedirect(self._page("view", object_id))


def health_of(issuer: Issuer) -> tuple[str, str]:
    """Return how an issuer does, as a level (good, warn, bad or none) and in a few words."""
    health = getattr(issuer, "health", None)
    if health is None:
        return "none", "not looked at yet"
    if health.failing_since:
        return "bad", "failing"
    if health.warnings:
        return "warn", f"{len(health.warnings)} warning{'s' * (len(health.warnings) > 1)}"
    if health.answered_at:
        return "good", "answers"
    return "none", "not asked yet"


def used_by(issuer: Issuer) -> str:
    names = list(issuer.certificates.order_by("name").values_list("name", flat=True)[: LISTED + 1])
    return ", ".join(names[:LISTED]) + (" and others" if len(names) > LISTED else "")
