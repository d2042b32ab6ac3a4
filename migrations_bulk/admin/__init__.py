"""The pages of bulk migrations, of their items, and of what failed.

Read `migration` (the pages), `migration_form` (its fields), `actions` (what an operator does to
one), `items` (the lists to read).
"""

from migrations_bulk.admin.items import MigrationErrorAdmin, MigrationItemAdmin
from migrations_bulk.admin.migration import BulkMigrationAdmin

__all__ = ["BulkMigrationAdmin", "MigrationErrorAdmin", "MigrationItemAdmin"]
