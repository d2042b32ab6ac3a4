"""The Helm chart as Helm sees it, and what it is to render: golden/NAME.yaml from NAME.values.yaml.

After a change that is meant, write them anew and look at the difference:

    .venv/bin/python -m tests.kubernetes.chart
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.kubernetes.cluster import program

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "occm"
GOLDEN = Path(__file__).parent / "golden"
NAMES = ("smallest", "everything", "without_policies")
RELEASE = ("occm", str(CHART), "--namespace", "occm")
REMEDY = "helm: run tests/kubernetes/cluster/build (needs go)"


def helm(*words: str, kubeconfig: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run helm; nothing of the user's own helm or cluster plays a part."""
    return subprocess.run(
        [str(program("helm")), *words],
        env={
            "KUBECONFIG": str(kubeconfig or "/nonexistent"),
            "HOME": "/nonexistent",
            "HELM_CACHE_HOME": "/tmp/occm-tests-helm",
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def values(name: str) -> tuple[str, str]:
    return "--values", str(GOLDEN / f"{name}.values.yaml")


def rendered(name: str) -> str:
    done = helm("template", *RELEASE, *values(name))
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(manifest: str) -> list[dict[str, Any]]:
    return [it for it in yaml.safe_load_all(manifest) if it is not None]


def pods(manifest: str) -> Iterator[dict[str, Any]]:
    """Return the pods that the workloads of a manifest would have."""
    for it in objects(manifest):
        if it["kind"] in {"Deployment", "StatefulSet"}:
            template = it["spec"]["template"]
            metadata = template["metadata"] | {"name": it["metadata"]["name"]}
            spec = template["spec"]
            for claim in it["spec"].get("volumeClaimTemplates", []):
                name = claim["metadata"]["name"]
                spec["volumes"].append({"name": name, "persistentVolumeClaim": {"claimName": name}})
            yield {"metadata": metadata, "spec": spec}


if __name__ == "__main__":
    for each in NAMES:
        (GOLDEN / f"{each}.yaml").write_text(rendered(each))
