"""Many certificates for few secrets, while another client edits these, and a reader watches them.

What is delivered, lost or torn is counted by the two others, who know nothing of OCCM's own books.
"""

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.db import connections
from kubernetes.client import ApiClient, ApiException, Configuration, CoreV1Api
from kubernetes.config import load_kube_config
from urllib3.exceptions import HTTPError

from certificates.domain import dispatch
from certificates.domain.dispatch import Call
from certificates.models import Certificate
from tests.factories import a_certificate, an_identity
from tests.fakes.site import Site
from tests.kubernetes.cluster import Cluster

NAMESPACE = "ns1"
PATIENCE = 300.0  # seconds that a run may take; PAUSE is what a third party waits between looks
PAUSE = 0.02


@dataclass
class Findings:
    """What the others saw."""

    looks: int = 0
    pairs: set[str] = field(default_factory=set)  # certificates seen with key and certificate
    torn: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    edits: int = 0


class Reader:
    """Reads all secrets again and again, and holds each new key against its certificate."""

    def __init__(self, cluster: Cluster, findings: Findings) -> None:
        self.url = f"{cluster.url}/api/v1/namespaces/{NAMESPACE}/secrets"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify, self.session.cert = cluster.admin.verify, cluster.admin.cert
        self.findings = findings
        self._known: set[tuple[str, str]] = set()

    def look(self) -> None:
        try:
            answer = self.session.get(self.url, timeout=10)
        except requests.RequestException:
            return  # the API server is down
        if not answer.ok:
            return
        self.findings.looks += 1
        for secret in answer.json()["items"]:
            data = secret.get("data") or {}
            for key in data:
                name, _, kind = key.rpartition(".")
                if kind in {"key", "crt"} and name.startswith("crowd"):
                    self._hold(name, data.get(f"{name}.key", ""), data.get(f"{name}.crt", ""))

    def _hold(self, name: str, key: str, certificate: str) -> None:
        if (key, certificate) in self._known:
            return
        self._known.add((key, certificate))
        if not key or not certificate or not _match(key, certificate):
            self.findings.torn.append(name)
        else:
            self.findings.pairs.add(name)


def _match(key: str, certificate: str) -> bool:
    private = load_pem_private_key(base64.b64decode(key), password=None)
    return (
        private.public_key()
        == x509.load_pem_x509_certificate(base64.b64decode(certificate)).public_key()
    )


class Editor:
    """Counts up a key of its own in one secret after the other, by the official client."""

    def __init__(self, kubeconfig: Path, secrets: list[str], findings: Findings) -> None:
        self.api = plain_client(kubeconfig)
        self.secrets = secrets
        self.findings = findings
        self.acknowledged: Counter[str] = Counter()
        self._next = 0

    def edit(self) -> None:
        name = self.secrets[self._next % len(self.secrets)]
        self._next += 1
        try:
            found: Any = self.api.read_namespaced_secret(name, NAMESPACE)
            before = int(base64.b64decode((found.data or {}).get("theirs", "MA==")))
            if before < self.acknowledged[name]:
                self.findings.lost.append(name)
            body = {
                "metadata": {"resourceVersion": found.metadata.resource_version},
                "data": {"theirs": base64.b64encode(b"%d" % (before + 1)).decode()},
            }
            self.api.patch_namespaced_secret(name, NAMESPACE, body)
        except (ApiException, HTTPError):
            return  # not there yet, changed meanwhile, or the API server is down
        self.acknowledged[name] = before + 1
        self.findings.edits += 1

    def check(self) -> None:
        """Look whether everything that was acknowledged is still there."""
        for name in self.secrets:
            found: Any = self.api.read_namespaced_secret(name, NAMESPACE)
            if int(base64.b64decode(found.data.get("theirs", "MA=="))) < self.acknowledged[name]:
                self.findings.lost.append(name)


