"""The CAs of others that OCCM is to get on with; tests/peers says what each can do."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import cmp_page
from tests.interop import matrix
from tests.parts import need
from tests.peers import openssl, siemens
from tests.peers.openssl import OpenSslMock
from tests.peers.siemens import SiemensRa


def pytest_sessionfinish() -> None:
    """Write the table of docs/cmp.md where that is wanted: cells that did not run stay."""
    if cmp_page.WRITING and matrix.seen:
        cmp_page.write_section(matrix.SECTION, matrix.render(matrix.written() | matrix.seen))


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
