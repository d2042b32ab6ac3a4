import stat
import threading
from pathlib import Path

import environ
import pytest
from cryptography.fernet import Fernet

from occm_project.embedded import DataFolder, NotPrivate, fill


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def mode(path: Path) -> str:
    return stat.filemode(path.stat().st_mode)


def test_silent_environment_gets_everything_the_settings_need(data: Path) -> None:
    variables = {"OCCM_DATA": str(data)}

    fill(variables)

    env = environ.FileAwareEnv()
    env.ENVIRON = environ.FileAwareMapping(env=variables)
    assert len(env.str("SECRET_KEY")) >= 32
    assert Fernet(env.list("OCCM_FIELD_KEYS")[0])
    assert env.db_url("DATABASE_URL")["NAME"] == str(data / "db.sqlite3")
    assert variables["REDIS_URL"] == f"redis+socket://{data}/valkey.sock?virtual_host=0"
    assert variables["OCCM_SECRET_STORE"] == f"folder:{data}/secrets"


def test_what_the_environment_names_is_left_alone(data: Path) -> None:
    named = {
        "OCCM_DATA": str(data),
        "DATABASE_URL": "postgres://db.example/occm",
        "REDIS_URL": "rediss://redis.example",
        "OCCM_SECRET_STORE": "kubernetes:",
        "SECRET_KEY": "mine",
        "OCCM_FIELD_KEYS_FILE": "/run/secrets/keys",
        "OCCM_METRICS_TOKEN": "theirs",
    }
    variables = dict(named)

    fill(variables)

    assert named.items() <= variables.items()
    assert "SECRET_KEY_FILE" not in variables  # it would win over SECRET_KEY
    assert not list(data.rglob("*"))


def test_keys_are_made_once_and_are_private(data: Path) -> None:
    first = {"OCCM_DATA": str(data)}
    second = {"OCCM_DATA": str(data)}

    fill(first)
    key = Path(first["OCCM_FIELD_KEYS_FILE"]).read_text()
    fill(second)

    assert Path(second["OCCM_FIELD_KEYS_FILE"]).read_text() == key
    assert mode(data) == mode(data / "keys") == mode(data / "secrets") == "drwx------"
    assert mode(Path(first["OCCM_FIELD_KEYS_FILE"])) == "-rw-------"
    assert mode(Path(first["SECRET_KEY_FILE"])) == "-rw-------"


def test_processes_that_start_together_agree_on_the_key(data: Path) -> None:
    folder = DataFolder.at(data)
    together = threading.Barrier(8)
    read: list[str] = []

    def start(mine: str) -> None:
        def make() -> str:
            together.wait()  # all have found no key, and all make one
            return mine

        read.append(folder.key("field_key", make).read_text())

    threads = [threading.Thread(target=start, args=(f"key {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(read)) == 1
    assert [path.name for path in (data / "keys").iterdir()] == ["field_key"]


def test_data_folder_that_others_may_write_to_is_refused(data: Path) -> None:
    data.mkdir()
    data.chmod(0o777)

    with pytest.raises(NotPrivate, match=str(data)):
        fill({"OCCM_DATA": str(data)})


@pytest.mark.parametrize("name", ["a" * 110, "with space", "ünï", "per%cent"])
def test_socket_has_a_short_private_path_when_the_data_folder_has_none(
    tmp_path: Path, name: str
) -> None:
    folder = DataFolder.at(tmp_path / name)

    socket = folder.socket()

    assert socket.parent.parent == Path("/tmp")
    assert mode(socket.parent) == "drwx------"
    assert folder.socket() == socket
    socket.parent.rmdir()


def test_short_path_that_somebody_else_has_taken_is_given_up(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path / ("a" * 110))
    taken = folder.socket().parent
    taken.chmod(0o755)

    fresh = folder.socket().parent

    assert fresh != taken
    assert mode(fresh) == "drwx------"
    for path in (taken, fresh):
        path.rmdir()


def test_odd_characters_in_the_data_folder_reach_the_database(tmp_path: Path) -> None:
    odd = tmp_path / "what? a 50% #1 place"
    variables = {"OCCM_DATA": str(odd)}

    fill(variables)

    assert environ.Env.db_url_config(variables["DATABASE_URL"])["NAME"] == str(odd / "db.sqlite3")


def test_relative_data_folder_is_taken_from_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    variables = {"OCCM_DATA": "here"}

    fill(variables)

    assert variables["OCCM_DATA"] == str(tmp_path / "here")
    assert variables["OCCM_SECRET_STORE"] == f"folder:{tmp_path}/here/secrets"
