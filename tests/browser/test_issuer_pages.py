"""Issuers, filled in by hand."""

import pytest
from playwright.sync_api import Locator, Page, expect

from issuers.models import Issuer
from tests.browser.conftest import Open
from tests.issuers.factories import an_issuer, issuer_spec

LIST = "/admin/issuers/issuer/"
ADD = f"{LIST}add/"


def fill(page: Page, **fields: str) -> None:
    for name, value in fields.items():
        field = page.locator(f"[name={name}]")
        if field.evaluate("one => one.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def group(page: Page, title: str, n: int = 0) -> Locator:
    return page.locator("fieldset", has=page.locator("legend", has_text=title)).nth(n)


def test_an_issuer_is_created_by_hand(open_page: Open) -> None:
    spec = issuer_spec(name="ca1")
    roots = spec.pop("trust_store_root_ca_certs")
    page = open_page(LIST)

    page.get_by_role("link", name="Add", exact=True).click()
    fill(page, **spec)
    page.locator("[name=trust_store_root_ca_certs]").fill(roots[0])
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("ca1")
    assert Issuer.objects.get().trust_store_root_ca_certs == roots
    page.goto(LIST)
    page.get_by_role("link", name="ca1").click()
    expect(page.get_by_text("not asked yet")).to_be_visible()


def test_only_the_groups_that_apply_are_seen(open_page: Open) -> None:
    page = open_page(ADD)
    mac = group(page, "MAC Authentication Input")
    signature = group(page, "Signature Authentication Input")
    tls = group(page, "TLS Trust-Store Secret Input")
    kind = page.locator("[name=initial_auth_type]")

    expect(mac).to_be_hidden()
    expect(signature).to_be_hidden()
    kind.select_option("MAC")
    expect(mac).to_be_visible()
    expect(signature).to_be_hidden()
    expect(page.get_by_label("MAC algorithm")).to_be_visible()
    kind.select_option("SIGNATURE")
    expect(mac).to_be_hidden()
    expect(signature).to_be_visible()
    expect(page.get_by_label("MAC algorithm")).to_be_hidden()

    expect(tls).to_be_hidden()
    page.get_by_label("Enable TLS").check()
    expect(tls).to_be_visible()


def test_mistakes_are_seen_at_their_fields_and_what_was_typed_stays(open_page: Open) -> None:
    page = open_page(ADD)
    fill(page, name="no spaces", server_url="https://ca.example/", initial_auth_type="MAC")

    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_role("alert")).to_contain_text("Nothing is saved.")
    name = page.locator("[name=name]")
    expect(name).to_have_value("no spaces")
    expect(name).to_have_accessible_description(
        "1 to 63 letters, digits, hyphens, underscores and dots. It cannot change once "
        "certificates use the issuer. “no spaces” cannot be used here: use 1 to 63 letters, "
        "digits, hyphens, underscores and dots."
    )
    expect(page.locator(".field-mac_secret .oc-errors")).to_be_visible()
    assert not Issuer.objects.exists()


def test_values_are_added_to_and_taken_from_a_list_one_by_one(open_page: Open) -> None:
    issuer = an_issuer(trust_store_root_ca_certs=["a.pem", "b.pem", "c.pem"])
    page = open_page(f"{LIST}{issuer.pk}/change/")
    row = page.locator("[data-field=trust_store_root_ca_certs]")

    row.get_by_role("button", name="Remove this root CA cert").nth(1).click()
    row.get_by_role("button", name="Add root CA cert").click()
    page.keyboard.type("d.pem")
    page.keyboard.press("Enter")  # the next value, not the whole form
    page.keyboard.type("e.pem")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("e.pem")).to_be_visible()
    issuer.refresh_from_db()
    assert issuer.trust_store_root_ca_certs == ["a.pem", "c.pem", "d.pem", "e.pem"]


@pytest.mark.parametrize("wide", [True, False])
def test_deleting_asks_and_can_be_cancelled(open_page: Open, wide: bool) -> None:
    issuer = an_issuer(name="ca1")
    page = open_page(f"{LIST}{issuer.pk}/view/", wide=wide)

    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_text("Delete issuer ca1?")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()
    assert Issuer.objects.exists()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete issuer").click()

    expect(page.get_by_text("Issuer ca1 is deleted.")).to_be_visible()
    assert not Issuer.objects.exists()
