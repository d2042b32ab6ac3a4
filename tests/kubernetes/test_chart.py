"""The Helm chart: what it renders, what it refuses, and that a real API server takes all of it.

Nothing here runs a pod or enforces a policy: there is an API server, but no kubelet and no network.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.chart import (
    CHART,
    GOLDEN,
    NAMES,
    RELEASE,
    REMEDY,
    helm,
    objects,
    pods,
    rendered,
    values,
)
from tests.kubernetes.cluster import Cluster, program
from tests.parts import need
from tests.project.settings import settings_variables

SECURED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    need(program("helm").exists(), REMEDY)


@pytest.mark.parametrize("name", NAMES)
def test_manifests_are_as_they_were(name: str) -> None:
    """If a change is meant: .venv/bin/python -m tests.kubernetes.chart."""
    assert rendered(name) == (GOLDEN / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_helm_finds_nothing_to_complain_of(name: str) -> None:
    finished = helm("lint", "--strict", str(CHART), *values(name))

    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("accessedNamespaces=null", "accessedNamespaces"),
        ("accessedNamespaces={Ns_1}", "/accessedNamespaces/0"),
        ("existingSecret=", "/existingSecret"),
        ("web.allowedHosts=null", "allowedHosts"),
        ("occmConfig.cmp.config.useOccmCertSignForKur=maybe", "useOccmCertSignForKur"),
        ("occmConfig.cmp.config.useOcmCertSignForKur=true", "useOcmCertSignForKur"),
        ("occmConfig.cmp.config.tls.enableX509Strict=true", "enableX509Strict"),
        ("occmConfig.cmp.config.tls.minVersion=1.1", "/occmConfig/cmp/config/tls/minVersion"),
        ("occmConfig.cmp.config.tls.groups={P-256}", "/occmConfig/cmp/config/tls/groups/0"),
        (
            "occmConfig.cmp.config.tls.groups={secp256r1,x25519}",
            "/occmConfig/cmp/config/tls/groups",
        ),
        ("worker.threads=0", "/worker/threads"),
        ("flower.enabled=true", "/flower/existingSecret"),
        ("web.ingress.enabled=true", "/web/ingress/host"),
        ("trafficSegregation.enabled=true", "/trafficSegregation/networks"),
        ("networkPolicies.web.from=null", "/networkPolicies/web"),
        ("networkPolicies.certificateAuthorities.ports={0}", "certificateAuthorities/ports/0"),
        ("occmConfig.lookIntervalSeconds=0", "/occmConfig/lookIntervalSeconds"),
        ("occmConfig.history.weeks=1", "weeks"),
        ("occmConfig.logFormat=xml", "/occmConfig/logFormat"),
        ("web.loginRate=often", "/web/loginRate"),
        ("web.apiTokenHours=0", "/web/apiTokenHours"),
        ("image.digest=sha256:aa", "/image/digest"),
        ("sesame=1", "sesame"),
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(setting: str, complaint: str) -> None:
    finished = helm("template", *RELEASE, *values("smallest"), "--set", setting)

    assert finished.returncode != 0
    assert complaint in finished.stderr


def test_the_chart_sets_every_setting() -> None:
    found = [it for name in NAMES for it in objects(rendered(name))]
    configured = {name for it in found if it["kind"] == "ConfigMap" for name in it["data"]}
    mounted = {
        variable["name"].removesuffix("_FILE")
        for name in NAMES
        for pod in pods(rendered(name))
        for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
        for variable in container.get("env", [])
    }

    assert settings_variables() - configured - mounted == {
        "DEBUG",  # never in a cluster
        "STATIC_ROOT",  # a place in the image
    }
    assert configured <= settings_variables()


@pytest.mark.parametrize("name", NAMES)
def test_every_container_is_restricted_and_asks_for_resources(name: str) -> None:
    for pod in pods(rendered(name)):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == SECURED
            assert set(container["resources"]) == {"requests", "limits"}


def test_only_what_works_with_secrets_gets_a_token_and_only_the_database_s_users_its_url() -> None:
    mounts = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: {
            item["path"]
            for volume in pod["spec"]["volumes"]
            for item in [
                *(volume.get("secret") or {}).get("items", []),
                *(
                    source["serviceAccountToken"]
                    for source in (volume.get("projected") or {}).get("sources", [])
                    if "serviceAccountToken" in source
                ),
            ]
        }
        for pod in pods(rendered("smallest"))
    }

    keys = {"SECRET_KEY", "OCCM_FIELD_KEYS", "DATABASE_URL", "REDIS_URL"}
    assert mounts == {
        "web": keys | {"OCCM_ADMIN_PASSWORD"},
        "worker": keys | {"token"},
        "dispatcher": keys | {"token"},
        "keys": keys,
        "beat": {"REDIS_URL"},
    }


def test_segregated_traffic_is_that_of_the_workers() -> None:
    annotation = "k8s.v1.cni.cncf.io/networks"

    attached = {
        pod["metadata"]["name"]: pod["metadata"]["annotations"][annotation]
        for pod in pods(rendered("everything"))
        if annotation in pod["metadata"].get("annotations", {})
    }

    expected = [{"name": "nf-sig-egr"}, {"name": "nf-oam-egr", "namespace": "networks"}]
    assert {name: yaml.safe_load(text) for name, text in attached.items()} == {
        "occm-worker": expected
    }
    assert annotation not in rendered("smallest")


def test_networks_are_named_in_one_place() -> None:
    other = r"podAnnotations.k8s\.v1\.cni\.cncf\.io/networks=other"

    finished = helm("template", *RELEASE, *values("everything"), "--set", other)

    assert finished.returncode != 0
    assert "name the networks in trafficSegregation.networks" in finished.stderr


def test_no_component_is_without_a_policy_and_none_may_do_more_than_another_lets_it() -> None:
    """Each flow between two pods of ours stands on both sides, under the same port."""
    found = objects(rendered("everything"))
    policies = {
        it["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component"): it
        for it in found
        if it["kind"] == "NetworkPolicy"
    }
    assert set(policies) - {None} == {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for pod in pods(rendered("everything"))
    }
    assert policies[None]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    def flows(direction: str, peers: str) -> Iterator[tuple[str, str]]:
        for component, policy in policies.items():
            for rule in policy["spec"].get(direction, []):
                for peer in rule[peers]:
                    labels = peer.get("podSelector", {}).get("matchLabels", {})
                    if other := labels.get("app.kubernetes.io/component"):
                        yield (component, other) if peers == "to" else (other, component)

    assert set(flows("egress", "to")) == set(flows("ingress", "from"))
    assert ("web", "redis") not in set(flows("egress", "to"))


@pytest.fixture(scope="module")
def kubeconfig(cluster: Cluster) -> Path:
    """Make a namespace for it that holds pods to the restricted standard; be an administrator."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": "occm", "labels": restricted}
    cluster.ask("POST", "/api/v1/namespaces", {"metadata": metadata})
    for name in ("ns1", "ns2"):
        cluster.have_namespace(name)
    return cluster.kubeconfig("helm", ("system:masters",))


