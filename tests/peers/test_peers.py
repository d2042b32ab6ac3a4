"""The peers work: OpenSSL's CMP client enrolls with each, so what fails against them is ours."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from cmp.testing.keys import generate_key
from cmp.testing.pki import private_pem
from tests.parts import need
from tests.peers import openssl, siemens
from tests.peers.openssl import OpenSslMock
from tests.peers.siemens import SiemensRa

Peer = OpenSslMock | SiemensRa


def by_secret(peer: Peer) -> tuple[str, ...]:
    return ("-ref", peer.reference.decode(), "-secret", f"pass:{peer.secret.decode()}")


def by_device(_: Peer) -> tuple[str, ...]:
    return ("-cert", "device.pem", "-key", "device.key")


def enroll(peer: Peer, *options: str, key: str, subject: str) -> subprocess.CompletedProcess[str]:
    """Have `openssl cmp` ask for a certificate; what it gets lies in got.pem."""
    url = urlsplit(peer.url)
    words = (
        *("cmp", "-config", "", "-cmd", "ir", "-server", url.netloc, "-path", url.path),
        *("-newkey", key, "-subject", subject, "-recipient", "/CN=CA"),
        *("-trusted", "root.pem", "-untrusted", "issuing.pem", "-certout", "got.pem"),
    )
    return subprocess.run(
        [openssl.program() or "", *words, *options],
        cwd=peer.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def got(peer: Peer) -> x509.Certificate:
    return x509.load_pem_x509_certificate((peer.folder / "got.pem").read_bytes())


@pytest.fixture(autouse=True)
def client() -> None:
    need(openssl.program(), openssl.REMEDY)


@pytest.fixture(scope="module")
def ra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiemensRa]:
    need(siemens.jars(), siemens.REMEDY)
    with SiemensRa(tmp_path_factory.mktemp("siemens")) as ra:
        (ra.folder / "new.key").write_bytes(private_pem(generate_key()))
        yield ra


@pytest.mark.parametrize("trust", [by_secret, by_device])
def test_openssl_mock_makes_the_client_poll_and_answers_its_one_certificate(
    tmp_path: Path, trust: Callable[[Peer], tuple[str, ...]]
) -> None:
    with OpenSslMock(tmp_path / "peer", "-poll_count", "1", "-check_after", "1") as mock:
        done = enroll(mock, *trust(mock), key="ee.key", subject="/CN=nf1.example")

        assert done.returncode == 0, done.stdout
        assert got(mock) == mock.ee.certificate
        assert "sending POLLREQ" in done.stdout, done.stdout


def test_openssl_mock_refuses_as_told(tmp_path: Path) -> None:
    with OpenSslMock(tmp_path / "peer", "-pkistatus", "2", "-failure", "2") as mock:
        done = enroll(mock, *by_secret(mock), key="ee.key", subject="/CN=nf1.example")

        assert done.returncode != 0
        assert "rejection" in done.stdout


@pytest.mark.parametrize("trust", [by_secret, by_device])
def test_siemens_ra_certifies_the_key_it_is_given(
    ra: SiemensRa, trust: Callable[[Peer], tuple[str, ...]]
) -> None:
    done = enroll(ra, *trust(ra), key="new.key", subject="/CN=amf.example")

    assert done.returncode == 0, done.stdout
    assert got(ra).subject.rfc4514_string() == "CN=amf.example"
    got(ra).verify_directly_issued_by(ra.peer.pki.issuing.certificate)


def test_siemens_ra_rejects_what_its_ca_rejects(ra: SiemensRa) -> None:
    done = enroll(ra, *by_secret(ra), key="new.key", subject="/CN=REJECT")

    assert done.returncode != 0
    assert "subject refused" in done.stdout
