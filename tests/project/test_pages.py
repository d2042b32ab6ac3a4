"""Every page of the admin at once: who may see it, and that looking at it changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core import serializers
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from certificates.models import Certificate, Enrollment, MaybeIssued, Output, Revocation
from issuers.models import Issuer, IssuerHealth
from migrations_bulk.models import BulkMigration, MigrationError, MigrationItem
from tests.certificates.standings import failing, ready
from tests.factories import a_revocation, an_identity
from tests.pages import logged_in, text
from tests.project.clients import a_user

OURS: tuple[Any, ...] = (
    BulkMigration,
    MigrationItem,
    Issuer,
    IssuerHealth,
    Certificate,
    Output,
    Enrollment,
    MaybeIssued,
    Revocation,
    User,
    Group,
)
ACTIONS = {
    *("retry", "renew", "recreate", "stop"),
    *("pause", "resume", "go-on", "retry-failed", "roll-back"),
    *("revoke", "resolve", "again", "withdraw"),
}
OUT_OF_THE_ADMIN = {"logout"}  # by POST only, in Django

pytestmark = pytest.mark.django_db


@pytest.fixture
def something_of_everything() -> None:
    ready(name="ready")
    failing()
    an_identity()
    Group.objects.create(name="operators")
    migration = BulkMigration.objects.create(
        source_name="ca1", destination_name="ca2", state="ENDED", created_at=timezone.now()
    )
    migration.items.create(certificate_name="gone", state="FAILED", reason="no answer")
    a_user(username="somebody")
    a_revocation()
    MaybeIssued.objects.create(
        certificate_name="gone",
        issuer_name="ca1",
        transaction_id="00" * 16,
        sent_at=timezone.now(),
        reason="no answer within 30 s",
        public_key_sha256="0" * 64,
    )


def pages() -> list[str]:
    """Return every address of the admin, with an object of each model in its place."""
    resolver = next(
        each
        for each in get_resolver().url_patterns
        if isinstance(each, URLResolver) and each.namespace == "admin"
    )
    return sorted(set(_walk(resolver, "/admin/")))


def _walk(resolver: URLResolver, prefix: str) -> Iterator[str]:
    for each in resolver.url_patterns:
        route = prefix + _route(each)
        if isinstance(each, URLResolver):
            yield from _walk(each, route)
        elif "(?P<url>" in route or "^" in route or each.name in OUT_OF_THE_ADMIN:
            continue
        else:
            yield from _with_object(route)


def _route(each: URLPattern | URLResolver) -> str:
    return str(each.pattern)


def _with_object(route: str) -> Iterator[str]:
    if "<" not in route:
        yield route
    elif "content_type_id" not in route and ("object_id>" in route or "/<id>/" in route):
        app, model = route.split("/")[2:4]
        row = apps.get_model(app, model).objects.first()
        yield route.replace("<path:object_id>", str(row.pk)).replace("<id>", str(row.pk))


def everything() -> Any:
    return [serializers.serialize("json", model.objects.order_by("pk")) for model in OURS]


@pytest.mark.usefixtures("something_of_everything")
def test_looking_at_any_page_changes_nothing_and_none_fails() -> None:
    client = logged_in()
    client.get("/admin/")
    User.objects.update(last_login=None)
    before = everything()
    visited = pages()
    assert len(visited) > 40

    for page in visited:
        assert client.get(page, follow=True).status_code in {200, 403, 404, 405}, page

    assert everything() == before


@pytest.mark.usefixtures("something_of_everything")
def test_every_action_refuses_a_get() -> None:
    client = logged_in()
    actions = [page for page in pages() if page.split("/")[-2] in ACTIONS]
    assert len(actions) == len(ACTIONS) + 1  # stop is for certificates, and for migrations

    for action in actions:
        assert client.get(action).status_code == 405


@pytest.mark.usefixtures("something_of_everything")
def test_no_page_can_be_read_without_logging_in() -> None:
    for page in pages():
        answer = Client().get(page)
        if page not in {"/admin/login/", "/admin/jsi18n/"}:
            assert (answer.status_code, answer["Location"].split("?")[0]) == (
                302,
                "/admin/login/",
            ), page


@pytest.mark.usefixtures("something_of_everything")
def test_staff_without_permissions_sees_nothing_of_ours() -> None:
    client = logged_in(a_user(is_staff=True, username="nobody"))

    for model in (
        BulkMigration,
        MigrationItem,
        MigrationError,
        Issuer,
        Certificate,
        Enrollment,
        MaybeIssued,
        Revocation,
        User,
        Group,
    ):
        place = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        for page in pages():
            if page.startswith(place):
                assert client.get(page, follow=True).status_code in {403, 405}, page


def test_the_menu_has_the_guides_words_and_only_what_one_may_view() -> None:
    viewer = logged_in(a_user("view_certificate", is_staff=True))

    page = text(viewer.get("/admin/"))

    assert "<span>Certificate</span>" in page
    assert "<span>Issuer</span>" not in page
    assert "<span>Issuer</span>" in text(logged_in().get("/admin/"))


def test_users_and_groups_are_kept_on_pages_of_the_same_looks() -> None:
    page = text(logged_in().get("/admin/auth/user/"))

    assert "OCCM" in page
    assert {User, Group} <= set(admin.site._registry)
    assert "authtoken" not in {model._meta.model_name for model in admin.site._registry}
