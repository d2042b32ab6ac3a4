"""Settings, all from the environment. Every default is safe for production or refuses to start.

`NAME_FILE=/path` may stand for any `NAME`, so that secrets arrive as mounted files.
`./occm` fills in the embedded defaults (SQLite, a broker on a Unix socket, a folder of secrets).
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import django_stubs_ext
import environ
from environ.fileaware_mapping import FileAwareMapping

from occm_project import unfold

django_stubs_ext.monkeypatch()  # ModelAdmin[Certificate] and friends, at run time too

BASE_DIR = Path(__file__).resolve().parent.parent


class _Mounted(FileAwareMapping):  # type: ignore[misc]  # it has no types
    """Files as people make them: the newline at the end is no part of the value."""

    def __getitem__(self, key: str) -> str:
        value: str = super().__getitem__(key)
        return value.removesuffix("\n")


env = environ.FileAwareEnv()
env.ENVIRON = _Mounted()

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")  # no default: an installation without one must not start
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

DATABASES = {"default": env.db_url("DATABASE_URL")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Django's own defaults answer "database is locked" as soon as two processes write.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # Each thread has a connection, and each of those would keep 2 MB of pages.
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-256;"
        ),
    }
else:
    DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
    # For the statements that every enrolment takes; see issuers.statements.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("prepare_threshold", 5)
DATABASES["default"].setdefault("CONN_MAX_AGE", 600)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Behaviour of this product, under the names the operator's guide uses.
OCCM_SECRET_STORE = env.str(
    "OCCM_SECRET_STORE"
)  # folder:/path, kubernetes:, kubernetes:/kubeconfig
OCCM_ACCESSED_NAMESPACES = env.list("OCCM_ACCESSED_NAMESPACES", default=[])  # empty: all
OCCM_FIELD_KEYS = env.list("OCCM_FIELD_KEYS")  # Fernet keys; the first encrypts, all decrypt
OCCM_RETRY_INTERVAL = timedelta(seconds=env.int("OCCM_RETRY_INTERVAL_S", default=30))
OCCM_HISTORY_KEEP = env.int("OCCM_HISTORY_KEEP", default=50)  # closed errands of a certificate
OCCM_HISTORY_AGE = timedelta(days=env.int("OCCM_HISTORY_DAYS", default=730))
OCCM_LOOK_INTERVAL = timedelta(seconds=env.int("OCCM_LOOK_INTERVAL_S", default=3600))
OCCM_MIGRATION_MAX_ATTEMPTS = env.int("OCCM_MIGRATION_MAX_ATTEMPTS", default=3)
OCCM_USE_OCCM_CERT_SIGN_FOR_KUR = env.bool("OCCM_USE_OCCM_CERT_SIGN_FOR_KUR", default=False)
OCCM_EXTRACT_CERT_CHAIN_FROM_CMP_RESPONSE = env.bool(
    "OCCM_EXTRACT_CERT_CHAIN_FROM_CMP_RESPONSE", default=True
)
OCCM_TLS_ENABLE_X509_STRICT_CHECK = env.bool("OCCM_TLS_ENABLE_X509_STRICT_CHECK", default=False)
OCCM_TLS_IGNORE_CRITICAL_EXTENSIONS_CHECK = env.bool(
    "OCCM_TLS_IGNORE_CRITICAL_EXTENSIONS_CHECK", default=False
)
OCCM_TLS_MIN_VERSION = env.str("OCCM_TLS_MIN_VERSION", default="1.2")
OCCM_TLS_CIPHERS = env.str("OCCM_TLS_CIPHERS", default="")
OCCM_TLS_GROUPS = env.str("OCCM_TLS_GROUPS", default="")
OCCM_ISSUER_REQUESTS_PER_SECOND = env.float("OCCM_ISSUER_REQUESTS_PER_SECOND", default=0)  # 0: any
OCCM_ISSUER_REQUESTS_IN_FLIGHT = env.int("OCCM_ISSUER_REQUESTS_IN_FLIGHT", default=20)
OCCM_WORKER_SLOTS = env.int("OCCM_WORKER_SLOTS", default=50)  # threads of all workers together
OCCM_ALIVE_FILE = env.str("OCCM_ALIVE_FILE", default="")  # touched by workers and beat
OCCM_ADMIN_PASSWORD = env.str("OCCM_ADMIN_PASSWORD", default="")  # of the first user
OCCM_METRICS_TOKEN = env.str("OCCM_METRICS_TOKEN", default="")  # empty: nobody reads /metrics
OCCM_METRICS_PORT = env.int("OCCM_METRICS_PORT", default=0)  # of a worker; 0: it shows no metrics
OCCM_METRICS_ADDRESS = env.str("OCCM_METRICS_ADDRESS", default="0.0.0.0")  # noqa: S104 - scraped from another host

# The rows are the queue; Redis carries wake-up calls only, so it needs no results and no ETAs.
CELERY_BROKER_URL = env.str("REDIS_URL")
if CELERY_BROKER_URL.startswith("rediss://") and "ssl_cert_reqs=" not in CELERY_BROKER_URL:
    # By itself Celery would speak TLS with whoever answers.
    CELERY_BROKER_URL += ("&" if "?" in CELERY_BROKER_URL else "?") + "ssl_cert_reqs=required"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_DB_REUSE_MAX = 2**62  # how often a connection may be used: occm_project.celery sees to it
CELERY_WORKER_SEND_TASK_EVENTS = True  # Flower shows the tasks
CELERY_TASK_DEFAULT_QUEUE = "enroll"
CELERY_TASK_ROUTES = {
    "certificates.dispatch": {"queue": "dispatch"},
    "certificates.scan_*": {"queue": "scan"},
    "certificates.call_*": {"queue": "scan"},
    "certificates.revoke": {"queue": "suspect"},  # where CAs that hang delay nobody
    "migrations_bulk.advance": {"queue": "scan"},
    "issuers.test_connection": {"queue": "suspect"},  # where CAs that hang delay nobody
    "issuers.*": {"queue": "scan"},
}
CELERY_BEAT_SCHEDULER = "occm_project.beat:Scheduler"
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "dispatch": {"task": "certificates.dispatch", "schedule": 1.0},
    "scan-secrets": {"task": "certificates.scan_secrets", "schedule": 5.0},
    "scan-expiring": {"task": "certificates.scan_expiring", "schedule": 2.0},
    "scan-history": {"task": "certificates.scan_history", "schedule": 10.0},
    "scan-failing": {"task": "certificates.scan_failing", "schedule": 10.0},
    "revocations": {"task": "certificates.call_revocations", "schedule": 1.0},
    "migrations": {"task": "migrations_bulk.advance", "schedule": 1.0},
    "look": {"task": "issuers.look_at_inputs", "schedule": 2.0},
    "test": {"task": "issuers.call_tests", "schedule": 1.0},
}
CELERY_TIMEZONE = "UTC"

INSTALLED_APPS = [
    "occm_project",  # first: its templates win over unfold's
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "issuers",
    "certificates",
    "migrations_bulk",
]
MIDDLEWARE = [
    "occm_project.health.Probes",
    "occm_project.metrics.Scrapes",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "occm_project.headers.SecurityHeaders",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "occm_project.audit.Audit",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
UNFOLD = unfold.UNFOLD
ROOT_URLCONF = "occm_project.urls"
WSGI_APPLICATION = "occm_project.wsgi.application"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
FORMAT_MODULE_PATH = "occm_project.formats"
STATIC_URL = "static/"
STATIC_ROOT = env.path("STATIC_ROOT", default=str(BASE_DIR / "static"))
LOGIN_REDIRECT_URL = "/admin/"
LOGIN_URL = "/admin/login/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# TLS ends at the ingress; `./occm up` serves plain HTTP to loopback and says so here.
OCCM_SERVED_BY_HTTPS = env.bool("OCCM_SERVED_BY_HTTPS", default=True)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = OCCM_SERVED_BY_HTTPS
SESSION_COOKIE_AGE = env.int("SESSION_COOKIE_AGE", default=8 * 60 * 60)
CSRF_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60 if OCCM_SERVED_BY_HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if env.bool("OCCM_TRUST_X_FORWARDED_PROTO", default=False):  # only behind a proxy that sets it
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CACHES = {  # what all web servers count together: attempts to log in
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "occm_project_cache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}
REST_FRAMEWORK = {
    "EXCEPTION_HANDLER": "occm_project.errors.to_problem",
    "DEFAULT_SCHEMA_CLASS": "occm_project.api.schema.Schema",
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "occm_project.api.access.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["occm_project.api.access.ModelPermissions"],
    "DEFAULT_PAGINATION_CLASS": "occm_project.api.pages.Pages",
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "rest_framework.filters.SearchFilter",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["occm_project.api.parsing.StorableJSONParser"],
    "DEFAULT_THROTTLE_RATES": {"login": env.str("OCCM_LOGIN_RATE", default="30/min")},
    "NUM_PROXIES": env.int("OCCM_PROXIES", default=0),  # whose X-Forwarded-For is believed
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_METADATA_CLASS": None,  # the OpenAPI description tells it all
}
OCCM_API_TOKEN_TTL = timedelta(hours=env.int("OCCM_API_TOKEN_TTL_H", default=10))
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_TTL": OCCM_API_TOKEN_TTL}
SPECTACULAR_SETTINGS = {
    "TITLE": "OCCM",
    "DESCRIPTION": "Certificate manager for 5G core networks: issuers, certificates, migrations.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "Digest": "issuers.models.Digest",
        "BulkMigrationState": "migrations_bulk.models.BulkMigration.State",
        "MigrationItemState": "migrations_bulk.models.MigrationItem.State",
        "RevocationState": "certificates.models.Revocation.State",
        "RevocationReason": "certificates.models.Revocation.Reason",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "occm_project.api.schema.finished",
    ],
}

OCCM_LOG_FORMAT = env.str("OCCM_LOG_FORMAT", default="json")  # or line
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "occm_project.logs.OneLine"},
        "json": {"()": "occm_project.logs.as_json"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": OCCM_LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": env.str("OCCM_LOG_LEVEL", default="INFO")},
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "gunicorn.error": {"handlers": [], "propagate": True},  # of its workers
        "celery": {"level": "WARNING"},  # else each tick and wake-up call would have its lines
    },
}
