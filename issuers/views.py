"""The API's view of issuers: HTTP in, one domain call, HTTP out."""

from typing import Any

import django_filters  # type: ignore[import-untyped]
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from issuers.domain import editing, trial
from issuers.domain.clock import database_time
from issuers.models import Issuer
from issuers.serializers import IssuerSerializer


class IssuerFilter(django_filters.FilterSet):  # type: ignore[misc]
    warned = django_filters.BooleanFilter(
        method="by_warnings", label="Whether a worker found something wrong with its secrets."
    )
    failing = django_filters.BooleanFilter(
        method="by_failure", label="Whether the CA did not answer as it should last time."
    )

    class Meta:
        model = Issuer
        fields = ("initial_auth_type", "tls_enabled")

    def by_warnings(self, found: QuerySet[Issuer], name: str, value: bool) -> QuerySet[Issuer]:
        silent = Q(health__warnings=[])
        return found.exclude(silent) if value else found.filter(silent)

    def by_failure(self, found: QuerySet[Issuer], name: str, value: bool) -> QuerySet[Issuer]:
        return found.filter(health__failing_since__isnull=not value)


class IssuerViewSet(viewsets.ModelViewSet[Issuer]):
    """CAs and how each is spoken to."""

    queryset = Issuer.objects.select_related("health").order_by("name")
    serializer_class = IssuerSerializer
    lookup_field = "name"
    lookup_value_regex = "[A-Za-z0-9._-]{1,63}"
    filterset_class = IssuerFilter
    search_fields = ("name", "server_url", "recipient_dn")

    def perform_create(self, serializer: BaseSerializer[Issuer]) -> None:
        spec = serializer.validated_data
        serializer.instance = editing.register(now=database_time(), **spec)

    def perform_update(self, serializer: BaseSerializer[Issuer]) -> None:
        changes = serializer.validated_data
        if not serializer.partial:  # PUT replaces: what it leaves out gets its default
            changes = _defaults() | changes
        issuer = self.get_object()
        serializer.instance = editing.update(issuer=issuer, now=database_time(), **changes)

    def perform_destroy(self, instance: Issuer) -> None:
        editing.delete(issuer=instance)

    @extend_schema(request=None, responses={202: IssuerSerializer})
    @action(detail=True, methods=["post"], url_path="test-connection")
    def test_connection(self, request: Request, name: str) -> Response:
        """Have a worker try the connection to the CA; what comes of it appears in its health."""
        trial.request(self.get_object(), now=database_time())
        return Response(self.get_serializer(self.get_object()).data, status=202)


def _defaults() -> dict[str, Any]:
    blank = Issuer()
    return {name: getattr(blank, name) for name in Issuer.configured()}
