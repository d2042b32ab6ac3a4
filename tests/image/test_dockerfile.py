"""What can be said of the image without building it; `tests/image/build` builds and tries it."""

import re
import shlex
from pathlib import Path

from tests.kubernetes.chart import GOLDEN, pods

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
STAGES = re.split(r"(?m)^FROM ", DOCKERFILE)[1:]


def instructions(stage: str, name: str) -> list[str]:
    return re.findall(rf"(?m)^{name} +(.*)$", stage)


def test_the_packages_of_the_product_are_copied_and_no_others() -> None:
    packages = {it.parent.name for it in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    allowed = {it[1:] for it in (ROOT / ".dockerignore").read_text().split() if it[0] == "!"}

    copied = {source for it in instructions(STAGES[0], "COPY") for source in it.split()[:-1]}

    assert copied == allowed == packages | {"manage.py", "requirements.txt"}
    assert instructions(STAGES[1], "COPY") == ["--from=build /opt/occm /opt/occm"]


def test_what_comes_from_pypi_is_pinned_by_hash_and_not_compiled() -> None:
    [install] = [it for it in instructions(STAGES[0], "RUN") if "pip install" in it]

    assert {"--require-hashes", "--only-binary"} <= set(shlex.split(install))
    assert "requirements-dev" not in DOCKERFILE


def test_it_runs_as_the_user_whom_the_chart_names() -> None:
    [user] = instructions(STAGES[1], "USER")

    for pod in pods((GOLDEN / "smallest.yaml").read_text()):
        context = pod["spec"]["securityContext"]
        assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
