"""The bulk migration pages: start one after a look ahead, watch it, step in.

There is no editing. Every write is one call of `domain.migrate`, by POST, after a dialog that says
what it means.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Case, IntegerField, Value, When
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from certificates.admin.certificate import badge
from certificates.domain.conflicts import Conflict
from issuers.admin.forms import Group
from issuers.admin.pages import OperatorAdmin
from issuers.admin.values import NOTHING
from issuers.domain.clock import database_time
from migrations_bulk.admin.actions import ACTIONS, Action
from migrations_bulk.admin.items import LEVELS, certificate_link, state_badge
from migrations_bulk.admin.migration_form import MigrationForm
from migrations_bulk.domain import figures, migrate, report, selection
from migrations_bulk.models import BulkMigration, MigrationItem

State, ItemState = BulkMigration.State, MigrationItem.State

STATES = {
    State.RUNNING: "info",
    State.PAUSED: "warn",
    State.WAITING: "warn",
    State.STOPPING: "warn",
    State.ENDED: "none",
}
SHOWN = 100  # items on the page; the list has them all
NAMED = 200  # certificates in a field
FIRST = (  # what operators look for
    ItemState.FAILED,
    ItemState.BEGUN,
    ItemState.ISSUED,
    ItemState.STOPPED,
    ItemState.PENDING,
    ItemState.DONE,
    ItemState.SKIPPED,
)


@admin.register(BulkMigration)
class BulkMigrationAdmin(OperatorAdmin):
    form = MigrationForm
    status_template = "migrations_bulk/status.html"
    view_template = "migrations_bulk/view.html"
    change_form_template = "migrations_bulk/add.html"
    refusals = (Conflict,)
    list_display = ("title", "source_name", "destination_name", "standing", "far", "created_at")
    list_filter = (("state", ChoicesDropdownFilter),)
    search_fields = ("id", "source_name", "destination_name")

    # List

    @admin.display(description="ID", ordering="id")
    def title(self, migration: BulkMigration) -> str:
        return str(migration.pk)

    @admin.display(description="State", ordering="state")
    def standing(self, migration: BulkMigration) -> SafeString:
        return badge(STATES[State(migration.state)], migration.state)

    @admin.display(description="Progress")
    def far(self, migration: BulkMigration) -> str:
        found = figures.progress(migration, now=database_time())
        failed = found.counts[ItemState.FAILED]
        text = f"{found.settled} of {found.initiated}"
        return f"{text}, {failed} failed" if failed else text

    # Add, and no edit

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def write(
        self, request: HttpRequest, spec: dict[str, Any], obj: BulkMigration | None
    ) -> BulkMigration:
        return migrate.start(now=database_time(), created_by=_who(request), **spec)

    def preview_page(self, request: HttpRequest) -> HttpResponseBase:
        """Show what a migration would do, from where it can be started or changed."""
        if request.method != "POST":
            return HttpResponseRedirect(self._page("add"))
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = self.get_form(request)(request.POST)
        try:
            spec = form.spec() if form.is_valid() else {}
            migrate.check(**spec)
        except ValidationError:  # the form tells it at the fields
            page: HttpResponseBase = self.add_view(request)
            return page
        again = {name: request.POST.get(name, "") for name in migrate.FIELDS}
        found = selection.preview(spec["source"], spec["destination"], now=database_time())
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Preview: {spec['source']} → {spec['destination']}",
            "crumb": "Preview",
            "found": found,
            "spec": spec,
            "fields": again.items(),
            "add_url": self._page("add"),
            "back_url": f"{self._page('add')}?{urlencode(again)}",
            "named": NAMED,
            "more_initiated": len(found.initiated) - NAMED,
            "more_skipped": len(found.skipped) - NAMED,
        }
        return TemplateResponse(request, "migrations_bulk/preview.html", context)

    # Delete

    def remove(self, request: HttpRequest, obj: BulkMigration) -> str:
        migrate.delete(obj)
        return f"The record of {obj} is deleted."

    def kept_from_deletion(self, obj: BulkMigration) -> str:
        if obj.state == State.ENDED:
            return migrate.unrevoked(obj)
        return f"It is {obj.state}: wait for its end, or stop it first."

    # View

    def describe(
        self, obj: BulkMigration, *, without: frozenset[str] = frozenset()
    ) -> Iterator[tuple[Group, list[tuple[str, SafeString | str]]]]:
        labels = MigrationForm.Meta.labels
        options = [(labels[name], getattr(obj, name)) for name in migrate.OPTIONS]
        skipped, title = obj.items.filter(state=ItemState.SKIPPED), "Bulk Certificate Migration"
        yield (
            Group(title, ()),
            [
                ("ID", str(obj.pk)),
                (labels["source"], _issuer(obj.source_id, obj.source_name)),
                (labels["destination"], _issuer(obj.destination_id, obj.destination_name)),
                (f"{title} Initiated Certificates", _names(obj.items.initiated())),
                (f"{title} Skipped Certificates", _names(skipped)),
            ],
        )
        rows = [(label, NOTHING if value in (None, 0) else str(value)) for label, value in options]
        yield Group("Options", ()), rows

    def status(self, request: HttpRequest, obj: BulkMigration, *, now: datetime) -> dict[str, Any]:
        found = figures.progress(obj, now=now)
        items = reverse("admin:migrations_bulk_migrationitem_changelist")
        return {
            "migration": obj,
            "level": STATES[State(obj.state)],
            "progress": found,
            "counts": [
                (state, LEVELS[state], count, f"{items}?migration={obj.pk}&state__exact={state}")
                for state in FIRST
                if (count := found.counts[state])
            ],
            "items": [(one, certificate_link(one), state_badge(one)) for one in _first(obj)],
            "items_url": f"{items}?migration={obj.pk}",
            "more": sum(found.counts.values()) - SHOWN,
            "actions": [action for action in ACTIONS if _offered(action, obj, found)],
            "may_act": _may_act(request),
        }

    def view_context(self, request: HttpRequest, obj: BulkMigration) -> dict[str, Any]:
        return {
            "dialogs": [(a, self._page(a.name, obj.pk)) for a in ACTIONS],
            "exports": [(kind, self._page(f"export_{kind}", obj.pk)) for kind in report.TYPES],
        }

    # Actions

    def get_urls(self) -> list[URLPattern]:
        acts = [
            self._url(f"<path:object_id>/{action.name}/", partial(self.act, action), action.name)
            for action in ACTIONS
        ]
        exports = [
            self._url(f"<path:object_id>/{kind}/", partial(self.export, kind), f"export_{kind}")
            for kind in report.TYPES
        ]
        preview = self._url("preview/", self.preview_page, "preview")
        return [preview, *acts, *exports, *super().get_urls()]

    def act(self, action: Action, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        migration = self.seen(request, object_id)
        if not _may_act(request):
            raise PermissionDenied
        options: dict[str, Any] = {"created_by": _who(request)} if action.starts else {}
        if action.names and (names := request.POST.get("certificates", "").split()):
            options["certificates"] = names
        try:
            following = action.call(migration, now=database_time(), **options)
        except (ValidationError, *self.refusals) as refused:
            told = refused.messages if isinstance(refused, ValidationError) else [str(refused)]
            messages.error(request, " ".join(told))
            return HttpResponseRedirect(self._page("view", object_id))
        self.log_change(request, migration, f"{action.title}.")
        messages.success(request, action.done)
        return HttpResponseRedirect(self._page("view", following.pk if following else object_id))

    def export(self, kind: str, request: HttpRequest, object_id: str) -> StreamingHttpResponse:
        migration = self.seen(request, object_id)
        name = f"migration-{migration.pk}.{kind}"
        return StreamingHttpResponse(
            report.lines(migration, kind),
            content_type=report.TYPES[kind],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def _who(request: HttpRequest) -> str:
    return str(request.user.get_username())


def _may_act(request: HttpRequest) -> bool:
    return request.user.has_perm("migrations_bulk.change_bulkmigration")


def _offered(action: Action, migration: BulkMigration, found: figures.Progress) -> bool:
    needed = {"retry-failed": ItemState.FAILED, "roll-back": ItemState.DONE}.get(action.name)
    return migration.state in action.states and (needed is None or found.counts[needed] > 0)


def _first(migration: BulkMigration) -> list[MigrationItem]:
    """Return the items to be shown on the page, those that may need a person before all."""
    rank = Case(
        *(When(state=state, then=Value(n)) for n, state in enumerate(FIRST)),
        output_field=IntegerField(),
    )
    items = migration.items.select_related("enrollment").defer(
        "enrollment__request", "enrollment__exchange", "enrollment__private_key"
    )
    return list(items.order_by(rank, "certificate_name")[:SHOWN])


def _issuer(pk: int | None, name: str) -> SafeString | str:
    if pk is None:
        return name  # deleted since
    link = reverse("admin:issuers_issuer_view", args=(pk,))
    return format_html('<a href="{}">{}</a>', link, name)


def _names(items: Any) -> SafeString | str:
    rows = list(items[: NAMED + 1])
    if not rows:
        return NOTHING
    texts = ((one.certificate_name, _because(one)) for one in rows[:NAMED])
    more = "<li>and more: see the list</li>" if len(rows) > NAMED else ""
    listed = format_html_join("", "<li>{}{}</li>", texts)
    return format_html('<ul class="oc-values">{}{}</ul>', listed, SafeString(more))


def _because(item: MigrationItem) -> str:
    return f": {item.reason}" if item.state == ItemState.SKIPPED else ""
