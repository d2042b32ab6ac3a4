"""Start-up checks: a wrong environment is told of at the start, with what to do about it.

`manage.py` and the Celery worker run Django's checks by themselves; `wsgi` asks for them.
"""

from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 - Django's

from secretstore import SecretStoreError, connect

WEB = "web"  # the tag of those that `wsgi` asks for: a web server does without the secret store


@register(WEB)
def field_keys(**_: Any) -> list[CheckMessage]:
    """The keys that private keys under way are encrypted with."""
    advice = "Make one with: head -c 32 /dev/urandom | base64 | tr +/ -_"
    if not settings.OCCM_FIELD_KEYS:
        return [Error("OCCM_FIELD_KEYS names no key.", hint=advice, id="occm.E001")]
    wrong = []
    for place, key in enumerate(settings.OCCM_FIELD_KEYS, start=1):
        try:
            Fernet(key)
        except ValueError:
            text = f"Key {place} of OCCM_FIELD_KEYS is not 32 bytes in URL-safe base64."
            wrong.append(Error(text, hint=advice, id="occm.E002"))
    return list(wrong)


@register(WEB)
def secret_key(**_: Any) -> list[CheckMessage]:
    """What sessions are signed with."""
    if len(settings.SECRET_KEY) >= 32:
        return []
    return [
        Error(
            "SECRET_KEY is too short to sign sessions with.",
            hint="Give at least 32 random characters.",
            id="occm.E003",
        )
    ]


@register(WEB)
def intervals(**_: Any) -> list[CheckMessage]:
    """Numbers that would make workers spin or stand still."""
    least = {
        "OCCM_RETRY_INTERVAL_S": settings.OCCM_RETRY_INTERVAL.total_seconds(),
        "OCCM_ISSUER_REQUESTS_IN_FLIGHT": settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT,
        "OCCM_API_TOKEN_TTL_H": settings.OCCM_API_TOKEN_TTL.total_seconds(),
    }
    return [
        Error(f"{name} must be at least 1.", id="occm.E005")
        for name, value in least.items()
        if value < 1
    ]


@register(WEB)
def hosts(**_: Any) -> list[CheckMessage]:
    """Without a host every request to the web server is refused."""
    if settings.ALLOWED_HOSTS or settings.DEBUG:
        return []
    hint = "Name the hosts by which browsers and API clients reach OCCM, separated by commas."
    return [Warning("ALLOWED_HOSTS is empty.", hint=hint, id="occm.W001")]


@register
def secret_store(**_: Any) -> list[CheckMessage]:
    """Where keys and certificates go."""
    try:
        connect(settings.OCCM_SECRET_STORE)
    except ValueError as error:
        return [Error(f"OCCM_SECRET_STORE: {error}.", id="occm.E004")]
    except SecretStoreError as error:  # workers try again
        return [Warning(f"OCCM_SECRET_STORE: {error}.", id="occm.W002")]
    return []
