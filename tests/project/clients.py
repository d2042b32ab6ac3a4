"""Clients of the API, with more or fewer permissions."""

from typing import Any

from django.contrib.auth.models import Permission, User
from knox.models import AuthToken
from rest_framework.test import APIClient


class JsonClient(APIClient):
    default_format = "json"


def a_user(*codenames: str, **fields: Any) -> User:
    """Return a user with the permissions named, as `view_issuer`."""
    defaults = {"username": "operator", "password": "correct horse"}
    user = User.objects.create_user(**defaults | fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def a_client(user: User) -> JsonClient:
    """Return a client that bears a token, speaks JSON and is checked like any other."""
    _, token = AuthToken.objects.create(user)
    client = JsonClient(enforce_csrf_checks=True)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def an_administrator() -> JsonClient:
    return a_client(User.objects.create_superuser("admin", password="correct horse"))
