"""The certificate pages: what is wanted, how it stands, and what an operator can do about it.

Every write is one call of `domain.lifecycle`. What happens to a certificate happens by POST, after
a dialog that says what it means.
"""

from datetime import datetime
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.forms import Field
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from certificates.admin import issued, standing
from certificates.admin.actions import ACTIONS, Action
from certificates.admin.certificate_form import NETWORK_FUNCTIONS, CertificateForm
from certificates.admin.filters import (
    BandFilter,
    NetworkFunctionFilter,
    ReadinessFilter,
    UnderWayFilter,
)
from certificates.domain import figures, identity, lifecycle, rules
from certificates.models import Certificate, Enrollment
from certificates.serializers import HEAVY, warnings_of
from issuers.admin.pages import OperatorAdmin, Unconfirmed
from issuers.admin.values import EMPTY
from issuers.domain.clock import database_time

HISTORY = 50  # past errands that the page of a certificate shows
FIXED = ("name", "cert_type", "issuer", "creation_mode")


@admin.register(Certificate)
class CertificateAdmin(OperatorAdmin):
    form = CertificateForm
    view_template = "certificates/view.html"
    status_template = "certificates/status.html"
    delete_confirmation_template = "certificates/delete.html"
    refusals = lifecycle.CONFLICTS
    change_form_template = "certificates/change_form.html"
    links = {"issuer": "admin:issuers_issuer_view"}
    nouns = {
        "ip_addresses": "IP address",
        "dns_names": "DNS name",
        "uri_api_roots": "API root",
        "uri_urns": "URN",
    }
    choices = {
        "key_usage": (("DIGITAL_SIGNATURE", "DIGITAL_SIGNATURE"),),
        "extended_key_usage": (("CLIENT_AUTH", "CLIENT_AUTH"), ("SERVER_AUTH", "SERVER_AUTH")),
    }
    list_display = (
        "title",
        "type",
        "network_function",
        "issuer",
        "ready",
        "expires",
        "errand",
        "last_error",
    )
    list_filter = (
        ReadinessFilter,
        BandFilter,
        UnderWayFilter,
        ("cert_type", ChoicesDropdownFilter),
        ("issuer", RelatedDropdownFilter),
        NetworkFunctionFilter,
    )
    list_select_related = ("issuer",)
    search_fields = ("name", "network_function", "purpose", "common_name", "issuer__name")

    # List

    def get_queryset(self, request: HttpRequest) -> QuerySet[Certificate]:
        now = database_time()
        errands = Prefetch(
            "enrollments",
            Enrollment.objects.open().with_delays(now=now).defer(*HEAVY),
            "open_errands",
        )
        rows = Certificate.objects.with_readiness(now=now).prefetch_related(errands)
        return figures.banded(rows, now=now)

    @admin.display(description="Name", ordering="name")
    def title(self, certificate: Certificate) -> str:
        return certificate.name

    @admin.display(description="Type", ordering="cert_type")
    def type(self, certificate: Certificate) -> str:
        return certificate.cert_type

    @admin.display(description="Readiness", ordering="readiness")
    def ready(self, certificate: Certificate) -> SafeString:
        return badge(*readiness(certificate))

    @admin.display(description="Expires", ordering="not_after")
    def expires(self, certificate: Certificate) -> SafeString | str:
        if certificate.not_after is None:
            return EMPTY
        left, level = standing.expiry(certificate, now=database_time())
        return format_html(
            '{} <span class="oc-soft oc-text-{}">({})</span>',
            f"{certificate.not_after:%Y-%m-%d}",
            level,
            left,
        )

    @admin.display(description="Under way")
    def errand(self, certificate: Certificate) -> SafeString | str:
        found = standing.under_way(_open(certificate), now=database_time())
        if certificate.deleting:
            return badge("warn", "deleting")
        if found is None:
            return EMPTY
        text = format_html("{} {}", badge(found.level, found.kind), found.words)
        if found.at is None:
            return text
        return format_html("{}, next {}", text, countdown(found.at))

    @admin.display(description="Last error")
    def last_error(self, certificate: Certificate) -> SafeString | str:
        errand = _open(certificate)
        if errand is not None and errand.error:
            return clipped("bad", errand.error)
        if certificate.drift:
            return clipped("bad" if certificate.contested else "warn", certificate.drift)
        odd = certificate.attention or certificate.renewal_warning
        return clipped("warn", odd) if odd else EMPTY

    # Add, edit and delete

    def formfield_for_dbfield(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> Field | None:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "network_function":
            field.widget.attrs["list"] = "network-functions"
        return field

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["network_functions"] = NETWORK_FUNCTIONS
        return super().render_change_form(request, context, *args, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Suggest what shows up when the other key algorithm is chosen, too."""
        return {
            "elliptic_curve": Certificate.EllipticCurve.SECP256R1,
            "key_size": Certificate.KeySize.KEYSIZE_2048,
            **super().get_changeform_initial_data(request),
        }

    def get_fields(self, request: HttpRequest, obj: Certificate | None = None) -> list[str]:
        fields = super().get_fields(request, obj)
        if obj is None:
            return fields
        form = self.form(instance=obj)
        depends = form.applies_when
        return [
            name
            for name in fields
            if name not in depends or depends[name].field not in FIXED or form.applies(name)
        ]

    def get_readonly_fields(
        self, request: HttpRequest, obj: Certificate | None = None
    ) -> tuple[str, ...]:
        return FIXED if obj else ()

    def write(
        self, request: HttpRequest, spec: dict[str, Any], obj: Certificate | None
    ) -> Certificate:
        if obj is None:
            return lifecycle.register(now=database_time(), **spec)
        recreating = lifecycle.recreating(obj, **spec)
        saved = lifecycle.update(obj, now=database_time(), **spec)
        if recreating and "confirmed" not in request.POST:  # undone with the page's transaction
            names = ", ".join(str(self.opts.get_field(name).verbose_name) for name in recreating)
            raise Unconfirmed(
                f"Saving asks the CA for a new certificate (ir), because these change: {names}. "
                "The secret is overwritten when it arrives; until then the present certificate "
                "stays."
            )
        return saved

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        for warning in rules.warnings(obj):
            messages.warning(request, warning)

    def remove(self, request: HttpRequest, obj: Certificate) -> str:
        left = lifecycle.delete(obj, now=database_time())
        how = "is deleted" if left.finished else "goes as soon as the worker that has it lets go"
        stays = f" Left behind: {', '.join(left.secrets)}." if left.secrets else ""
        return f"Certificate {obj} {how}.{stays}"

    def kept_from_deletion(self, obj: Certificate) -> str:
        is_identity = obj.cert_type == Certificate.CertType.OCCM
        return identity.why_needed(obj) if is_identity else ""

    def left_behind(self, obj: Certificate) -> list[str]:
        return [str(output) for output in obj.outputs.order_by("namespace", "secret", "key")]

    # View

    def status(self, request: HttpRequest, obj: Certificate, *, now: datetime) -> dict[str, Any]:
        found = standing.under_way(_open(obj), now=now)
        left, urgency = standing.expiry(obj, now=now)
        return {
            "certificate": obj,
            "readiness": readiness(obj),
            "expires_in": left,
            "urgency": urgency,
            "under_way": found,
            "warnings": warnings_of(obj),
            "issued": issued.describe(bytes(obj.certificate_der)) if obj.certificate_der else [],
            "history": obj.enrollments.defer(*HEAVY)[:HISTORY],
            "actions": [action for action in ACTIONS if action.name in _offered(obj)],
        }

    def view_context(self, request: HttpRequest, obj: Certificate) -> dict[str, Any]:
        return {"dialogs": [(a, self._page(a.name, obj.pk)) for a in ACTIONS]}

    # Actions

    def get_urls(self) -> list[URLPattern]:
        acts = [
            self._url(f"<path:object_id>/{action.name}/", partial(self.act, action), action.name)
            for action in ACTIONS
        ]
        return [*acts, *super().get_urls()]

    def act(self, action: Action, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        certificate = self.seen(request, object_id)
        if not self.has_change_permission(request, certificate):
            raise PermissionDenied
        try:
            action.call(certificate, now=database_time())
        except self.refusals as refused:
            messages.error(request, str(refused))
        else:
            self.log_change(request, certificate, f"{action.title}.")
            messages.success(request, action.done)
        return HttpResponseRedirect(self._page("view", object_id))


def readiness(certificate: Any) -> tuple[str, str]:
    """Return the badge of a certificate: its level and its word, which the query computed."""
    return standing.LEVELS[certificate.readiness], certificate.readiness


def badge(level: str, text: str) -> SafeString:
    return format_html('<span class="oc-badge oc-{}">{}</span>', level, text)


def clipped(level: str, text: str) -> SafeString:
    return format_html(
        '<span class="oc-text-{}" title="{}">{}</span>', level, text, standing.short(text)
    )


def countdown(moment: datetime) -> SafeString:
    return format_html(
        '<time datetime="{}" data-countdown>{}</time>',
        moment.isoformat(timespec="seconds"),
        f"at {moment:%H:%M:%S}",
    )


def _offered(certificate: Any) -> set[str]:
    """Return the actions that make sense now; the domain refuses what does not."""
    if certificate.deleting:
        return set()
    errand = _open(certificate)
    offered = {"renew", "recreate"}
    is_manual = certificate.creation_mode == Certificate.CreationMode.MANUAL
    if errand is not None or is_manual or certificate.drift:
        offered.add("retry")
    if errand is not None and errand.due_at is not None:
        offered.add("stop")
    return offered


def _open(certificate: Any) -> Enrollment | None:
    """Return the errand that is open, from what the list or the page has fetched."""
    errand: Enrollment | None = next(iter(certificate.open_errands), None)
    return errand
