"""The Kubernetes store against a real API server; what it wrote is looked at by plain HTTP."""

import types
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests
from kubernetes.config import incluster_config

from secretstore import (
    TLS,
    Forbidden,
    Invalid,
    SecretMissing,
    SecretStore,
    Unauthenticated,
    Unavailable,
    connect,
)
from tests.kubernetes.cluster import Cluster
from tests.secretstore.conformance import Operator, StoreConformance, set_keys, writing


class ClusterOperator:
    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def put(self, secret: str, data: Mapping[str, bytes]) -> None:
        self.cluster.put_secret(self.namespace, secret, data)

    def get(self, secret: str) -> Mapping[str, bytes]:
        found: Mapping[str, bytes] = self.cluster.secret(self.namespace, secret)["data"]
        return found

    def delete(self, secret: str) -> None:
        self.cluster.delete_secret(self.namespace, secret)


@pytest.fixture(scope="session")
def store(cluster: Cluster) -> SecretStore:
    """Connect as a user who may do nothing but what is granted by namespace."""
    return connect(f"kubernetes:{cluster.kubeconfig('occm')}")


@pytest.fixture
def namespace(cluster: Cluster, namespace: str) -> str:
    cluster.allow_secrets(namespace, "occm")
    return namespace


@pytest.fixture
def operator(cluster: Cluster, namespace: str) -> Operator:
    return ClusterOperator(cluster, namespace)


class TestKubernetesSecretStore(StoreConformance):
    """Does what every store does."""


