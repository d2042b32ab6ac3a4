"""The API's view of bulk migrations: HTTP in, one domain call, HTTP out."""

from typing import Any

import django_filters  # type: ignore[import-untyped]
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from issuers.domain.clock import database_time
from migrations_bulk.domain import figures, migrate, report, selection
from migrations_bulk.models import BulkMigration, MigrationItem
from migrations_bulk.serializers import (
    BulkMigrationDetailSerializer,
    BulkMigrationSerializer,
    MigrationErrorSerializer,
    MigrationItemSerializer,
    PreviewSerializer,
    RollBackSerializer,
)

BEGUN = {202: BulkMigrationDetailSerializer}
STARTED = {201: BulkMigrationDetailSerializer}
EXPORT_TYPE = OpenApiParameter("type", enum=list(report.TYPES), description="json if none.")
ITEM_STATE = OpenApiParameter("state", enum=list(MigrationItem.State), description="Only these.")


class Csv(BaseRenderer):
    """Has `Accept: text/csv` understood; what is streamed needs no renderer."""

    media_type, format = "text/csv", "csv"

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        return str(data).encode()  # an error's


class BulkMigrationFilter(django_filters.FilterSet):  # type: ignore[misc]
    source = django_filters.CharFilter("source_name", label="Name of the issuer.")
    destination = django_filters.CharFilter("destination_name", label="Name of the issuer.")

    class Meta:
        model = BulkMigration
        fields = ("state", "purpose")


@extend_schema_view(
    create=extend_schema(request=BulkMigrationDetailSerializer, responses=STARTED),
    retrieve=extend_schema(responses=BulkMigrationDetailSerializer),
)
class BulkMigrationViewSet(
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    mixins.ListModelMixin,
    viewsets.GenericViewSet[BulkMigration],
):
    """Migrations of all certificates of network functions from one issuer to another."""

    queryset = BulkMigration.objects.order_by("-created_at", "-pk")
    lookup_value_regex = "[0-9a-fA-F-]{36}"
    filterset_class = BulkMigrationFilter
    search_fields = ("source_name", "destination_name", "created_by")

    def get_serializer_class(self) -> type[BulkMigrationSerializer]:
        return BulkMigrationSerializer if self.action == "list" else BulkMigrationDetailSerializer

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response(self._shown(BulkMigrationSerializer, *page).data)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._answer(self.get_object(), 200)

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Start migrating; the certificates that are initiated and skipped are decided now."""
        spec = self._spec(request)
        migration = migrate.start(now=database_time(), created_by=_who(request), **spec)
        return self._answer(migration, 201)

    def perform_destroy(self, instance: BulkMigration) -> None:
        migrate.delete(instance)

    @extend_schema(request=BulkMigrationDetailSerializer, responses={200: PreviewSerializer})
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """Tell what would be initiated and skipped, and what stands in the way. Starts nothing."""
        spec = self._spec(request)
        missing = [name for name in ("source", "destination") if spec.get(name) is None]
        if missing:
            raise ValidationError({name: ["This field is required."] for name in missing})
        found = selection.preview(spec["source"], spec["destination"], now=database_time())
        return Response(PreviewSerializer(found).data)

    @extend_schema(request=None, responses=BEGUN)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Ask for no further certificate; what the destination was asked for goes on."""
        migrate.pause(self.get_object(), now=database_time())
        return self._answer(self.get_object(), 202)

    @extend_schema(request=None, responses=BEGUN)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Go on after a pause."""
        migrate.resume(self.get_object(), now=database_time())
        return self._answer(self.get_object(), 202)

    @extend_schema(request=None, responses=BEGUN)
    @action(detail=True, methods=["post"], url_path="go-on")
    def go_on(self, request: Request, pk: str) -> Response:
        """Give the word that the others wait for after the first few."""
        migrate.go_on(self.get_object(), now=database_time())
        return self._answer(self.get_object(), 202)

    @extend_schema(request=None, responses=BEGUN)
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, pk: str) -> Response:
        """End it: what has no certificate stays with the source, what is issued is written."""
        migrate.stop(self.get_object(), now=database_time(), reason=f"Stopped by {_who(request)}.")
        return self._answer(self.get_object(), 202)

    @extend_schema(request=None, responses=STARTED)
    @action(detail=True, methods=["post"], url_path="retry-failed")
    def retry_failed(self, request: Request, pk: str) -> Response:
        """Start another migration with only the certificates that failed in this one."""
        following = migrate.retry_failed(
            self.get_object(), now=database_time(), created_by=_who(request)
        )
        return self._answer(following, 201)

    @extend_schema(request=RollBackSerializer, responses=STARTED)
    @action(detail=True, methods=["post"], url_path="roll-back")
    def roll_back(self, request: Request, pk: str) -> Response:
        """Start a migration back, of all that this one has moved or of the certificates named."""
        wanted = RollBackSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        following = migrate.roll_back(
            self.get_object(),
            now=database_time(),
            created_by=_who(request),
            certificates=wanted.validated_data.get("certificates"),
        )
        return self._answer(following, 201)

    @extend_schema(responses=MigrationItemSerializer(many=True), parameters=[ITEM_STATE])
    @action(
        detail=True,
        filterset_class=None,
        search_fields=("certificate_name",),
    )
    def items(self, request: Request, pk: str) -> Response:
        """List each certificate's part, by name."""
        found: Any = _of_state(self._migration().items, request)
        if wanted := request.query_params.get("search", ""):
            found = found.filter(certificate_name__icontains=wanted.replace("\x00", ""))
        page: Any = self.paginate_queryset(found.order_by("certificate_name", "pk")) or []
        return self.get_paginated_response(MigrationItemSerializer(page, many=True).data)

    @extend_schema(
        responses={
            (200, "application/json"): MigrationItemSerializer(many=True),
            (200, "text/csv"): OpenApiTypes.STR,
        },
        parameters=[EXPORT_TYPE],
    )
    @action(
        detail=True, filterset_class=None, search_fields=(), renderer_classes=(JSONRenderer, Csv)
    )
    def export(self, request: Request, pk: str) -> StreamingHttpResponse:
        """Return each certificate's part in one file, CSV or JSON."""
        kind = request.query_params.get("type") or request.accepted_renderer.format
        if kind not in report.TYPES:
            raise ValidationError({"type": [f"Give one of {', '.join(report.TYPES)}."]})
        return download(self._migration(), kind)

    def _migration(self) -> BulkMigration:
        """Return what the path names; the query is about its items."""
        return get_object_or_404(BulkMigration.objects.all(), pk=self.kwargs["pk"])

    def _spec(self, request: Request) -> dict[str, Any]:
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        spec: dict[str, Any] = wanted.validated_data
        return spec

    def _answer(self, migration: BulkMigration, status: int) -> Response:
        (shown,) = self._shown(BulkMigrationDetailSerializer, migration).data
        return Response(shown, status=status)

    def _shown(
        self, serializer: type[BulkMigrationSerializer], *migrations: BulkMigration
    ) -> BaseSerializer[Any]:
        found = figures.progresses(list(migrations), now=database_time())
        context = {**self.get_serializer_context(), "progresses": found}
        many: BaseSerializer[Any] = serializer(list(migrations), many=True, context=context)
        return many


