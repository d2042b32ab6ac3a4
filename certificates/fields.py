"""Columns of our own: text that is cut to fit, and bytes that are encrypted at rest.

Keys come from the setting OCCM_FIELD_KEYS: the first encrypts, all decrypt. A ciphertext names its
key, so that an operator can count what still needs the old one. Nothing is decrypted before
somebody asks, and what cannot be decrypted is kept as it is: it may be a private key whose
certificate waits to be written.
"""

import hashlib
from functools import lru_cache
from typing import Any, ClassVar, Final

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Expression
from django.db.models.lookups import Lookup

SEPARATOR: Final = b":"
ELLIPSIS: Final = "…"


class Undecryptable(ImproperlyConfigured):
    """A value was encrypted under a key that is not configured here, or was tampered with."""

    code: ClassVar[str] = "FIELD_KEY"


class Sealed:
    """Bytes that show themselves to nobody but the caller of `reveal`."""

    __slots__ = ("_clear", "_token")

    def __init__(self, clear: bytes = b"", *, token: bytes = b"") -> None:
        self._clear = clear
        self._token = token

    def reveal(self) -> bytes:
        """Return the clear bytes. Raises Undecryptable."""
        if self._token and not self._clear:
            self._clear = _decrypt(self._token)
        return self._clear

    @property
    def token(self) -> bytes:
        """The ciphertext, as it lies in the database; empty when there is nothing to hide."""
        if self._clear and not self._token:
            self._token = _encrypt(self._clear)
        return self._token

    def __bool__(self) -> bool:
        return bool(self._clear or self._token)

    def __repr__(self) -> str:
        return "Sealed(***)" if self else "Sealed()"

    def __reduce__(self) -> Any:
        return (_unpickled, (self.token,))


class FittingCharField(models.CharField[str, str]):
    """Keeps of a text what there is room for, and says by an ellipsis that there was more.

    For words that CAs, clusters and lists of ours put together: PostgreSQL refuses a row for one
    character too many, and all that it says with it. To the database it is a CharField.
    """

    def get_prep_value(self, value: Any) -> Any:
        text, limit = super().get_prep_value(value), self.max_length
        if isinstance(text, str) and limit is not None and len(text) > limit:
            return text[: limit - 1] + ELLIPSIS
        return text

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class EncryptedBinaryField(models.BinaryField[Sealed, Sealed]):
    """Holds a `Sealed`. Cannot be searched, and is left out of fixtures."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["serialize"] = False
        super().__init__(*args, **kwargs)

    def get_default(self) -> Sealed:
        return Sealed()

    def from_db_value(
        self, value: Any, _expression: Expression, _connection: BaseDatabaseWrapper
    ) -> Sealed:
        return Sealed(token=bytes(value or b""))

    def to_python(self, value: Sealed) -> Sealed:
        return value

    def get_db_prep_value(
        self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> Any:
        if not isinstance(value, Sealed):
            raise TypeError(f"{self.name} takes a Sealed, not {type(value).__name__}")
        return super().get_db_prep_value(value.token, connection, prepared)

    def get_lookup(self, lookup_name: str) -> type[Lookup[Any]] | None:
        return None  # equal values have unequal ciphertexts


def key_name(key: str) -> str:
    """Return the name under which ciphertexts refer to a configured key."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


@lru_cache(maxsize=8)
def _fernets(keys: tuple[str, ...]) -> dict[bytes, Fernet]:
    if not keys:
        raise ImproperlyConfigured("OCCM_FIELD_KEYS is empty: give at least one Fernet key")
    try:
        return {key_name(key).encode(): Fernet(key) for key in keys}
    except ValueError:
        raise ImproperlyConfigured(
            "OCCM_FIELD_KEYS: each key is 32 bytes in URL-safe base64 (Fernet.generate_key())"
        ) from None


def _encrypt(clear: bytes) -> bytes:
    name, fernet = next(iter(_fernets(tuple(settings.OCCM_FIELD_KEYS)).items()))
    return name + SEPARATOR + fernet.encrypt(clear)


def _decrypt(token: bytes) -> bytes:
    name, _, ciphertext = token.partition(SEPARATOR)
    try:
        return _fernets(tuple(settings.OCCM_FIELD_KEYS))[name].decrypt(ciphertext)
    except KeyError:
        raise Undecryptable(
            f"a private key in the database is encrypted under key {name.decode(errors='replace')}"
            ", which is not among OCCM_FIELD_KEYS: add that key again; the row is kept until then"
        ) from None
    except InvalidToken:
        raise Undecryptable(
            f"a private key in the database does not decrypt under key {name.decode()}: it was"
            " changed outside OCCM; restore it from a backup, or ask for a new certificate"
        ) from None


def _unpickled(token: bytes) -> Sealed:
    return Sealed(token=token)
