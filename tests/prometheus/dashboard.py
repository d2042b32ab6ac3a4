"""The Grafana dashboard, as tests take it apart."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "occm.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
VARIABLES = {one["name"]: one for one in DASHBOARD["templating"]["list"]}


def panels() -> Iterator[dict[str, Any]]:
    """Yield every panel that shows something."""
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            yield panel


def expressions() -> Iterator[tuple[str, str]]:
    """Yield the title of a panel and one of its queries, as Grafana sends it with all chosen."""
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m")
            for name in VARIABLES:
                query = query.replace(f"${name}", ".*")
            yield panel["title"], query
