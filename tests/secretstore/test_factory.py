import subprocess
import sys
from pathlib import Path

import pytest

from secretstore import FolderSecretStore, MemorySecretStore, Unavailable, connect
from secretstore.kubernetes import KubernetesSecretStore

KUBECONFIG = """
current-context: first
contexts:
- {name: first, context: {cluster: a, user: u}}
- {name: second, context: {cluster: b, user: u}}
clusters:
- {name: a, cluster: {server: "http://127.0.0.1:1"}}
- {name: b, cluster: {server: "http://127.0.0.1:2"}}
users:
- {name: u, user: {token: sesame}}
"""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    return path


def test_a_folder_and_memory_are_named_by_their_schemes(tmp_path: Path) -> None:
    assert connect(f"folder:{tmp_path}") == FolderSecretStore(tmp_path)
    assert connect(f"folder://{tmp_path}") == FolderSecretStore(tmp_path)
    assert isinstance(connect("memory:"), MemorySecretStore)
    assert connect("memory:") is not connect("memory:")


def test_a_kubeconfig_is_used_in_the_context_named(kubeconfig: Path) -> None:
    for url, port in [("", 1), ("?context=first", 1), ("?context=second", 2)]:
        store = connect(f"kubernetes:{kubeconfig}{url}")
        assert isinstance(store, KubernetesSecretStore)
        with pytest.raises(Unavailable, match="secret ns1/s: the Kubernetes API cannot be reached"):
            store.read("ns1", "s")
        assert store.url == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "folder:",
        "folder:relative/path",
        "folder:~/secrets",
        "folder://host/path",
        "folder:/path?context=x",
        "memory:/path",
        "kubernetes:relative",
        "kubernetes:?context=x",
        "kubernetes:/path?contxt=x",
        "kubernetes://host",
        "vault:/path",
        "/path",
    ],
)
def test_what_names_no_store_is_refused_saying_what_does(url: str) -> None:
    with pytest.raises(ValueError, match="names no secret store: write kubernetes:, "):
        connect(url)


def test_without_a_service_account_there_is_no_cluster_to_be_in() -> None:
    with pytest.raises(Unavailable, match="no Kubernetes service account here"):
        connect("kubernetes:")


@pytest.mark.parametrize(
    "content",
    [None, "", "- a list", "{token: sesame", "users: [{user: {token: sesame}}]", "\x00"],
)
def test_a_kubeconfig_that_cannot_be_used_is_named_but_not_quoted(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)

    with pytest.raises(Unavailable, match=f"kubeconfig {path} cannot be used") as caught:
        connect(f"kubernetes:{path}")

    assert "sesame" not in str(caught.value)


def test_a_folder_does_not_cost_the_kubernetes_client() -> None:
    code = "import sys, secretstore as s; s.connect('memory:'); print('kubernetes' in sys.modules)"

    said = subprocess.check_output([sys.executable, "-c", code], cwd=Path(__file__).parents[2])

    assert said == b"False\n"
