"""Paths of the bulk migrations' API."""

from rest_framework.routers import SimpleRouter

from migrations_bulk.views import BulkMigrationViewSet, MigrationErrorViewSet

router = SimpleRouter()
router.register("bulk-certificate-migrations", BulkMigrationViewSet)
router.register("bulk-cert-migration-errors", MigrationErrorViewSet, basename="migration-errors")
urlpatterns = router.urls
