"""Values as pages show them to be read."""

from collections.abc import Mapping

from django.db import models
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

NOTHING = "\N{EN DASH}"  # stands where there is no value
EMPTY = format_html('<span class="oc-none">{}</span>', NOTHING)  # in lists: left out when narrow


def shown(obj: models.Model, name: str, links: Mapping[str, str]) -> SafeString | str:
    """Return a field's value for people; `links` names the pages of other objects."""
    match value := getattr(obj, name):
        case bool():
            return "Yes" if value else "No"
        case list() if value:
            rows = format_html_join("", "<li>{}</li>", ((item,) for item in value))
            return format_html('<ul class="oc-values">{}</ul>', rows)
        case models.Model():
            return format_html('<a href="{}">{}</a>', reverse(links[name], args=(value.pk,)), value)
        case None | "" | []:
            return NOTHING
        case _:
            return str(getattr(obj, f"get_{name}_display", lambda: value)())
