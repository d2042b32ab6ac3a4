"""Where keys and certificates are read from and delivered to: no Django, nothing of CMP.

Read in this order: `base` (what a store does, and how it fails), `contents` (what lies in secrets),
`limits` (what Kubernetes allows, and so every store), then the stores: `memory`, `folder`, and
`kubernetes` with `statuses` and `deadline`; `watches` notice
what others change. `connect` makes the one that a setting names.

A write builds on a reading: read, merge your keys, write with the version read; on Conflict, again.
"""

from secretstore.base import (
    ABSENT,
    CERTIFICATE_LABEL,
    DEADLINE,
    OPAQUE,
    TLS,
    Change,
    Conflict,
    Forbidden,
    Invalid,
    KeyMissing,
    Listed,
    Secret,
    SecretKeyRef,
    SecretMissing,
    SecretStore,
    SecretStoreError,
    SecretWatch,
    Throttled,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Unreadable,
    WatchableStore,
)
from secretstore.contents import (
    EncodingName,
    PrivateKey,
    certificates,
    encode_certificate,
    encode_chain,
    encode_private_key,
    is_pair,
    private_key,
    text,
)
from secretstore.factory import connect
from secretstore.folder import FolderSecretStore
from secretstore.limits import NAMESPACE, check_names
from secretstore.memory import MemorySecretStore

__all__ = [
    "ABSENT",
    "CERTIFICATE_LABEL",
    "DEADLINE",
    "NAMESPACE",
    "OPAQUE",
    "TLS",
    "Change",
    "Conflict",
    "EncodingName",
    "FolderSecretStore",
    "Forbidden",
    "Invalid",
    "KeyMissing",
    "Listed",
    "MemorySecretStore",
    "PrivateKey",
    "Secret",
    "SecretKeyRef",
    "SecretMissing",
    "SecretStore",
    "SecretStoreError",
    "SecretWatch",
    "Throttled",
    "TimedOut",
    "Unauthenticated",
    "Unavailable",
    "Unreadable",
    "WatchableStore",
    "certificates",
    "check_names",
    "connect",
    "encode_certificate",
    "encode_chain",
    "encode_private_key",
    "is_pair",
    "private_key",
    "text",
]
