"""What a worker does beside its tasks: it gives signs of life, shows what it counts, and watches
secrets.

Beat gives one sign, too: the file that a probe looks at.
"""

from __future__ import annotations  # Task is generic for type checkers only

from pathlib import Path
from typing import Any

from celery import Task
from celery.signals import (
    after_task_publish,
    heartbeat_sent,
    task_postrun,
    worker_init,
    worker_ready,
    worker_shutdown,
)
from celery.states import SUCCESS
from django.conf import settings

from occm_project import exporter
from occm_project.heartbeats import Pulse, Runs
from occm_project.watcher import Watcher

WATCHING = "scan"  # the queue whose workers notice what others change in secrets

_runs = Runs()
_pulses: list[Pulse] = []
_watchers: list[Watcher] = []


@worker_init.connect
def show_metrics(**_: Any) -> None:
    """Serve this process's metrics, with or without a broker to be had."""
    if settings.OCCM_METRICS_PORT:
        exporter.start(settings.OCCM_METRICS_ADDRESS, settings.OCCM_METRICS_PORT)


@worker_ready.connect
def begin_pulse(sender: Any, **_: Any) -> None:
    """Tell, from now on, that there is a worker for these queues."""
    pulse = Pulse(sender.hostname, sender.app.amqp.queues.consume_from)
    pulse.start()
    _pulses.append(pulse)
    if WATCHING in pulse.queues:
        watcher = Watcher()
        watcher.start()
        _watchers.append(watcher)


@worker_shutdown.connect
def end_pulse(**_: Any) -> None:
    while _watchers:
        _watchers.pop().stop()
    while _pulses:
        _pulses.pop().stop()


@heartbeat_sent.connect
@after_task_publish.connect
def touch_file(**_: Any) -> None:
    """Touch OCCM_ALIVE_FILE, every 2 s in a worker and every second in beat.

    Both signals come from the loop that does the work: the file of a process that only looks alive,
    or has lost the broker, gets old.
    """
    if settings.OCCM_ALIVE_FILE:
        Path(settings.OCCM_ALIVE_FILE).touch()


@task_postrun.connect
def note_run(task: Task[Any, Any], state: str, **_: Any) -> None:
    """Note when scheduled tasks ran: a scheduler that is silent is seen by their age."""
    if state == SUCCESS and not task.request.is_eager and task.name in _scheduled():
        _runs.ran(task.name)


def _scheduled() -> frozenset[str]:
    return frozenset(str(entry["task"]) for entry in settings.CELERY_BEAT_SCHEDULE.values())
