"""What CI wants clean beside the tests: `./occm check`, and requirements that fit together."""

import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(900)  # mypy takes a minute or two without its cache
def test_check_is_clean() -> None:
    done = subprocess.run(
        [ROOT / "occm", "check"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_every_requirement_is_pinned(name: str) -> None:
    wanted = re.sub(r"#.*", "", (ROOT / f"{name}.in").read_text()).splitlines()
    pins = pinned(name)

    unmet = [
        line
        for line in wanted
        if line.strip() and not line.startswith("-") and not met(Requirement(line), pins)
    ]

    assert unmet == [], f"compile {name}.in anew"


@pytest.mark.parametrize("name", ["requirements", "requirements-dev", "requirements-uv"])
def test_every_pin_has_its_hashes(name: str) -> None:
    found = entries(name)

    assert found
    assert [package for package, rest in found if "--hash=sha256:" not in rest] == []


def entries(name: str) -> list[tuple[str, str]]:
    """Split a compiled file into (package, version and all that follows it)."""
    text = (ROOT / f"{name}.txt").read_text()
    return re.findall(r"^([a-z0-9][a-z0-9.-]*)==((?:.|\n(?= ))*)", text, re.MULTILINE)


def pinned(name: str) -> dict[str, str]:
    return {package: rest.split()[0] for package, rest in entries(name)}


def met(requirement: Requirement, pins: dict[str, str]) -> bool:
    name = re.sub(r"[-_.]+", "-", requirement.name).lower()
    return name in pins and requirement.specifier.contains(pins[name])
