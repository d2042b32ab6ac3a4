"""OCCM in processes of a benchmark's own, each of which can be killed, on servers that can be too.

PostgreSQL, Valkey over TCP, a demo CA, a folder of secrets; workers, dispatchers and beats as
`./occm up` starts them, without web server. What ends by itself is started again, as everywhere.
"""

import contextlib
import itertools
import threading
from pathlib import Path
from typing import Self

from benchmarks._installation import environment
from occm_project import parts
from tests.peers.demo_ca import DemoCaProcess
from tests.peers.postgresql import PostgreSQL
from tests.peers.process import Process
from tests.peers.valkey import Valkey


class Site:
    """Servers that run while the block lasts, and the processes that `start` adds."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.secrets.mkdir(mode=0o700)
        self.postgresql, self.valkey = PostgreSQL(), Valkey(folder)
        self.ca = DemoCaProcess(folder / "ca")
        self.settings = settings
        self.processes: list[Process] = []
        self.restarts = 0  # of processes that ended by themselves
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self._kill_processes)
            keeper = threading.Thread(target=self._keep_up)
            keeper.start()
            stack.callback(keeper.join)
            stack.callback(self._over.set)
            for server in (self.postgresql, self.valkey, self.ca):
                stack.enter_context(server)
            self.environ = environment(
                self.postgresql.database("benchmark"),
                REDIS_URL=self.valkey.url,
                OCCM_SECRET_STORE=f"folder:{self.secrets}",
                PYTHONWARNINGS="ignore:You're running the worker with superuser privileges",
                **self.settings,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, kind: str, *, app: str = "occm_project", **environ: str) -> Process:
        """Start a worker, a dispatcher or a beat: `kind` is its name in `occm_project.parts`."""
        number = next(self._numbers)
        part = next(part for part in parts.workers(0) if part.name == kind)
        words = [word.replace("@%h", f"{number}@%h") for word in part.command]
        words[words.index("occm_project")] = app
        process = Process(
            command=words,
            log=self.folder / f"{kind}{number}.log",
            ready=lambda _: True,
            environ=self.environ | environ,
        )
        with self._lock:
            process.start()
            self.processes.append(process)
        return process

    def replace(self, process: Process) -> None:
        """End a process as a power cut would, and start it again."""
        with self._lock:
            process.kill()
            process.start()

    def _keep_up(self) -> None:
        while not self._over.wait(1):
            with self._lock:
                ended = [it for it in self.processes if it.popen and it.popen.poll() is not None]
                for process in ended:
                    process.kill()  # it is gone; this forgets it
                    process.start()
                self.restarts += len(ended)

    def _kill_processes(self) -> None:
        for process in self.processes:
            process.kill()
