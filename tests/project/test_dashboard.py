"""The admin's first page and the guide's panels: right numbers, only for those who may see them."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone

from issuers.models import IssuerHealth
from migrations_bulk.models import BulkMigration
from tests.certificates.standings import failing, ready
from tests.factories import a_certificate, an_identity, an_issuer
from tests.pages import Page, logged_in
from tests.project.clients import a_user

HOME = "/admin/"
EXPIRY = "/admin/certificates/expirytime/"
READINESS = "/admin/certificates/readinessstatus/"

pytestmark = pytest.mark.django_db


def text(page: Page) -> str:
    """Return what a reader sees of the page's main part: words, one space apart."""
    assert page.status_code == 200
    main = page.content.decode().split('id="main"')[-1]
    return " ".join(unescape(re.sub("<[^>]*>", " ", main)).split())


@pytest.fixture
def admin() -> Client:
    return logged_in()


def test_the_first_page_says_how_many_are_ready_and_what_is_not(admin: Client) -> None:
    issuer = an_issuer(name="ca-core")
    ready(issuer=issuer, days=3)
    failing(a_certificate(issuer=issuer, name="amf-sbi"))

    shown = text(admin.get(HOME))

    assert "Readiness of 2 certificates" in shown
    assert "7 days or less 1" in shown
    assert "amf-sbi" in shown
    assert "The CA refused : the CA says <b>no</b>: badRequest" in shown


def test_what_expired_with_nothing_under_way_says_so(admin: Client) -> None:
    ready(name="bsf-sbi", days=-2)

    assert "expired 2 days ago It has expired, and nothing is under way" in text(admin.get(HOME))


def test_a_count_leads_to_the_list_of_what_was_counted(admin: Client) -> None:
    ready(an_identity(name="identity"), days=3)
    ready(name="late", days=300)
    home = admin.get(HOME).text
    (link,) = re.findall(r'href="([^"]*band=DAYS_7[^"]*)"', home)

    shown = text(admin.get(unescape(link)))

    assert "identity" in shown
    assert "late" not in shown


def test_all_is_well_is_said_when_it_is(admin: Client) -> None:
    ready()

    assert "All is well" in text(admin.get(HOME))


def test_the_first_page_tells_of_an_issuer_that_fails(admin: Client) -> None:
    issuer = an_issuer(name="ca-edge")
    IssuerHealth.objects.filter(pk=issuer.pk).update(failing_since=timezone.now(), error="refused")

    assert "ca-edge failing none 0" in text(admin.get(HOME))


def test_the_first_page_shows_the_latest_migration_to_those_who_may_see_it(admin: Client) -> None:
    now = timezone.now()
    for moment in (now - timedelta(hours=1), now):
        migration = BulkMigration.objects.create(
            source_name="ca-old", destination_name="ca-new", state="ENDED", created_at=moment
        )
    for number, state in enumerate(("DONE", "DONE", "FAILED", "SKIPPED")):
        migration.items.create(certificate_name=f"nf{number}", state=state)

    assert "ENDED ca-old → ca-new 3 of 3 certificates 1 failed" in text(admin.get(HOME))
    viewer = logged_in(a_user("view_certificate", is_staff=True))
    assert "ca-old" not in viewer.get(HOME).text


def test_an_empty_installation_says_what_to_do_first(admin: Client) -> None:
    shown = text(admin.get(HOME))

    assert "Add the first issuer" in shown
    assert "Readiness of 0 certificates" in shown


def test_the_live_part_comes_alone(admin: Client) -> None:
    page = admin.get(HOME, headers={"X-Occm-Live": "1"})

    assert "oc-dashboard" in page.text
    assert "<html" not in page.text


def test_who_may_view_nothing_sees_nothing() -> None:
    ready(name="amf-sbi")
    failing(a_certificate(name="smf-sbi"))
    nobody = logged_in(a_user("nobody", is_staff=True))

    assert "sbi" not in nobody.get(HOME).text
    assert nobody.get(EXPIRY).status_code == nobody.get(READINESS).status_code == 403


def test_who_may_view_issuers_sees_issuers_alone() -> None:
    failing(a_certificate(name="amf-sbi", issuer=an_issuer(name="ca-core")))
    page = logged_in(a_user("viewer", "view_issuer", is_staff=True)).get(HOME).text

    assert "ca-core" in page
    assert "amf-sbi" not in page


def test_the_expiry_panel_has_the_guides_title_and_the_soonest_first(admin: Client) -> None:
    issuer = an_issuer(name="ca-core")
    an_identity(issuer=issuer, name="identity")
    ready(issuer=issuer, name="late", days=300)
    ready(issuer=issuer, name="soon", days=5)
    a_certificate(issuer=issuer, name="none-yet")

    shown = text(admin.get(EXPIRY))

    assert "End Entity Certificate Expiry Time" in shown
    assert "identity" not in shown  # OCCM's own is no end entity of the network
    assert shown.index("soon ca-core") < shown.index("late ca-core") < shown.index("none-yet")


def test_the_expiry_panel_can_be_narrowed_to_a_band(admin: Client) -> None:
    ready(name="late", days=300)
    ready(name="soon", days=5)

    shown = text(admin.get(EXPIRY, {"band": "DAYS_7"}))

    assert "soon" in shown
    assert "late ca" not in shown


def test_the_readiness_panel_gives_the_reason(admin: Client) -> None:
    issuer = an_issuer(name="ca-core")
    failing(a_certificate(name="smf-sbi", issuer=issuer), error="the CA does not answer")
    ready(name="amf-sbi", issuer=issuer)

    shown = text(admin.get(READINESS))

    assert "End Entity Certificate Readiness Status" in shown
    assert "the CA does not answer" in shown
    assert "NOT_READY" in shown
    assert "smf-sbi" not in text(admin.get(READINESS, {"readiness": "READY"}))


def test_panels_are_read_only(admin: Client) -> None:
    row = ready()

    for panel in (EXPIRY, READINESS):
        assert admin.get(f"{panel}add/").status_code == 403
        assert admin.post(f"{panel}{row.pk}/delete/", {"post": "yes"}).status_code == 403
