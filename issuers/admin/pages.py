"""What the pages of every app share: add and edit through the domain, view, delete, live parts.

The domain decides and writes. What it refuses comes back at the fields; nothing is half saved.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import ChangeList as DjangoChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.forms import Field
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from issuers.admin.forms import Group, OperatorForm
from issuers.admin.values import shown
from issuers.admin.widgets import CheckboxListField, ListField
from issuers.domain.clock import database_time

# In request.META while a page is shown again: what the domain refused, what is to be confirmed
REFUSED = "occm.refused"
CONFIRMATION = "occm.confirmation"
LIVE = "X-Occm-Live"  # a page asks for its live part alone


class Unconfirmed(Exception):
    """Saving would do more than it seems: the page says what, and asks."""


class ViewList(ChangeList):  # type: ignore[misc]
    """A list whose rows lead to the view page, not straight into the form."""

    def url_for_result(self, result: models.Model) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_view"
        return reverse(name, args=(quote(result.pk),), current_app=self.model_admin.admin_site.name)


class Addressed(ModelAdmin):  # type: ignore[misc]
    """Pages of our own beside Django's, at addresses made like Django's."""

    def seen(self, request: HttpRequest, object_id: str) -> Any:
        """Return the object if there is one and the user may view it."""
        obj = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        if obj is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id}.")
        return obj

    def _url(self, route: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
        full = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        address: URLPattern = path(route, self.admin_site.admin_view(view), name=full)
        return address

    def _page(self, name: str, *args: Any) -> str:
        full = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        return reverse(full, args=[quote(arg) for arg in args])


class LiveList(Addressed):
    """A list that keeps itself up to date: the page asks for it alone every few seconds."""

    change_list_template = "occm/change_list.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        page: HttpResponseBase = super().changelist_view(request, extra_context)
        if LIVE in request.headers and isinstance(page, TemplateResponse):
            page.template_name = "occm/list_live.html"
        return page


class OperatorAdmin(LiveList):
    """Pages for something operators add, edit, view and delete. Subclasses say what and how."""

    form: type[OperatorForm] = OperatorForm
    change_form_template = "occm/change_form.html"
    delete_confirmation_template = "occm/delete.html"
    view_template = "occm/view.html"
    status_template: ClassVar[str]
    refusals: ClassVar[tuple[type[Exception], ...]] = ()  # the domain's conflicts, told as they are
    links: ClassVar[Mapping[str, str]] = {}  # view pages that fields refer to
    nouns: ClassVar[Mapping[str, str]] = {}  # one value of a list field
    choices: ClassVar[Mapping[str, tuple[tuple[str, str], ...]]] = {}  # list fields of few values
    actions = None  # deleting many at once would pass the domain by
    list_fullwidth = True
    list_filter_submit = True
    list_per_page = 50
    compressed_fields = True
    warn_unsaved_form = True

    # What a subclass brings

    def write(self, request: HttpRequest, spec: dict[str, Any], obj: Any | None) -> models.Model:
        """Register (no `obj`) or update through the domain, and return the row as saved."""
        raise NotImplementedError

    def remove(self, request: HttpRequest, obj: Any) -> str:
        """Delete through the domain, and return what to tell about what stays."""
        raise NotImplementedError

    def kept_from_deletion(self, obj: Any) -> str:
        """Return why this cannot be deleted now, or an empty string."""
        raise NotImplementedError

    def fixed_reason(self, obj: Any) -> str:
        """Return why some groups cannot be edited now."""
        return ""

    def left_behind(self, obj: Any) -> list[str]:
        """Return what a deletion does not remove."""
        return []

    def view_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """Return what else the view page shows, beside the live part and the configuration."""
        return {}

    def status(self, request: HttpRequest, obj: Any, *, now: datetime) -> dict[str, Any]:
        """Return the context of the live part of the view page."""
        raise NotImplementedError

    # Add and edit

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        shown = set(self.get_fields(request, obj))
        return [
            (group.title, {"fields": fields, "classes": group.classes, "description": group.about})
            for group in self.form.groups
            if (fields := [name for name in group.fields if name in shown])
        ]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [name for group in self.form.groups for name in group.fields]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> type[OperatorForm]:
        form: type[OperatorForm] = super().get_form(request, obj, change, **kwargs)
        form.refused = request.META.get(REFUSED)
        form.confirmation = request.META.get(CONFIRMATION, "")
        return form

    def formfield_for_dbfield(
        self, db_field: models.Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Field | None:
        about = {
            "label": kwargs.get("label") or capfirst(str(db_field.verbose_name)),
            "help_text": kwargs.get("help_text", ""),
            "initial": db_field.get_default,
        }
        if db_field.name in self.choices:
            return CheckboxListField(choices=self.choices[db_field.name], **about)
        if isinstance(db_field, models.JSONField):
            return ListField(noun=self.nouns[db_field.name], **about)
        field: Field | None = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(db_field, models.ForeignKey):
            field.widget = field.widget.widget  # without the buttons that add and edit elsewhere
        return field

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        obj = kwargs.get("obj")
        if obj is not None:
            fixed = list(self.describe(obj, without=frozenset(self.get_fields(request, obj))))
            context |= {
                "view_url": self._page("view", obj.pk),
                "crumb": "Edit",
                "fixed_groups": fixed,
                "fixed_reason": self.fixed_reason(obj),
            }
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponseBase:
        if object_id and request.method == "GET" and not self.has_change_permission(request):
            return HttpResponseRedirect(self._page("view", object_id))
        refused: tuple[type[Exception], ...] = (ValidationError, *self.refusals)
        try:
            page: HttpResponseBase = super().changeform_view(
                request, object_id, form_url, extra_context
            )
        except Unconfirmed as question:
            request.META[CONFIRMATION] = str(question)
            page = super().changeform_view(request, object_id, form_url, extra_context)
        except refused as error:
            told = error if isinstance(error, ValidationError) else ValidationError(str(error))
            request.META[REFUSED] = told  # nothing was saved: show the page again, and why
            page = super().changeform_view(request, object_id, form_url, extra_context)
        return page

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        saved = self.write(request, form.spec(), obj if change else None)
        obj.__dict__.update(saved.__dict__)  # the answer goes on with the row as saved

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return HttpResponseRedirect(self._page("view", obj.pk))

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return HttpResponseRedirect(self._page("view", obj.pk))

    # View

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DjangoChangeList]:
        return ViewList

    def get_urls(self) -> list[URLPattern]:
        return [
            self._url("<path:object_id>/view/", self.view_page, "view"),
            self._url("<path:object_id>/status/", self.status_part, "status"),
            *super().get_urls(),
        ]

    def view_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        obj = self.seen(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            **self._status(request, obj),
            **self.view_context(request, obj),
            "opts": self.opts,
            "original": obj,
            "title": str(obj),
            "groups": list(self.describe(obj)),
            "status_template": self.status_template,
            "status_url": self._page("status", object_id),
        }
        return TemplateResponse(request, self.view_template, context)

    def status_part(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the live part of the view page alone; the page asks for it every few seconds."""
        obj = self.seen(request, object_id)
        return TemplateResponse(request, self.status_template, self._status(request, obj))

    def _status(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            **self.status(request, obj, now=database_time()),
            "edit_url": self._page("change", obj.pk),
            "delete_url": self._page("delete", obj.pk),
            "may_change": self.has_change_permission(request, obj),
            "may_delete": self.has_delete_permission(request, obj),
        }

    def describe(
        self, obj: Any, *, without: frozenset[str] = frozenset()
    ) -> Iterator[tuple[Group, list[tuple[str, SafeString | str]]]]:
        """Yield each group with the labels and values of the fields that apply."""
        form = self.form(instance=obj)
        for group in self.form.groups:
            names = [n for n in group.fields if n not in without and form.applies(n)]
            if not names:
                continue
            if group.optional and not any(getattr(obj, name) for name in names):
                yield group, []
            else:
                yield group, [(str(form[n].label), shown(obj, n, self.links)) for n in names]

    # Delete

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        obj = self.get_object(request, unquote(object_id))
        if obj is None or not self.has_delete_permission(request, obj):
            if obj is None and self.has_delete_permission(request):
                raise Http404(f"There is no {self.opts.verbose_name} {object_id}.")
            raise PermissionDenied
        if request.method == "POST":
            return self._delete(request, obj)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": obj,
            "title": f"Delete {obj}",
            "kept": self.kept_from_deletion(obj),
            "left_behind": self.left_behind(obj),
            "crumb": "Delete",
            "view_url": self._page("view", object_id),
        }
        return TemplateResponse(request, self.delete_confirmation_template, context)

    def _delete(self, request: HttpRequest, obj: Any) -> HttpResponse:
        name, pk = str(obj), obj.pk
        try:
            told = self.remove(request, obj)
        except self.refusals as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(self._page("view", pk))
        obj.pk = pk  # deleting takes it from the row; the log names it
        self.log_deletions(request, [obj])
        messages.success(request, told or f"{capfirst(self.opts.verbose_name)} {name} is deleted.")
        return HttpResponseRedirect(self._page("changelist"))
