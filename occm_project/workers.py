"""What a worker does beside its tasks: it gives signs of life, shows what it counts, watches
secrets and gives back memory.

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
from occm_project.memory import Trimmer
from occm_project.watcher import Watcher

WATCHING = "scan"  # the queue whose workers notice what others change in secrets

_runs = Runs()
_beside: list[Pulse | Trimmer | Watcher] = []  # threads, to be stopped in reverse


@worker_init.connect
def show_metrics(**_: Any) -> None:
    """Serve this process's metrics, with or without a broker to be had."""
    if settings.OCCM_METRICS_PORT:
        exporter.start(settings.OCCM_METRICS_ADDRESS, settings.OCCM_METRICS_PORT)


@worker_ready.connect
def begin_pulse(sender: Any, **_: Any) -> None:
    """Tell, from now on, that there is a worker for these queues."""
    pulse = Pulse(sender.hostname, sender.app.amqp.queues.consume_from)
    _beside.extend((pulse, Trimmer()))
    if WATCHING in pulse.queues:
        _beside.append(Watcher())
    for thread in _beside:
        thread.start()


@worker_shutdown.connect
def end_pulse(**_: Any) -> None:
    while _beside:
        _beside.pop().stop()


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