def plain_client(kubeconfig: Path) -> CoreV1Api:
    configuration = Configuration()
    load_kube_config(  # type: ignore[no-untyped-call]
        str(kubeconfig), client_configuration=configuration, persist_config=False
    )
    configuration.retries = False
    return CoreV1Api(ApiClient(configuration))


@dataclass
class Crowd:
    """`certificates` of them, spread over `secrets`; half of these are there before."""

    site: Site
    cluster: Cluster
    certificates: int
    secrets: int
    findings: Findings = field(default_factory=Findings)
    seconds: float = 0.0

    def prepare(self) -> None:
        issuer = self.site.add_ca()
        an_identity(issuer=issuer)
        self.site.run()
        self._one_at_a_time(self.site.cas[issuer.pk])
        for n in range(0, self.secrets, 2):
            self.cluster.put_secret(NAMESPACE, self._secret(n), {"kept": b"%d" % n})
        for n in range(self.certificates):
            name = f"crowd{n}"
            a_certificate(
                issuer=issuer,
                name=name,
                secret=self._secret(n),
                private_key_output_key=f"{name}.key",
                certificate_output_key=f"{name}.crt",
            )

    def run(self, *, threads: int, editor: Path) -> None:
        """Deliver all, killing the API server once a third is there."""
        others = Editor(editor, [*map(self._secret, range(self.secrets))], self.findings)
        reader = Reader(self.cluster, self.findings)
        began = monotonic()
        with (
            _repeated(reader.look),
            _repeated(others.edit),
            ThreadPoolExecutor(1) as dispatcher,
        ):
            delivered = dispatcher.submit(self._deliver, threads)
            while len(self.findings.pairs) < self.certificates / 3 and not delivered.done():
                sleep(PAUSE)
            with self.cluster.api_down():  # in this thread: the server dies with the one it has
                sleep(1)
            delivered.result()
        self.seconds = monotonic() - began
        reader.look()
        reader.session.close()
        others.check()
        others.api.api_client.rest_client.pool_manager.clear()
        for n in range(0, self.secrets, 2):
            kept = self.cluster.secret(NAMESPACE, self._secret(n))["data"].get("kept")
            if kept != b"%d" % n:
                self.findings.lost.append(self._secret(n))

    def _deliver(self, threads: int) -> None:
        """Do what dispatcher and workers do, until everything is delivered."""
        until = monotonic() + PATIENCE
        with ThreadPoolExecutor(threads) as workers:
            while not self._all_delivered():
                assert monotonic() < until, f"{len(self.findings.pairs)} delivered"
                calls = dispatch.tick(now=self.site.clock())
                list(workers.map(self._work, calls))
                if not calls:
                    self.site.clock.forward(seconds=10)
                    sleep(10 * PAUSE)  # the API server is to come up beside us
        connections.close_all()  # of this thread

    def _work(self, call: Call) -> None:
        try:
            self.site.work(call)
        finally:
            connections.close_all()  # of this thread

    def _all_delivered(self) -> bool:
        mine = Certificate.objects.filter(name__startswith="crowd", in_place=True)
        return mine.exclude(fingerprint="").count() == self.certificates

    def _secret(self, n: int) -> str:
        return f"crowd-{n % self.secrets}"

    def _one_at_a_time(self, ca: Any) -> None:
        """The demo CA in this process answers one question at a time, as its server has it do."""
        respond, lock = ca.respond, Lock()

        def locked(*args: Any, **options: Any) -> Any:
            with lock:
                return respond(*args, **options)

        ca.respond = locked


@contextmanager
def _repeated(action: Callable[[], None]) -> Iterator[None]:
    """Do something again and again in a thread; what it raises, the block raises at its end."""
    over, failed = Event(), []

    def run() -> None:
        while not over.wait(PAUSE):
            try:
                action()
            except Exception as error:  # noqa: BLE001 - raised below
                failed.append(error)
                return

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]
