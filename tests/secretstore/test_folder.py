import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fcntl import LOCK_EX, flock
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from time import monotonic

import pytest

from secretstore import (
    Conflict,
    FolderSecretStore,
    Forbidden,
    Invalid,
    SecretMissing,
    TimedOut,
    Unavailable,
)
from tests.secretstore.conformance import Operator, StoreConformance, set_keys, writing

PROJECT = Path(__file__).parents[2]


class FolderOperator:
    """Works with files, as `echo x > ns1/s/key` does, and reads as an application would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, secret: str, data: Mapping[str, bytes]) -> None:
        (self.folder / secret).mkdir(parents=True, exist_ok=True)
        for key, value in data.items():
            (self.folder / secret / key).write_bytes(value)

    def get(self, secret: str) -> Mapping[str, bytes]:
        files = (self.folder / secret).glob("*")
        return {path.name: path.read_bytes() for path in files if not path.name.startswith("..")}

    def delete(self, secret: str) -> None:
        rmtree(self.folder / secret)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "secrets"
    root.mkdir(mode=0o700)
    return root


@pytest.fixture
def store(root: Path) -> FolderSecretStore:
    return FolderSecretStore(root)


@pytest.fixture
def namespace() -> str:
    return "ns1"


@pytest.fixture
def operator(root: Path) -> Operator:
    return FolderOperator(root / "ns1")


class TestFolderSecretStore(StoreConformance):
    """Does what every store does."""


def modes(root: Path) -> dict[str, int]:
    """Return the access that others than the owner, and the owner, have to all there is."""
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode)
        for path in [root, *root.rglob("*")]
        if not path.is_symlink()
    }


def run(*lines: str, arguments: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """Run Python in a process of its own."""
    code = "\n".join(lines)
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=PROJECT)


def test_files_and_folders_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "secrets"
    before = os.umask(0)
    try:
        FolderSecretStore(root).write("ns1", "s", {"a": b"1"}, version=None)
    finally:
        os.umask(before)

    found = modes(root)
    assert {mode for path, mode in found.items() if (root / path).is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if (root / path).is_file()} == {0o600}


def test_a_root_that_others_may_enter_is_refused(root: Path, store: FolderSecretStore) -> None:
    store.write("ns1", "s", {"a": b"1"}, version=None)
    root.chmod(0o750)

    with pytest.raises(Forbidden, match=f"chmod 700 {root}"):
        store.read("ns1", "s")
    with pytest.raises(Forbidden, match=f"chmod 700 {root}"):
        store.write("ns1", "t", {"a": b"1"}, version=None)


def test_the_layout_is_the_kubelets(root: Path, store: FolderSecretStore) -> None:
    store.write("ns1", "s", {"tls.key": b"k", "tls.crt": b"c"}, version=None)

    folder = root / "ns1" / "s"
    version = (folder / "..data").readlink()
    assert {path.name for path in folder.iterdir()} == {
        "..data",
        "tls.crt",
        "tls.key",
        str(version),
    }
    assert str((folder / "tls.key").readlink()) == "..data/tls.key"
    assert {path.name for path in (folder / version).iterdir()} == {"tls.crt", "tls.key"}


def test_only_the_version_in_force_is_kept(root: Path, store: FolderSecretStore) -> None:
    for turn in range(3):
        set_keys(store, "ns1", "s", a=b"%d" % turn)

    kept = [path for path in (root / "ns1" / "s").iterdir() if path.is_dir()]
    assert {path.resolve() for path in kept} == {(root / "ns1" / "s" / "..data").resolve()}


def test_files_put_there_by_hand_become_part_of_a_version(
    root: Path, store: FolderSecretStore, operator: Operator
) -> None:
    operator.put("s", {"tls.key": b"old", "tls.crt": b"old", "note": b"mine"})

    set_keys(store, "ns1", "s", **{"tls.key": b"new", "tls.crt": b"new"})

    folder = root / "ns1" / "s"
    assert {path.name for path in folder.iterdir() if not path.is_symlink()} == {
        str((folder / "..data").readlink())
    }
    assert operator.get("s") == {"tls.key": b"new", "tls.crt": b"new", "note": b"mine"}
    assert set(modes(folder).values()) == {0o700, 0o600}


def test_what_an_operator_changes_later_counts(
    root: Path, store: FolderSecretStore, operator: Operator
) -> None:
    version = store.write("ns1", "s", {"a": b"1", "b": b"2", "c": b"3"}, version=None)
    folder = root / "ns1" / "s"

    (folder / "a").write_bytes(b"!")  # through the link, in place
    (folder / "b").unlink()
    (folder / "d").write_bytes(b"4")  # beside the links
    (folder / "c").unlink()
    (folder / "c").write_bytes(b"5")  # in place of a link

    found = store.read("ns1", "s")
    assert found.data == {"a": b"!", "c": b"5", "d": b"4"}
    assert found.version != version
    store.write("ns1", "s", {"e": b"6"}, version=found.version)
    assert operator.get("s") == {"a": b"!", "c": b"5", "d": b"4", "e": b"6"}


def test_what_is_no_value_is_passed_over(root: Path, store: FolderSecretStore) -> None:
    folder = root / "ns1" / "s"
    (folder / "folder").mkdir(parents=True)
    os.mkfifo(folder / "pipe")  # opening one waits, unless it is done right
    (folder / "not a key").write_bytes(b"x")
    (folder / "dangling").symlink_to("..data/dangling")

    with pytest.raises(SecretMissing):
        store.read("ns1", "s")
    store.write("ns1", "s", {"dangling": b"1"}, version=None)

    assert store.read("ns1", "s").data == {"dangling": b"1"}


def test_an_operators_link_counts_as_the_file_it_leads_to(
    root: Path, tmp_path: Path, store: FolderSecretStore
) -> None:
    (tmp_path / "ca.pem").write_bytes(b"roots")
    (root / "ns1" / "s").mkdir(parents=True)
    (root / "ns1" / "s" / "ca.crt").symlink_to(tmp_path / "ca.pem")

    set_keys(store, "ns1", "s", other=b"1")

    assert store.read("ns1", "s").data == {"ca.crt": b"roots", "other": b"1"}
    assert (tmp_path / "ca.pem").read_bytes() == b"roots"


def test_a_file_too_large_for_a_secret_is_refused(root: Path, store: FolderSecretStore) -> None:
    (root / "ns1" / "s").mkdir(parents=True)
    with (root / "ns1" / "s" / "core").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(Invalid, match="core"):
        store.read("ns1", "s")


def test_a_dry_run_leaves_no_trace(tmp_path: Path) -> None:
    store = FolderSecretStore(tmp_path / "secrets")

    store.write("ns1", "s", {"a": b"1"}, version=None, dry_run=True)

    assert list(tmp_path.iterdir()) == []


def test_a_version_does_not_give_its_content_away(tmp_path: Path) -> None:
    one, other = (FolderSecretStore(tmp_path / name) for name in ("one", "other"))

    versions = [store.write("ns1", "s", {"pwd": b"0000"}, version=None) for store in (one, other)]

    assert versions[0] != versions[1]


def test_a_file_in_place_of_a_folder_is_an_error_that_says_so(
    root: Path, store: FolderSecretStore
) -> None:
    (root / "ns1").write_text("not a folder")

    with pytest.raises(Unavailable, match=f"secret ns1/s below {root}: Not a directory"):
        store.read("ns1", "s")


AS_NOBODY = """
import os, sys
from pathlib import Path
from secretstore import FolderSecretStore, Forbidden

