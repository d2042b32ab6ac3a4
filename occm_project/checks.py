"""Start-up checks: a wrong environment is told of at the start, with what to do about it.

`manage.py` runs Django's checks by itself; `wsgi` and `celery` ask for theirs and do not start when
one of them fails.
"""

import ssl
from typing import Any, get_args

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 - Django's

from cmp.http import TLS_GROUPS, TlsVersion
from secretstore import NAMESPACE, SecretStoreError, connect

WEB = "web"  # the tag of those that `wsgi` asks for: a web server does without the secret store
WORKER = "worker"  # of those that only workers have a use for


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
        "OCCM_MIGRATION_MAX_ATTEMPTS": settings.OCCM_MIGRATION_MAX_ATTEMPTS,
        "OCCM_ISSUER_REQUESTS_IN_FLIGHT": settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT,
        "OCCM_WORKER_SLOTS": settings.OCCM_WORKER_SLOTS,
        "OCCM_LOOK_INTERVAL_S": settings.OCCM_LOOK_INTERVAL.total_seconds(),
        "OCCM_API_TOKEN_TTL_H": settings.OCCM_API_TOKEN_TTL.total_seconds(),
    }
    return [
        Error(f"{name} must be at least 1.", id="occm.E005")
        for name, value in least.items()
        if value < 1
    ]


@register(WEB)
def namespaces(**_: Any) -> list[CheckMessage]:
    """Whose secrets may be named in issuers and certificates."""
    return [
        Error(f"OCCM_ACCESSED_NAMESPACES: {name!r} is no name of a namespace.", id="occm.E006")
        for name in settings.OCCM_ACCESSED_NAMESPACES
        if not NAMESPACE.fullmatch(name)
    ]


@register(WORKER)
def tls(**_: Any) -> list[CheckMessage]:
    """What is spoken with CAs over HTTPS."""
    found: list[CheckMessage] = []
    if settings.OCCM_TLS_MIN_VERSION not in get_args(TlsVersion):
        found.append(Error("OCCM_TLS_MIN_VERSION must be 1.2 or 1.3.", id="occm.E007"))
    if settings.OCCM_TLS_GROUPS not in {"", *TLS_GROUPS}:
        hint = (
            f"Name one of {', '.join(TLS_GROUPS)}, or none. Python sets no list of groups before"
            " 3.15; a file named by OPENSSL_CONF can."
        )
        found.append(Error("OCCM_TLS_GROUPS is not the name of one group.", hint, id="occm.E008"))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(settings.OCCM_TLS_CIPHERS or "DEFAULT")
    except ssl.SSLError:
        hint = "See what a list means with: openssl ciphers -v LIST"
        found.append(Error("OCCM_TLS_CIPHERS: OpenSSL knows none of them.", hint, id="occm.E009"))
    return found


@register(WEB)
def hosts(**_: Any) -> list[CheckMessage]:
    """Without a host every request to the web server is refused."""
    if settings.ALLOWED_HOSTS or settings.DEBUG:
        return []
    hint = "Name the hosts by which browsers and API clients reach OCCM, separated by commas."
    return [Warning("ALLOWED_HOSTS is empty.", hint=hint, id="occm.W001")]


@register(WORKER)
def secret_store(**_: Any) -> list[CheckMessage]:
    """Where keys and certificates go."""
    try:
        connect(settings.OCCM_SECRET_STORE)
    except ValueError as error:
        return [Error(f"OCCM_SECRET_STORE: {error}.", id="occm.E004")]
    except SecretStoreError as error:  # workers try again
        return [Warning(f"OCCM_SECRET_STORE: {error}.", id="occm.W002")]
    return []
