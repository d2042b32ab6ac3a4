"""The CAs of others that OCCM is to get on with; tests/peers says what each can do."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.parts import need
from tests.peers import openssl, siemens
from tests.peers.openssl import OpenSslMock
from tests.peers.siemens import SiemensRa

StartMock = Callable[..., OpenSslMock]
StartRa = Callable[..., SiemensRa]


@pytest.fixture(scope="session")
def siemens_ra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiemensRa]:
    """The RA without options, shared by all tests that ask for it."""
    need(siemens.jars(), siemens.REMEDY)
    with SiemensRa(tmp_path_factory.mktemp("siemens-ra")) as ra:
        yield ra


@pytest.fixture
def start_siemens_ra(tmp_path: Path) -> Iterator[StartRa]:
    """Start an RA of the test's own: `start_siemens_ra("--delay", "1")`."""
    need(siemens.jars(), siemens.REMEDY)
    with contextlib.ExitStack() as ends:
        yield lambda *options: ends.enter_context(SiemensRa(_place(tmp_path, "siemens"), *options))


@pytest.fixture
def start_openssl_mock(tmp_path: Path) -> Iterator[StartMock]:
    """Start OpenSSL's mock server: `start_openssl_mock("-poll_count", "2")`."""
    need(openssl.program(), openssl.REMEDY)
    with contextlib.ExitStack() as ends:
        yield lambda *options: ends.enter_context(OpenSslMock(_place(tmp_path, "mock"), *options))


def _place(folder: Path, kind: str) -> Path:
    return folder / f"{kind}-{len(list(folder.glob(f'{kind}-*')))}"