@contextmanager
def installed(kubeconfig: Path, name: str) -> Iterator[str]:
    """Have the chart installed with some of the values; yield the manifest Helm keeps."""
    done(kubeconfig, "install", "occm", str(CHART), *values(name))
    try:
        yield done(kubeconfig, "get", "manifest", "occm")
    finally:
        done(kubeconfig, "uninstall", "occm")


def done(kubeconfig: Path, *words: str) -> str:
    finished = helm(*words, "--namespace", "occm", kubeconfig=kubeconfig)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("name", NAMES)
def test_every_object_and_every_pod_is_taken_by_the_api_server(
    cluster: Cluster, kubeconfig: Path, name: str
) -> None:
    with installed(kubeconfig, name) as manifest:
        for it in objects(manifest):
            assert cluster.has(it, namespace="occm"), it
        for pod in pods(manifest):
            cluster.ask("POST", "/api/v1/namespaces/occm/pods?dryRun=All", pod)

    assert not any(cluster.has(it, namespace="occm") for it in objects(manifest))


def test_an_upgrade_can_be_rolled_back(cluster: Cluster, kubeconfig: Path) -> None:
    config = "/api/v1/namespaces/occm/configmaps/occm"
    web = "/apis/apps/v1/namespaces/occm/deployments/occm-web"
    with installed(kubeconfig, "smallest"):
        before = cluster.ask("GET", config)["data"]
        cluster.ask("PUT", f"{web}/scale", scaled(cluster.ask("GET", f"{web}/scale"), to=0))
        done(kubeconfig, "upgrade", "occm", str(CHART), *values("everything"))
        assert cluster.ask("GET", config)["data"] != before
        assert cluster.ask("GET", web)["spec"]["replicas"] == 2

        done(kubeconfig, "rollback", "occm", "1")

        assert cluster.ask("GET", config)["data"] == before


def scaled(scale: dict[str, Any], *, to: int) -> dict[str, Any]:
    return scale | {"spec": {"replicas": to}}
