"""No page keeps anybody out: axe finds nothing serious, in light and dark, wide and narrow."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

from migrations_bulk.models import BulkMigration, MigrationItem
from tests.browser.conftest import Open
from tests.certificates.standings import failing, ready
from tests.factories import a_certificate, a_maybe_issued, a_revocation, an_identity
from tests.issuers.factories import an_issuer
from tests.migrations_bulk.moving import records

SERIOUS = {"serious", "critical"}
PAGES = (
    "/admin/",
    "/admin/issuers/issuer/",
    "/admin/issuers/issuer/add/",
    "/admin/issuers/issuer/{issuer}/view/",
    "/admin/issuers/issuer/{issuer}/change/",
    "/admin/issuers/issuer/{issuer}/delete/",
    "/admin/certificates/certificate/",
    "/admin/certificates/certificate/add/",
    "/admin/certificates/certificate/{certificate}/view/",
    "/admin/certificates/certificate/{certificate}/change/",
    "/admin/certificates/certificate/{certificate}/delete/",
    "/admin/certificates/enrollment/",
    "/admin/certificates/maybeissued/",
    "/admin/certificates/maybeissued/{entry}/view/",
    "/admin/certificates/revocation/",
    "/admin/certificates/revocation/{revocation}/view/",
    "/admin/certificates/expirytime/",
    "/admin/certificates/readinessstatus/",
    "/admin/migrations_bulk/bulkmigration/",
    "/admin/migrations_bulk/bulkmigration/add/",
    "/admin/migrations_bulk/bulkmigration/{migration}/view/",
    "/admin/migrations_bulk/bulkmigration/{migration}/delete/",
    "/admin/migrations_bulk/migrationitem/",
    "/admin/migrations_bulk/migrationerror/",
    "/admin/system/",
)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(open_page: Open, dark: bool) -> None:
    issuer = an_issuer()
    an_identity(issuer=issuer)
    certificate = failing(a_certificate(issuer=issuer, dns_names=["a.example.org"]))
    ready(issuer=issuer, days=-3)
    ready(issuer=issuer, days=3)
    ids = {
        "issuer": issuer.pk,
        "certificate": certificate.pk,
        "entry": a_maybe_issued().pk,
        "revocation": a_revocation(issuer=issuer).pk,
        "migration": a_migration().pk,
    }
    page = open_page("/admin/", dark=dark)
    found = []

    for path in PAGES:
        page.goto(path.format(**ids))
        page.wait_for_function("document.getElementById('main').getAttribute('role') === 'main'")
        found += [f"{path} {each}" for each in serious(Axe().run(page).response["violations"])]

    assert found == []


def a_migration() -> BulkMigration:
    """Make one that has ended, with a certificate in each state."""
    records(1)
    migration = BulkMigration.objects.get()
    for number, state in enumerate(MigrationItem.State):
        migration.items.create(certificate_name=f"nf{number}", state=state, reason="no answer")
    return migration


def serious(violations: list[dict[str, Any]]) -> list[str]:
    return [
        f"{each['id']}: {node['html'][:160]}"
        for each in violations
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


def test_an_open_dialog_is_accessible(open_page: Open) -> None:
    page = open_page(f"/admin/certificates/certificate/{failing().pk}/view/")
    page.get_by_role("button", name="Recreate now").click()

    assert serious(Axe().run(page, context="dialog").response["violations"]) == []