def test_what_occm_writes_says_so(cluster: Cluster, store: SecretStore, namespace: str) -> None:
    labels = {"occm/certificate": "nrf-1"}

    store.write(namespace, "ours", {"a": b"1"}, version=None, labels=labels)

    found = cluster.secret(namespace, "ours")
    assert found["type"] == "Opaque"
    assert found["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "occm"} | labels
    assert "occm" in {field["manager"] for field in found["metadata"]["managedFields"]}


def test_what_others_put_on_a_secret_stays(
    cluster: Cluster, store: SecretStore, namespace: str
) -> None:
    theirs = {"app.kubernetes.io/managed-by": "Helm", "team": "core"}
    metadata = {"name": "s", "labels": theirs, "annotations": {"meta.helm.sh/release-name": "amf"}}
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    cluster.ask("POST", secrets, {"metadata": metadata, "data": {"config.yaml": "eA=="}})
    version = store.read(namespace, "s").version

    labels = {"occm/certificate": "amf"}
    store.write(namespace, "s", {"tls.crt": b"1"}, version=version, labels=labels, secret_type=TLS)

    found = cluster.secret(namespace, "s")
    assert found["data"] == {"config.yaml": b"x", "tls.crt": b"1"}
    assert found["metadata"]["labels"] == theirs | labels
    assert found["metadata"]["annotations"] == metadata["annotations"]
    assert found["type"] == "Opaque"


@pytest.mark.parametrize(
    ("name", "label"), [("-nrf.1_", "nrf.1"), ("_" * 63, ""), ("n" * 63, "n" * 63)]
)
def test_a_certificate_whose_name_is_no_label_is_delivered_all_the_same(
    cluster: Cluster, store: SecretStore, namespace: str, name: str, label: str
) -> None:
    store.write(namespace, "s", {"a": b"1"}, version=None, labels={"occm/certificate": name})

    assert cluster.secret(namespace, "s")["metadata"]["labels"]["occm/certificate"] == label


def test_a_tls_secret_wants_both_its_keys(
    cluster: Cluster, store: SecretStore, namespace: str
) -> None:
    with pytest.raises(Invalid, match=r"422, data\[tls.key\] FieldValueRequired"):
        store.write(namespace, "s", {"tls.crt": b""}, version=None, secret_type=TLS)

    pair = {"tls.crt": b"", "tls.key": b""}
    store.write(namespace, "s", pair, version=None, secret_type=TLS)
    assert cluster.secret(namespace, "s")["type"] == TLS


def test_an_immutable_secret_is_not_tried_for_ever(
    cluster: Cluster, store: SecretStore, namespace: str
) -> None:
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    cluster.ask("POST", secrets, {"metadata": {"name": "s"}, "immutable": True})
    version = store.read(namespace, "s").version

    with pytest.raises(Invalid, match=f"secret {namespace}/s: .*data FieldValueForbidden.*immutab"):
        store.write(namespace, "s", {"a": b"1"}, version=version)


def test_a_namespace_that_was_not_granted_is_forbidden(
    cluster: Cluster, store: SecretStore
) -> None:
    foreign = cluster.create_namespace("foreign")
    cluster.put_secret(foreign, "s", {"a": b"1"})

    with pytest.raises(Forbidden, match=r"secret foreign/s: we may not get it .*Role"):
        store.read(foreign, "s")
    with pytest.raises(Forbidden, match=r"secret foreign/t: we may not create it .*Role"):
        store.write(foreign, "t", {"a": b"1"}, version=None)
    with pytest.raises(Forbidden, match=r"secret foreign/s: we may not patch it .*Role"):
        store.write(foreign, "s", {"a": b"2"}, version="1", dry_run=True)

    assert cluster.secret(foreign, "s")["data"] == {"a": b"1"}


def test_a_full_quota_is_told_from_a_missing_right(
    cluster: Cluster, store: SecretStore, namespace: str
) -> None:
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    hard = {"secrets": "0"}
    quota = cluster.ask("POST", quotas, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    quota["status"] = {"hard": hard, "used": hard}  # which a controller does elsewhere
    cluster.ask("PUT", f"{quotas}/q/status", quota)
    cluster.wait_until_refused(namespace, "probe")

    with pytest.raises(Forbidden, match="resource quota is used up"):
        store.write(namespace, "s", {"a": b"1"}, version=None)


def test_a_namespace_that_does_not_exist_is_named(cluster: Cluster) -> None:
    admin = connect(f"kubernetes:{cluster.kubeconfig('root', ('system:masters',))}")

    with pytest.raises(SecretMissing, match="secret nowhere/s does not exist"):
        admin.read("nowhere", "s")
    with pytest.raises(SecretMissing, match=r"secret nowhere/s .*its namespace does not exist"):
        admin.write("nowhere", "s", {"a": b"1"}, version=None)


def test_nothing_is_lost_while_the_api_is_down(
    cluster: Cluster, store: SecretStore, namespace: str
) -> None:
    version = store.write(namespace, "s", {"a": b"1"}, version=None)

    with cluster.api_down():
        with pytest.raises(Unavailable, match=f"secret {namespace}/s: .* cannot be reached"):
            store.read(namespace, "s")
        with pytest.raises(Unavailable, match=f"secret {namespace}/s: .* cannot be reached"):
            store.write(namespace, "s", {"a": b"2"}, version=version)

    assert store.read(namespace, "s").data == {"a": b"1"}
    store.write(namespace, "s", {"a": b"2"}, version=version)


def test_another_authoritys_server_is_not_spoken_to(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Cluster(tmp_path / "other")  # never started: its authority is what matters
    path = other.write_kubeconfig("occm", server=cluster.url, credentials={"token": "sesame"})

    with pytest.raises(Unavailable, match="no TLS with the Kubernetes API") as caught:
        connect(f"kubernetes:{path}").read("ns1", "s")

    assert "sesame" not in str(caught.value)


def test_a_token_that_is_none_is_not_known(cluster: Cluster) -> None:
    path = cluster.write_kubeconfig("x", server=cluster.url, credentials={"token": "sesame"})

    with pytest.raises(Unauthenticated, match=r"secret ns1/s: .*does not know us") as caught:
        connect(f"kubernetes:{path}").read("ns1", "s")

    assert "sesame" not in str(caught.value)


class TestInCluster:
    @pytest.fixture
    def token(self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Lay out what the kubelet mounts into a pod, and return the token's path."""
        token = tmp_path / "token"
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
        monkeypatch.setattr(
            incluster_config, "SERVICE_CERT_FILENAME", str(cluster.folder / "ca.crt")
        )
        host, port = cluster.url.removeprefix("https://").split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        return token

    def test_a_pod_works_as_its_service_account(
        self, cluster: Cluster, namespace: str, token: Path
    ) -> None:
        token.write_text(cluster.token(namespace, "occm"))
        cluster.allow_secrets(namespace, f"system:serviceaccount:{namespace}:occm")

        store = connect("kubernetes:")

        set_keys(store, namespace, "s", a=b"1")
        assert cluster.secret(namespace, "s")["data"] == {"a": b"1"}

    def test_a_token_that_the_kubelet_renewed_is_read_again(
        self, cluster: Cluster, namespace: str, token: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at_once = types.SimpleNamespace(datetime=datetime, timedelta=lambda **_: timedelta(0))
        monkeypatch.setattr(incluster_config, "datetime", at_once)  # instead of within a minute
        token.write_text("expired")
        store = connect("kubernetes:")
        with pytest.raises(Unauthenticated):
            store.read(namespace, "s")

        token.write_text(cluster.token(namespace, "occm") + "\n")

        with pytest.raises(Forbidden):
            store.read(namespace, "s")
        token.write_text("two\nlines of sesame")
        with pytest.raises(Unauthenticated, match=f"secret {namespace}/s: the token") as caught:
            store.read(namespace, "s")
        assert "sesame" not in str(caught.value)
        token.unlink()
        with pytest.raises(Unauthenticated, match=f"secret {namespace}/s: .*cannot be read"):
            store.read(namespace, "s")


def test_the_reader_that_is_not_ours_never_sees_a_torn_pair_either(
    cluster: Cluster, store: SecretStore, namespace: str
) -> None:
    seen: set[tuple[bytes, bytes]] = set()
    with writing(store, namespace, "s"):
        while len(seen) < 30:
            try:
                found = cluster.secret(namespace, "s")["data"]
            except requests.HTTPError:
                continue  # not there yet
            seen.add((found["key"], found["crt"]))

    assert all(key == crt for key, crt in seen)
