"""A wrong environment is told of at the start, with what to do about it."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import LazySettings

from occm_project import checks

GOOD = {
    "SECRET_KEY": "0" * 32,
    "DATABASE_URL": "sqlite://:memory:",
    "REDIS_URL": "memory://",
    "OCCM_SECRET_STORE": "memory:",
    "OCCM_FIELD_KEYS": "A" * 43 + "=",
    "ALLOWED_HOSTS": "occm.example",
    "DJANGO_SETTINGS_MODULE": "occm_project.settings",
}


@pytest.mark.parametrize(
    ("name", "value", "check", "found"),
    [
        ("OCCM_FIELD_KEYS", [Fernet.generate_key().decode()], checks.field_keys, []),
        ("OCCM_FIELD_KEYS", [], checks.field_keys, ["occm.E001"]),
        ("OCCM_FIELD_KEYS", ["secret"], checks.field_keys, ["occm.E002"]),
        ("OCCM_FIELD_KEYS", ["A" * 43 + "=", ""], checks.field_keys, ["occm.E002"]),
        ("SECRET_KEY", "short", checks.secret_key, ["occm.E003"]),
        ("OCCM_SECRET_STORE", "memory:", checks.secret_store, []),
        ("OCCM_SECRET_STORE", "folder:relative", checks.secret_store, ["occm.E004"]),
        ("OCCM_SECRET_STORE", "vault:", checks.secret_store, ["occm.E004"]),
        ("OCCM_SECRET_STORE", "kubernetes:/nowhere/config", checks.secret_store, ["occm.W002"]),
        ("OCCM_RETRY_INTERVAL", timedelta(0), checks.intervals, ["occm.E005"]),
        ("OCCM_WORKER_SLOTS", 0, checks.intervals, ["occm.E005"]),
        ("OCCM_LOOK_INTERVAL", timedelta(0), checks.intervals, ["occm.E005"]),
        ("OCCM_ISSUER_REQUESTS_IN_FLIGHT", 0, checks.intervals, ["occm.E005"]),
        ("OCCM_ACCESSED_NAMESPACES", ["ns1", "nf-2"], checks.namespaces, []),
        ("OCCM_ACCESSED_NAMESPACES", ["ns1", "Ns 2"], checks.namespaces, ["occm.E006"]),
        ("OCCM_TLS_MIN_VERSION", "1.3", checks.tls, []),
        ("OCCM_TLS_MIN_VERSION", "1.1", checks.tls, ["occm.E007"]),
        ("OCCM_TLS_GROUPS", "secp384r1", checks.tls, []),
        ("OCCM_TLS_GROUPS", "secp384r1:secp256r1", checks.tls, ["occm.E008"]),
        ("OCCM_TLS_CIPHERS", "ECDHE+AESGCM", checks.tls, []),
        ("OCCM_TLS_CIPHERS", "sesame", checks.tls, ["occm.E009"]),
        ("ALLOWED_HOSTS", [], checks.hosts, ["occm.W001"]),
    ],
)
def test_settings_are_checked(
    settings: LazySettings, name: str, value: Any, check: Any, found: list[str]
) -> None:
    setattr(settings, name, value)

    assert [message.id for message in check()] == found


def test_a_wrong_key_is_not_repeated_in_the_message(settings: LazySettings) -> None:
    settings.OCCM_FIELD_KEYS = ["not-quite-a-key"]

    (message,) = checks.field_keys()

    assert "not-quite-a-key" not in str(message)
    assert str(message).startswith("?: (occm.E002) Key 1 of OCCM_FIELD_KEYS is not 32 bytes")


def start(**changes: str) -> "subprocess.CompletedProcess[str]":
    """Load the web server's entry point in a process of its own."""
    environment = {"PATH": os.environ["PATH"], **GOOD, **changes}
    return subprocess.run(
        [sys.executable, "-c", "import occm_project.wsgi"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_web_server_starts_with_good_settings_and_not_with_others() -> None:
    assert start().returncode == 0

    refused = start(OCCM_FIELD_KEYS="secret", SECRET_KEY="short")

    assert refused.returncode != 0
    assert "occm.E002" in refused.stderr
    assert "occm.E003" in refused.stderr


def setting(name: str, **changes: str) -> str:
    """Return what a setting comes to in this environment."""
    said = subprocess.check_output(
        [sys.executable, "-c", f"from occm_project import settings as s; print(s.{name})"],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], **GOOD, **changes},
        text=True,
    )
    return said.removesuffix("\n")


def test_a_mounted_file_may_end_with_a_newline(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://broker/0\n")

    assert setting("CELERY_BROKER_URL", REDIS_URL_FILE=str(tmp_path / "url")) == "redis://broker/0"


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("rediss://broker/0", "rediss://broker/0?ssl_cert_reqs=required"),
        (
            "rediss://broker?ssl_ca_certs=/x",
            "rediss://broker?ssl_ca_certs=/x&ssl_cert_reqs=required",
        ),
        ("rediss://broker?ssl_cert_reqs=none", "rediss://broker?ssl_cert_reqs=none"),
    ],
)
def test_a_broker_by_tls_has_to_show_its_certificate_unless_told_otherwise(
    url: str, used: str
) -> None:
    assert setting("CELERY_BROKER_URL", REDIS_URL=url) == used
