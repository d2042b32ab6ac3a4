"""Secrets as private files, for installations without a cluster: NAMESPACE/SECRET/KEY.

    nf1/smf-tls/tls.key  -> ..data/tls.key      what a reader opens
    nf1/smf-tls/..data   -> ..5d1c0f…           the one link that a write swaps, as the kubelet does
    nf1/smf-tls/..5d1c0f…/{tls.key,tls.crt}     one version, never changed

Who opens `..data` once and reads there never sees a key beside another's certificate. Files put
there by hand count like ours and become part of a version at the next write. Writers lock the
secret's folder, so the version they compare is the version they replace, whichever process asks.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial
from hashlib import blake2b
from pathlib import Path
from secrets import token_bytes, token_hex
from time import monotonic, sleep
from typing import Final

from secretstore.base import (
    ABSENT,
    DEADLINE,
    OPAQUE,
    Conflict,
    Forbidden,
    Invalid,
    Secret,
    SecretMissing,
    TimedOut,
    Unavailable,
)
from secretstore.limits import KEY, MAX_BYTES, check_names, merge
from secretstore.watches import PolledWatch

_DATA: Final = "..data"
_NEW: Final = "..new"  # a link on its way to its name; only ever there under the lock
_LOCK_POLL: Final = 0.002  # seconds


@dataclass(frozen=True)
class FolderSecretStore:
    """Keeps secrets below `root`, which must be open to its owner only.

    A version is a digest of the content under `root/..key`, so that a version seen elsewhere
    helps nobody to guess a password.
    """

    root: Path

    def read(self, namespace: str, secret: str, *, deadline: float = DEADLINE) -> Secret:
        check_names(namespace, secret)
        until = monotonic() + deadline
        with self._explained(namespace, secret):
            found = self._look(namespace, secret, until)
        if not found.exists:
            raise SecretMissing(
                f"secret {namespace}/{secret} does not exist below {self.root}:"
                f" create the folder {namespace}/{secret} and its files there, or correct the name"
            )
        return found

    def write(  # noqa: PLR0913 (all but the first three by keyword)
        self,
        namespace: str,
        secret: str,
        changes: Mapping[str, bytes],
        *,
        version: str | None,
        labels: Mapping[str, str] = {},
        secret_type: str = OPAQUE,
        dry_run: bool = False,
        deadline: float = DEADLINE,
    ) -> str:
        check_names(namespace, secret, changes)
        until = monotonic() + deadline
        folder = self.root / namespace / secret

        def planned() -> tuple[Secret, dict[str, bytes]]:
            current = self._look(namespace, secret, until)
            if current.version != version:
                raise Conflict(
                    f"secret {namespace}/{secret} has changed since it was read:"
                    " read it and write again"
                )
            return current, merge(namespace, secret, current.data, changes)

        with self._explained(namespace, secret):
            if dry_run or not folder.exists():
                planned()  # before anything is made
            if dry_run:
                self._check_writable(folder)
                return version or ""
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_private(folder.parent)
            _make_private(folder)
            with _locked(folder, until):
                current, merged = planned()
                _sweep(folder)
                _replace(folder, current.data, merged)
                return self._version(merged)

    def watch(self, namespace: str) -> PolledWatch:
        """Notice changes by what the file system says of files and links, without reading them."""
        check_names(namespace, "any")
        return PolledWatch(namespace, partial(self._stamps, namespace), self._version_of)

    def _stamps(self, namespace: str) -> dict[str, object]:
        """Return something for each secret that is another after every change of it."""
        with self._explained(namespace, "*"):
            try:
                folders = [path for path in (self.root / namespace).iterdir() if path.is_dir()]
            except FileNotFoundError:
                return {}
            return {folder.name: _stamp(folder) for folder in folders}

    def _version_of(self, namespace: str, secret: str) -> str | None:
        try:
            return self.read(namespace, secret).version
        except SecretMissing:
            return None

    def _look(self, namespace: str, secret: str, until: float) -> Secret:
        """Return the secret as it is at one moment, ABSENT if there is none."""
        try:
            mode = self.root.stat().st_mode
        except FileNotFoundError:
            return ABSENT
        if mode & 0o077:
            raise Forbidden(f"{self.root} is open to others: chmod 700 {self.root}")
        data = _snapshot(self.root / namespace / secret, until)
        return ABSENT if data is None else Secret(data, self._version(data))

    def _version(self, data: Mapping[str, bytes]) -> str:
        digest = blake2b(key=self._digest_key(), digest_size=16)
        for key in sorted(data):
            digest.update(f"{key}:{len(data[key])}:".encode())  # no key holds a colon
            digest.update(data[key])
        return digest.hexdigest()

    def _digest_key(self) -> bytes:
        path = self.root / "..key"
        if not path.exists():
            with _locked(self.root, monotonic() + DEADLINE):
                if not path.exists():
                    (self.root / _NEW).unlink(missing_ok=True)
                    _write(self.root / _NEW, token_bytes(32))
                    (self.root / _NEW).replace(path)
                    _sync(self.root)
        return path.read_bytes()

    def _check_writable(self, folder: Path) -> None:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(existing))

    @contextmanager
    def _explained(self, namespace: str, secret: str) -> Iterator[None]:
        """Raise what the operating system refuses as an error of ours."""
        where = f"secret {namespace}/{secret} below {self.root}"
        try:
            yield
        except OSError as error:
            if isinstance(error, PermissionError) or error.errno == errno.EROFS:
                raise Forbidden(
                    f"{where}: {error.strerror}: let OCCM's user read and write {error.filename}"
                ) from error
            raise Unavailable(f"{where}: {error.strerror} ({error.filename})") from error


def _stamp(folder: Path) -> object:
    """Return what a change of any key changes: the link that a write swaps, times and sizes."""
    found = []
    with suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            if KEY.fullmatch(path.name):
                with suppress(FileNotFoundError):
                    info = path.stat()
                    found.append((path.name, info.st_ino, info.st_size, info.st_mtime_ns))
    return _current(folder), tuple(found)


def _snapshot(folder: Path, until: float) -> dict[str, bytes] | None:
    """Read all keys of one version. A version that was swapped away meanwhile is read anew."""
    while True:
        version = _current(folder)
        data = _visible(folder, version)
        if _current(folder) == version:  # names are never used twice: it was there all the time
            return data
        if monotonic() >= until:
            raise TimedOut(f"{folder} changes faster than it can be read: try again")


def _visible(folder: Path, version: str | None) -> dict[str, bytes] | None:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return None
    data = {}
    for key in filter(KEY.fullmatch, names):
        versioned = _is_ours(folder / key)
        if versioned and version is None:
            continue  # its writer died before the swap
        content = _content(folder / version / key if versioned and version else folder / key)
        if content is not None:
            data[key] = content
    return data if data or version is not None else None


def _content(path: Path) -> bytes | None:
    """Read a file, None if there is none. Never waits, not even for a pipe."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Invalid(f"{path} is larger than the 1 MiB a secret may hold: remove it")
    return content


