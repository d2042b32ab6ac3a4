"""OpenSSL's mock CMP server (`openssl cmp -port`): a second opinion with one fixed certificate."""

import secrets
import shutil
from pathlib import Path
from typing import Self

from tests.peers.pki import PeerPki, leaf, write, write_certificates
from tests.peers.process import Process, free_port, says

REMEDY = "openssl is missing: apt-get install openssl"


def program() -> str | None:
    return shutil.which("openssl")


class OpenSslMock:
    """Whatever key it is asked to certify, it answers `ee`'s certificate.

    `options` are the server's, such as `-poll_count 2 -check_after 1`, `-grant_implicitconf`,
    `-pkistatus 2 -failure 1`, `-send_error`, `-send_unprotected`. It accepts requests protected
    with `secret` or signed by `peer.device` or an identity of its PKI.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.peer = PeerPki.generate("OpenSSL mock")
        self.secret = secrets.token_hex(16).encode()
        self.reference = b"nf1"
        self.ee = leaf(self.peer.pki.issuing, "nf1.example")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/pkix/"
        self.process = Process(
            command=[
                *("openssl", "cmp", "-config", "", "-port", str(self.port)),
                *("-srv_ref", "mock", "-srv_secret", "file:secret"),
                *("-srv_cert", "signer.pem", "-srv_key", "signer.key"),
                *("-srv_trusted", "clients.pem", "-srv_untrusted", "issuing.pem"),
                *(
                    "-rsp_cert",
                    "ee.pem",
                    "-rsp_extracerts",
                    "issuing.pem",
                    "-rsp_capubs",
                    "root.pem",
                ),
                *options,
            ],
            log=folder / "openssl-cmp.log",
            ready=says("ACCEPT"),
        )

    def __enter__(self) -> Self:
        pki = self.peer.pki
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "secret").write_bytes(self.secret)
        write(self.folder, "signer", pki.signer)
        write(self.folder, "device", self.peer.device)
        write(self.folder, "ee", self.ee)
        write_certificates(self.folder, "root", [pki.root])
        write_certificates(self.folder, "issuing", pki.chain)
        write_certificates(self.folder, "clients", [pki.root, self.peer.vendor.certificate])
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
