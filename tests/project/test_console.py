import contextlib
from pathlib import Path

import pytest

from occm_project.console import Console


def test_every_line_has_the_name_of_its_part_in_front_and_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(tmp_path / "up.log") as console:
        console.say("web", "listening")
        console.say("demo-ca-1", "100 % there")

    expected = "      web | listening\ndemo-ca-1 | 100 % there\n"
    assert capsys.readouterr().out == expected
    assert (tmp_path / "up.log").read_text() == expected


def test_banner_is_shown_and_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Console(tmp_path / "up.log") as console:
        console.banner({"log in as": "admin, password hunter2", "stop": "Ctrl-C"})

    assert "hunter2" in capsys.readouterr().out
    assert (tmp_path / "up.log").read_text() == ""


def test_a_terminal_that_has_gone_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, too
    with Console(tmp_path / "up.log") as console:
        monkeypatch.setattr("sys.stdout", gone)
        console.say("web", "one")
        console.say("web", "two")
        monkeypatch.undo()
    with contextlib.suppress(OSError):
        gone.close()

    assert (tmp_path / "up.log").read_text().count("web") == 2
