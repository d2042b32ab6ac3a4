"""What may stand in the way of a bulk migration; each is a 409 in the API.

Conflict
├── MigrationRunning      another one has not ended; or this one has not, and is to be deleted
├── StillWriting          it has ended, and is to have certificates revoked once others are written
├── MigrationNotRunning   it has ended, or is not in the state that the wish supposes
├── TooManyMigrations     as many records as there may be
├── DestinationNotReady   nobody could sign the requests to the destination
└── NothingToMigrate      no certificate would be looked at
"""

from certificates.domain.conflicts import Conflict


class MigrationRunning(Conflict):
    code = "MIGRATION_RUNNING"


class StillWriting(Conflict):
    code = "MIGRATION_STILL_WRITING"


class MigrationNotRunning(Conflict):
    code = "MIGRATION_NOT_RUNNING"


class TooManyMigrations(Conflict):
    code = "TOO_MANY_MIGRATIONS"


class DestinationNotReady(Conflict):
    code = "DESTINATION_NOT_READY"


class NothingToMigrate(Conflict):
    code = "NOTHING_TO_MIGRATE"
