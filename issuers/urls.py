"""Paths of the issuers' API."""

from rest_framework.routers import SimpleRouter

from issuers.views import IssuerViewSet

router = SimpleRouter()
router.register("issuers", IssuerViewSet)
urlpatterns = router.urls
