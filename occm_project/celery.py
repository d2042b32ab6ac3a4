"""The Celery application: `celery -A occm_project worker|beat|flower`."""

from __future__ import annotations  # Task is generic for type checkers only

import os
from typing import Any

from celery import Celery, Task
from celery.signals import setup_logging, task_prerun, worker_init
from django.core.checks import run_checks
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "occm_project.settings")

app = Celery("occm")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def log_as_the_settings_say(**_: Any) -> None:
    """Keep Celery from setting up logging itself: that it asks somebody is enough."""


@task_prerun.connect
def have_a_working_database(task: Task[Any, Any], **_: Any) -> None:
    """Keep a thread's connection from task to task, unless it is too old or does not work.

    Celery would close it after each (see CELERY_DB_REUSE_MAX); requests are treated so by Django.
    """
    if not task.request.is_eager:
        close_old_connections()


@worker_init.connect
def refuse_wrong_settings(**_: Any) -> None:
    """End the worker before it does anything; Celery would log an Exception and go on."""
    found = run_checks(tags=["web", "worker"])
    if errors := [str(one) for one in found if one.is_serious()]:
        raise SystemExit("\n".join(errors))
