"""OpenSSL's own client enrolls at the demo CA: neither side has seen the other's code."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cmp.names import format_name
from cmp.testing import DemoCA, Design, Pki, Refusal, Server, State, serve, tls_context
from cmp.testing.keys import KeyKind, generate_key
from cmp.testing.pki import pem, private_pem
from tests.parts import need


class OpenSsl:
    """`openssl cmp` in a folder of its own. `key` and `cert` name files without their suffix."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        pki = server.ca.pki
        (folder / "root.pem").write_bytes(pem(pki.root))

    def new_key(self, name: str, kind: KeyKind = "EC") -> None:
        (self.folder / f"{name}.key").write_bytes(private_pem(generate_key(kind)))

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / f"{name}.pem").read_bytes())

    def run(self, *arguments: str, ok: bool = True) -> str:
        """Return what it logged; fail the test if it ends otherwise than expected."""
        recipient = format_name(self.server.ca.pki.issuing.certificate.subject)
        command = ["openssl", "cmp", "-config", "", "-batch", "-server", self.server.url]
        command += ["-recipient", recipient, "-trusted", "root.pem", "-out_trusted", "root.pem"]
        done = subprocess.run(
            [*command, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        log = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, log
        return log

    def enroll_by_mac(self, name: str, *arguments: str, cmd: str = "ir") -> x509.Certificate:
        self.new_key(name)
        self.run(
            *("-cmd", cmd, "-ref", "nf1", "-secret", "pass:a secret", "-mac", "hmacWithSHA256"),
            *("-newkey", f"{name}.key", "-certout", f"{name}.pem", "-subject", f"/CN={name}"),
            *arguments,
        )
        return self.certificate(name)

    def signed_by(self, name: str) -> tuple[str, ...]:
        return "-cert", f"{name}.pem", "-key", f"{name}.key"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    need(shutil.which("openssl"), "openssl is missing: apt-get install openssl")


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki.generate("Demo CA 1", now=datetime.now(UTC), design=Design(intermediates=2))


@pytest.fixture
def ca(pki: Pki) -> DemoCA:
    return DemoCA(pki=pki, secrets={b"nf1": b"a secret"})


@pytest.fixture
def client(ca: DemoCA, tmp_path: Path) -> Iterator[OpenSsl]:
    with serve(ca) as server:
        yield OpenSsl(tmp_path, server)


def test_ir_by_mac(client: OpenSsl, ca: DemoCA) -> None:
    certificate = client.enroll_by_mac("nrf", "-sans", "nrf.example 10.0.0.1", "-days", "20")

    assert list(ca.asked) == ["ir", "certConf"]
    assert ca.issued[0].der == certificate.public_bytes(Encoding.DER)
    assert ca.issued[0].state is State.VALID
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["nrf.example"]
    lifetime = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=19, hours=23) < lifetime < timedelta(days=20)


def test_ir_cr_and_rr_by_signature(client: OpenSsl, ca: DemoCA) -> None:
    client.enroll_by_mac("occm")
    signed = client.signed_by("occm")
    for cmd in ("ir", "cr"):
        client.new_key(cmd)
        client.run(
            *("-cmd", cmd, *signed, "-newkey", f"{cmd}.key", "-certout", f"{cmd}.pem"),
            *("-subject", f"/CN={cmd}", "-chainout", f"{cmd}-chain.pem"),
        )
    client.run("-cmd", "rr", *signed, "-oldcert", "cr.pem", "-revreason", "4")

    assert list(ca.asked) == ["ir", "certConf", "ir", "certConf", "cr", "certConf", "rr"]
    assert [each.state for each in ca.issued] == [State.VALID, State.VALID, State.REVOKED]
    chain = x509.load_pem_x509_certificates((client.folder / "ir-chain.pem").read_bytes())
    assert ca.pki.chain[0] in chain


def test_kur(client: OpenSsl, ca: DemoCA) -> None:
    client.enroll_by_mac("nrf")
    client.new_key("next")

    client.run(
        *("-cmd", "kur", *client.signed_by("nrf"), "-newkey", "next.key"),
        *("-certout", "next.pem", "-oldcert", "nrf.pem"),
    )
    client.new_key("third")
    refused = client.run(
        *("-cmd", "kur", *client.signed_by("nrf"), "-newkey", "third.key"),
        *("-certout", "third.pem", "-oldcert", "nrf.pem"),
        ok=False,
    )

    assert client.certificate("next").subject == client.certificate("nrf").subject
    assert [each.state for each in ca.issued] == [State.SUPERSEDED, State.VALID]
    assert "certRevoked" in refused


def test_p10cr(client: OpenSsl, ca: DemoCA) -> None:
    client.enroll_by_mac("occm")
    client.new_key("amf")
    subprocess.run(
        ["openssl", "req", "-new", "-key", "amf.key", "-subj", "/CN=amf", "-out", "amf.csr"],
        cwd=client.folder,
        check=True,
        timeout=60,
    )

    client.run(
        *("-cmd", "p10cr", *client.signed_by("occm"), "-csr", "amf.csr", "-certout", "amf.pem")
    )

    assert client.certificate("amf").subject.rfc4514_string() == "CN=amf"
    assert [each.state for each in ca.issued] == [State.VALID, State.VALID]


def test_polling(client: OpenSsl, ca: DemoCA) -> None:
    ca.polls = 3

    client.enroll_by_mac("nrf")

    assert list(ca.asked) == ["ir", "pollReq", "pollReq", "pollReq", "certConf"]


def test_implicit_confirmation(client: OpenSsl, ca: DemoCA) -> None:
    ca.implicit_confirm = True

    client.enroll_by_mac("nrf", "-implicit_confirm")

    assert list(ca.asked) == ["ir"]
    assert ca.issued[0].state is State.VALID


def test_mac_answered_by_a_signature(client: OpenSsl, ca: DemoCA) -> None:
    ca.sign_mac_answers = True

    client.enroll_by_mac("nrf")

    assert ca.issued[0].state is State.VALID


def test_genm(client: OpenSsl, ca: DemoCA) -> None:
    client.enroll_by_mac("occm")

    log = client.run("-cmd", "genm", *client.signed_by("occm"))

    assert ca.count("genm") == 1
    assert "genp" in log.lower()


def test_wrong_secret_is_refused_by_a_signed_error(client: OpenSsl, ca: DemoCA) -> None:
    client.new_key("nrf")

    log = client.run(
        *("-cmd", "ir", "-ref", "nf1", "-secret", "pass:a guess", "-newkey", "nrf.key"),
        *("-certout", "nrf.pem", "-subject", "/CN=nrf"),
        ok=False,
    )

    assert "badMessageCheck" in log
    assert ca.issued == []


def test_refusal_shows_with_its_text(client: OpenSsl, ca: DemoCA) -> None:
    ca.refuse = Refusal(frozenset({"badCertTemplate"}), ("not today",))
    client.new_key("nrf")

    log = client.run(
        *("-cmd", "ir", "-ref", "nf1", "-secret", "pass:a secret", "-newkey", "nrf.key"),
        *("-certout", "nrf.pem", "-subject", "/CN=nrf"),
        ok=False,
    )

    assert "badCertTemplate" in log
    assert "not today" in log


def test_another_key_in_the_certificate_is_noticed(client: OpenSsl, ca: DemoCA) -> None:
    ca.issue_for_another_key = True
    client.new_key("nrf")

    client.run(
        *("-cmd", "ir", "-ref", "nf1", "-secret", "pass:a secret", "-newkey", "nrf.key"),
        *("-certout", "nrf.pem", "-subject", "/CN=nrf"),
        ok=False,
    )

    assert list(ca.asked) == ["ir", "certConf"]
    assert ca.issued[0].state is State.REVOKED


@pytest.mark.parametrize("kind", ["RSA", "EC384"])
def test_other_keys_on_both_sides(kind: KeyKind, tmp_path: Path) -> None:
    pki = Pki.generate("Demo CA 2", now=datetime.now(UTC), design=Design(key=kind))
    ca = DemoCA(pki=pki, secrets={b"nf1": b"a secret"})
    with serve(ca) as server:
        client = OpenSsl(tmp_path, server)
        client.enroll_by_mac("occm")
        client.new_key("nrf", kind)
        client.run(
            *("-cmd", "ir", *client.signed_by("occm"), "-newkey", "nrf.key"),
            *("-certout", "nrf.pem", "-subject", "/CN=nrf"),
        )

    assert [each.state for each in ca.issued] == [State.VALID, State.VALID]


def test_https(ca: DemoCA, tmp_path: Path) -> None:
    with serve(ca, tls=tls_context(ca.pki)) as server:
        client = OpenSsl(tmp_path, server)
        client.enroll_by_mac("nrf", "-tls_used", "-tls_trusted", "root.pem")

    assert ca.issued[0].state is State.VALID