class MigrationErrorFilter(django_filters.FilterSet):  # type: ignore[misc]
    migration = django_filters.UUIDFilter("migration", label="UUID of the bulk migration.")
    destination = django_filters.CharFilter("migration__destination_name", label="Its name.")

    class Meta:
        model = MigrationItem
        fields = ("certificate_name", "error_code")


class MigrationErrorViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[MigrationItem]):
    """Bulk Cert Migrations Error: the certificates whose migration failed, and why."""

    queryset = (
        MigrationItem.objects.filter(state=MigrationItem.State.FAILED)
        .select_related("migration")
        .order_by("-settled_at", "-pk")
    )
    serializer_class = MigrationErrorSerializer
    filterset_class = MigrationErrorFilter
    search_fields = ("certificate_name", "reason", "migration__destination_name")


def download(migration: BulkMigration, kind: str) -> StreamingHttpResponse:
    """Return a migration's items as a file."""
    name = f"migration-{migration.pk}.{kind}"
    return StreamingHttpResponse(
        report.lines(migration, kind),
        content_type=report.TYPES[kind],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _who(request: Request) -> str:
    return str(request.user.get_username())


def _of_state(items: Any, request: Request) -> QuerySet[MigrationItem]:
    found: QuerySet[MigrationItem] = items.all()
    state = request.query_params.get("state")
    if not state:
        return found
    if state not in MigrationItem.State:
        raise ValidationError({"state": [f"Give one of {', '.join(MigrationItem.State)}."]})
    return found.filter(state=state)
