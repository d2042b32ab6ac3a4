"""A certificate's life in processes as in production: web, workers, beat, PostgreSQL, Redis, a CA.

All tests share one installation, each has certificates of its own. The CA runs beside it, so that
it goes on while OCCM and its servers are restarted.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from cmp import format_name
from secretstore import FolderSecretStore, SecretMissing, encode_private_key
from tests.flows.running import Operator, Up, slack
from tests.parts import need
from tests.peers import postgresql
from tests.peers.demo_ca import REFERENCE, SECRET, DemoCaProcess
from tests.peers.postgresql import PostgreSQL
from tests.peers.valkey import Valkey

RETRY_S, MESSAGE_TIMEOUT_S = 2, 5

pytestmark = pytest.mark.timeout(300)


class Flow:
    """An installation with one issuer, and what its operator and its applications see."""

    def __init__(self, folder: Path, ca: DemoCaProcess, cluster: PostgreSQL, redis: Valkey) -> None:
        self.folder, self.ca, self.cluster, self.redis = folder, ca, cluster, redis
        self.secrets = folder / "data" / "secrets"
        self.environ = {
            "DATABASE_URL": cluster.database("lifecycle"),
            "REDIS_URL": redis.url,
            "OCCM_RETRY_INTERVAL_S": str(RETRY_S),
        }
        self.start()
        assert self.up.password is not None
        self.password = self.up.password
        self.operator = Operator(self.up.url, self.password)

    def start(self) -> None:
        self.up = Up(self.folder / "data", "--no-demo", servers=self.environ)
        self.up.process.start()

    def restart(self) -> None:
        """End all of it but the CA, and start it again."""
        self.up.process.stop()
        for server in (self.cluster.process, self.redis.process):
            server.stop()
            server.start()
        self.start()
        self.operator = Operator(self.up.url, self.password)

    def put(self, secret: str, values: dict[str, bytes]) -> None:
        """Write a secret as an operator does."""
        store = FolderSecretStore(self.secrets)
        try:
            version = store.read("ns1", secret).version
        except SecretMissing:
            version = None
        store.write("ns1", secret, values, version=version)

    def register_issuer(self) -> None:
        root, issuing = (
            x509.load_pem_x509_certificate(self.ca.authorities[place].read_bytes())
            for place in (0, -1)
        )
        self.put("mac", {"pwd": SECRET.encode(), "ref": REFERENCE.encode()})
        self.put("trust", {"root.pem": root.public_bytes(Encoding.PEM)})
        issuer = {
            "name": "ca",
            "server_url": self.ca.url,
            "recipient_dn": format_name(issuing.subject),
            "message_timeout_s": MESSAGE_TIMEOUT_S,
            "initial_auth_type": "MAC",
            "mac_namespace": "ns1",
            "mac_secret": "mac",
            "mac_password_key": "pwd",
            "mac_reference_key": "ref",
            "other_signature_namespace": "ns1",
            "other_signature_secret": "occm",
            "other_signature_key": "key.pem",
            "other_signature_cert": "cert.pem",
            "trust_store_namespace": "ns1",
            "trust_store_secret": "trust",
            "trust_store_root_ca_certs": ["root.pem"],
        }
        self.operator.post("issuers/", issuer)
        identity = {"name": "occm", "cert_type": "OCCM", "purpose": "CMP", "issuer": "ca"}
        self.operator.post("certificates/", identity | {"common_name": "occm.example"})
        self.wait_until_ready("occm")

    def create(self, name: str, **fields: Any) -> None:
        """Ask for a certificate with its key and itself in the secret of its name."""
        wanted = {
            "name": name,
            "network_function": "AMF",
            "purpose": "SBI",
            "issuer": "ca",
            "common_name": f"{name}.example",
        }
        for output, key in (("private_key", "tls.key"), ("certificate", "tls.crt")):
            place = {"namespace": "ns1", "secret": name, "key": key}
            wanted |= {f"{output}_output_{part}": value for part, value in place.items()}
        self.operator.post("certificates/", wanted | fields)

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.operator.get(f"certificates/{name}/")["status"]
        return status

    def wait_until_ready(self, name: str, *, besides: str = "") -> dict[str, Any]:
        """Wait for a certificate that is READY and idle; another than that of a fingerprint."""

        def is_ready() -> bool:
            found = self.status(name)
            idle = found["readiness"] == "READY" and not found["under_way"]
            return idle and found["fingerprint"] != besides

        wait_until(is_ready, explain=lambda: self.status(name))
        return self.status(name)

    def pair(self, name: str) -> tuple[bytes, x509.Certificate]:
        """Read key and certificate as an application does: both of the version it finds."""
        version = (self.secrets / "ns1" / name / "..data").resolve()
        key = load_pem_private_key((version / "tls.key").read_bytes(), None)
        leaf = x509.load_pem_x509_certificate((version / "tls.crt").read_bytes())
        assert key.public_key() == leaf.public_key(), "the key is not the certificate's"
        return (version / "tls.key").read_bytes(), leaf

    def asked(self, body: str) -> int:
        """Return how often the CA was asked so."""
        return int(self.ca.control()["counts"].get(body, 0))

    def listed(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.operator.get(f"maybe-issued/?certificate_name={name}")[
            "results"
        ]
        return found


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    need(postgresql.binaries(), postgresql.REMEDY)
    folder = tmp_path_factory.mktemp("lifecycle")
    with PostgreSQL() as cluster, Valkey(folder) as redis, DemoCaProcess(folder / "ca") as ca:
        flow = Flow(folder, ca, cluster, redis)
        try:
            flow.register_issuer()
            yield flow
        finally:
            flow.up.process.kill()


@pytest.fixture
def ca(flow: Flow) -> Iterator[DemoCaProcess]:
    yield flow.ca
    flow.ca.control(stall=False, refuse=None, polls=0, delay=0)


def test_created_and_renewed_in_time_with_a_new_key(flow: Flow) -> None:
    flow.create("amf1")
    first = flow.wait_until_ready("amf1")
    key, leaf = flow.pair("amf1")
    asked = flow.asked("kur")

    with psycopg.connect(flow.environ["DATABASE_URL"]) as database:
        database.execute("UPDATE certificates_certificate SET renew_at = now() WHERE name = 'amf1'")
    flow.wait_until_ready("amf1", besides=first["fingerprint"])

    new_key, new_leaf = flow.pair("amf1")
    assert new_key != key
    states = {each.serial: (each.asked_by, each.state) for each in flow.ca.issued()}
    assert states[leaf.serial_number] == ("ir", "superseded")
    assert states[new_leaf.serial_number] == ("kur", "valid")
    assert flow.asked("kur") == asked + 1
    assert flow.listed("amf1") == []


def test_reader_never_sees_the_key_of_another_certificate(flow: Flow) -> None:
    flow.create("amf2")
    before = flow.wait_until_ready("amf2")["fingerprint"]
    stop, seen, reads = Event(), set[int](), list[bool]()

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add(flow.pair("amf2")[1].serial_number)
            except FileNotFoundError:  # swept between two of our steps: look at `..data` again
                continue
            except AssertionError:
                reads.append(False)
            else:
                reads.append(True)

    reader = Thread(target=read)
    reader.start()
    try:
        for _ in range(5):
            flow.operator.post("certificates/amf2/renew/")
            before = flow.wait_until_ready("amf2", besides=before)["fingerprint"]
    finally:
        stop.set()
        reader.join()

    assert len(seen) == 6
    assert len(reads) > 100
    assert all(reads)


def test_poll_goes_on_after_a_restart_of_everything(flow: Flow, ca: DemoCaProcess) -> None:
    asked, polls = flow.asked("ir"), flow.asked("pollReq")
    ca.control(polls=2, check_after=10)
    flow.create("amf3")
    wait_until(lambda: flow.asked("pollReq") == polls + 1)
    (transaction,) = (one["id"] for one in ca.control()["open_transactions"])

    flow.restart()
    flow.wait_until_ready("amf3")

    mine = next(one for one in ca.issued() if one.serial == flow.pair("amf3")[1].serial_number)
    assert mine.transaction_id.hex() == transaction
    assert flow.asked("ir") == asked + 1
    assert flow.asked("pollReq") == polls + 2
    assert flow.listed("amf3") == []


def test_worker_that_is_told_to_end_finishes_its_transactions(
    flow: Flow, ca: DemoCaProcess
) -> None:
    asked, names = flow.asked("ir"), [f"upf{number}" for number in range(6)]
    ca.control(delay=1)  # second, before each answer
    for name in names:
        flow.create(name)
    wait_until(lambda: flow.asked("ir") == asked + len(names))
    worker = flow.up.pid_of("work@")
    assert worker is not None

    os.kill(worker, signal.SIGTERM)
    for name in names:
        flow.wait_until_ready(name)

    assert flow.asked("ir") == asked + len(names)  # no answer was lost, none asked for anew
    assert not any(flow.listed(name) for name in names)
    wait_until(lambda: flow.up.pid_of("work@") not in {None, worker})  # and there is a next one


def test_refused_is_tried_again_until_stopped_and_goes_on_when_retried(
    flow: Flow, ca: DemoCaProcess
) -> None:
    ca.control(refuse={"text": ["not today"]})
    flow.create("amf4")
    wait_until(lambda: (flow.status("amf4")["under_way"] or {}).get("attempt", 0) >= 3)
    flow.operator.post("certificates/amf4/stop/")
    time.sleep(1)  # for whoever is at it
    asked = flow.asked("ir")
    time.sleep(3 * RETRY_S)

    assert flow.asked("ir") == asked
    stopped = flow.status("amf4")["under_way"]
    assert stopped["stopped"]
    assert "not today" in stopped["error"]

    ca.control(refuse=None)
    flow.operator.post("certificates/amf4/retry/")
    flow.wait_until_ready("amf4")
    assert flow.asked("ir") == asked + 1


def test_deleted_while_the_ca_is_asked(flow: Flow, ca: DemoCaProcess) -> None:
    asked = flow.asked("ir")
    ca.control(stall=True)
    flow.create("amf5")
    wait_until(lambda: flow.asked("ir") == asked + 1)

    answer = flow.operator.session.delete(f"{flow.operator.api}/certificates/amf5/", timeout=10)

    assert answer.status_code == 202, answer.text  # a worker has it
    wait_until(lambda: not flow.operator.get("certificates/?search=amf5")["results"])
    assert not (flow.secrets / "ns1" / "amf5").exists()
    issued = [one for one in ca.issued() if "amf5" in one.subject]
    assert [one["transaction_id"] for one in flow.listed("amf5")] == [
        one.transaction_id.hex() for one in issued
    ]
    assert len(issued) == 1


def test_manual_certificate_is_taken_as_it_lies_there(flow: Flow) -> None:
    flow.create("amf6", creation_mode="MANUAL")
    assert flow.status("amf6")["readiness"] == "NOT_READY"

    first = provided(flow, "amf6")
    assert flow.wait_until_ready("amf6")["fingerprint"] == first
    second = provided(flow, "amf6")
    flow.operator.post("certificates/amf6/retry/")  # else a minute later
    assert flow.wait_until_ready("amf6", besides=first)["fingerprint"] == second


def provided(flow: Flow, secret: str) -> str:
    """Put a new pair into a secret, and return the certificate's fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provided")])
    now = datetime.now(UTC)
    leaf = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=100))
        .sign(key, hashes.SHA256())
    )
    pair = {
        "tls.key": encode_private_key(key, "PEM"),
        "tls.crt": leaf.public_bytes(Encoding.PEM),
    }
    flow.put(secret, pair)
    return leaf.fingerprint(hashes.SHA256()).hex()


def wait_until(done: Callable[[], bool], *, explain: Callable[[], Any] = lambda: None) -> None:
    deadline = time.monotonic() + 60 * slack()
    while not done():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.2)
