"""The API's view of certificates: HTTP in, one domain call, HTTP out."""

from typing import Any

import django_filters  # type: ignore[import-untyped]
from django.db.models import Exists, OuterRef, Prefetch, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from certificates.domain import lifecycle, revoke, unseen
from certificates.models import Certificate, Enrollment, MaybeIssued, Readiness, Revocation
from certificates.serializers import (
    HEAVY,
    CertificateSerializer,
    EnrollmentSerializer,
    LeftSerializer,
    MaybeIssuedSerializer,
    ResolveSerializer,
    RevocationSerializer,
    RevokeSerializer,
)
from issuers.domain.clock import database_time

NOTHING = "NONE"
BEGUN = {202: CertificateSerializer}


class CertificateFilter(django_filters.FilterSet):  # type: ignore[misc]
    issuer = django_filters.CharFilter("issuer__name", label="Name of the issuer.")
    readiness = django_filters.ChoiceFilter(choices=Readiness.choices)
    under_way = django_filters.ChoiceFilter(
        choices=[*Enrollment.Kind.choices, (NOTHING, NOTHING)], method="by_errand"
    )
    failing = django_filters.BooleanFilter(
        method="by_failure", label="Whether what is under way has failed before."
    )
    expires_before = django_filters.IsoDateTimeFilter("not_after", "lt")

    class Meta:
        model = Certificate
        fields = ("cert_type", "network_function", "creation_mode")

    def by_errand(
        self, found: QuerySet[Certificate], name: str, value: str
    ) -> QuerySet[Certificate]:
        if value == NOTHING:
            return found.filter(~Exists(_errands()))
        return found.filter(Exists(_errands().filter(kind=value)))

    def by_failure(
        self, found: QuerySet[Certificate], name: str, value: bool
    ) -> QuerySet[Certificate]:
        failing = Exists(_errands().exclude(error_code=""))
        return found.filter(failing if value else ~failing)


class MaybeIssuedFilter(django_filters.FilterSet):  # type: ignore[misc]
    resolved = django_filters.BooleanFilter(
        "resolved_at", "isnull", exclude=True, label="Whether it was dealt with."
    )

    class Meta:
        model = MaybeIssued
        fields = ("certificate_name", "issuer_name")


