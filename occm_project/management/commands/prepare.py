"""Bring the database to this release before anything works on it: `manage.py prepare`.

Every pod of the Helm chart does this first. PostgreSQL lets one at a time in; the others wait and
then find nothing to do. A migration has to run while the previous release still serves.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connection

from occm_project.checks import WEB

LOCK = 0x6F63636D  # "occm": the number of an advisory lock, which means something to us alone
ADMIN = "admin"


class Command(BaseCommand):
    help = "Migrate the database, one process at a time, and make the administrator if asked to."
    requires_system_checks = (WEB,)  # there may be no secret store yet, and none is needed

    def handle(self, *, verbosity: int, **_: Any) -> None:
        with alone():
            call_command("migrate", interactive=False, verbosity=verbosity)
            if settings.OCCM_ADMIN_PASSWORD and make_administrator(settings.OCCM_ADMIN_PASSWORD):
                self.stdout.write(f"user {ADMIN} made")


@contextmanager
def alone() -> Iterator[None]:
    """Hold a lock of the session that all of this installation's processes ask for."""
    if connection.vendor != "postgresql":  # SQLite has one host, and locks by itself
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def make_administrator(password: str) -> bool:
    """Make the first administrator, unless there is one. Raises CommandError."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return False
    try:
        validate_password(password)
    except ValidationError as error:
        raise CommandError(f"OCCM_ADMIN_PASSWORD: {' '.join(error.messages)}") from None
    users.create_superuser(ADMIN, password=password)
    return True
