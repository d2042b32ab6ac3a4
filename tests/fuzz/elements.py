"""Messages as trees of ASN.1 elements, and how to spoil them where they mean something.

Flipping bytes of DER mostly breaks a length, and the first parser stops there. Here elements are
dropped, doubled, exchanged and filled with odd values, and all lengths are right again afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

MAX_DEPTH = 40
CONSTRUCTED, LONG_TAG = 0x20, 0x1F
BIT_STRING, OCTET_STRING = 0x03, 0x04
ODD_CONTENTS = (
    b"",
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x80" + bytes(8),
    b"\x7f" + b"\xff" * 8,
    b"\xff" * 20,
    b"\x01" + bytes(40),
    bytes(600),
    b"\x01" + bytes(2000),
    b"20260601120000Z",
    b"99991231235959Z",
    b"00000101000000Z",
    b"2026060112.5+2359",
    b"\n\r\x1b[31m",
    b"\xc3\xa9\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"%s{0}",
)
ODD_TAGS = (0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x17, 0x18, 0x1E, 0x30, 0x31)


@dataclass
class Element:
    """What is inside a string is a tree too, if it is DER: `prefix` goes before it."""

    identifier: bytes
    content: bytes | list[Element]
    prefix: bytes = b""

    def der(self) -> bytes:
        content = self.content
        if isinstance(content, list):
            content = self.prefix + b"".join(child.der() for child in content)
        return self.identifier + length(len(content)) + content

    def walk(self) -> Iterator[tuple[Element, int]]:
        """Yield every element that has a parent, as that parent and a position."""
        if isinstance(self.content, list):
            for i, child in enumerate(self.content):
                yield self, i
                yield from child.walk()


def length(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def read(der: bytes, depth: int = 0) -> list[Element]:
    """Return the elements that stand one after another. Raises ValueError when it is not DER."""
    if depth > MAX_DEPTH:
        raise ValueError("too deep")
    found, at = [], 0
    while at < len(der):
        start = at + 1
        if der[at] & LONG_TAG == LONG_TAG:
            while start < len(der) and der[start] & 0x80:
                start += 1
            start += 1
        identifier, (begins, ends) = der[at:start], _content(der, start)
        found.append(_element(identifier, der[begins:ends], depth))
        at = ends
    return found


def message(der: bytes) -> Element | None:
    """Return the tree of a message, or None if it is no single element in DER."""
    try:
        found = read(der)
    except ValueError:
        return None
    return found[0] if len(found) == 1 else None


def _content(der: bytes, at: int) -> tuple[int, int]:
    if at >= len(der) or der[at] == 0x80:
        raise ValueError("no length")
    octets = der[at] & 0x7F if der[at] & 0x80 else 0
    begins = at + 1 + octets
    size = int.from_bytes(der[at + 1 : begins], "big") if octets else der[at]
    if begins + size > len(der):
        raise ValueError("cut off")
    return begins, begins + size


def _element(identifier: bytes, content: bytes, depth: int) -> Element:
    if identifier[0] & CONSTRUCTED:
        return Element(identifier, read(content, depth + 1))
    prefix = content[:1] if identifier[0] == BIT_STRING else b""
    inside = content[len(prefix) :]
    if identifier[0] in (BIT_STRING, OCTET_STRING) and inside[:1] in (b"\x30", b"\x03", b"\x04"):
        try:
            return Element(identifier, read(inside, depth + 1), prefix)
        except ValueError:
            pass
    return Element(identifier, content)


# Spoiling


def spoil(der: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """Return the message with some of its elements wrong; `others` lend elements of theirs."""
    tree = message(der)
    if tree is None:
        return _bite(der, dice)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        place = _place(tree, dice)
        if place is None:
            break
        dice.choice(MISDEEDS)(*place, dice, others)
    spoiled = ber(tree, dice) if dice.random() < 0.1 else tree.der()
    return _bite(spoiled, dice) if dice.random() < 0.1 else spoiled


def _place(tree: Element, dice: random.Random) -> tuple[Element, int] | None:
    """Choose an element: among all, or on a walk downwards, for most of all are in certificates."""
    if dice.random() < 0.5:
        places = list(tree.walk())
        return dice.choice(places) if places else None
    place, element = None, tree
    while isinstance(element.content, list) and element.content:
        if place is not None and dice.random() < 0.2:
            break
        i = dice.randrange(len(element.content))
        place, element = (element, i), element.content[i]
    return place


def ber(element: Element, dice: random.Random) -> bytes:
    """Write a tree with the freedom of BER."""
    content = element.content
    if isinstance(content, list):
        content = element.prefix + b"".join(ber(child, dice) for child in content)
        if element.identifier[0] & CONSTRUCTED and dice.random() < 0.5:
            return element.identifier + b"\x80" + content + b"\0\0"
    elif element.identifier in (b"\x04", b"\x0c") and content and dice.random() < 0.3:
        cut = dice.randrange(len(content))
        halves = (content[:cut], content[cut:])
        content = b"".join(b"\x04" + length(len(half)) + half for half in halves)
        return bytes((element.identifier[0] | CONSTRUCTED, 0x80)) + content + b"\0\0"
    size = (
        b"\x84" + len(content).to_bytes(4, "big") if dice.random() < 0.3 else length(len(content))
    )
    return element.identifier + size + content


Misdeed = Callable[[Element, int, random.Random, Sequence[bytes]], None]


def _siblings(parent: Element) -> list[Element]:
    assert isinstance(parent.content, list)
    return parent.content


def _drop(parent: Element, i: int, _: random.Random, __: Sequence[bytes]) -> None:
    del _siblings(parent)[i]


def _double(parent: Element, i: int, dice: random.Random, _: Sequence[bytes]) -> None:
    siblings = _siblings(parent)
    siblings[i:i] = [siblings[i]] * dice.choice((1, 1, 2, 70))


def _exchange(parent: Element, i: int, dice: random.Random, _: Sequence[bytes]) -> None:
    siblings = _siblings(parent)
    j = dice.randrange(len(siblings))
    siblings[i], siblings[j] = siblings[j], siblings[i]


def _transplant(parent: Element, i: int, dice: random.Random, others: Sequence[bytes]) -> None:
    donor = message(dice.choice(others)) if others else None
    places = list(donor.walk()) if donor else []
    if places:
        giver, j = dice.choice(places)
        siblings = _siblings(parent)
        siblings[i : i + dice.randrange(2)] = [_siblings(giver)[j]]


def _retag(parent: Element, i: int, dice: random.Random, _: Sequence[bytes]) -> None:
    child = _siblings(parent)[i]
    if dice.random() < 0.5:
        child.identifier = bytes((dice.choice(ODD_TAGS),))
    else:
        first = child.identifier[0] ^ dice.choice((0x20, 0x40, 0x80, 0xC0, 1, 2, 3, 4))
        child.identifier = bytes((first,)) + child.identifier[1:]


def _refill(parent: Element, i: int, dice: random.Random, _: Sequence[bytes]) -> None:
    _siblings(parent)[i].content = dice.choice(ODD_CONTENTS)


def _scratch(parent: Element, i: int, dice: random.Random, _: Sequence[bytes]) -> None:
    child = _siblings(parent)[i]
    if isinstance(child.content, bytes):
        child.content = _bite(child.content, dice)
    elif child.content:
        _scratch(child, dice.randrange(len(child.content)), dice, ())


def _wrap(parent: Element, i: int, dice: random.Random, __: Sequence[bytes]) -> None:
    siblings = _siblings(parent)
    for _ in range(dice.choice((1, 1, 1, 5, 40))):
        siblings[i] = Element(bytes((dice.choice((0x30, 0x31, 0xA0, 0xA1, 0x24)),)), [siblings[i]])


def _nest(parent: Element, i: int, dice: random.Random, _: Sequence[bytes]) -> None:
    siblings = _siblings(parent)
    siblings[i] = Element(siblings[i].identifier, b"\x30\x80" * dice.choice((10, 100, 5000)))


MISDEEDS: tuple[Misdeed, ...] = (
    _drop,
    _double,
    _exchange,
    _transplant,
    _transplant,
    _retag,
    _refill,
    _refill,
    _scratch,
    _scratch,
    _wrap,
    _nest,
)


def _bite(content: bytes, dice: random.Random) -> bytes:
    """Change some bytes, whatever they are."""
    spoiled = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(spoiled) + 1)
        match dice.randrange(4):
            case 0:
                spoiled[at : at + 1] = dice.randbytes(1)
            case 1:
                spoiled[at:at] = dice.randbytes(dice.choice((1, 2, 8)))
            case 2:
                del spoiled[at : at + dice.choice((1, 2, 8))]
            case 3 if at < len(spoiled):
                spoiled[at] ^= 1 << dice.randrange(8)
    return bytes(spoiled)
