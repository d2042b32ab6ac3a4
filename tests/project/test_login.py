"""Getting and giving back a token."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from tests.project.clients import JsonClient, a_client, a_user

LOGIN, LOGOUT, ISSUERS = "/api/v1/login/", "/api/v1/logout/", "/api/v1/issuers/"
CREDENTIALS = {"username": "operator", "password": "correct horse"}

pytestmark = pytest.mark.django_db


def basic(username: str, password: str) -> dict[str, Any]:
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"headers": {"Authorization": f"Basic {pair}"}}


def status_with(authorization: str) -> int:
    answer = JsonClient().get(ISSUERS, headers={"Authorization": authorization})
    return int(answer.status_code)


def test_name_and_password_get_a_token_that_expires_and_is_kept_as_a_hash() -> None:
    a_user("view_issuer")

    answer = JsonClient().post(LOGIN, CREDENTIALS)

    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    token = answer.json()["token"]
    assert status_with(f"Bearer {token}") == 200
    kept = AuthToken.objects.get()
    assert token not in (kept.digest, kept.token_key)
    assert timedelta(hours=9) < kept.expiry - timezone.now() <= timedelta(hours=10)


def test_basic_authentication_gets_a_token_too() -> None:
    a_user("view_issuer")

    answer = JsonClient().post(LOGIN, **basic("operator", "correct horse"))

    assert answer.status_code == 200
    assert status_with(f"Bearer {answer.json()['token']}") == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"data": CREDENTIALS | {"password": "wrong"}}, 401),
        ({"data": CREDENTIALS | {"username": "nobody"}}, 401),
        ({"data": {"username": "operator"}}, 400),
        ({"data": {}}, 400),
        ({"data": CREDENTIALS | {"username": ["operator"]}}, 400),
        (basic("operator", "wrong"), 401),
        (basic("oper\x00ator", "correct horse"), 401),
        ({"data": CREDENTIALS | {"username": "oper\x00ator"}}, 400),
        ({"headers": {"Authorization": "Basic !"}}, 401),
    ],
    ids=str,
)
def test_anything_else_gets_none(sent: dict[str, Any], status: int) -> None:
    a_user("view_issuer")

    answer = JsonClient().post(LOGIN, **sent)

    assert answer.status_code == status
    assert not AuthToken.objects.exists()
    assert "token" not in answer.json()


def test_a_user_who_was_locked_out_gets_no_token_and_cannot_use_an_old_one() -> None:
    user = a_user("view_issuer")
    client = a_client(user)
    user.is_active = False
    user.save()

    assert JsonClient().post(LOGIN, CREDENTIALS).status_code == 401
    assert client.get(ISSUERS).status_code == 401


def test_an_expired_token_opens_nothing() -> None:
    client = a_client(a_user("view_issuer"))
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))

    assert client.get(ISSUERS).status_code == 401


def test_a_token_given_back_opens_nothing() -> None:
    client = a_client(a_user("view_issuer"))

    assert client.post(LOGOUT).status_code == 204

    assert client.get(ISSUERS).status_code == 401
    assert not AuthToken.objects.exists()


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer a b", "Bearer \xff\xfe", "Bearer " + "0" * 64, "Token x"],
)
def test_what_is_no_token_is_refused(authorization: str) -> None:
    assert status_with(authorization) == 401


@pytest.mark.parametrize("sent", [{"data": CREDENTIALS}, basic("operator", "wrong")], ids=str)
def test_guessing_passwords_is_slowed_down(sent: dict[str, Any]) -> None:
    statuses = [JsonClient().post(LOGIN, **sent).status_code for _ in range(31)]

    assert statuses == [401] * 30 + [429]


def test_pages_and_api_count_attempts_together_and_a_right_password_is_none_too_many() -> None:
    user = a_user()
    user.is_staff = True
    user.save()
    for _ in range(29):
        JsonClient().post(LOGIN, CREDENTIALS | {"password": "wrong"})

    assert a_log_in_by_page().status_code == 302
    refused = a_log_in_by_page()

    assert "Too many attempts from your address: try again in" in refused.content.decode()
    assert JsonClient().post(LOGIN, CREDENTIALS).status_code == 429


def test_another_address_may_still_log_in() -> None:
    a_user()
    for _ in range(31):
        JsonClient().post(LOGIN, CREDENTIALS | {"password": "wrong"})

    assert JsonClient(REMOTE_ADDR="192.0.2.7").post(LOGIN, CREDENTIALS).status_code == 200


def a_log_in_by_page() -> Any:
    return Client().post("/admin/login/", CREDENTIALS)


def test_a_session_of_the_admin_opens_the_api_and_changes_need_its_csrf_token() -> None:
    client = JsonClient(enforce_csrf_checks=True)
    client.force_login(a_user("view_issuer", "add_issuer"))

    assert client.get(ISSUERS).status_code == 200
    refused = client.post(ISSUERS, {})

    assert refused.status_code == 403
    assert refused.json()["code"] == "PERMISSION_DENIED"
