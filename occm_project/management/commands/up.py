"""Run all of OCCM in the foreground: `./occm up`.

The order is here. Which processes there are is in `occm_project.parts`, how they are watched and
ended in `occm_project.supervisor`, what they run on in `occm_project.embedded`.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connections

from occm_project import parts, ports, scraping
from occm_project.console import Console
from occm_project.embedded import DataFolder, kept
from occm_project.supervisor import GaveUp, Supervisor

WEB_PORT = 8000
FLOWER_PORT = 5555
METRICS_PORT = 9808
DEMO_PORTS = (8081, 8082)
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Plan:
    data: DataFolder
    web: int  # ports
    flower: int
    metrics: int
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
            "--metrics-port",
            type=int,
            help=f"of the worker's metrics; else {METRICS_PORT} or the next one free",
        )
        parser.add_argument(
            "--no-demo", action="store_true", help="without demo CAs and what they certify"
        )

    def handle(self, *, no_demo: bool, **options: Any) -> None:
        if "OCCM_DATA" not in os.environ:
            raise CommandError("this is started as ./occm up")
        data = DataFolder(Path(os.environ["OCCM_DATA"]))
        with alone_in(data), Console(data.folder("logs") / "up.log") as console:
            console.say("up", f"data folder {data.path}")
            environ = {
                "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
                **os.environ,
                "PYTHONUNBUFFERED": "1",
            }
            try:
                asked = {name: options[name] for name in ("port", "flower_port", "metrics_port")}
                plan = planned(data, demo=not no_demo, **asked)
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
            supervisor.start(parts.broker(plan.data))
        console.say("up", "database: migrations")
        call_command("migrate", verbosity=0, interactive=False)
        call_command("collectstatic", verbosity=0, interactive=False)
        if plan.demo:
            start_demo(supervisor, console, plan.data)
        connections.close_all()  # the parts have their own
        for part in (
            *parts.workers(plan.metrics),
            parts.web_server(plan.web, emptied(plan.data.folder("counters"))),
            parts.flower_server(plan.flower),
        ):
            supervisor.start(part)
        console.say("up", f"ready after {time.monotonic() - started_at:.1f} s")
        targets = {"occm-web": plan.web, "occm-worker": plan.metrics}
        console.banner(
            {
                "OCCM": f"http://127.0.0.1:{plan.web}/",
                "log in as": administrator(),
                "tasks": f"http://127.0.0.1:{plan.flower}/ (Flower)",
                "metrics": f"prometheus --config.file={scraping.configure(plan.data, targets)}",
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


def planned(data: DataFolder, *, demo: bool, **asked: int | None) -> Plan:
    """Choose the ports. Raises ports.Taken."""
    chosen: dict[str, int] = {}
    preferred = {"port": WEB_PORT, "flower_port": FLOWER_PORT, "metrics_port": METRICS_PORT}
    for name, first in preferred.items():
        if wanted := asked[name]:
            chosen[name] = ports.asked(wanted, option=f"--{name.replace('_', '-')}")
        else:
            chosen[name] = ports.free_from(first, besides=chosen.values())
    web, flower, metrics = chosen.values()
    return Plan(data, web, flower, metrics, demo)


def start_demo(supervisor: Supervisor, console: Console, data: DataFolder) -> None:
    """Run the demo CAs and ask for what they are to certify."""
    folders, urls = [], []
    for number, preferred in enumerate(DEMO_PORTS, start=1):
        folder = data.folder("demo-ca") / str(number)
        folder.mkdir(mode=0o700, exist_ok=True)
        kept(folder / "mac-secret", secrets.token_urlsafe)
        port = ports.remembered(folder / "port", preferred=preferred)
        supervisor.start(parts.demo_ca(folder, number, port))
        folders.append(str(folder))
        urls.append(f"http://127.0.0.1:{port}/pkix/")
    logging.getLogger("certificates").setLevel("WARNING")  # here: said below, in fewer words
    said = StringIO()
    call_command("demo", ca_folders=folders, ca_urls=urls, stdout=said)
    for line in said.getvalue().splitlines():
        console.say("demo", line.removeprefix("demo: "))


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


def emptied(folder: Path) -> Path:
    for file in folder.iterdir():
        file.unlink()
    return folder
