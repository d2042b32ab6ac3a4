"""Nothing is readable without login or token: every path there is, asked by a stranger."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern
from django.utils.regex_helper import normalize

from tests.project.clients import a_client, a_user

OPEN = {"/admin/login/": 200}  # beside probes and metrics, which no path leads to
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")

pytestmark = pytest.mark.django_db


def paths(resolver: URLResolver, before: str = "/") -> Iterator[str]:
    """Yield a path for every pattern, with something that fits in place of its parameters."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern.pattern, RoutePattern):
            part = str(pattern.pattern)
            for name, converter in pattern.pattern.converters.items():
                sample = "1" if converter.regex.startswith("[0-9]") else "x"
                for kind in ("int:", "slug:", "str:", "path:", ""):
                    part = part.replace(f"<{kind}{name}>", sample)
        else:
            form, names = normalize(str(pattern.pattern))[0]
            part = form % dict.fromkeys(names, "x")
        if isinstance(pattern, URLPattern):
            yield before + part
        else:
            yield from paths(pattern, before + part)


def test_the_walk_finds_the_paths_that_are_known() -> None:
    found = set(paths(get_resolver()))

    assert {"/", "/api/v1/schema/", "/api/v1/docs/", "/api/v1/issuers/"} <= found
    assert {"/api/v1/issuers/x/", "/admin/", "/admin/login/"} <= found


def test_a_stranger_is_sent_to_the_login_or_refused_on_every_path(client: Client) -> None:
    for path in paths(get_resolver()):
        for method in METHODS:
            answer = client.generic(method, path)
            asked = f"{method} {path}"
            if path in OPEN and answer.status_code == OPEN[path]:
                continue
            assert answer.status_code in {301, 302, 400, 401, 403, 404, 405, 415}, asked
            if answer.status_code in {301, 302} and path != "/":
                assert "/admin/" in answer["Location"], asked
            assert len(answer.content) < 500, asked


@pytest.mark.parametrize("path", ["/api/v1/schema/", "/api/v1/docs/", "/api/v1/issuers/"])
def test_the_api_tells_a_stranger_nothing(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code in {302, 401}
    assert b"issuer" not in answer.content.replace(path.encode(), b"")


def test_the_schema_is_for_everybody_who_is_logged_in() -> None:
    assert a_client(a_user()).get("/api/v1/schema/").status_code == 200


def test_the_documentation_needs_nothing_from_elsewhere(client: Client) -> None:
    client.force_login(a_user())

    page = client.get("/api/v1/docs/")

    assert page.status_code == 200
    assert b"//cdn" not in page.content
    assert page.content.count(b'="/static/drf_spectacular_sidecar/') == 4
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert finders.find(f"drf_spectacular_sidecar/swagger-ui-dist/{name}")
    assert client.get("/api/v1/docs/?script=").status_code == 200


def test_the_front_page_is_the_admin(client: Client) -> None:
    answer = client.get("/")

    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


@pytest.mark.parametrize(
    ("token", "authorization", "status"),
    [
        ("scrape", "Bearer scrape", 200),
        ("scrape", "Bearer wrong", 401),
        ("scrape", "Bearer ", 401),
        ("scrape", "Bearer \xff", 401),
        ("scrape", "", 401),
        ("", "Bearer ", 401),
        ("", "", 401),
    ],
)
def test_metrics_are_for_the_bearer_of_their_token(
    client: Client, settings: LazySettings, token: str, authorization: str, status: int
) -> None:
    settings.OCCM_METRICS_TOKEN = token

    answer = client.get("/metrics", headers={"Authorization": authorization})

    assert answer.status_code == status
    assert (b"occm_build_info" in answer.content) is (status == 200)
    assert (b"django_http_requests" in answer.content) is (status == 200)


def test_a_scrape_comes_by_the_address_of_a_pod_and_changes_nothing(
    client: Client, settings: LazySettings
) -> None:
    settings.OCCM_METRICS_TOKEN = "scrape"
    headers = {"Authorization": "Bearer scrape", "Host": "10.0.0.7:8000"}

    assert client.get("/metrics", headers=headers).status_code == 200
    assert client.post("/metrics", headers=headers).status_code == 405


def test_probes_need_no_login_no_known_host_and_no_https(client: Client) -> None:
    for path, word in (("/live", b"live\n"), ("/ready", b"ready\n")):
        answer = client.get(path, headers={"Host": "10.0.0.7:8000"})
        assert (answer.status_code, answer.content) == (200, word)
    assert client.get("/admin/login/", headers={"Host": "10.0.0.7:8000"}).status_code == 400


def test_every_answer_forbids_scripts_from_elsewhere_and_framing(client: Client) -> None:
    answer: Any = client.get("/admin/login/")

    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'self' 'unsafe-eval';" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"


def test_what_the_api_shows_is_not_stored_on_the_way() -> None:
    assert a_client(a_user("view_issuer")).get("/api/v1/issuers/")["Cache-Control"] == "no-store"


def test_cookies_travel_by_https_only_and_scripts_cannot_read_them(client: Client) -> None:
    user = a_user(is_staff=True)

    page = client.get("/admin/login/")
    answer = client.post("/admin/login/", {"username": user.username, "password": "correct horse"})

    for cookie in (page.cookies["csrftoken"], answer.cookies["sessionid"]):
        assert cookie["secure"] is True
        assert cookie["httponly"] is True
        assert cookie["samesite"] == "Lax"
