"""What `benchmarks/kubernetes.py` measures, inside a process whose database is its own."""

import argparse
import base64
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.core.management import call_command

import benchmarks._django  # noqa: F401 - before models can be imported
from secretstore import SecretStore, connect
from tests.fakes.site import Site
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.crowd import NAMESPACE, Crowd, plain_client

VALUE = b"x" * 1200  # as long as a certificate, and two of them: about a pair


def deliver(cluster: Cluster, store: SecretStore, editor: Path, options: Any) -> None:
    crowd = Crowd(Site(secrets=store), cluster, options.certificates, options.secrets)
    crowd.prepare()
    crowd.run(threads=options.threads, editor=editor)
    found = crowd.findings
    print(
        f"{len(found.pairs)} of {options.certificates} certificates in {options.secrets} secrets"
        f" after {crowd.seconds:.1f} s, the API server killed once;"
        f" {found.edits} edits of another client meanwhile, {found.looks} looks at everything:"
        f" torn {len(found.torn)}, lost {len(found.lost)}"
    )


def measured(what: str, write: Callable[[int, int], None], count: int, threads: int) -> None:
    """Print writes a second and CPU of this process for each; every write reads first.

    Each thread has a secret of its own: conflicts are not what is measured here.
    """

    def many(slot: int) -> None:
        for n in range(count // threads):
            write(slot, n)

    write(0, -1)
    cpu, began = _cpu_s(), time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(many, range(threads)))
    seconds, cpu = time.monotonic() - began, _cpu_s() - cpu
    print(
        f"{what:24} {threads:2} threads {count / seconds:6.0f} writes/s"
        f" {cpu / count * 1000:6.2f} ms CPU of the client each"
    )


def throughput(store: SecretStore, kubeconfig: Path, count: int, threads: int) -> None:
    bare = plain_client(kubeconfig)
    changes = {"tls.key": VALUE, "tls.crt": VALUE}
    for number in range(threads):
        store.write(NAMESPACE, f"rate-{number}", changes, version=None)

    def ours(slot: int, n: int) -> None:
        name = f"rate-{slot}"
        version = store.read(NAMESPACE, name).version
        store.write(NAMESPACE, name, {**changes, "n": b"%d" % n}, version=version)

    def theirs(slot: int, n: int) -> None:
        name = f"rate-{slot}"
        found: Any = bare.read_namespaced_secret(name, NAMESPACE)
        data = {key: base64.b64encode(value).decode() for key, value in changes.items()}
        data["n"] = base64.b64encode(b"-%d" % n).decode()
        metadata = {"resourceVersion": found.metadata.resource_version}
        bare.patch_namespaced_secret(name, NAMESPACE, {"metadata": metadata, "data": data})

    for width in (1, threads):
        measured("secretstore", ours, count, width)
        measured("kubernetes client, bare", theirs, count, width)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("certificates", "secrets", "threads", "writes"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    cluster = Cluster(Path(os.environ["CLUSTER_FOLDER"]))
    try:
        cluster.start()
        cluster.have_namespace(NAMESPACE)
        cluster.allow_secrets(NAMESPACE, "occm")
        kubeconfig = cluster.kubeconfig("occm")
        store = connect(f"kubernetes:{kubeconfig}")
        deliver(cluster, store, cluster.kubeconfig("editor", ("system:masters",)), options)
        throughput(store, kubeconfig, options.writes, options.threads)
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
