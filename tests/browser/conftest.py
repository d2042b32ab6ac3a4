"""A real browser on a real server: Debian's Chromium, which reaches nothing but this machine.

A page that logs an error, or breaks the content security policy, fails its test.
"""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.parts import need

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",  # CI is root in a container; the pages are ours
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}

# Playwright runs an event loop in the thread that the tests' own queries come from.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    need(CHROMIUM, "browser tests need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def live_server(django_db_setup: None, live_server: LiveServer) -> LiveServer:
    """Start the server when the tests' database is there: before, it would take the settings' own.

    That one is in memory, and the server's threads would share a single connection to it.
    """
    return live_server


@pytest.fixture
def admin(transactional_db: None) -> User:
    return User.objects.create_superuser("admin", "admin@example.org")


@pytest.fixture
def open_page(browser: Browser, live_server: LiveServer, admin: User) -> Iterator[Open]:
    """Open a page as the administrator: `open_page(path, wide=…, dark=…)`."""
    contexts, complaints = [], []

    def open_one(path: str, *, wide: bool = True, dark: bool = False) -> Page:
        client = Client()
        client.force_login(admin)
        context = browser.new_context(
            base_url=live_server.url,
            viewport=WIDE if wide else NARROW,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        context.add_cookies(
            [
                {
                    "name": "sessionid",
                    "value": client.cookies["sessionid"].value,
                    "url": live_server.url,
                }
            ]
        )
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: complaints.append(f"{path}: {error}"))
        page.on(
            "console",
            lambda said: (
                complaints.append(f"{path}: {said.text}") if said.type == "error" else None
            ),
        )
        page.goto(path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []
