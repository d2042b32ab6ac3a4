"""Bringing the database to a release: once, whoever comes first, and with an administrator."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.parts import need
from tests.peers import postgresql
from tests.project.test_checks import GOOD

ROOT = Path(__file__).parents[2]


def prepare(database_url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "prepare"],
        cwd=ROOT,
        env=GOOD | {"DATABASE_URL": database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_pods_that_start_together_migrate_once() -> None:
    need(postgresql.binaries(), postgresql.REMEDY)
    with postgresql.PostgreSQL() as server:
        url = server.database("new")
        processes = [prepare(url), prepare(url)]

        said = [process.communicate(timeout=100)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], said
    assert sorted("Applying" in one for one in said) == [False, True]
    assert sum("No migrations to apply" in one for one in said) == 1


@pytest.mark.django_db
class TestAdministrator:
    def test_the_first_one_is_made_once(self, settings: Settings) -> None:
        settings.OCCM_ADMIN_PASSWORD = "open sesame, please"
        users = get_user_model().objects

        call_command("prepare", verbosity=0)
        settings.OCCM_ADMIN_PASSWORD = "another one, please"
        call_command("prepare", verbosity=0)

        admin = users.get(is_superuser=True)
        assert admin.get_username() == "admin"
        assert admin.check_password("open sesame, please")

    def test_a_weak_password_is_refused_and_not_repeated(self, settings: Settings) -> None:
        settings.OCCM_ADMIN_PASSWORD = "sesame"

        with pytest.raises(CommandError, match=r"OCCM_ADMIN_PASSWORD: .*too short") as caught:
            call_command("prepare", verbosity=0)

        assert "sesame" not in str(caught.value)
        assert not get_user_model().objects.exists()

    def test_without_a_password_nobody_is_made(self) -> None:
        call_command("prepare", verbosity=0)

        assert not get_user_model().objects.exists()
