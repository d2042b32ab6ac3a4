"""A PostgreSQL cluster of the tests' own, from Debian's package; nothing in it outlives the block.

It runs as an unprivileged user (PostgreSQL refuses root), listens on a free loopback port and does
not wait for disks.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from tests.peers.process import Process, free_port, tether

REMEDY = "PostgreSQL is missing: apt-get install postgresql"
UNSAFE_BUT_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL server installed, if any."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda it: int(it.parts[-3])
    )
    found = debian[-1] if debian else shutil.which("postgres")
    return Path(found).parent if found else None


class PostgreSQL:
    """`url` is a superuser's, to a database `occm` that is not made yet (see `database`)."""

    def __init__(self) -> None:
        folder = binaries()
        if folder is None:
            raise FileNotFoundError(REMEDY)
        self.programs = folder
        self.user = "postgres" if _exists("postgres") else "nobody"
        self.password = secrets.token_hex()
        self.port = free_port()
        self.url = f"postgres://occm:{self.password}@127.0.0.1:{self.port}/occm"
        # Not pytest's tmp_path, whose parents no other user may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="occm-postgresql-"))
        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            "max_connections=200",
            *UNSAFE_BUT_QUICK,
        )
        self.process = Process(
            command=[str(folder / "postgres"), "-D", self._data, *(f"--{it}" for it in settings)],
            log=self.folder / "log",
            ready=lambda _: self._answers(),
            user=self.user,
            farewell=signal.SIGINT,  # "fast": clients are not waited for
        )

    def __enter__(self) -> Self:
        try:
            self._initialize()
            self.process.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """End the server and delete the cluster."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url.removesuffix("occm") + name

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _initialize(self) -> None:
        password = self.folder / "password"
        password.write_text(self.password)
        if os.geteuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, self.user)
        options = [f"--pwfile={password}", "--username=occm", "--auth=scram-sha-256", "--no-sync"]
        initdb = [str(self.programs / "initdb"), "-D", self._data, "-E", "UTF8", "--locale=C"]
        subprocess.run(
            [*tether(self.user), *initdb, *options],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            self.url.removesuffix("occm") + "postgres", autocommit=True, connect_timeout=5
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
