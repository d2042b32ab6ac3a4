"""OCCM's Celery application on a folder of secrets that refuses some writes, for benchmarks alone.

    OCCM_BENCH_REFUSES=0.33 celery -A benchmarks._refusing worker …

Reads, and writes that are only tried, go through. OCCM_BENCH_REFUSED names the one secret that is
concerned (else all are), OCCM_BENCH_REFUSALS a file that gets a line when one is refused.
"""

import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from occm_project.celery import app
from secretstore import FolderSecretStore, Unavailable

__all__ = ["app"]

SHARE = float(os.environ.get("OCCM_BENCH_REFUSES", "0"))
ONLY = os.environ.get("OCCM_BENCH_REFUSED", "")
LOG = os.environ.get("OCCM_BENCH_REFUSALS")
_random = random.Random(os.environ.get("OCCM_BENCH_SEED"))
_write = FolderSecretStore.write


def write(
    store: FolderSecretStore,
    namespace: str,
    secret: str,
    changes: Mapping[str, bytes],
    **options: Any,
) -> str:
    """Write as the store does, or refuse to."""
    concerned = not options.get("dry_run") and ONLY in {"", secret}
    if concerned and _random.random() < SHARE:
        if LOG is not None:
            with Path(LOG).open("a", encoding="utf-8") as log:
                log.write(f"{time.monotonic()}\n")
        raise Unavailable(f"secret {namespace}/{secret}: refused by the benchmark")
    return _write(store, namespace, secret, changes, **options)


FolderSecretStore.write = write  # type: ignore[method-assign, assignment]
