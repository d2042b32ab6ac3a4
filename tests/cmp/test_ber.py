"""BER says the same as DER, so it is read as the same, at a bounded cost, and nothing is mended."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.asn1 import TLV, decode_der
from hypothesis import given
from hypothesis import strategies as st

from cmp import ber, codec
from cmp.asn1 import sequence_of, wrap
from cmp.errors import Malformed, Unprotected
from cmp.messages import PkiConf, PKIHeader
from cmp.protection import is_mac, verify_mac, verify_signature
from tests.cmp import vectors

STRINGS = (0x03, 0x04, 0x0C, 0x12, 0x13, 0x16, 0x17, 0x18)
NOBODY = x509.DirectoryName(x509.Name([]))
HEADER = PKIHeader(NOBODY, NOBODY)


class Writer:
    """Writes DER as BER, wherever BER leaves a choice as `dice` fall."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def write(self, der: bytes) -> bytes:
        tlv = decode_der(TLV, der)
        identifier, content = bytes(tlv.tag_bytes), bytes(tlv.data)
        if identifier[0] & 0x20:
            parts = [self.write(part) for part in elements(content)]
            if identifier == b"\x31":
                self.dice.shuffle(parts)
            return self.constructed(identifier, parts)
        if identifier[0] in STRINGS and self.dice.random() < 0.3:
            return self.segments(identifier[0], content)
        if identifier == b"\x01" and content != b"\x00":
            content = bytes([self.dice.randrange(1, 256)])
        return identifier + self.length(len(content)) + content

    def constructed(self, identifier: bytes, parts: list[bytes]) -> bytes:
        content = b"".join(parts)
        if self.dice.random() < 0.4:
            return identifier + b"\x80" + content + b"\x00\x00"
        return identifier + self.length(len(content)) + content

    def segments(self, string: int, content: bytes) -> bytes:
        at = self.dice.randrange(len(content) + 1)
        first, second = content[:at], content[at:]
        inner = string
        if string == 0x03:
            at = max(at, 1)
            first, second = b"\x00" + content[1:at], content[:1] + content[at:]
        elif self.dice.random() < 0.5:
            inner = 0x04
        parts = [bytes([inner]) + self.length(len(part)) + part for part in (first, second)]
        if self.dice.random() < 0.2:
            return self.constructed(
                bytes([string | 0x20]), [self.constructed(bytes([inner | 0x20]), parts)]
            )
        return self.constructed(bytes([string | 0x20]), parts)

    def length(self, size: int) -> bytes:
        if size < 0x80 and self.dice.random() < 0.7:
            return bytes([size])
        octets = size.to_bytes(4 + self.dice.randrange(20), "big")
        return bytes([0x80 | len(octets)]) + octets


def elements(content: bytes) -> list[bytes]:
    found = []
    while content:
        size = 2 + content[1]
        if content[1] & 0x80:
            octets = content[1] & 0x7F
            size = 2 + octets + int.from_bytes(content[2 : 2 + octets], "big")
        found.append(content[:size])
        content = content[size:]
    return found


@pytest.mark.parametrize("name", vectors.message_names())
def test_der_is_ber_already(name: str) -> None:
    der = vectors.named(name)

    assert ber.to_der(der) == der


@given(st.sampled_from(vectors.message_names()), st.randoms(use_true_random=False))
def test_a_message_in_ber_is_the_message_in_der(name: str, dice: random.Random) -> None:
    der = vectors.named(name)
    message = Writer(dice).write(der)

    assert ber.to_der(message) == der
    assert codec.decode(message) == codec.decode(der)


@pytest.mark.field_note(17)
@pytest.mark.parametrize("name", [n for n in vectors.message_names() if n.startswith("recorded/")])
def test_protection_is_that_of_the_der(name: str) -> None:
    message = codec.decode(Writer(random.Random(name)).write(vectors.named(name)))
    if message.protection is None or name in vectors.NOT_VERIFIABLE:
        return

    if is_mac(message.header):
        verify_mac(message, vectors.secret(name))
    else:
        verify_signature(message, vectors.signer(name))


@pytest.mark.field_note(17)
def test_protection_over_the_ber_is_none() -> None:
    """RFC 9810, 5.1.3: it covers the DER. What is verified is what was read, and nothing else."""
    der = vectors.named("recorded/siemens-ir-sig/rsp2.der")
    key = vectors.signer("recorded/siemens-ir-sig/rsp2.der")
    message = codec.decode(der)
    in_ber = b"\x30\x80" + bytes(decode_der(TLV, message.protected_part).data) + b"\x00\x00"

    with pytest.raises(Unprotected, match="does not verify"):
        verify_signature(replace(message, protected_part=in_ber), key)


