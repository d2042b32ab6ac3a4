"""A real Kubernetes API for tests: etcd and kube-apiserver on loopback, with RBAC.

`cluster/build` builds the two. What `Cluster` starts ends with it, or with the test process at the
latest. It speaks to the API as an administrator by plain HTTP, so that somebody else looks at what
the product wrote.
"""

import base64
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

BUILD = Path(__file__).parent / "cluster" / "build"
START_LIMIT = 90.0  # seconds; 3 to 5 are usual


def program(name: str) -> Path:
    """Return where a program of the cluster is, or is to be once it is built."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / name).exists():
        return Path(assets) / name
    folder = subprocess.run([BUILD, "--folder"], check=True, capture_output=True, text=True)
    return Path(folder.stdout.strip()) / name


def missing() -> str:
    """Say in one line what lacks for a cluster and how to get it; nothing if nothing does."""
    lost = [name for name in ("kube-apiserver", "etcd") if not program(name).exists()]
    if not lost:
        return ""
    return (
        f"{' and '.join(lost)}: run tests/kubernetes/cluster/build (needs go, 7 minutes once)"
        " or set KUBEBUILDER_ASSETS to a folder that has them"
    )


class Cluster:
    """One API server with its etcd, below a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"https://127.0.0.1:{_free_port()}"
        self._etcd = f"http://127.0.0.1:{_free_port()}"
        self._running: list[subprocess.Popen[bytes]] = []
        self._authority = _Authority(folder)
        self._authority.issue("apiserver", server=True)
        _write_key(folder / "accounts.key", rsa.generate_private_key(65537, 2048))
        self.admin = requests.Session()
        self.admin.trust_env = False
        self.admin.verify = str(folder / "ca.crt")
        self.admin.cert = self._authority.issue("admin", groups=("system:masters",))

    def start(self) -> None:
        """Start what does not run and wait until the API is ready."""
        if not self._running:
            self._run("etcd", self._etcd_arguments(), f"{self._etcd}/health")
        if len(self._running) < 2:
            self._run("kube-apiserver", self._api_arguments(), f"{self.url}/readyz")

    def stop(self) -> None:
        while self._running:
            self._end_last()

    @contextmanager
    def api_down(self) -> Iterator[None]:
        """Kill the API server, and start it again afterwards with all it knew."""
        self._end_last(kill=True)
        try:
            yield
        finally:
            self.start()

    def kubeconfig(self, user: str, groups: tuple[str, ...] = ()) -> Path:
        """Write a kubeconfig for a user with a client certificate of its own."""
        certificate, key = self._authority.issue(user, groups=groups)
        return self.write_kubeconfig(
            user,
            server=self.url,
            credentials={"client-certificate": certificate, "client-key": key},
        )

    def write_kubeconfig(
        self,
        name: str,
        *,
        server: str,
        credentials: Mapping[str, str],
        contexts: tuple[str, ...] = (),
    ) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        names = contexts or ("test",)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": names[0],
            "contexts": [{"name": c, "context": {"cluster": "c", "user": "u"}} for c in names],
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": server,
                        "certificate-authority": str(self.folder / "ca.crt"),
                    },
                }
            ],
            "users": [{"name": "u", "user": dict(credentials)}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def create_namespace(self, name: str) -> str:
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def have_namespace(self, name: str) -> str:
        """Create a namespace unless it is there."""
        self._have("/api/v1/namespaces", name)
        return name

    def _have(self, path: str, name: str) -> None:
        body = {"metadata": {"name": name}}
        answer = self.admin.post(self.url + path, json=body, timeout=30)
        assert answer.ok or answer.status_code == 409, answer.text

    def has(self, manifest: Mapping[str, Any], *, namespace: str) -> bool:
        """Tell whether the object of a manifest is there, in the namespace unless it names one."""
        version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
        prefix = "/api/v1" if version == "v1" else f"/apis/{version}"
        plural = re.sub("s$", "se", re.sub("y$", "ie", kind.lower())) + "s"
        where = metadata.get("namespace", namespace)
        path = f"{prefix}/namespaces/{where}/{plural}/{metadata['name']}"
        answer = self.admin.get(self.url + path, timeout=30)
        assert answer.ok or answer.status_code == 404, answer.text
        return answer.ok

    def allow_secrets(self, namespace: str, user: str) -> None:
        """Grant a user what OCCM needs on the secrets of a namespace, and no more.

        A service account is the user `system:serviceaccount:NAMESPACE:NAME`.
        """
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        verbs = ["get", "create", "patch", "watch"]
        rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": verbs}
        role = {"metadata": {"generateName": "secrets-"}, "rules": [rule]}
        name = self.ask("POST", f"{rbac}/roles", role)["metadata"]["name"]
        binding = {
            "metadata": {"generateName": "secrets-"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        }
        self.ask("POST", f"{rbac}/rolebindings", binding)
        self.wait_until_allowed(user, namespace=namespace, verb="patch", resource="secrets")

    def token(self, namespace: str, account: str) -> str:
        """Have a service account and return a token for it, as the kubelet would mount it."""
        self._have(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
        return self.token_of(namespace, account)

    def token_of(self, namespace: str, account: str) -> str:
        """Return a token for a service account that is there."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        token: str = self.ask("POST", path, {"spec": {}})["status"]["token"]
        return token

    def may(self, user: str, **attributes: str) -> bool:
        """Tell whether a user may do something: verb, resource, and namespace, group …"""
        groups = ["system:authenticated"]
        if user.startswith("system:serviceaccount:"):
            groups += ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"]
        review = {"spec": {"user": user, "groups": groups, "resourceAttributes": attributes}}
        reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(self.ask("POST", reviews, review)["status"]["allowed"])

    def wait_until_allowed(self, user: str, **attributes: str) -> None:
        """Wait for the API server to take note of a new right."""
        until = monotonic() + START_LIMIT
        while not self.may(user, **attributes):
            assert monotonic() < until, f"{user} may not {attributes}"
            sleep(0.01)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = self.admin.request(method, self.url + path, json=body, timeout=30)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def secret(self, namespace: str, name: str) -> dict[str, Any]:
        """Return a Secret as the API has it, its values decoded."""
        found = self.ask("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        values = found.get("data") or {}
        found["data"] = {key: base64.b64decode(value) for key, value in values.items()}
        return found

    def put_secret(self, namespace: str, name: str, data: Mapping[str, bytes]) -> None:
        """Write a Secret whatever was there, as an operator would."""
        secrets = f"/api/v1/namespaces/{namespace}/secrets"
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        body = {"metadata": {"name": name}, "data": encoded}
        answer = self.admin.put(f"{self.url}{secrets}/{name}", json=body, timeout=30)
        if answer.status_code == 404:
            answer = self.admin.post(f"{self.url}{secrets}", json=body, timeout=30)
        answer.raise_for_status()

    def wait_until_refused(self, namespace: str, name: str) -> None:
        """Wait until the API server has taken note of what forbids a new Secret here."""
        secrets = f"{self.url}/api/v1/namespaces/{namespace}/secrets"
        until, body = monotonic() + START_LIMIT, {"metadata": {"name": name}}
        while self.admin.post(secrets, params={"dryRun": "All"}, json=body, timeout=30).ok:
            assert monotonic() < until, f"a Secret may still be created in {namespace}"
            sleep(0.05)

    def delete_secret(self, namespace: str, name: str) -> None:
        self.ask("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{name}")

    def _etcd_arguments(self) -> list[str]:
        peer = f"http://127.0.0.1:{_free_port()}"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
            "--unsafe-no-fsync",
        ]

    def _api_arguments(self) -> list[str]:
        return [
            f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.url.rsplit(':', 1)[1]}",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={self.folder / 'apiserver.crt'}",
            f"--tls-private-key-file={self.folder / 'apiserver.key'}",
            f"--client-ca-file={self.folder / 'ca.crt'}",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self.folder / 'accounts.key'}",
            f"--service-account-key-file={self.folder / 'accounts.key'}",
        ]

    def _run(self, name: str, arguments: list[str], ready: str) -> None:
        log = self.folder / f"{name}.log"
        command = ["setpriv", "--pdeathsig", "KILL", "--", str(program(name)), *arguments]
        with log.open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self.folder)
        self._running.append(process)
        until = monotonic() + START_LIMIT
        while not self._answers(ready):
            if process.poll() is not None or monotonic() > until:
                self.stop()
                end = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{name} does not get ready; the end of {log}:\n{end}")
            sleep(0.05)

    def _answers(self, url: str) -> bool:
        try:
            return self.admin.get(url, timeout=5).ok
        except requests.RequestException:
            return False

    def _end_last(self, *, kill: bool = False) -> None:
        process = self._running.pop()
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Authority:
    """The cluster's CA: for the API server's certificate and the users'."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test-ca")])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        root = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, SHA256())
        )
        (folder / "ca.crt").write_bytes(root.public_bytes(Encoding.PEM))

    def issue(
        self, name: str, *, groups: tuple[str, ...] = (), server: bool = False
    ) -> tuple[str, str]:
        """Write NAME.crt and NAME.key, and return their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        purpose: ObjectIdentifier = (
            ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        )
        builder = self._builder(subject, key.public_key()).add_extension(
            x509.ExtendedKeyUsage([purpose]), critical=False
        )
        if server:
            names: list[x509.GeneralName] = [x509.IPAddress(ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = self._folder / f"{name}.crt"
        certificate.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        private = self._folder / f"{name}.key"
        _write_key(private, key)
        return str(certificate), str(private)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .issuer_name(self._name)
            .subject_name(subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=7))
        )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
