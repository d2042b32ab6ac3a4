"""Siemens' CmpRaComponent with a small CA behind it: CMP as a product in the field speaks it.

The server is Java, in `src`; `build` compiles it once into a cache. Its options are in Server.java.
"""

import re
import secrets
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Self

from cryptography import x509

from cmp.testing.pki import CMC_CA
from tests.peers.pki import PeerPki, leaf, write, write_certificates
from tests.peers.process import Process

REMEDY = "the Siemens RA is not built: ./occm test builds it, given a JDK and maven"
CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")  # id-kp-cmcRA, RFC 6402, 2.10
BUILD = Path(__file__).parent / "build"


@cache
def jars() -> Path | None:
    """Return the folder that `build` has left in the cache, if it and Java are there."""
    folder = Path(subprocess.check_output([BUILD, "--folder"], text=True).strip())
    return folder if folder.is_dir() and shutil.which("java") else None


class SiemensRa:
    """Certifies what it is asked to, to whoever has `secret` or an identity it trusts.

    A subject with REJECT in it is rejected, one with ERRORBODY answered with an error message.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.peer = PeerPki.generate("Siemens RA")
        self.secret = secrets.token_hex(16).encode()
        self.reference = b"nf1"
        self.scheme = "https" if "--https" in options else "http"
        java = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        properties = (
            "sun.net.httpserver.nodelay=true",
            "org.slf4j.simpleLogger.defaultLogLevel=warn",
        )
        self.process = Process(
            command=[
                *java,
                *(f"-D{each}" for each in properties),
                *("-cp", f"{jars()}/*", "Server", "0", str(folder)),
                *("--secret", self.secret.decode()),
                *options,
            ],
            log=folder / "siemens-ra.log",
            ready=lambda _: self._port() is not None,
        )

    def __enter__(self) -> Self:
        pki = self.peer.pki
        root, issuing = pki.authorities
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.folder, "issuing", issuing)
        write(self.folder, "ra", leaf(root, "Siemens RA", usages=[CMC_RA]), [pki.root])
        write(self.folder, "upstream", leaf(root, "Siemens CA", usages=[CMC_CA]), [pki.root])
        write(self.folder, "tls", pki.tls, pki.chain)
        write(self.folder, "device", self.peer.device)
        write_certificates(self.folder, "root", [pki.root])
        write_certificates(self.folder, "vendor", [self.peer.vendor.certificate])
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self._port()}/pkix/"

    def _port(self) -> str | None:
        said = re.search(r"^READY (\d+)$", self.process.log.read_text(), re.MULTILINE)
        return said and said[1]
