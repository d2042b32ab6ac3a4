"""Where everything is: the admin for people, the API for programs."""

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from occm_project import system
from occm_project.login import Login, Logout

api = [
    path("", include("issuers.urls")),
    path("", include("certificates.urls")),
    path("", include("migrations_bulk.urls")),
    path("login/", Login.as_view(), name="login"),
    path("logout/", Logout.as_view(), name="logout"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path(
        "docs/",
        login_required(SpectacularSwaggerSplitView.as_view(url_name="schema")),
        name="docs",
    ),
]
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/system/", admin.site.admin_view(system.page), name="system"),
    path("admin/", admin.site.urls),
    path("api/v1/", include(api)),
]
