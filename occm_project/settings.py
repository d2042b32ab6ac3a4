"""Settings, all from the environment. Every default is safe for production or refuses to start.

`NAME_FILE=/path` may stand for any `NAME`, so that secrets arrive as mounted files.
`./occm` fills in the embedded defaults (SQLite, a broker on a Unix socket, a folder of secrets).
"""

from datetime import timedelta
from pathlib import Path

import django_stubs_ext
import environ

django_stubs_ext.monkeypatch()  # ModelAdmin[Certificate] and friends, at run time too

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.FileAwareEnv()

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
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    DATABASES["default"].setdefault("CONN_MAX_AGE", 600)
    DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Behaviour of this product, under the names the operator's guide uses.
OCCM_SECRET_STORE = env.str("OCCM_SECRET_STORE")  # folder:/path, kubernetes:, kubernetes:/kubeconfig
OCCM_FIELD_KEYS = env.list("OCCM_FIELD_KEYS")  # Fernet keys; the first encrypts, all decrypt
OCCM_RETRY_INTERVAL = timedelta(seconds=env.int("OCCM_RETRY_INTERVAL_S", default=30))
OCCM_USE_OCCM_CERT_SIGN_FOR_KUR = env.bool("OCCM_USE_OCCM_CERT_SIGN_FOR_KUR", default=False)
OCCM_EXTRACT_CERT_CHAIN_FROM_CMP_RESPONSE = env.bool(
    "OCCM_EXTRACT_CERT_CHAIN_FROM_CMP_RESPONSE", default=True
)
OCCM_TLS_ENABLE_X509_STRICT_CHECK = env.bool("OCCM_TLS_ENABLE_X509_STRICT_CHECK", default=False)
OCCM_TLS_IGNORE_CRITICAL_EXTENSIONS_CHECK = env.bool(
    "OCCM_TLS_IGNORE_CRITICAL_EXTENSIONS_CHECK", default=False
)
OCCM_ISSUER_REQUESTS_IN_FLIGHT = env.int("OCCM_ISSUER_REQUESTS_IN_FLIGHT", default=20)

# The rows are the queue; Redis carries wake-up calls only, so it needs no results and no ETAs.
CELERY_BROKER_URL = env.str("REDIS_URL")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SEND_TASK_EVENTS = True  # Flower shows the tasks
CELERY_TASK_SEND_SENT_EVENT = True
CELERY_TASK_DEFAULT_QUEUE = "enroll"
CELERY_TASK_ROUTES = {
    "certificates.dispatch": {"queue": "dispatch"},
    "certificates.scan_*": {"queue": "scan"},
    "issuers.*": {"queue": "scan"},
}
CELERY_BEAT_SCHEDULE = {
    "dispatch": {"task": "certificates.dispatch", "schedule": 1.0, "options": {"expires": 2}},
}
CELERY_TIMEZONE = "UTC"

INSTALLED_APPS = [
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
    "django_prometheus",
    "issuers",
    "certificates",
    "migrations_bulk",
    "occm_project",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
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
ROOT_URLCONF = "occm_project.urls"
WSGI_APPLICATION = "occm_project.wsgi.application"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
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
REST_FRAMEWORK = {
    "EXCEPTION_HANDLER": "occm_project.errors.to_problem",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "knox.auth.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.DjangoModelPermissions"],
}
