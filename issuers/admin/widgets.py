"""Form fields for lists: one input per value, and check boxes. Used by every app's pages.

unfold's own array widget shows the first value for every item once fields are conditional, so that
saving would store it. These keep each value by itself and in order.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.utils.datastructures import MultiValueDict
from unfold.widgets import INPUT_CLASSES, UnfoldAdminCheckboxSelectMultipleWidget


class ListWidget(forms.Widget):
    """One text input per value, with a button to add and one to remove each."""

    template_name = "occm/list_widget.html"
    use_fieldset = True

    def __init__(self, *, noun: str, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"class": " ".join(INPUT_CLASSES), **(attrs or {})})
        self.noun = noun

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        # Django gives every widget of a field the same id; ours has many inputs.
        context["widget"]["attrs"].pop("id", None)
        context["widget"] |= {"id": (attrs or {}).get("id", f"id_{name}"), "noun": self.noun}
        context["values"] = list(value or [""])
        return context

    def format_value(self, value: Any) -> None:
        return None  # the template takes the values one by one

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> list[str]:
        given = data.getlist(name) if isinstance(data, MultiValueDict) else data.get(name, [])
        return [stripped for value in given if (stripped := str(value).strip())]

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return False  # no input at all is an empty list

    def id_for_label(self, id_: str) -> str:
        return ""  # a group of inputs is named by its legend


class ListField(forms.Field):
    """A list of strings, validated by the model's validators."""

    def __init__(self, *, noun: str, **kwargs: Any) -> None:
        super().__init__(widget=ListWidget(noun=noun), **kwargs)

    def to_python(self, value: Any) -> list[str]:
        return list(value or [])

    def has_changed(self, initial: Any, data: Any) -> bool:
        return list(initial or []) != list(data or [])


class CheckboxListField(forms.MultipleChoiceField):
    """Several of a few choices, kept in the order of the choices."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget

    def __init__(self, *, choices: Iterable[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(choices=list(choices), **kwargs)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return sorted(initial or []) != sorted(data or [])
