"""Private keys in the database, encrypted anew under the first of OCCM_FIELD_KEYS.

Ciphertexts name their key, so what still needs an old one can be counted. Workers go on meanwhile:
a row that one of them has written since is left to the next batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from certificates.fields import Sealed, Undecryptable, key_name
from certificates.models import Enrollment

TABLE = Enrollment._meta.db_table  # noqa: SLF001 - the only table with an encrypted column
NAME = "substr(private_key, 1, 8)"
BATCH = 200


@dataclass(frozen=True, slots=True)
class Done:
    reencrypted: int
    undecryptable: int  # kept as they are
    counts: Mapping[str, int]  # of ciphertexts, by the name of their key


def counts() -> dict[str, int]:
    """Count the ciphertexts by the name of their key; keys that nothing needs any more have 0."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {NAME}, count(*) FROM {TABLE} WHERE length(private_key) > 0"  # noqa: S608
            f" GROUP BY {NAME}"
        )
        found = {bytes(name).decode(errors="replace"): count for name, count in cursor.fetchall()}
    return {key_name(key): 0 for key in settings.OCCM_FIELD_KEYS} | found


def reencrypt() -> Done:
    """Encrypt everything under the first key that is under another, in batches."""
    done = failed = last = 0
    while rows := _batch(after=last):
        for pk, token in rows:
            last = pk
            try:
                fresh = Sealed(Sealed(token=token).reveal())
            except Undecryptable:
                failed += 1
            else:
                done += _replace(pk, token, fresh)
    return Done(done, failed, counts())


def _batch(*, after: int) -> list[tuple[int, bytes]]:
    first = key_name(settings.OCCM_FIELD_KEYS[0]).encode()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, private_key FROM {TABLE} WHERE id > %s"  # noqa: S608
            f" AND length(private_key) > 0 AND {NAME} <> %s ORDER BY id LIMIT {BATCH}",
            (after, first),
        )
        return [(pk, bytes(token)) for pk, token in cursor.fetchall()]


def _replace(pk: int, token: bytes, fresh: Sealed) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {TABLE} SET private_key = %s WHERE id = %s AND private_key = %s",  # noqa: S608
            (fresh.token, pk, token),
        )
        return int(cursor.rowcount)