@pytest.mark.parametrize(
    ("message", "der"),
    [
        ("3080020105" + "0000", "3003020105"),
        ("3083000003020105", "3003020105"),
        ("24800401610401620000", "04026162"),
        ("2c80040161" + "0c0162" + "0000", "0c026162"),
        ("2c800401610402c3bc0000", "0c0361c3bc"),
        ("2380030200aa" + "030204b0" + "0000", "030304aab0"),
        ("2300", "030100"),
        ("3103020105", "3103020105"),
        ("3106020105020103", "3106020103020105"),
        ("3003010101", "30030101ff"),
        ("3003010100", "3003010100"),
        ("a2800201050000", "a203020105"),
        ("bf814880" + "0201050000", "bf814803020105"),
        ("5f814802" + "6162", "5f8148026162"),
        ("300402020005", "300402020005"),  # not minimal in BER either: not ours to mend
    ],
)
def test_what_is_only_another_spelling_is_spelled_in_der(message: str, der: str) -> None:
    assert ber.to_der(bytes.fromhex(message)).hex() == der


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("308003020105", "cut off"),
        ("30818003" + "020105", "cut off"),
        ("2c80160161" + "0000", "segments of another type"),
        ("2380030204a0" + "030204b0" + "0000", "not whole bytes"),
        ("23800300" + "0000", "not whole bytes"),
        ("23800401aa" + "0000", "segments of another type"),
        ("24800480" + "0000" + "0000", "has no length"),
        ("0480" + "61" + "0000", "has no length"),
        ("80800000", "has no length"),
        ("3003020105" + "00", "1 bytes follow"),
        ("30800201050000" + "3000", "2 bytes follow"),
        ("30", "cut off"),
        ("", "cut off"),
        ("bf", "cut off"),
        ("bfff", "cut off"),
        ("3085", "cut off"),
        ("30850000", "cut off"),
        ("3084ffffffff00", "cut off"),
        ("30ff" + "00" * 126, "cut off"),
        ("3003020305", "cut off"),
        ("30058002010500", "cut off"),
        ("300530800201" + "05", "cut off"),
    ],
)
def test_what_is_no_ber_is_refused_with_the_reason(message: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        ber.to_der(bytes.fromhex(message))


def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> bytes:
        return b"\x30\x80" * levels + b"\x05\x00" + b"\x00\x00" * levels

    assert ber.to_der(nested(ber.MAX_DEPTH)).endswith(b"\x05\x00")
    for levels in (ber.MAX_DEPTH + 1, 100_000):
        with pytest.raises(Malformed, match="nest deeper than 64 levels"):
            ber.to_der(nested(levels))
        with pytest.raises(Malformed, match="nest deeper than 64 levels"):
            codec.decode(nested(levels))


@pytest.mark.parametrize("filling", [b"\x05\x00", b"\x30\x00", b"\x00\x00", b"\x24\x00"])
def test_the_number_of_elements_is_bounded(filling: bytes) -> None:
    message = sequence_of(wrap(0x30, filling * (codec.MAX_MESSAGE // 2 - 100)))
    began = time.thread_time()

    with pytest.raises(Malformed, match="more than 50000 elements"):
        ber.to_der(message)

    assert time.thread_time() - began < 3


def test_der_that_is_wrong_keeps_its_own_reason() -> None:
    der = codec.encode(HEADER, PkiConf(), protect=None)
    no_null = der.replace(b"\xb3\x02\x05\x00", b"\xb3\x02\x04\x00")

    with pytest.raises(Malformed, match="pkiconf cannot be read: an element is missing"):
        codec.decode(no_null)


def test_ber_that_is_wrong_is_refused_for_what_it_says() -> None:
    der = codec.encode(HEADER, PkiConf(), protect=None)
    no_null = der.replace(b"\xb3\x02\x05\x00", b"\xb3\x02\x04\x00")
    message = b"\x30\x80" + bytes(decode_der(TLV, no_null).data) + b"\x00\x00"

    with pytest.raises(Malformed, match="pkiconf cannot be read: an element is missing"):
        codec.decode(message)
