"""The Grafana dashboard holds together, shows the guide's panels, and every query is PromQL."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.parts import need
from tests.peers import prometheus
from tests.peers.prometheus import promtool
from tests.prometheus.dashboard import DASHBOARD, VARIABLES, expressions, panels

DAY = 86_400
BANDS = [None, 0, 7 * DAY, 30 * DAY, 90 * DAY, 180 * DAY]
THE_GUIDES = {
    "End Entity Certificate Expiry Time",
    "End Entity Certificate Readiness Status",
    "Bulk Cert Migrations Error",
}


def the(title: str) -> dict[str, Any]:
    (found,) = (panel for panel in panels() if panel["title"] == title)
    return found


def test_the_panels_of_the_guide_are_there_by_their_names() -> None:
    titles = [panel["title"] for panel in panels()]

    assert set(titles) >= THE_GUIDES
    assert len(titles) == len(set(titles))


def test_expired_7_30_90_and_180_days_have_colours_of_their_own() -> None:
    overrides = the("End Entity Certificate Expiry Time")["fieldConfig"]["overrides"]
    (left,) = (one for one in overrides if one["matcher"]["options"] == "Time left")
    (found,) = (one["value"] for one in left["properties"] if one["id"] == "thresholds")

    assert [step["value"] for step in found["steps"]] == BANDS
    assert len({step["color"] for step in found["steps"]}) == len(BANDS)


def test_migration_errors_are_chosen_by_uuid_and_show_the_destination() -> None:
    panel = the("Bulk Cert Migrations Error")

    assert 'migration=~"$migration"' in panel["targets"][0]["expr"]
    (names,) = (
        one["options"]["renameByName"]
        for one in panel["transformations"]
        if one["id"] == "organize"
    )
    assert names["issuer"] == "Issuer (destination)"
    assert names["error"] == "Reason"


def test_ids_are_unique_and_no_panel_hides_another() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    places = [(panel["title"], panel["gridPos"]) for panel in DASHBOARD["panels"]]

    assert len(ids) == len(set(ids))
    for (one, a), (other, b) in combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, f"{one} covers {other}"
    assert all(place["x"] + place["w"] <= 24 for _, place in places)


def test_whoever_imports_it_chooses_the_data_source() -> None:
    sources = {json.dumps(panel["datasource"]) for panel in panels()}
    sources |= {json.dumps(one["datasource"]) for panel in panels() for one in panel["targets"]}
    sources |= {json.dumps(one["datasource"]) for one in VARIABLES.values() if "datasource" in one}

    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert DASHBOARD["id"] is None  # else an import would look for it


def test_every_variable_of_a_query_is_defined() -> None:
    left_over = [query for _, query in expressions() if "$" in query]

    assert left_over == []


def test_several_web_servers_do_not_count_twice() -> None:
    """What the database holds is told by each: first made one, and only then added up."""
    for title, query in expressions():
        if "occm_" in query and "_total" not in query and "_seconds_" not in query:
            assert "max " in query or "max(" in query or "min by" in query, title


def test_every_query_is_promql(tmp_path: Path) -> None:
    need(prometheus.program("promtool"), prometheus.REMEDY)
    rules = [{"record": f"q{n}", "expr": query} for n, (_, query) in enumerate(expressions())]
    file = tmp_path / "queries.json"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
