"""Name and password for a session, or for a token and back; how often they may be tried.

Tokens expire and are stored as hashes (knox).
"""

from math import ceil
from typing import Any, cast

from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema
from knox.views import LoginView, LogoutView
from rest_framework import serializers
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle, SimpleRateThrottle
from unfold.forms import AuthenticationForm

from occm_project.api.access import TokenAuthentication


class Credentials(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False, write_only=True)


class IssuedToken(serializers.Serializer[Any]):
    token = serializers.CharField(help_text="Send it as `Authorization: Bearer …`.")
    expiry = serializers.DateTimeField()


class Attempts(SimpleRateThrottle):
    """How often an address may try to log in, by page and API together, at all web servers."""

    scope = "login"

    def get_cache_key(self, request: Any, view: Any) -> str:
        return self.cache_format % {"scope": self.scope, "ident": address(request)}


def address(request: Any) -> str:
    """Return where a request comes from, as the proxies say that are believed (OCCM_PROXIES)."""
    return str(BaseThrottle().get_ident(request))


class LoginForm(AuthenticationForm):  # type: ignore[misc]  # unfold has no types
    """The form of the log-in page; a name and a password are looked at only in time."""

    def clean(self) -> Any:
        attempts, page = Attempts(), cast("Any", None)
        if not attempts.allow_request(self.request, page):
            wait = ceil(attempts.wait() or 0)
            raise ValidationError(f"Too many attempts from your address: try again in {wait} s.")
        return super().clean()


class Basic(BasicAuthentication):
    """Name and password in the header; a NUL in them is wrong, and no error of the database."""

    def authenticate_credentials(
        self, userid: str, password: str, request: Request | None = None
    ) -> tuple[Any, None]:
        if "\x00" in userid:
            raise AuthenticationFailed("Wrong name or password.")
        return super().authenticate_credentials(userid, password, request)


class Login(LoginView):  # type: ignore[misc]  # knox has no types
    """Get a token for a name and a password, by basic authentication or in the body."""

    authentication_classes = (Basic,)
    permission_classes = (AllowAny,)
    throttle_classes = (Attempts,)

    def perform_authentication(self, request: Request) -> None:
        super().check_throttles(request)  # before a wrong password in the header ends it
        super().perform_authentication(request)

    def check_throttles(self, request: Request) -> None:
        """They have been checked."""

    @extend_schema(request=Credentials, responses={200: IssuedToken})
    def post(self, request: Request, format: str | None = None) -> Response:  # noqa: A002 - knox's
        if not request.user.is_authenticated:
            credentials = Credentials(data=request.data)
            credentials.is_valid(raise_exception=True)
            user = authenticate(request, **credentials.validated_data)
            if user is None:
                raise AuthenticationFailed("Wrong name or password.")
            request.user = user
        answer: Response = super().post(request)
        answer["Cache-Control"] = "no-store"
        return answer


class Logout(LogoutView):  # type: ignore[misc]
    """Make the token of this request invalid."""

    authentication_classes = (TokenAuthentication,)

    @extend_schema(request=None, responses={204: None})
    def post(self, request: Request, format: str | None = None) -> Response:  # noqa: A002 - knox's
        answer: Response = super().post(request)
        return answer
