"""Who may use the API: tokens, and the permissions of Django's models.

Settings make both the default. DRF loads this module while it loads its own views.
"""

from typing import TYPE_CHECKING, Any

from knox import auth
from rest_framework import permissions
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView


class TokenAuthentication(auth.TokenAuthentication):  # type: ignore[misc]  # knox has no types
    """knox's tokens: kept as hashes, expiring; `Authorization: Bearer …`."""

    def authenticate_credentials(self, token: bytes) -> Any:
        if not token.isalnum():  # knox would decode it, and fail on what is no UTF-8
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)


class ModelPermissions(permissions.DjangoModelPermissions):
    """The permissions of Django's model, for reading too; acting on a thing means changing it."""

    perms_map = {
        **permissions.DjangoModelPermissions.perms_map,
        **{method: ["%(app_label)s.view_%(model_name)s"] for method in permissions.SAFE_METHODS},
        "ACTION": ["%(app_label)s.change_%(model_name)s"],
    }

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if request.method != "POST" or not getattr(view, "detail", False):
            return super().has_permission(request, view)
        model = self._queryset(view).model
        return request.user.has_perms(self.get_required_permissions("ACTION", model))
