"""What docs/cmp.md says beside the table of peers: shown where it can be shown."""

from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from cmp import Enroll, Rejected
from tests.interop.asking import Asking, new_key, template
from tests.interop.conftest import StartMock, StartRa
from tests.peers.siemens import SiemensRa


def test_openssl_takes_pbmac1_for_a_signature(start_openssl_mock: StartMock) -> None:
    mock = start_openssl_mock()
    ask = Asking(mock)

    with pytest.raises(Rejected, match="no suitable sender cert"):
        ask(Enroll(template(), mock.ee.key), replace(ask.mac, pbmac1=True))


def test_siemens_counts_the_key_length_of_pbmac1_in_bits(siemens_ra: SiemensRa) -> None:
    ask = Asking(siemens_ra)

    with pytest.raises(Rejected, match="PBMAC1 protection check failed"):
        ask(Enroll(template(), new_key()), replace(ask.mac, pbmac1=True))


def test_siemens_answers_in_chunks_when_told_to(start_siemens_ra: StartRa) -> None:
    """Seen on the wire: our own client does not tell."""
    url = urlsplit(start_siemens_ra("--chunked", "--html503", "1").url)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=10)
    with closing(connection):
        connection.request("POST", url.path, b"0", {"Content-Type": "application/pkixcmp"})
        answer = connection.getresponse()

        assert answer.status == 503
        assert answer.headers["Transfer-Encoding"] == "chunked"
