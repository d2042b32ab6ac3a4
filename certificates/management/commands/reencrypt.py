"""Private keys in the database under the newest encryption key, so that an old one can go."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from certificates.domain import reencrypt
from certificates.fields import key_name


class Command(BaseCommand):
    help = (
        "Encrypts every private key in the database under the first of OCCM_FIELD_KEYS, and counts"
        " what each key is still needed for. A key with count 0 may be removed."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        done = reencrypt.reencrypt()
        self.stdout.write(f"{done.reencrypted} private keys were encrypted anew.")
        names = [key_name(key) for key in settings.OCCM_FIELD_KEYS]
        for name, count in sorted(done.counts.items(), key=lambda one: one[0] not in names[:1]):
            told = "the first" if name == names[0] else "may be removed" if not count else "needed"
            if name not in names:
                told = "not among OCCM_FIELD_KEYS: add it again"
            self.stdout.write(f"key {name}: {count} ({told})")
        if done.undecryptable:
            raise CommandError(
                f"{done.undecryptable} private keys cannot be decrypted and are kept as they are:"
                " add the key that is named above to OCCM_FIELD_KEYS again, or restore the rows"
                " from a backup."
            )
