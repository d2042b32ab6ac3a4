"""CPU time of a transaction on the client's side, beside one `openssl cmp` process for the same.

Both ask the same demo CA, in a process of its own, over loopback HTTP: a new P-256 key, a signed
ir, certConf. What counts is the CPU time of the client alone, user and system. And what is kept of
a transaction that waits.

    ./occm bench cmp_client [--rounds 300]
"""

import argparse
import contextlib
import json
import re
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urljoin

import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from cmp import (
    CertTemplate,
    Credentials,
    Enroll,
    MacCredentials,
    Profile,
    Request,
    SignatureCredentials,
    State,
    Transaction,
    TrustStore,
    Update,
    parse_name,
)
from cmp.http import HttpTransport

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

NOW = datetime.now(UTC)
HELD = 10_000
WARM_UP = 20
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
        mac = MacCredentials(secret=SECRET, reference=REFERENCE)
        key = ec.generate_private_key(ec.SECP256R1())
        self.identity = SignatureCredentials(key, self.enroll(key, mac, "/CN=OCCM"))

    def enroll(self, key: PrivateKey, credentials: Credentials, subject: str) -> x509.Certificate:
        return self._obtain(Enroll(_template(subject), key), credentials)

    def enroll_p256(self) -> None:
        self.enroll(ec.generate_private_key(ec.SECP256R1()), self.identity, "/CN=nf")

    def updates(self) -> Callable[[], None]:
        """Return what updates one certificate over and over, signed by the certificate itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        held = SignatureCredentials(key, self.enroll(key, self.identity, "/CN=kur"))

        def update() -> None:
            nonlocal held
            key = ec.generate_private_key(ec.SECP256R1())
            ask = Update(_template("/CN=kur"), key, held.certificate)
            held = SignatureCredentials(key, self._obtain(ask, held))

        return update

    def enrolls_rsa(self, times: int) -> Callable[[], None]:
        """Return what asks for a certificate of an RSA key; making such keys is not counted."""
        keys = iter([rsa.generate_private_key(65537, 2048) for _ in range(times)])

        def enroll() -> None:
            self.enroll(next(keys), self.identity, "/CN=rsa")

        return enroll

    def held(self, key: PrivateKey) -> Transaction:
        """Return a transaction that the CA lets wait."""
        tx = self._begin(Enroll(_template("/CN=patient"), key), self.identity)
        with self._transport() as ca:
            tx.receive(ca.post(tx.outgoing(now=NOW) or b""), now=NOW)
        assert tx.state is State.WAITING
        return tx

    def restored(self, kept: dict[str, Any]) -> Transaction:
        """Take a transaction up as a worker does that has just read the row."""
        key = load_der_private_key(kept["key"], None)
        return Transaction.restore(
            json.loads(kept["snapshot"]),
            request=Enroll(_template("/CN=patient"), key),
            credentials=self.identity,
            trust=self.trust,
            profile=self.profile,
        )

    def _obtain(self, request: Request, credentials: Credentials) -> x509.Certificate:
        tx, now = self._begin(request, credentials), NOW
        with self._transport() as ca:
            while (message := tx.outgoing(now=now)) is not None:
                tx.receive(ca.post(message), now=now)
                now = tx.wake_at or now  # nobody waits here
        assert tx.state is State.DONE
        assert tx.issued is not None
        return tx.issued.certificate

    def _begin(self, request: Request, credentials: Credentials) -> Transaction:
        return Transaction.begin(
            request, credentials=credentials, trust=self.trust, profile=self.profile, now=NOW
        )

    def _transport(self) -> HttpTransport:
        timeout = timedelta(seconds=30)
        return HttpTransport(self.url, tls=None, message_timeout=timeout, http_version="1.1")


def _template(subject: str) -> CertTemplate:
    return CertTemplate(subject=parse_name(subject))


def turn_knob(url: str, **knobs: object) -> None:
    answer = requests.post(urljoin(url, "/control"), json=knobs, timeout=30)
    answer.raise_for_status()


def cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def measure(act: Callable[[], None], rounds: int) -> float:
    """Return the CPU time of this process for one `act`, in milliseconds: the median of ten."""
    for _ in range(WARM_UP):
        act()
    each = []
    for _ in range(10):
        before = cpu_seconds(resource.RUSAGE_SELF)
        for _ in range(max(rounds // 10, 1)):
            act()
        spent = cpu_seconds(resource.RUSAGE_SELF) - before
        each.append(spent / max(rounds // 10, 1) * 1000)
    return median(each)


def memory(client: Client) -> Iterator[str]:
    """Say what a waiting transaction takes, in a row and in a worker that has taken it up."""
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    kept = {"snapshot": json.dumps(client.held(key).snapshot()), "key": der}
    yield f"snapshot, waiting          {len(kept['snapshot']):6d} bytes of JSON"
    before = resident()  # first: what is freed is used again, and would not show
    held = [client.restored(kept) for _ in range(HELD)]
    taken = (resident() - before) / HELD
    yield f"held, waiting              {taken:6.0f} bytes resident, of {HELD}"
    del held
    tracemalloc.start()
    held = [client.restored(kept) for _ in range(HELD)]
    python, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    yield f"held, waiting              {python / HELD:6.0f} bytes of them Python's"
    del held


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


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
        ours = measure(client.enroll_p256, rounds)
        theirs = measure_openssl(client, Path(name), max(rounds // 5, 1))
        print(f"ir, P-256                  {ours:6.2f} ms CPU   (aim: at most 1.50)")
        print(f"the same by openssl cmp    {theirs:6.2f} ms CPU, one process each")
        print(f"ratio                      {ours / theirs:6.3f}   (aim: at most 0.167)")
        print(f"kur, P-256, by the old one {measure(client.updates(), rounds):6.2f} ms CPU")
        rsa_2048 = client.enrolls_rsa(WARM_UP + rounds)
        print(f"ir, RSA-2048, key made     {measure(rsa_2048, rounds):6.2f} ms CPU")
        turn_knob(url, polls=1, check_after=0)
        print(f"ir, P-256, one pollReq     {measure(client.enroll_p256, rounds):6.2f} ms CPU")
        for line in memory(client):
            print(line)


if __name__ == "__main__":
    main()