def _replace(folder: Path, current: Mapping[str, bytes], merged: Mapping[str, bytes]) -> None:
    """Make `merged` what readers see, in one step."""
    plain = [key for key in current if not _is_ours(folder / key)]
    if merged == current and not plain and _current(folder):
        return
    if plain:  # take them over as they are first: at no moment a reader sees another content
        _swap(folder, current)
        for key in plain:
            (folder / _NEW).symlink_to(f"{_DATA}/{key}")
            (folder / _NEW).replace(folder / key)
    for key in merged.keys() - current.keys():
        (folder / key).symlink_to(f"{_DATA}/{key}")  # leads nowhere until the swap
    _sync(folder)
    _swap(folder, merged)
    _sweep(folder)


def _swap(folder: Path, data: Mapping[str, bytes]) -> None:
    version = folder / f"..{token_hex(16)}"
    version.mkdir(mode=0o700)
    for key, value in data.items():
        _write(version / key, value)
    _sync(version)
    (folder / _NEW).symlink_to(version.name)
    (folder / _NEW).replace(folder / _DATA)
    _sync(folder)


def _sweep(folder: Path) -> None:
    """Remove what is not of the current version: older ones, and what dead writers left."""
    version = _current(folder)
    for path in folder.iterdir():
        if path.name.startswith("..") and path.name not in {_DATA, version}:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        elif _is_ours(path) and not path.exists():
            path.unlink()


def _current(folder: Path) -> str | None:
    try:
        return str((folder / _DATA).readlink())
    except FileNotFoundError:
        return None


def _is_ours(path: Path) -> bool:
    """Say whether this is a key's link into the current version, and no file put there by hand."""
    try:
        return str(path.readlink()) == f"{_DATA}/{path.name}"
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT}:  # no link; gone
            return False
        raise


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        folder.chmod(0o700)
    else:
        _sync(folder.parent)


@contextmanager
def _locked(folder: Path, until: float) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                flock(fd, LOCK_EX | LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() >= until:
                    raise TimedOut(f"{folder} is locked by another writer: try again") from None
                sleep(_LOCK_POLL)
        if not folder.exists() or not os.path.samestat(os.fstat(fd), folder.stat()):
            raise Conflict(f"{folder} was replaced while it was waited for: read and write again")
        yield
    finally:
        os.close(fd)


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
