"""Paths of the certificates' API."""

from rest_framework.routers import SimpleRouter

from certificates.views import CertificateViewSet, MaybeIssuedViewSet

router = SimpleRouter()
router.register("certificates", CertificateViewSet)
router.register("maybe-issued", MaybeIssuedViewSet)
urlpatterns = router.urls
