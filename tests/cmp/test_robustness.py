"""Whatever comes, reading it ends soon, with a message or with Malformed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.asn1 import decode_der
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from cmp import asn1, codec
from cmp.asn1 import sequence_of, wrap
from cmp.errors import Malformed
from cmp.messages import PkiConf, PKIHeader
from tests.cmp import vectors

NOBODY = x509.DirectoryName(x509.Name([]))
DONE = codec.encode(PKIHeader(NOBODY, NOBODY), PkiConf(), protect=None)
HEADER = asn1.bytes_of(decode_der(asn1.Envelope, DONE).header)
MESSAGES = [vectors.named(name) for name in vectors.names()]
ROOM = codec.MAX_MESSAGE - 1000


@contextmanager
def soon() -> Iterator[None]:
    """In less than 4 s of CPU: a second on a quiet machine."""
    began = time.thread_time()
    yield
    assert time.thread_time() - began < 4


def message_or_malformed(der: bytes) -> None:
    refusal = ""
    try:
        message = codec.decode(der)
    except Malformed as error:
        refusal = str(error)
    if refusal:
        assert refusal.isprintable()
        assert len(refusal) < 500
    else:  # everything in it can be looked at and compared
        assert repr(message)
        assert message == codec.decode(der)


@given(st.binary(max_size=200))
def test_arbitrary_bytes(der: bytes) -> None:
    message_or_malformed(der)
    message_or_malformed(sequence_of(der))
    message_or_malformed(sequence_of(HEADER + der))


@given(st.integers(0, 30), st.binary(max_size=100))
def test_arbitrary_bodies(tag: int, content: bytes) -> None:
    message_or_malformed(sequence_of(HEADER + wrap(0xA0 | tag, content)))
    message_or_malformed(sequence_of(HEADER + wrap(0xA0 | tag, sequence_of(content))))


@settings(max_examples=500)
@given(st.sampled_from(MESSAGES), st.data())
def test_spoiled_messages(der: bytes, data: st.DataObject) -> None:
    spoiled = bytearray(der)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(spoiled) - 1))
        match data.draw(st.sampled_from(["set", "delete", "insert"])):
            case "set":
                spoiled[at] = data.draw(st.integers(0, 255))
            case "delete":
                del spoiled[at : at + data.draw(st.integers(1, 5))]
            case "insert":
                spoiled[at:at] = data.draw(st.binary(min_size=1, max_size=5))
        spoiled = spoiled or bytearray(1)

    message_or_malformed(bytes(spoiled))


@given(st.sampled_from(MESSAGES), st.data())
def test_messages_cut_off(der: bytes, data: st.DataObject) -> None:
    with pytest.raises(Malformed):
        codec.decode(der[: data.draw(st.integers(0, len(der) - 1))])


@pytest.mark.parametrize(
    "inside",
    [
        b"\x30\x80",
        b"\x30\x84\x7f\xff\xff\xff",
        b"\xa0\x80",
        b"\x24\x80",
        b"\x31\x80",
        b"\x30\x02",
        b"\xff" * 2,
        b"\x1f",
    ],
)
def test_nesting_and_lengths_without_end(inside: bytes) -> None:
    with soon(), pytest.raises(Malformed):
        codec.decode(b"\x30\x80" + inside * (ROOM // len(inside)))
    with soon(), pytest.raises(Malformed):
        codec.decode(sequence_of(HEADER + wrap(0xB5, inside * (ROOM // len(inside)))))


def nested(levels: int) -> bytes:
    """DER inside DER, innermost first."""
    der = b"\x05\x00"
    for _ in range(levels):
        der = sequence_of(der)
    return der


def test_values_nested_deeply_are_carried_unread() -> None:
    with soon():
        value = nested(20_000)
        info = sequence_of(b"\x06\x01\x2a" + value)
        message = codec.decode(sequence_of(HEADER + wrap(0xB5, sequence_of(info))))

    assert message.body.items[0].value == value  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tag", "entry", "around"),
    [
        (21, b"\x30\x03\x06\x01\x2a", 1),
        (25, b"\x30\x03\x02\x01\x2a", 1),
        (26, b"\x30\x06\x02\x01\x2a\x02\x01\x01", 1),
        (24, b"\x30\x05\x04\x00\x02\x01\x2a", 1),
        (11, b"\x30\x02\x30\x00", 1),
        (12, b"\x30\x03\x02\x01\x02", 2),
        (0, b"\x30\x07\x30\x05\x02\x01\x00\x30\x00", 1),
        (1, b"\x30\x08\x02\x01\x00\x30\x03\x02\x01\x02", 2),
    ],
)
def test_very_many_entries(tag: int, entry: bytes, around: int) -> None:
    content = entry * (ROOM // 4 // len(entry))
    for _ in range(around):
        content = sequence_of(content)

    with soon():
        codec.decode(sequence_of(HEADER + wrap(0xA0 | tag, content)))


def test_very_many_certificates_texts_and_names() -> None:
    inside = bytes(asn1.raw(DONE).data)
    certificate = vectors.certificate("recorded/keys/srv.crt").public_bytes(Encoding.DER)
    for entry in (b"\x30\x00", b"\x05\x00", certificate):
        with soon():
            every = sequence_of(entry * (ROOM // len(entry)))
            codec.decode(sequence_of(inside + wrap(0xA1, every)))

    texts = sequence_of(b"\x0c\x00" * (ROOM // 2))
    with soon():
        status = sequence_of(b"\x02\x01\x02" + texts)
        codec.decode(sequence_of(HEADER + wrap(0xB7, sequence_of(status))))

    rdn = b"\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02aa"
    name = wrap(0xA4, sequence_of(rdn * (ROOM // len(rdn))))
    with soon():
        header = sequence_of(b"\x02\x01\x02" + name + b"\xa4\x02\x30\x00")
        codec.decode(sequence_of(header + b"\xb3\x02\x05\x00"))


def test_very_long_keys() -> None:
    modulus = wrap(0x02, b"\x7f" * (ROOM - 200))
    key = wrap(0x03, b"\x00" + sequence_of(modulus + b"\x02\x03\x01\x00\x01"))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    request = sequence_of(b"\x02\x01\x00" + sequence_of(wrap(0xA6, algorithm + key)))

    with soon():
        message_or_malformed(sequence_of(HEADER + wrap(0xA0, sequence_of(sequence_of(request)))))
