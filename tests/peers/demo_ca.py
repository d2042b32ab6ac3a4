"""OCCM's demo CA as a process of its own, whose knobs turn while it runs."""

import sys
from pathlib import Path
from typing import Any, Self

import requests

from cmp.testing.register import Issued, Register
from tests.peers.process import Process, free_port, listens

ROOT = Path(__file__).parents[2]
REFERENCE = "tests"
SECRET = "a secret of this test run alone"


class DemoCaProcess:
    """`folder` keeps its certificates and its register; its port stays when it is started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "mac-secret").write_text(SECRET)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/pkix/"
        words = ("--folder", str(folder), "--port", str(self.port), "--reference", REFERENCE)
        secret = ("--mac-secret-file", str(folder / "mac-secret"))
        self.process = Process(
            command=[sys.executable, "-m", "cmp.testing", *words, *secret, *options],
            log=folder / "log",
            ready=listens(self.port),
            environ={"PYTHONPATH": str(ROOT)},
        )

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def control(self, **knobs: Any) -> Any:
        """Turn knobs, and return what the CA reports of itself."""
        address = f"http://127.0.0.1:{self.port}/control"
        answer = requests.post(address, json=knobs, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def issued(self) -> list[Issued]:
        """Read everything it has issued out of its register, which may be open in it."""
        copy = self.folder / "register.copy"
        copy.write_bytes((self.folder / "register.jsonl").read_bytes())
        with Register(copy) as register:
            return list(register)

    @property
    def authorities(self) -> list[Path]:
        """Its certificates in PEM: root first, issuing CA last."""
        return sorted(self.folder.glob("ca-*.pem"))
