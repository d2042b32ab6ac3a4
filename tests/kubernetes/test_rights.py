"""With the chart's Roles and a token of its account, OCCM can do its work and nothing else.

The whole of the API is asked: every resource the server knows, every verb, every kind of place.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from certificates.domain import lifecycle
from secretstore import Forbidden, SecretStore, connect
from tests.factories import a_certificate, an_identity
from tests.fakes.site import Site
from tests.kubernetes.chart import CHART, REMEDY, helm, values
from tests.kubernetes.cluster import Cluster, program
from tests.parts import need

ACCESSED, RELEASE, FOREIGN = ("ns1", "ns2"), "rights", "ns3"
VERBS = (
    *("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"),
    *("impersonate", "bind", "escalate", "use"),
)
NOBODY = f"system:serviceaccount:{FOREIGN}:nobody"  # has no right but what every account has
SECRETS = {"get", "create", "patch", "watch"}


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Iterator[None]:
    need(program("helm").exists(), REMEDY)
    for name in (*ACCESSED, RELEASE, FOREIGN):
        cluster.have_namespace(name)
    admin = cluster.kubeconfig("rights-helm", ("system:masters",))

    def run(*words: str) -> None:
        done = helm(*words, "--namespace", RELEASE, kubeconfig=admin)
        assert done.returncode == 0, done.stderr

    run("install", "occm", str(CHART), *values("smallest"))
    cluster.wait_until_allowed(account("worker"), namespace="ns2", verb="patch", resource="secrets")
    yield
    run("uninstall", "occm")


def account(name: str) -> str:
    return f"system:serviceaccount:{RELEASE}:occm-{name}"


@pytest.fixture(scope="module")
def token(cluster: Cluster, installed: None) -> str:
    return cluster.token_of(RELEASE, "occm-worker")


@pytest.fixture(scope="module")
def store(cluster: Cluster, token: str) -> SecretStore:
    path = cluster.write_kubeconfig("worker", server=cluster.url, credentials={"token": token})
    return connect(f"kubernetes:{path}")


def resources(cluster: Cluster) -> Iterator[tuple[str, str, bool]]:
    """Yield the group, the plural and whether it is namespaced, of all the server knows."""
    groups = cluster.ask("GET", "/apis")["groups"]
    versions = ["/api/v1", *(f"/apis/{it['preferredVersion']['groupVersion']}" for it in groups)]
    for path in versions:
        found = cluster.ask("GET", path)
        group = found["groupVersion"].rpartition("/")[0]
        for it in found["resources"]:
            if "/" not in it["name"]:
                yield group, it["name"], it["namespaced"]


def test_every_verb_on_every_resource_everywhere_but_those_is_denied(
    cluster: Cluster, installed: None
) -> None:
    granted, everybody_s, asked = set(), set(), 0
    for group, resource, namespaced in resources(cluster):
        for place in (ACCESSED[0], RELEASE, FOREIGN) if namespaced else ("",):
            for verb in VERBS:
                what = {"namespace": place, "group": group, "resource": resource, "verb": verb}
                asked += 1
                if cluster.may(account("worker"), **what):
                    granted.add((place, verb, resource))
                    if cluster.may(NOBODY, **what):
                        everybody_s.add((place, verb, resource))

    assert asked > 1000
    assert granted - everybody_s == {(ACCESSED[0], verb, "secrets") for verb in SECRETS}
    assert not {place for place, *_ in everybody_s} - {""}


@pytest.mark.parametrize("name", ["worker", "web"])
@pytest.mark.parametrize("place", [*ACCESSED, RELEASE, FOREIGN])
def test_an_account_has_those_rules_and_what_every_account_has(
    cluster: Cluster, installed: None, name: str, place: str
) -> None:
    ours = rules(cluster, cluster.token_of(RELEASE, f"occm-{name}"), place)
    everybody_s = rules(cluster, cluster.token(FOREIGN, "nobody"), place)

    given = name == "worker" and place in ACCESSED
    assert ours - everybody_s == ({(verb, "", "secrets") for verb in SECRETS} if given else set())


def rules(cluster: Cluster, token: str, place: str) -> set[tuple[str, str, str]]:
    """Return what the API server says a token may do in a namespace."""
    reviews = f"{cluster.url}/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    review = {"spec": {"namespace": place}}
    answer = as_account(cluster, token).post(reviews, json=review, timeout=30).json()
    return {
        (verb, group, resource)
        for rule in answer["status"]["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def as_account(cluster: Cluster, token: str) -> requests.Session:
    session = requests.Session()
    session.trust_env, session.verify = False, str(cluster.folder / "ca.crt")
    session.headers["Authorization"] = f"Bearer {token}"
    return session


@pytest.mark.parametrize("place", [*ACCESSED, RELEASE, FOREIGN])
def test_the_api_server_answers_as_the_reviews_say(
    cluster: Cluster, token: str, place: str
) -> None:
    """Ask for it with the token, not about it."""
    cluster.put_secret(place, "probe", {"a": b"1"})
    secrets = f"{cluster.url}/api/v1/namespaces/{place}/secrets"
    patch = {"Content-Type": "application/merge-patch+json"}
    new: dict[str, Any] = {"metadata": {"name": "new"}}
    asked = {
        "get": ("GET", f"{secrets}/probe", {}, None),
        "create": ("POST", f"{secrets}?dryRun=All", {}, new),
        "patch": ("PATCH", f"{secrets}/probe?dryRun=All", patch, {"data": {"b": "MQ=="}}),
        "watch": ("GET", f"{secrets}?watch=true&timeoutSeconds=1", {}, None),
        "list": ("GET", secrets, {}, None),
        "update": ("PUT", f"{secrets}/probe?dryRun=All", {}, {"metadata": {"name": "probe"}}),
        "delete": ("DELETE", f"{secrets}/probe?dryRun=All", {}, None),
        "deletecollection": ("DELETE", f"{secrets}?dryRun=All", {}, None),
    }
    session = as_account(cluster, token)

    answers = {
        verb: session.request(method, url, headers=headers, json=body, timeout=30).status_code
        for verb, (method, url, headers, body) in asked.items()
    }

    allowed = {verb for verb, status in answers.items() if status < 300}
    assert allowed == (SECRETS if place in ACCESSED else set())
    assert {status for verb, status in answers.items() if verb not in allowed} <= {403}


@pytest.mark.django_db
def test_the_whole_flow_works_in_the_namespaces_named_and_not_in_another(
    cluster: Cluster, store: SecretStore
) -> None:
    site = Site(secrets=store)
    issuer = site.add_ca(trust_store_namespace="ns2")
    identity = an_identity(issuer=issuer)
    here = a_certificate(issuer=issuer, secret="here", **outputs_in("ns2"))
    there = a_certificate(issuer=issuer, secret="there", **outputs_in(FOREIGN))

    site.run()

    assert site.readiness(identity) == site.readiness(here) == "READY"
    assert site.readiness(there) == "NOT_READY"
    assert site.errand(there).error_code == Forbidden.code
    assert "let a Role in that namespace grant" in site.errand(there).error
    first = cluster.secret("ns2", "here")
    assert first["type"] == "kubernetes.io/tls"
    site.clock.forward(days=360)
    lifecycle.open_due_renewals(now=site.clock(), limit=10)
    site.run()
    assert site.readiness(here) == "READY"
    assert cluster.secret("ns2", "here")["data"]["tls.key"] != first["data"]["tls.key"]


def outputs_in(namespace: str) -> dict[str, Any]:
    places = ("private_key_output_namespace", "certificate_output_namespace")
    return dict.fromkeys(places, namespace)
