"""From one line of settings to a secret store."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from secretstore.base import WatchableStore
from secretstore.folder import FolderSecretStore
from secretstore.memory import MemorySecretStore

if TYPE_CHECKING:
    from secretstore.kubernetes import KubernetesSecretStore


def connect(url: str) -> WatchableStore:
    """Return the store that a URL names. Raises ValueError, or Unavailable if it cannot be set up.

    - `kubernetes:` is the cluster this pod runs in
    - `kubernetes:/path/kubeconfig?context=name` is another one; the context may be left out
    - `folder:/path` is a private folder
    - `memory:` lasts as long as the store itself
    """
    parts = urlsplit(url)
    options = parse_qs(parts.query, keep_blank_values=True)
    context = options.pop("context", [None])[-1]
    if not (parts.netloc or parts.fragment or options):
        match parts.scheme, parts.path, context:
            case "kubernetes", "", None:
                return _kubernetes().in_cluster()
            case "kubernetes", path, _ if path.startswith("/"):
                return _kubernetes().from_kubeconfig(Path(path), context)
            case "folder", path, None if path.startswith("/"):
                return FolderSecretStore(Path(path))
            case "memory", "", None:
                return MemorySecretStore()
    raise ValueError(
        f"{url!r} names no secret store: write kubernetes:, kubernetes:/PATH?context=NAME,"
        " folder:/PATH or memory:"
    )


def _kubernetes() -> "type[KubernetesSecretStore]":
    """Import it when it is asked for: it takes 0.7 s and 22 MB, which a folder need not cost."""
    module = import_module("secretstore.kubernetes")
    store: type[KubernetesSecretStore] = module.KubernetesSecretStore
    return store
