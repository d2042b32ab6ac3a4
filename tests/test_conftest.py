"""The rules that the test run itself keeps."""

import socket
import urllib.request

import pytest
from django.db import connection

from tests.network import OutOfBounds


def test_reaching_beyond_loopback_fails_the_test() -> None:
    with socket.socket() as mine, pytest.raises(OutOfBounds):
        mine.connect(("192.0.2.1", 80))
    with pytest.raises(OutOfBounds):
        urllib.request.urlopen("http://ca.example/")


def test_name_that_cannot_exist_does_not_resolve() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("ca.invalid", 80)


@pytest.mark.django_db
@pytest.mark.only_on("sqlite")
def test_sqlite_runs_with_the_settings_that_do_not_lock_out_writers() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        assert cursor.fetchone() == ("wal",)


@pytest.mark.django_db
@pytest.mark.only_on("postgresql")
def test_postgresql_is_the_tests_own() -> None:
    assert connection.vendor == "postgresql"
    assert connection.settings_dict["HOST"] == "127.0.0.1"
    with connection.cursor() as cursor:
        cursor.execute("SHOW fsync")
        assert cursor.fetchone() == ("off",)
