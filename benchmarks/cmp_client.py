"""CPU time of one enrollment on the client's side, beside one `openssl cmp` process for the same.

Both ask the same demo CA, in a process of its own, over loopback HTTP: a new P-256 key, a signed
ir, certConf. What counts is the CPU time of the client alone, user and system.

    ./occm bench cmp_client [--rounds 300]
"""

import argparse
import contextlib
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cmp import (
    CertTemplate,
    Enroll,
    MacCredentials,
    Profile,
    SignatureCredentials,
    State,
    Transaction,
    TrustStore,
    parse_name,
)
from cmp.http import HttpTransport

SECRET, REFERENCE = b"benchmark", b"bench"


@contextlib.contextmanager
def a_demo_ca(folder: Path) -> Iterator[str]:
    """Run the demo CA as a process of its own; yield its URL."""
    (folder / "mac-secret").write_bytes(SECRET)
    command = [sys.executable, "-m", "cmp.testing", "--folder", str(folder)]
    command += ["--mac-secret-file", str(folder / "mac-secret"), "--reference", REFERENCE.decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ca:
        assert ca.stdout
        ready = re.match(r"READY url=(\S+)", ca.stdout.readline())
        if ready is None:
            raise SystemExit("the demo CA did not start")
        try:
            yield ready[1]
        finally:
            ca.terminate()


class Client:
    """Enrolls as the worker does, without its database."""

    def __init__(self, url: str, root: x509.Certificate) -> None:
        self.url = url
        self.trust = TrustStore(roots=(root,), intermediates=())
        self.profile = Profile(recipient=parse_name("/"))
        self.identity = self._identity()

    def _identity(self) -> SignatureCredentials:
        mac = MacCredentials(secret=SECRET, reference=REFERENCE)
        key, certificate = self.enroll(mac, "/CN=OCCM")
        return SignatureCredentials(key, certificate)

    def enroll(
        self, credentials: MacCredentials | SignatureCredentials, subject: str
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        template = CertTemplate(subject=parse_name(subject))
        now = datetime.now(UTC)
        tx = Transaction.begin(
            Enroll(template, key),
            credentials=credentials,
            trust=self.trust,
            profile=self.profile,
            now=now,
        )
        with HttpTransport(
            self.url, tls=None, message_timeout=timedelta(seconds=30), http_version="1.1"
        ) as ca:
            while (message := tx.outgoing(now=now)) is not None:
                tx.receive(ca.post(message), now=now)
        assert tx.state is State.DONE
        assert tx.issued is not None
        return key, tx.issued.certificate


def cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def measure_ours(client: Client, rounds: int) -> float:
    for _ in range(20):
        client.enroll(client.identity, "/CN=warm-up")
    before = cpu_seconds(resource.RUSAGE_SELF)
    for n in range(rounds):
        client.enroll(client.identity, f"/CN=nf{n}")
    return (cpu_seconds(resource.RUSAGE_SELF) - before) / rounds * 1000


def measure_openssl(client: Client, folder: Path, rounds: int) -> float:
    """Run one `openssl cmp` process an enrollment, a new key each, by the same signer."""
    identity = client.identity
    key = identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert load_pem_private_key(key, None)
    (folder / "id.key").write_bytes(key)
    (folder / "id.crt").write_bytes(identity.certificate.public_bytes(Encoding.PEM))
    server = client.url.removeprefix("http://")
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    for n in range(rounds):
        new_key = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt"]
        new_key += ["ec_paramgen_curve:P-256", "-out", str(folder / "new.key")]
        subprocess.run(new_key, check=True, capture_output=True)
        ask = ["openssl", "cmp", "-config", "", "-cmd", "ir", "-server", server]
        ask += ["-cert", str(folder / "id.crt"), "-key", str(folder / "id.key")]
        ask += ["-newkey", str(folder / "new.key"), "-subject", f"/CN=openssl{n}"]
        ask += ["-recipient", "/", "-trusted", str(folder / "ca-00.pem")]
        ask += ["-certout", str(folder / "new.crt")]
        subprocess.run(ask, check=True, capture_output=True)
    # The key is made by a process of its own, which is not counted against openssl cmp.
    with_keys = cpu_seconds(resource.RUSAGE_CHILDREN) - before
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    for _ in range(rounds):
        subprocess.run(new_key, check=True, capture_output=True)
    return (with_keys - (cpu_seconds(resource.RUSAGE_CHILDREN) - before)) / rounds * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name, a_demo_ca(Path(name)) as url:
        root = x509.load_pem_x509_certificate((Path(name) / "ca-00.pem").read_bytes())
        client = Client(url, root)
        ours = measure_ours(client, rounds)
        theirs = measure_openssl(client, Path(name), max(rounds // 5, 1))
    print(f"cmp, in process            {ours:6.2f} ms CPU an enrollment   (aim: at most 1.50)")
    print(f"openssl cmp, one process   {theirs:6.2f} ms CPU an enrollment")
    print(f"ratio                      {ours / theirs:6.3f}   (aim: at most 0.167)")


if __name__ == "__main__":
    main()
