"""Certificates, as an operator creates and watches them."""

import re
from datetime import timedelta

from django.utils import timezone
from playwright.sync_api import expect

from certificates.domain import lifecycle
from certificates.models import Certificate
from tests.browser.conftest import Open
from tests.browser.test_issuer_pages import fill, group
from tests.certificates.standings import failing, ready
from tests.factories import a_certificate, an_issuer

LIST = "/admin/certificates/certificate/"
ADD = f"{LIST}add/"


def view(certificate: Certificate) -> str:
    return f"{LIST}{certificate.pk}/view/"


def test_a_certificate_is_created_by_hand(open_page: Open) -> None:
    an_issuer(name="ca1")
    page = open_page(ADD)

    fill(page, name="nrf1", network_function="NRF", purpose="SBI", common_name="nrf1.example.org")
    page.get_by_label("Issuer").select_option("ca1")
    for place, key in (("private_key_output", "tls.key"), ("certificate_output", "tls.crt")):
        fill(
            page,
            **{f"{place}_namespace": "ns1", f"{place}_secret": "nrf1-tls", f"{place}_key": key},
        )
    names = page.locator("[data-field=dns_names]")
    names.get_by_role("textbox").fill("nrf1.example.org")
    names.get_by_role("button", name="Add DNS name").click()
    page.keyboard.type("*.nrf1.example.org")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("nrf1")
    expect(page.get_by_text("Creation under way")).to_be_visible()
    certificate = Certificate.objects.get()
    assert certificate.dns_names == ["nrf1.example.org", "*.nrf1.example.org"]
    assert certificate.extended_key_usage == ["CLIENT_AUTH", "SERVER_AUTH"]


def test_only_the_fields_that_apply_are_seen(open_page: Open) -> None:
    page = open_page(ADD)
    output, bundle = group(page, "Private Key Output"), group(page, "CA Bundle Input")
    size, curve = page.get_by_label("Key size"), page.get_by_label("Elliptic curve")
    merge = page.get_by_label("Merge Certificate and Certificate Chain")

    expect(curve).to_be_visible()
    expect(size).to_be_hidden()
    page.get_by_label("Key algorithm").select_option("RSA")
    expect(size).to_be_visible()
    expect(curve).to_be_hidden()

    expect(merge).to_be_visible()
    page.get_by_label("Key encoding").select_option("DER")
    expect(merge).to_be_hidden()

    expect(output).to_be_visible()
    page.get_by_label("Cert type").select_option("OCCM")
    expect(output).to_be_hidden()
    expect(bundle).to_be_hidden()
    expect(page.get_by_label("Network function")).to_be_hidden()


def test_a_change_that_recreates_is_asked_about_before_it_is_saved(open_page: Open) -> None:
    certificate = ready()
    page = open_page(f"{LIST}{certificate.pk}/change/")

    fill(page, common_name="other.example.org")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("because these change: common name")
    page.locator("[name=common_name]").press("Enter")  # is no answer to the question
    expect(page.get_by_role("alert")).to_contain_text("because these change: common name")
    assert not certificate.enrollments.open().exists()
    page.get_by_role("button", name="Save and recreate").click()

    expect(page.get_by_text("Recreation under way")).to_be_visible()
    assert certificate.enrollments.open().get().kind == "RECREATE"


def test_retry_asks_in_a_dialog_and_can_be_cancelled(open_page: Open) -> None:
    certificate = failing()
    page = open_page(view(certificate))
    due_at = certificate.enrollments.get().due_at
    dialog = page.get_by_role("dialog", name="Retry now")

    page.get_by_role("button", name="Retry now").click()
    expect(dialog).to_contain_text("tried again at once")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Retry now").click()
    dialog.get_by_role("button", name="Cancel").click()
    assert certificate.enrollments.get().due_at == due_at
    page.get_by_role("button", name="Retry now").click()
    dialog.get_by_role("button", name="Retry now").click()

    expect(page.get_by_text("It is tried again at once.")).to_be_visible()
    assert certificate.enrollments.get().due_at != due_at


