"""Take the pictures of the README: `.venv/bin/python -m tests.browser.screenshots [FOLDER]`.

Fills a database of its own with a small 5G core in the states an operator meets, and takes each
page wide and narrow, light and dark.
"""

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - only after Django is set up
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402
from django.utils import timezone  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402
from pytest_django.live_server_helper import LiveServer  # noqa: E402

from certificates.models import Certificate  # noqa: E402
from issuers.models import IssuerHealth  # noqa: E402
from migrations_bulk.models import BulkMigration  # noqa: E402
from tests.browser.conftest import CHROMIUM, FLAGS, NARROW, WIDE  # noqa: E402
from tests.certificates.standings import failing, ready  # noqa: E402
from tests.factories import a_certificate, an_identity, an_issuer  # noqa: E402

CORE = ("AMF", "AUSF", "CHF", "NEF", "NRF", "NSSF", "PCF", "SCP", "SMF", "UDM", "UDR", "UPF")
DOMAIN = "5gc.mnc001.mcc001.3gppnetwork.org"
REFUSAL = (
    "The CA rejected the request: status rejection, failInfo badCertTemplate, text “the common "
    "name is not allowed by profile 5GC-SBI”."
)


def main(folder: Path) -> None:
    setup_test_environment()
    connection.creation.create_test_db(verbosity=0)
    server = LiveServer("127.0.0.1")
    try:
        places = a_small_core()
        client = Client()
        client.force_login(User.objects.create_superuser("admin", "admin@example.org"))
        session = client.cookies["sessionid"].value
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for width, size in (("wide", WIDE), ("narrow", NARROW)):
                for theme in ("light", "dark"):
                    context = browser.new_context(
                        base_url=server.url,
                        viewport=size,
                        color_scheme="dark" if theme == "dark" else "light",
                    )
                    context.add_cookies(
                        [{"name": "sessionid", "value": session, "url": server.url}]
                    )
                    page = context.new_page()
                    for name, path in places.items():
                        take(page, path, folder / f"{name}-{width}-{theme}.png")
                    context.close()
            browser.close()
    finally:
        server.stop()
        connection.creation.destroy_test_db(":memory:", verbosity=0)


def take(page: Page, path: str, file: Path) -> None:
    page.goto(path)
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(500)
    page.screenshot(path=file, animations="disabled")


def a_small_core() -> dict[str, str]:
    """Fill the database, and return the pages to take."""
    now = timezone.now()
    inner = an_issuer(name="ca-core", server_url="http://ca-core.example.org:8080/pkix/")
    outer = an_issuer(name="ca-edge", server_url="http://ca-edge.example.org/cmp/")
    IssuerHealth.objects.filter(issuer=inner).update(
        answered_at=now, looked_at=now, http_version="1.1"
    )
    IssuerHealth.objects.filter(issuer=outer).update(
        looked_at=now,
        failing_since=now - timedelta(minutes=7),
        error="Cannot connect to ca-edge.example.org:80: connection refused.",
        warnings=[
            "Secret ns1/ca-edge-trust has no key root-2026.pem: create it, or correct the issuer."
        ],
    )
    identity = an_identity(now=now, name="occm-ca-core", issuer=inner, purpose="CMP identity")
    ready(identity, days=320)
    for n, function in enumerate(CORE):
        name = function.lower()
        names = [f"{name}.{DOMAIN}", f"*.{name}.{DOMAIN}"]
        made = a_certificate(
            now=now - timedelta(days=1),
            name=f"{name}-sbi",
            network_function=function,
            purpose="TLS on the SBI",
            issuer=inner,
            common_name=f"{name}.example.org",
            organization="Operator",
            country="DE",
            dns_names=names,
            ip_addresses=[f"10.20.0.{n + 10}"],
            uri_urns=[f"urn:uuid:4947a69a-f61b-4bc1-b9da-47c9c5d14b{n + 10}"],
        )
        ready(made, days=365 - 17 * n)
    expiring = Certificate.objects.get(name="smf-sbi")
    ready(expiring, days=11.2)
    renewal = expiring.enrollments.create(
        kind="RENEW",
        issuer=inner,
        issuer_name=inner.name,
        reason="expires soon",
        signer="IDENTITY",
        request={},
        due_at=now,
        created_at=now - timedelta(minutes=3),
    )
    failing(expiring, error=REFUSAL)
    waiting = a_certificate(now=now, name="sepp-n32", network_function="SEPP", issuer=outer)
    waiting.enrollments.update(waiting_for="the OCCM certificate of issuer ca-edge")
    gone = a_certificate(now=now, name="bsf-sbi", network_function="BSF", issuer=inner)
    ready(gone, days=-2)
    certificates, issuers = "/admin/certificates/certificate/", "/admin/issuers/issuer/"
    migrations = "/admin/migrations_bulk/bulkmigration/"
    return {
        "dashboard": "/admin/",
        "expiry-time": "/admin/certificates/expirytime/",
        "system": "/admin/system/",
        "readiness": "/admin/certificates/readinessstatus/",
        "migration-errors": "/admin/migrations_bulk/migrationerror/",
        "certificates": certificates,
        "certificate": f"{certificates}{renewal.certificate_id}/view/",
        "add-certificate": f"{certificates}add/",
        "issuers": issuers,
        "issuer": f"{issuers}{outer.pk}/view/",
        "add-issuer": f"{issuers}add/",
        "migration": f"{migrations}{a_migration(now)}/view/",
        "add-migration": f"{migrations}add/",
    }


def a_migration(now: datetime) -> UUID:
    """Make a migration that is half done, and return its id."""
    begun = now - timedelta(seconds=14)
    migration = BulkMigration.objects.create(
        source_name="ca-core-2025",
        destination_name="ca-core",
        canary=2,
        created_by="admin",
        created_at=now - timedelta(minutes=9),
        wave=1,
    )
    for n, function in enumerate(CORE):
        state = "FAILED" if n == 3 else "DONE" if n < 7 else "BEGUN" if n < 9 else "PENDING"
        settled_at = now - timedelta(seconds=9 - n)
        told: dict[str, dict[str, Any]] = {
            "FAILED": {
                "error_code": "CMP_REJECTED",
                "reason": REFUSAL,
                "attempts": 3,
                "settled_at": settled_at,
            },
            "DONE": {
                "attempts": 1,
                "settled_at": settled_at,
                "new_serial_number": f"{0x6B3F9A12C04D + n * 7919:x}",
            },
        }
        migration.items.create(
            certificate_name=f"{function.lower()}-n11",
            begun_at=None if state == "PENDING" else begun,
            old_serial_number="" if state == "PENDING" else f"{0x21D7E8A5 + n * 104729:x}",
            state=state,
            **told.get(state, {}),
        )
    return migration.pk


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
