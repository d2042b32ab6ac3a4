"""What Kubernetes allows as names and sizes. Every store refuses the same, before any I/O.

A namespace, secret or key that passes here is safe as a file name: it holds no slash, is neither
`.` nor `..`, and a key never starts with two dots, which are left to the folder store's own files.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from secretstore.base import Invalid

MAX_BYTES: Final = 1 << 20  # of all values together: the API server's MaxSecretSize
NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")  # DNS label, RFC 1123
SECRET: Final = re.compile(  # DNS subdomain, RFC 1123
    r"(?=.{1,253}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
)
KEY: Final = re.compile(r"(?!\.\.)(?!\.\Z)[-._a-zA-Z0-9]{1,253}")


def check_names(namespace: str, secret: str, keys: Iterable[str] = ()) -> None:
    """Raise Invalid unless these are names that Kubernetes takes."""
    where = f"secret {namespace}/{secret}"
    if not NAMESPACE.fullmatch(namespace):
        raise Invalid(
            f"{where}: the namespace must be 1 to 63 of a-z, 0-9 and '-',"
            " with a letter or digit at both ends"
        )
    if not SECRET.fullmatch(secret):
        raise Invalid(
            f"{where}: the name must be 1 to 253 of a-z, 0-9, '-' and '.',"
            " with a letter or digit at both ends of each part"
        )
    for key in keys:
        if not KEY.fullmatch(key):
            raise Invalid(
                f"{where}[{key}]: a key must be 1 to 253 of letters, digits, '-', '_' and '.',"
                " and not begin with two dots"
            )


def merge(
    namespace: str, secret: str, data: Mapping[str, bytes], changes: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return data with the changes made; raise Invalid when that is more than a secret may hold."""
    merged = {**data, **changes}
    if sum(map(len, merged.values())) > MAX_BYTES:
        raise Invalid(
            f"secret {namespace}/{secret} would hold more than 1 MiB: remove keys from it,"
            " or use another secret"
        )
    return merged
