"""The embedded defaults: everything `./occm` runs on when nobody names servers of their own.

One data folder holds it all: database, secrets, keys, the broker's socket. What the environment
already says is left alone, so DATABASE_URL, REDIS_URL or OCCM_SECRET_STORE can each point at the
real thing. Nothing of Django is imported here: these values are there before the settings are.
"""

import base64
import contextlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

SOCKET_NAME = "valkey.sock"
# A socket's path fits into 107 bytes (unix(7)), and URLs of brokers do not escape theirs.
SPEAKABLE = re.compile(r"[A-Za-z0-9/._-]{1,107}")


class NotPrivate(Exception):
    """Something that must be ours alone belongs to, or is open to, somebody else."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where the embedded defaults keep their state; what is in it is made when first asked for."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> "DataFolder":
        """Make the folder if it is not there. Raises NotPrivate when others may write to it."""
        path = path.absolute()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise NotPrivate(f"data folder {path}: belongs to another user, or others may write")
        return cls(path)

    def folder(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def key(self, name: str, make: Callable[[], str]) -> Path:
        """Return the file that holds a key, made at the first call."""
        return kept(self.folder("keys") / name, make)

    def socket(self) -> Path:
        """Return where the broker listens: in the data folder, or in /tmp if that is too long."""
        here = self.path / SOCKET_NAME
        return here if SPEAKABLE.fullmatch(str(here)) else self._short_folder() / SOCKET_NAME

    def broker_url(self) -> str:
        return f"redis+socket://{self.socket()}?virtual_host=0"

    def _short_folder(self) -> Path:
        remembered = self.path / "socket-folder"
        with contextlib.suppress(FileNotFoundError, NotPrivate):  # a reboot empties /tmp
            return _private(Path(remembered.read_text()))
        folder = tempfile.mkdtemp(prefix="occm-", dir="/tmp")
        remembered.write_text(folder)
        return Path(folder)


def fill(environ: MutableMapping[str, str]) -> DataFolder:
    """Name the embedded defaults in `environ`, wherever it is silent. Raises NotPrivate."""
    data = DataFolder.at(Path(environ.get("OCCM_DATA") or ".occm"))
    environ["OCCM_DATA"] = str(data.path)
    sources: dict[str, Callable[[], str]] = {
        "SECRET_KEY_FILE": lambda: str(data.key("secret_key", secrets.token_urlsafe)),
        "OCCM_FIELD_KEYS_FILE": lambda: str(data.key("field_key", _fernet_key)),
        "DATABASE_URL": lambda: f"sqlite:///{quote(str(data.path / 'db.sqlite3'))}",
        "REDIS_URL": data.broker_url,
        "OCCM_SECRET_STORE": lambda: f"folder:{data.folder('secrets')}",
        "OCCM_METRICS_TOKEN_FILE": lambda: str(data.key("metrics_token", secrets.token_urlsafe)),
        "OCCM_METRICS_ADDRESS": lambda: "127.0.0.1",
        "OCCM_LOG_FORMAT": lambda: "line",  # a person reads them
        "OCCM_SERVED_BY_HTTPS": lambda: "false",  # plain HTTP, to loopback only
        "ALLOWED_HOSTS": lambda: "localhost,127.0.0.1,[::1]",
        "STATIC_ROOT": lambda: str(data.path / "static"),
    }
    for name, value in sources.items():
        given = name.removesuffix("_FILE")
        if not {given, f"{given}_FILE"} & environ.keys():
            environ[name] = value()
    return data


def kept(file: Path, make: Callable[[], str]) -> Path:
    """Put what `make` returns into the file (0600) unless it is there, and return the file."""
    if not file.exists():
        with tempfile.NamedTemporaryFile("w", dir=file.parent) as draft:  # 0600
            draft.write(make())
            draft.flush()
            os.fsync(draft.fileno())
            with contextlib.suppress(FileExistsError):  # another process was quicker: its value
                os.link(draft.name, file)
    return file


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _private(folder: Path) -> Path:
    status = folder.lstat()
    if status.st_uid != os.geteuid() or stat.filemode(status.st_mode) != "drwx------":
        raise NotPrivate(f"{folder}: not a folder of ours alone")
    return folder
