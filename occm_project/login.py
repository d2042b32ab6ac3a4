"""Name and password for a token, and back. Tokens expire and are stored as hashes (knox)."""

from typing import Any

from django.contrib.auth import authenticate
from drf_spectacular.utils import extend_schema
from knox.views import LoginView, LogoutView
from rest_framework import serializers
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle

from occm_project.api.access import TokenAuthentication


class Credentials(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False, write_only=True)


class IssuedToken(serializers.Serializer[Any]):
    token = serializers.CharField(help_text="Send it as `Authorization: Bearer …`.")
    expiry = serializers.DateTimeField()


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
    throttle_classes = (ScopedRateThrottle,)
    throttle_scope = "login"

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
