"""Metrics for Prometheus, to whoever bears OCCM_METRICS_TOKEN: nothing is readable without."""

import hmac

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics, or 401; without a token in the settings nobody gets them."""
    token: str = settings.OCCM_METRICS_TOKEN
    offered = request.headers.get("Authorization", "").encode()
    if not token or not hmac.compare_digest(offered, f"Bearer {token}".encode()):
        return HttpResponse("", status=401, headers={"WWW-Authenticate": "Bearer"})
    page: HttpResponse = ExportToDjangoView(request)
    return page
