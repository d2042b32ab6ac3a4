"""What the chart gives to a cluster's Prometheus and Grafana, where it is switched on."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import requests
import yaml

from tests.kubernetes.chart import CHART, RELEASE, REMEDY, helm, objects, pods, values
from tests.kubernetes.cluster import Cluster, program
from tests.parts import need
from tests.peers import prometheus
from tests.peers.prometheus import promtool

ROOT = CHART.parents[2]
KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
RUNBOOKS = "https://docs.example/occm/"
SWITCHED_ON = tuple(
    word
    for setting in (
        "metrics.enabled=true",
        "metrics.serviceMonitor.enabled=true",
        "metrics.serviceMonitor.labels.release=prometheus",
        "metrics.prometheusRule.enabled=true",
        f"metrics.prometheusRule.runbookUrl={RUNBOOKS}",
        "metrics.dashboard.enabled=true",
        "metrics.dashboard.annotations.grafana_folder=Core",
    )
    for word in ("--set", setting)
)


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    need(program("helm").exists(), REMEDY)


@pytest.fixture(scope="module")
def manifest() -> str:
    done = helm("template", *RELEASE, *values("smallest"), *SWITCHED_ON)
    assert done.returncode == 0, done.stderr
    return done.stdout


def one(manifest: str, kind: str, name: str) -> dict[str, Any]:
    (found,) = (
        it
        for it in objects(manifest)
        if (it["kind"], it["metadata"]["name"]) == (kind, f"occm{name}")
    )
    return found


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    fitting = all(
        labels.get(it["key"]) in it["values"] for it in selector.get("matchExpressions", [])
    )
    return fitting and selector["matchLabels"].items() <= labels.items()


def test_off_by_default() -> None:
    rendered = helm("template", *RELEASE, *values("smallest")).stdout

    assert not any(kind in rendered for kind in (*KINDS, "grafana"))


def test_web_servers_are_scraped_through_their_service(manifest: str) -> None:
    monitor = one(manifest, "ServiceMonitor", "-web")
    services = [it for it in objects(manifest) if it["kind"] == "Service"]

    found = [
        it for it in services if selects(monitor["spec"]["selector"], it["metadata"]["labels"])
    ]

    (endpoint,) = monitor["spec"]["endpoints"]
    assert [it["metadata"]["name"] for it in found] == ["occm-web"]
    assert endpoint["port"] in {port["name"] for port in found[0]["spec"]["ports"]}
    assert endpoint["authorization"]["credentials"] == {"name": "occm", "key": "OCCM_METRICS_TOKEN"}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_every_worker_is_scraped_at_its_own_port(manifest: str) -> None:
    monitor = one(manifest, "PodMonitor", "-workers")

    found = {
        pod["metadata"]["name"]: {
            port["name"] for port in pod["spec"]["containers"][0].get("ports", [])
        }
        for pod in pods(manifest)
        if selects(monitor["spec"]["selector"], pod["metadata"]["labels"])
    }

    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    workers = ("occm-worker", "occm-dispatcher", "occm-keys")
    assert found == {name: {endpoint["port"]} for name in workers}


def test_alerts_are_those_of_the_file_with_links_that_lead_somewhere(
    manifest: str, tmp_path: Path
) -> None:
    need(prometheus.program("promtool"), prometheus.REMEDY)
    rule = one(manifest, "PrometheusRule", "")
    text = (ROOT / "deploy" / "prometheus" / "occm.rules.yml").read_text()

    expected = yaml.safe_load(text.replace("docs/runbooks/", f"{RUNBOOKS}docs/runbooks/"))

    assert rule["spec"] == expected
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(rule["spec"]))
    promtool("check", "rules", file)


def test_the_sidecar_finds_the_dashboard(manifest: str) -> None:
    found = one(manifest, "ConfigMap", "-dashboard")

    dashboard = json.loads((ROOT / "deploy" / "grafana" / "occm.json").read_text())
    assert json.loads(found["data"]["occm.json"]) == dashboard
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Core"}


def test_a_monitor_of_what_is_switched_off_is_refused() -> None:
    done = helm(
        "template", *RELEASE, *values("smallest"), "--set", "metrics.serviceMonitor.enabled=true"
    )

    assert done.returncode != 0
    assert "metrics" in done.stderr


@pytest.fixture
def operator(cluster: Cluster) -> Iterator[None]:
    """Have the Prometheus operator's kinds there, with anything in them."""
    resources = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for kind in KINDS:
        cluster.ask("POST", resources, definition(kind))
    for kind in KINDS:
        plural = f"{kind.lower()}s"
        group = "/apis/monitoring.coreos.com/v1"
        while not is_served(cluster, f"{group}/namespaces/default/{plural}"):
            sleep(0.05)  # the API server takes a moment
    yield
    for kind in KINDS:
        cluster.ask("DELETE", f"{resources}/{kind.lower()}s.monitoring.coreos.com")


def is_served(cluster: Cluster, path: str) -> bool:
    try:
        cluster.ask("GET", path)
    except requests.HTTPError:
        return False
    return True


def definition(kind: str) -> dict[str, Any]:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": anything},
    }
    plural = f"{kind.lower()}s"
    return {
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def test_an_api_server_takes_it_all(
    cluster: Cluster, operator: None, tmp_path: Path, manifest: str
) -> None:
    cluster.have_namespace("monitored")
    kubeconfig = cluster.kubeconfig("helm-monitoring", ("system:masters",))
    words = ("occm", str(CHART), "--namespace", "monitored", *values("smallest"), *SWITCHED_ON)
    for name in ("ns1", "ns2"):
        cluster.have_namespace(name)

    done = helm("install", *words, kubeconfig=kubeconfig)

    assert done.returncode == 0, done.stderr
    monitoring = [it for it in objects(manifest) if it["kind"] in KINDS]
    assert len(monitoring) == len(KINDS)
    assert all(cluster.has(it, namespace="monitored") for it in monitoring)
    assert helm(
        "uninstall", "occm", "--namespace", "monitored", kubeconfig=kubeconfig
    ).returncode == 0  # fmt: skip
