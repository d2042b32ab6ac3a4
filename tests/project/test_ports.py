import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from occm_project import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_port_that_is_taken_is_passed_over(taken: int) -> None:
    assert ports.free_from(taken) > taken


def test_two_servers_do_not_choose_the_same_port(taken: int) -> None:
    first = ports.free_from(taken)

    assert ports.free_from(taken, besides={first}) not in {taken, first}


def test_port_the_operator_asked_for_is_not_replaced_by_another(taken: int) -> None:
    with pytest.raises(ports.Taken, match=rf"port {taken} is taken: .*--port"):
        ports.asked(taken, option="--port")


def test_port_that_stands_in_urls_stays_the_same(tmp_path: Path, taken: int) -> None:
    file = tmp_path / "port"
    chosen = ports.remembered(file, preferred=taken)
    assert chosen != taken

    assert ports.remembered(file, preferred=1) == chosen
    file.write_text(str(taken))
    with pytest.raises(ports.Taken, match=str(file)):
        ports.remembered(file, preferred=1)
