"""Debian's Prometheus scrapes `./occm up`: every query of the dashboard has data, alerts fire and
resolve, and its numbers are those of the API.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.flows.running import ROOT, Operator, Up, slack, wanted
from tests.parts import need
from tests.peers import prometheus
from tests.peers.prometheus import Prometheus
from tests.prometheus.dashboard import VARIABLES, expressions

pytestmark = pytest.mark.timeout(300)

RULES = ROOT / "deploy" / "prometheus" / "occm.rules.yml"
MIGRATIONS = "bulk-certificate-migrations/"
READINESS = {"READY": 1, "NOT_READY": 0, "EXPIRED": -1}


@dataclass(frozen=True)
class Watched:
    up: Up
    operator: Operator
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """An installation one of whose CAs refuses all that is asked of it, and who watches it."""
    need(prometheus.program(), prometheus.REMEDY)
    folder = tmp_path_factory.mktemp("watched")
    up = Up(folder / "data")
    up.environ |= {"OCCM_RETRY_INTERVAL_S": "2", "OCCM_MIGRATION_MAX_ATTEMPTS": "1"}
    up.environ["OCCM_LOG_FORMAT"] = "json"
    with up, Prometheus(hurried(up.data / "prometheus.yml", folder), folder) as watcher:
        assert up.password is not None
        operator = Operator(up.url, up.password)
        operator.certificates_once_ready(within=60 * slack())
        up.control(1, refuse={"failures": ["badCertTemplate"], "text": ["not by our rules"]})
        operator.post("certificates/", wanted("refused", "demo-ca-1"))
        operator.post(MIGRATIONS, {"source": "demo-ca-2", "destination": "demo-ca-1"})
        yield Watched(up, operator, watcher)


def hurried(configuration: Path, folder: Path) -> Path:
    """Return our configuration with alerts that wait for nothing, looked at every second."""
    rules = RULES.read_text()
    rules = re.sub(r"for: \w+", "for: 0s", rules.replace("> 900", "> 1"))
    (folder / "rules.yml").write_text(rules)
    content = json.loads(configuration.read_text())
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in content["scrape_configs"]:
        for targets in job["static_configs"]:
            targets["labels"] = {"namespace": "occm"}  # as in Kubernetes
    content["rule_files"] = [str(folder / "rules.yml")]
    (folder / "prometheus.yml").write_text(json.dumps(content))
    return folder / "prometheus.yml"


def eventually(found: Callable[[], Any], *, within: float) -> None:
    """Wait until `found` returns nothing that is still missing."""
    deadline = time.monotonic() + within * slack()
    while missing := found():
        assert time.monotonic() < deadline, missing
        time.sleep(0.5)


def test_every_query_of_the_dashboard_has_data(watched: Watched) -> None:
    def without_data() -> list[tuple[str, str]]:
        return [(title, query) for title, query in expressions() if not asked(query)]

    def asked(query: str) -> list[dict[str, Any]]:
        return watched.prometheus.query(query)

    eventually(without_data, within=60)
    for variable in VARIABLES.values():
        if variable["type"] == "query":
            selector, _, label = variable["query"]["query"][13:-1].rpartition(", ")
            assert all(one["metric"][label] for one in asked(selector)), variable["name"]


def test_web_server_and_worker_are_scraped(watched: Watched) -> None:
    up = {one["metric"]["job"]: one["value"][1] for one in watched.prometheus.query("up")}

    assert up == {"occm-web": "1", "occm-worker": "1"}


def test_what_a_migration_could_not_move_is_told_as_the_api_tells_it(watched: Watched) -> None:
    eventually(lambda: not _ended(watched), within=60)
    errors = watched.operator.get("bulk-cert-migration-errors/")["results"]

    def difference() -> set[tuple[str, str]]:
        series = watched.prometheus.query("occm_migration_failed_timestamp_seconds")
        told = {(one["metric"]["certificate"], one["metric"]["issuer"]) for one in series}
        return told ^ {(it["certificate_name"], it["destination"]) for it in errors}

    assert len(errors) >= 2
    eventually(difference, within=20)


def test_a_failure_is_alerted_to_until_it_is_over(watched: Watched) -> None:
    expected = {"OCCMCertificateNotReady", "OCCMProcedureFailing", "OCCMMigrationFailures"}
    eventually(lambda: expected - watched.prometheus.firing(), within=30)
    name = "occm_certificate_failing_since_timestamp_seconds"
    (failing,) = watched.prometheus.query(f'{name}{{certificate="refused"}}')
    assert failing["metric"]["fail_info"] == "badCertTemplate"
    assert "not by our rules" in failing["metric"]["error"]
    agree(watched)

    watched.up.control(1, refuse=None)
    delete(watched, f"{MIGRATIONS}{_migration(watched)['id']}/")

    eventually(watched.prometheus.firing, within=40)
    agree(watched)


def _migration(watched: Watched) -> dict[str, Any]:
    (found,) = watched.operator.get(MIGRATIONS)["results"]
    assert isinstance(found, dict)
    return found


def _ended(watched: Watched) -> bool:
    return bool(_migration(watched)["state"] == "ENDED")


def delete(watched: Watched, path: str) -> None:
    operator = watched.operator
    answer = operator.session.delete(f"{operator.api}/{path}", timeout=10)
    assert answer.ok, answer.text


def test_what_is_deleted_is_gone_from_the_figures(watched: Watched) -> None:
    delete(watched, f"certificates/{watched.operator.certificates()[-1]['name']}/")

    agree(watched)


def test_the_log_in_json_has_a_line_for_each_step_of_a_certificate(watched: Watched) -> None:
    lines = re.findall(r"^ *worker \| (.*)$", watched.up.said, re.MULTILINE)
    events = [json.loads(line) for line in lines if line.startswith("{")]
    plain = [line for line in lines if not line.startswith("{")]
    mine = [one for one in events if one.get("certificate") == "amf1"]

    assert plain == []
    assert len({one["enrollment"] for one in mine}) == 1
    assert {one["issuer"] for one in mine} == {"demo-ca-1"}
    moves = [one["event"] for one in mine if ", was " in one["event"]]
    assert [text.split(": ")[2].split(",")[0] for text in moves] == [
        "EXCHANGE",
        "ISSUED",
        "DELIVERING",
        "DELIVERED",
    ]
    assert mine[-1]["transaction_id"] in "".join(one["event"] for one in mine)


def test_flower_shows_the_tasks_by_telling_names(watched: Watched) -> None:
    scheduled = {"certificates.dispatch", "certificates.scan_expiring"}
    eventually(lambda: scheduled - _tasks(watched), within=40)  # from when on it listens

    watched.operator.post("certificates/amf1/renew/")

    eventually(lambda: {"certificates.renew"} - _tasks(watched), within=40)


def _tasks(watched: Watched) -> set[str]:
    """Return the names of the tasks in Flower's table."""
    columns = {"columns[0][data]": "name", "order[0][column]": "0", "order[0][dir]": "asc"}
    page = {"draw": "1", "start": "0", "length": "20000", "search[value]": ""}
    url = f"{watched.up.flower}/tasks/datatable"
    shown = requests.get(url, params=page | columns, timeout=10).json()["data"]
    return {task["name"] for task in shown}


def agree(watched: Watched) -> None:
    """Wait until Prometheus has every certificate that the API has, with the same readiness."""

    def difference() -> set[tuple[str, int]]:
        shown = {
            (it["name"], READINESS[it["status"]["readiness"]])
            for it in watched.operator.certificates()
        }
        series = watched.prometheus.query("occm_certificate_readiness")
        return shown ^ {(one["metric"]["certificate"], int(one["value"][1])) for one in series}

    eventually(difference, within=20)
