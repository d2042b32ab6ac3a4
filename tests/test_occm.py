"""The script that everything begins with, as far as it goes without installing anything."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def occm(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "occm", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", [(), ("help",), ("--help",)])
def test_help_names_every_command_and_the_data_folder(arguments: tuple[str, ...]) -> None:
    done = occm(*arguments)

    assert done.returncode == 0
    for command in ("up", "test", "check", "bench", "manage", "help"):
        assert f"\n  {command} " in done.stdout
    assert "OCCM_DATA" in done.stdout


def test_unknown_command_is_refused_by_name() -> None:
    done = occm("upp")

    assert done.returncode == 1
    assert done.stderr.endswith("occm: no such command: upp\n")


def test_it_works_from_anywhere_and_through_a_link(tmp_path: Path) -> None:
    link = tmp_path / "occm"
    link.symlink_to(ROOT / "occm")

    done = subprocess.run([link, "bench"], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout.split() == sorted(
        path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")
    )
