"""How a Prometheus on this machine scrapes what `./occm up` runs: a configuration ready to use."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from occm_project.embedded import DataFolder


def configure(data: DataFolder, targets: Mapping[str, int]) -> Path:
    """Write prometheus.yml into the data folder: jobs and their ports, our alerts, the token."""
    rules = settings.BASE_DIR / "deploy" / "prometheus" / "occm.rules.yml"
    content = {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": [str(rules)],
        "scrape_configs": [_job(name, port) for name, port in targets.items()],
    }
    file = data.path / "prometheus.yml"
    file.touch()
    file.chmod(0o600)  # before the token is in it
    file.write_text(json.dumps(content, indent=2) + "\n")  # JSON is YAML
    return file


def _job(name: str, port: int) -> dict[str, Any]:
    authorization = {"credentials": settings.OCCM_METRICS_TOKEN}
    target = {"targets": [f"127.0.0.1:{port}"]}
    return {"job_name": name, "authorization": authorization, "static_configs": [target]}