def test_deleting_says_what_stays(open_page: Open) -> None:
    certificate = ready(name="nrf1")
    page = open_page(view(certificate))

    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_text("ns1/nrf1-tls[tls.key]")).to_be_visible()
    page.get_by_role("button", name="Delete certificate").click()

    expect(page.get_by_text("Left behind: ns1/nrf1-tls.")).to_be_visible()
    assert not Certificate.objects.exists()


def test_a_page_follows_what_happens_without_being_loaded_again(open_page: Open) -> None:
    certificate = failing()
    page, listed = open_page(view(certificate)), open_page(LIST)
    expect(page.get_by_text("attempt 3 failed")).to_be_visible()
    page.evaluate("window.loadedOnce = true")

    certificate.enrollments.update(tries=4, error="something else is wrong")

    expect(page.get_by_text("attempt 4 failed")).to_be_visible()
    expect(page.locator("#status .oc-alert").nth(1)).to_contain_text("something else is wrong")
    expect(listed.get_by_text("something else is wrong")).to_be_visible()
    assert page.evaluate("window.loadedOnce") is True


def test_the_time_to_the_next_attempt_counts_down(open_page: Open) -> None:
    certificate = failing(due_at=timezone.now() + timedelta(seconds=60))
    page = open_page(view(certificate))
    countdown = page.locator("#status time")

    expect(countdown).to_have_text("in 58 s")
    expect(countdown).to_have_text("in 56 s")


def test_an_open_dialog_and_a_focused_button_survive_the_refresh(open_page: Open) -> None:
    certificate = failing()
    page = open_page(view(certificate))
    page.get_by_role("button", name="Stop").focus()

    certificate.enrollments.update(tries=4)
    expect(page.get_by_text("attempt 4 failed")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.get_by_role("button", name="Stop").press("Enter")
    certificate.enrollments.update(tries=5)
    page.wait_for_timeout(4_000)

    expect(page.get_by_role("dialog", name="Stop")).to_be_visible()
    expect(page.get_by_text("attempt 4 failed")).to_be_visible()


def test_a_page_stops_asking_when_its_reader_is_logged_out(open_page: Open) -> None:
    certificate = failing()
    page = open_page(view(certificate))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.context.clear_cookies()
    page.wait_for_timeout(7_000)

    assert len([url for url in asked if "/status/" in url and "login" not in url]) == 1
    expect(page.get_by_text("attempt 3 failed")).to_be_visible()  # what was known stays


def test_the_list_is_narrowed_by_its_filters(open_page: Open) -> None:
    ready(name="good")
    failing(a_certificate(name="bad"))
    page = open_page(LIST)

    page.get_by_role("button", name="Filters", exact=True).click()
    page.get_by_label("By readiness").select_option("READY")
    page.get_by_role("button", name="Apply Filters").click()

    expect(page.get_by_role("link", name="good")).to_be_visible()
    expect(page.get_by_role("link", name="bad")).to_be_hidden()


def test_a_telephone_shows_it_all_without_scrolling_sideways(open_page: Open) -> None:
    lifecycle.renew(certificate := ready(), now=timezone.now())
    failing(certificate, error="x" * 300)

    for path in (LIST, view(certificate), ADD, f"{LIST}{certificate.pk}/change/"):
        page = open_page(path, wide=False)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    page = open_page(LIST, wide=False)
    page.get_by_role("button", name="Open or close the menu").click()
    page.get_by_role("navigation").get_by_role("link", name="Issuer").click()
    expect(page).to_have_url(re.compile("/admin/issuers/issuer/$"))


def test_a_phone_shows_whole_rows(open_page: Open) -> None:
    pages = ("/admin/", "/admin/system/", view(failing(a_certificate(name="nrf1"))))
    for path in pages:
        page = open_page(path, wide=False)

        tables = page.locator(".oc-stack")
        expect(tables.first).to_be_visible()
        width = "table => [table.scrollWidth, table.parentElement.clientWidth]"
        for table in tables.all():
            needed, there = table.evaluate(width)
            assert needed <= there, path