if os.geteuid() == 0:  # who may do everything
    os.setuid(65534)
try:
    FolderSecretStore(Path(sys.argv[1])).write("ns1", "t", {"a": b"1"}, version=None, dry_run=True)
except Forbidden as error:
    print(error)
"""


def test_a_folder_we_may_not_write_is_forbidden() -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "ns1").mkdir(mode=0o500)
        if os.geteuid() == 0:
            os.chown(folder, 65534, -1)
            os.chown(Path(folder) / "ns1", 65534, -1)

        command = [sys.executable, "-c", AS_NOBODY, folder]
        said = subprocess.check_output(command, cwd=PROJECT, text=True)

    assert said == (
        f"secret ns1/t below {folder}: Permission denied:"
        f" let OCCM's user read and write {folder}/ns1\n"
    )


def test_a_write_waits_for_the_lock_until_its_deadline(
    root: Path, store: FolderSecretStore
) -> None:
    version = store.write("ns1", "s", {"a": b"1"}, version=None)
    folder = os.open(root / "ns1" / "s", os.O_RDONLY)
    flock(folder, LOCK_EX)

    began = monotonic()
    with pytest.raises(TimedOut, match="locked by another writer"):
        store.write("ns1", "s", {"a": b"2"}, version=version, deadline=0.2)
    waited = monotonic() - began
    os.close(folder)

    assert 0.2 <= waited < 2
    store.write("ns1", "s", {"a": b"2"}, version=version)


def test_writers_in_several_processes_lose_nothing(root: Path, store: FolderSecretStore) -> None:
    children = [
        run(
            "import sys",
            "from pathlib import Path",
            "from secretstore import FolderSecretStore",
            "from tests.secretstore.conformance import set_keys",
            "store = FolderSecretStore(Path(sys.argv[1]))",
            "for turn in range(10):",
            "    set_keys(store, 'ns1', 's', **{f'{sys.argv[2]}-{turn}': b'here'})",
            arguments=(str(root), f"w{writer}"),
        )
        for writer in range(3)
    ]

    assert [child.wait(60) for child in children] == [0, 0, 0]
    expected = {f"w{writer}-{turn}" for writer in range(3) for turn in range(10)}
    assert set(store.read("ns1", "s").data) == expected


def test_an_application_that_opens_the_version_once_never_sees_a_torn_pair(
    root: Path, store: FolderSecretStore
) -> None:
    set_keys(store, "ns1", "s", key=b"0", crt=b"0")

    def look() -> tuple[bytes, ...]:
        opened = os.open(root / "ns1" / "s" / "..data", os.O_RDONLY)
        try:
            found = []
            for name in ("key", "crt"):
                with open(os.open(name, os.O_RDONLY, dir_fd=opened), "rb") as file:  # noqa: PTH123
                    found.append(file.read())
            return tuple(found)
        finally:
            os.close(opened)

    seen: set[tuple[bytes, ...]] = set()
    with writing(store, "ns1", "s"):
        while len(seen) < 50:
            with suppress(FileNotFoundError):  # that version was replaced and removed: look again
                seen.add(look())

    assert all(key == crt for key, crt in seen)


KILLED_WRITERS = """
import os, signal, sys
from pathlib import Path
from secretstore import FolderSecretStore

