"""Pages as a browser has them: logged in, with forms that send back what stands in them.

`Form` reads the HTML, so that what a page forgets to send is missing here too. What `<template>`
holds is not part of the form, as in a browser.
"""

from html.parser import HTMLParser
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from issuers.domain.clock import NOW

CHECKED_ONLY = {"checkbox", "radio"}
Page = Any  # an answer of the test client; its stubs know only half of it
NEVER_SENT = {"submit", "button", "reset", "image"}


class Form(HTMLParser):
    """The fields of the page's form with this id: name to values."""

    def __init__(self, page: Page, form_id: str) -> None:
        super().__init__()
        self.fields: dict[str, list[str]] = {}
        self.hidden: set[str] = set()  # fields that do not apply now
        self.rows: list[str] = []  # fields the page asks for, in order
        self._id, self._inside, self._template = form_id, False, 0
        self._select: str | None = None
        self._first = True
        self.feed(page.content.decode())

    def filled(self, **values: Any) -> dict[str, Any]:
        """Return what is sent when some fields are filled in otherwise."""
        unknown = values.keys() - self.fields.keys() - set(self.rows)
        assert not unknown, f"the page has no {unknown}"
        return self.fields | values

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = given.get("id") == self._id
        if tag == "template":
            self._template += 1
        if not self._inside or self._template:
            return
        if name := given.get("data-field"):
            self.rows.append(name)
            if "hidden" in given:
                self.hidden.add(name)
        match tag:
            case "input" if given.get("name") and given.get("type") not in NEVER_SENT:
                if given.get("type") not in CHECKED_ONLY:
                    self._add(given["name"], given.get("value", ""))
                elif "checked" in given:
                    self._add(given["name"], given.get("value", "on"))
            case "select":
                self._select, self._first = given["name"], True
            case "option" if self._select is not None:
                if self._first or "selected" in given:
                    self.fields[self._select] = [given.get("value", "")]
                self._first = False
            case _:
                pass

    def handle_endtag(self, tag: str) -> None:
        match tag:
            case "form":
                self._inside = False
            case "template":
                self._template -= 1
            case "select":
                self._select = None
            case _:
                pass

    def _add(self, name: str, value: str) -> None:
        self.fields.setdefault(name, []).append(value)


def logged_in(user: User | None = None) -> Client:
    """Return a client of the admin's pages, an administrator's unless it says whose."""
    client = Client()
    client.force_login(user or User.objects.create_superuser("admin"))
    return client


def text(page: Page) -> str:
    return str(page.content.decode())


def typed(value: Any) -> list[str]:
    """Return what a browser shows in the inputs of a field."""
    match value:
        case True:
            return ["on"]
        case list():
            return value or [""]
        case _:
            return [str(value)]


def queries(client: Client, address: str) -> int:
    """Return how many queries a page costs, beside asking for the time, which is not always."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return sum(query["sql"] not in NOW.values() for query in captured)
