"""Forms of which only the fields that apply are shown, and the others emptied on the server.

One table says which field depends on which; the page (`occm.js`) and `clean` both follow it.
What the values must be is the domain's business: it refuses with every mistake at once, and what
it refused is shown at the fields when the page comes back.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.validators import ProhibitNullCharactersValidator as NotText


@dataclass(frozen=True, slots=True)
class When:
    """A field applies while another one has one of these values."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Fields under one heading; a `sub` group belongs to the one before it."""

    title: str
    fields: tuple[str, ...]
    sub: bool = False
    optional: bool = False  # a view page says in one line that it is not used
    columns: int = 1
    about: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        return (f"oc-columns-{self.columns}", *(("sub",) if self.sub else ()))


class OperatorForm(forms.ModelForm):  # type: ignore[type-arg]
    """A model's form with the fields that apply, and with what the domain refused."""

    groups: ClassVar[tuple[Group, ...]] = ()
    applies_when: ClassVar[Mapping[str, When]] = {}
    needed: ClassVar[frozenset[str]] = frozenset()  # marked; the domain insists
    refused: ClassVar[ValidationError | None] = None  # by the domain, at the first attempt to save

    confirmation: ClassVar[str] = ""  # what saving would do beside; asked before

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():  # the domain judges, all at once
            field.required = False
            field.validators = [v for v in field.validators if isinstance(v, NotText)]

    @property
    def display(self) -> dict[str, dict[str, Any]]:
        """Return, for the template, what hides each field: the rule, and whether it holds now."""
        return {
            name: {"when": self._rule(when), "idle": not self.applies(name)}
            for name, when in self.applies_when.items()
        }

    def applies(self, name: str) -> bool:
        when = self.applies_when.get(name)
        return when is None or (self._value(when.field) in when.values and self.applies(when.field))

    def spec(self) -> dict[str, Any]:
        """Return what was filled in, as the domain takes it."""
        return {name: self.cleaned_data[name] for name in self.fields if name in self.cleaned_data}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        empty = type(self.instance)()
        for name in self.fields:
            if not self.applies(name):
                self.errors.pop(name, None)
                cleaned[name] = getattr(empty, name)
        return cleaned

    def _post_clean(self) -> None:
        """Leave the instance alone: the domain validates and writes."""
        if self.confirmation and not self.errors:
            self.add_error(None, self.confirmation)
        if self.refused is not None and not self.errors:
            self._show(self.refused)

    def _show(self, refused: ValidationError) -> None:
        """Put the domain's errors at their fields; those of fields not on the page, above it."""
        if not hasattr(refused, "error_dict"):
            self.add_error(None, refused)
            return
        for name, errors in refused.error_dict.items():
            if name in self.fields and self.applies(name):
                self.add_error(name, errors)
            else:
                label = "" if name == NON_FIELD_ERRORS else f"{name.replace('_', ' ')}: "
                self.add_error(None, [label + text for error in errors for text in error.messages])

    def _rule(self, when: When) -> str:
        if when.field not in self.fields:
            return ""  # fixed: what applies does not change while the page is open
        return json.dumps({"field": when.field, "values": when.values})

    def _value(self, name: str) -> str:
        if name in self.fields:
            return str(self[name].value())
        return str(getattr(self.instance, name))