def write(root, steps):
    def watch(event, arguments):
        nonlocal steps
        if event.startswith(("os.", "shutil.")) or event == "open":
            steps -= 1
            if steps < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    store = FolderSecretStore(root)
    version = store.read("ns1", "s").version
    sys.addaudithook(watch)
    store.write("ns1", "s", {"key": b"2", "crt": b"2", "chain": b"2"}, version=version)
    os._exit(0)

for steps, root in enumerate(sorted(Path(sys.argv[1]).iterdir())):
    child = os.fork() or write(root, steps)
    if os.waitpid(child, 0)[1] == 0:
        print(steps)
        break
"""


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_writer_killed_anywhere_leaves_the_old_or_the_new(tmp_path: Path, by_hand: bool) -> None:
    """Kill one before the first thing it does to files, another before the second, and so on."""
    old = {"key": b"1", "crt": b"1", "note": b"mine"}
    new = {"key": b"2", "crt": b"2", "chain": b"2", "note": b"mine"}
    roots = [tmp_path / f"{steps:03}" for steps in range(150)]
    for root in roots:
        root.mkdir(mode=0o700)
        if by_hand:
            FolderOperator(root / "ns1").put("s", old)
        else:
            FolderSecretStore(root).write("ns1", "s", old, version=None)

    whole = int(
        subprocess.check_output([sys.executable, "-c", KILLED_WRITERS, tmp_path], cwd=PROJECT)
    )

    found = []
    for root in roots[: whole + 1]:
        store = FolderSecretStore(root)
        found.append(store.read("ns1", "s").data)
        set_keys(store, "ns1", "s", key=b"3", crt=b"3")
        left = [path for path in (root / "ns1" / "s").iterdir() if not path.is_symlink()]
        assert len(left) == 1  # the version in force: what the dead writer left is gone
    swap = found.index(new)
    assert found == [old] * swap + [new] * (len(found) - swap)
    assert 20 < swap < whole  # it was killed often enough, before and after


INTERRUPTED_READERS = """
import sys
from pathlib import Path
from secretstore import FolderSecretStore

store = FolderSecretStore(Path(sys.argv[1]))
version = store.write("ns1", "s", {"key": b"0", "crt": b"0"}, version=None)
left = -1

def watch(event, arguments):
    global left, version
    if left >= 0 and (event.startswith("os.") or event == "open"):
        left -= 1
        if left < 0:  # now, in the middle of reading, another pair is written
            version = store.write("ns1", "s", {"key": new, "crt": new}, version=version)

sys.addaudithook(watch)
for step in range(100):
    old, new, left = b"%d" % step, b"%d" % (step + 1), step
    found = dict(store.read("ns1", "s").data)
    assert found in ({"key": old, "crt": old}, {"key": new, "crt": new}), found
    if left >= 0:  # the reading was over before its turn came
        print(step)
        break
"""


def test_a_reading_is_of_one_version_wherever_a_write_comes_in_between(root: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED_READERS, str(root)]

    steps = int(subprocess.check_output(command, cwd=PROJECT))

    assert 5 < steps < 50


def test_what_was_replaced_under_the_lock_is_a_conflict(
    root: Path, store: FolderSecretStore
) -> None:
    version = store.write("ns1", "s", {"a": b"1"}, version=None)
    folder = os.open(root / "ns1" / "s", os.O_RDONLY)
    flock(folder, LOCK_EX)

    with ThreadPoolExecutor(1) as pool:
        write = partial(store.write, "ns1", "s", {"a": b"2"}, version=version)
        writer = pool.submit(write)
        with pytest.raises(TimeoutError):
            writer.result(0.2)
        (root / "ns1" / "s").rename(root / "ns1" / "moved")
        os.close(folder)
        with pytest.raises(Conflict, match="was replaced"):
            writer.result()

    assert store.read("ns1", "moved").data == {"a": b"1"}