@extend_schema_view(
    destroy=extend_schema(responses={200: LeftSerializer, 202: LeftSerializer}),
)
class CertificateViewSet(viewsets.ModelViewSet[Certificate]):
    """Certificates that are kept alive, and what operators do about them."""

    queryset = Certificate.objects.order_by("name")
    serializer_class = CertificateSerializer
    lookup_field = "name"
    lookup_value_regex = "[A-Za-z0-9._-]{1,63}"
    filterset_class = CertificateFilter
    search_fields = ("name", "network_function", "purpose", "common_name")

    def get_queryset(self) -> QuerySet[Certificate]:
        now = database_time()
        errands = Prefetch(
            "enrollments",
            Enrollment.objects.open().with_delays(now=now).defer(*HEAVY),
            "open_errands",
        )
        rows = Certificate.objects.with_readiness(now=now).defer("certificate_der")
        return rows.prefetch_related("issuer", errands).order_by("name")

    def perform_create(self, serializer: BaseSerializer[Certificate]) -> None:
        saved = lifecycle.register(now=database_time(), **serializer.validated_data)
        serializer.instance = self.get_queryset().get(pk=saved.pk)

    def perform_update(self, serializer: BaseSerializer[Certificate]) -> None:
        changes = serializer.validated_data
        if not serializer.partial:  # PUT replaces: what it leaves out gets its default
            changes = _defaults() | changes
        saved = lifecycle.update(self.get_object(), now=database_time(), **changes)
        serializer.instance = self.get_queryset().get(pk=saved.pk)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Forget a certificate; its secrets stay. 202 while a worker still has it."""
        left = lifecycle.delete(self.get_object(), now=database_time())
        return Response(LeftSerializer(left).data, status=200 if left.finished else 202)

    @extend_schema(request=None, responses=BEGUN)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, name: str) -> Response:
        """Try what is under way again at once; what was stopped goes on."""
        lifecycle.retry(self.get_object(), now=database_time())
        return self._begun()

    @extend_schema(request=None, responses=BEGUN)
    @action(detail=True, methods=["post"])
    def renew(self, request: Request, name: str) -> Response:
        """Ask for an update (kur) with a new key pair, now."""
        lifecycle.renew(self.get_object(), now=database_time())
        return self._begun()

    @extend_schema(request=None, responses=BEGUN)
    @action(detail=True, methods=["post"])
    def recreate(self, request: Request, name: str) -> Response:
        """Ask for a new certificate (ir) as configured, now."""
        lifecycle.recreate(self.get_object(), now=database_time())
        return self._begun()

    @extend_schema(request=None, responses=BEGUN)
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, name: str) -> Response:
        """Try no more until retry, renew or recreate."""
        lifecycle.stop(self.get_object(), now=database_time())
        return self._begun()

    @extend_schema(responses=EnrollmentSerializer(many=True))
    @action(detail=True, filterset_class=None, search_fields=())
    def enrollments(self, request: Request, name: str) -> Response:
        """List the errands to CAs for this certificate, the latest first."""
        past = self.get_object().enrollments
        history: QuerySet[Any] = past.defer(*HEAVY).order_by("-created_at", "-pk")
        page = self.paginate_queryset(history) or []
        return self.get_paginated_response(EnrollmentSerializer(page, many=True).data)

    def _begun(self) -> Response:
        return Response(self.get_serializer(self.get_object()).data, status=202)


class MaybeIssuedViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[MaybeIssued]
):
    """Certificates that a CA may have issued although no answer reached us."""

    queryset = MaybeIssued.objects.defer("certificate_der").order_by("-sent_at", "-pk")
    serializer_class = MaybeIssuedSerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = MaybeIssuedFilter
    search_fields = ("certificate_name", "issuer_name", "transaction_id", "serial_number")

    @extend_schema(request=RevokeSerializer, responses={202: RevocationSerializer})
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """Have the CA asked to revoke it (rr), until it answers."""
        asked = RevokeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        row = unseen.revoke(self.get_object(), now=database_time(), **asked.validated_data)
        return Response(RevocationSerializer(row).data, status=202)

    @extend_schema(request=ResolveSerializer)
    @action(detail=True, methods=["post"])
    def resolve(self, request: Request, pk: str) -> Response:
        """Note that it was dealt with elsewhere; nothing is asked of the CA."""
        asked = ResolveSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        row = unseen.resolve(self.get_object(), now=database_time(), **asked.validated_data)
        return Response(self.get_serializer(row).data)


class RevocationViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Revocation]
):
    """Certificates that CAs are asked to revoke, or were."""

    queryset = Revocation.objects.defer("certificate_der", "exchange").order_by(
        "-created_at", "-pk"
    )
    serializer_class = RevocationSerializer
    lookup_value_regex = "[0-9]{1,18}"
    filterset_fields = ("state", "certificate_name", "issuer_name", "serial_number")
    search_fields = ("certificate_name", "issuer_name", "serial_number", "transaction_id")

    @extend_schema(request=None, responses={202: RevocationSerializer})
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Ask the CA at once; again, where it refused or this was withdrawn."""
        revoke.retry(self.get_object(), now=database_time())
        return Response(self.get_serializer(self.get_object()).data, status=202)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        """Ask the CA no more."""
        revoke.withdraw(self.get_object(), now=database_time())
        return Response(self.get_serializer(self.get_object()).data)


def _errands() -> QuerySet[Enrollment]:
    return Enrollment.objects.open().filter(certificate=OuterRef("pk"))


def _defaults() -> dict[str, Any]:
    blank = Certificate()
    return {name: getattr(blank, name) for name in lifecycle.FIELDS if name != "issuer"}
