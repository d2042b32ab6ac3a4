"""Paths of the certificates' API."""

from rest_framework.routers import SimpleRouter

from certificates.views import CertificateViewSet, MaybeIssuedViewSet, RevocationViewSet

router = SimpleRouter()
router.register("certificates", CertificateViewSet)
router.register("maybe-issued", MaybeIssuedViewSet)
router.register("revocations", RevocationViewSet)
urlpatterns = router.urls
