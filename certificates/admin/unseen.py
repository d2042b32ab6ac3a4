"""What a CA may have issued unseen, and revocations: records with a page each, and what to do.

Every write is one call of the domain, by POST, after a dialog that says what it means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from certificates.admin.certificate import badge, countdown
from certificates.admin.records import Records
from certificates.domain import revoke, unseen
from certificates.domain.conflicts import Conflict
from certificates.domain.failures import failure_class
from certificates.models import MaybeIssued, Revocation
from issuers.admin.pages import LIVE, ViewList
from issuers.admin.values import EMPTY
from issuers.domain.clock import database_time

State = Revocation.State

LEVELS = {State.OPEN: "info", State.REVOKED: "good", State.REFUSED: "bad", State.WITHDRAWN: "none"}


@dataclass(frozen=True, slots=True)
class Action:
    name: str
    title: str
    icon: str
    meaning: str
    done: str
    call: Callable[..., object]
    asks: tuple[str, ...] = ()  # what the dialog asks for


class RecordPages(Records):
    """Records that have a page of their own, and actions there."""

    template: str
    live_template: str
    acts: tuple[Action, ...] = ()

    def offered(self, row: Any) -> frozenset[str]:
        """Return the actions that make sense now; the domain refuses what does not."""
        raise NotImplementedError

    def may_act(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"certificates.change_{self.opts.model_name}")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ViewList

    def get_urls(self) -> list[URLPattern]:
        acts = [
            self._url(f"<path:object_id>/{act.name}/", partial(self.act, act), act.name)
            for act in self.acts
        ]
        page = self._url("<path:object_id>/view/", self.view_page, "view")
        return [*acts, page, *super().get_urls()]

    def view_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show a record; its live part alone when the page asks for it, every few seconds."""
        row = self.seen(request, object_id)
        offered = self.offered(row) if self.may_act(request) else frozenset()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": row,
            "title": str(row),
            "live_template": self.live_template,
            "actions": [act for act in self.acts if act.name in offered],
            "dialogs": [
                (act, self._page(act.name, row.pk)) for act in self.acts if self.may_act(request)
            ],
            "reasons": Revocation.Reason.choices,
            **self.view_context(row),
        }
        live = LIVE in request.headers
        return TemplateResponse(request, self.live_template if live else self.template, context)

    def view_context(self, row: Any) -> dict[str, Any]:
        return {}

    def act(self, act: Action, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.seen(request, object_id)
        if not self.may_act(request):
            raise PermissionDenied
        asked = {name: request.POST[name] for name in act.asks if request.POST.get(name)}
        try:
            act.call(row, now=database_time(), **asked)
        except ValidationError as error:
            for told in error.messages:
                messages.error(request, told)
        except Conflict as refused:
            messages.error(request, str(refused))
        else:
            self.log_change(request, row, f"{act.title}.")
            messages.success(request, act.done)
        return HttpResponseRedirect(self._page("view", object_id))


class ResolvedFilter(DropdownFilter):  # type: ignore[misc]
    title = "standing"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "open"), ("resolved", "resolved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {"open", "resolved"}:
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() == "open")


@admin.register(MaybeIssued)
class MaybeIssuedAdmin(RecordPages):
    template = "certificates/maybe_issued.html"
    live_template = "certificates/maybe_issued_live.html"
    list_display = (
        "certificate_name",
        "issuer_name",
        "sent_at",
        "reason",
        "serial_number",
        "transaction_id",
        "standing",
    )
    list_display_links = ("certificate_name",)
    list_filter = (ResolvedFilter,)
    list_select_related = ("revocation",)
    search_fields = ("certificate_name", "issuer_name", "transaction_id", "serial_number")
    date_hierarchy = "sent_at"
    acts = (
        Action(
            "revoke",
            "Revoke",
            "block",
            "The CA is asked to revoke the certificate (rr), signed with the issuer's OCCM "
            "certificate, and again every 30 seconds until it answers.",
            "The CA is asked to revoke it.",
            unseen.revoke,
            asks=("serial_number", "issuer_dn", "reason"),
        ),
        Action(
            "resolve",
            "Mark as resolved",
            "done",
            "Nothing is asked of the CA. Say what became of it: it is not there, say, or it was "
            "revoked at the CA.",
            "It is marked as resolved.",
            unseen.resolve,
            asks=("note",),
        ),
    )

    def offered(self, row: MaybeIssued) -> frozenset[str]:
        if row.resolved_at is not None or _is_open(row.revocation):
            return frozenset()
        return frozenset({"revoke", "resolve"})

    @admin.display(description="Standing")
    def standing(self, row: MaybeIssued) -> SafeString | str:
        if row.resolved_at is not None:
            return badge("good", row.resolution)
        return revocation_badge(row.revocation) if row.revocation else badge("warn", "open")


@admin.register(Revocation)
class RevocationAdmin(RecordPages):
    template = "certificates/revocation.html"
    live_template = "certificates/revocation_live.html"
    list_display = (
        "certificate_name",
        "issuer_name",
        "serial_number",
        "reason",
        "standing",
        "next_try",
        "tries",
        "created_at",
        "said",
    )
    list_display_links = ("certificate_name",)
    list_filter = (("state", ChoicesDropdownFilter), ("reason", ChoicesDropdownFilter))
    search_fields = ("certificate_name", "issuer_name", "serial_number", "transaction_id")
    date_hierarchy = "created_at"
    acts = (
        Action(
            "again",
            "Retry now",
            "replay",
            "The CA is asked at once; again, where it refused or the revocation was withdrawn.",
            "The CA is asked at once.",
            revoke.retry,
        ),
        Action(
            "withdraw",
            "Withdraw",
            "stop_circle",
            "The CA is asked no more. If it is being asked right now, it may still revoke the "
            "certificate.",
            "The CA is asked no more.",
            revoke.withdraw,
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Revocation]:
        rows: QuerySet[Revocation] = super().get_queryset(request)
        return rows.defer("certificate_der", "exchange")

    def offered(self, row: Revocation) -> frozenset[str]:
        if _is_open(row):
            return frozenset({"again", "withdraw"})
        again = row.state != State.REVOKED and row.issuer_id is not None
        return frozenset({"again"}) if again else frozenset()

    def view_context(self, row: Revocation) -> dict[str, Any]:
        found = failure_class(row.error_code)
        return {
            "standing": revocation_badge(row),
            "next_try": self.next_try(row),
            "cause": str(found.label) if found else "",
        }

    @admin.display(description="State", ordering="state")
    def standing(self, row: Revocation) -> SafeString:
        return revocation_badge(row)

    @admin.display(description="Next try", ordering="due_at")
    def next_try(self, row: Revocation) -> SafeString | str:
        return countdown(row.due_at) if row.due_at else EMPTY

    @admin.display(description="Outcome")
    def said(self, row: Revocation) -> str:
        return row.outcome or row.error or EMPTY


def revocation_badge(row: Revocation) -> SafeString:
    return badge(LEVELS[State(row.state)], row.get_state_display())


def _is_open(row: Revocation | None) -> bool:
    return row is not None and row.closed_at is None
