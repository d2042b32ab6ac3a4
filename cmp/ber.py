"""DER out of BER, for peers whose encoders use the freedom that BER leaves.

RFC 9810 wants DER. Indefinite and over-long lengths, strings in segments, the order of a SET OF and
the spelling of TRUE say nothing of their own, so writing them as DER loses nothing. Nothing else is
touched: what is not DER for another reason stays as it came, and the codec refuses it. Protection
is then verified over the very bytes that are read. (pyasn1 was tried for this: it repairs more,
and with the schemas of pyasn1-modules it cannot read what is most common, indefinite lengths.)
"""

from cmp import asn1
from cmp.errors import Malformed

MAX_DEPTH = 64  # the deepest element of a PKIMessage lies some 20 levels down
MAX_ELEMENTS = 50_000  # a fifth of a second; a message of many certificates has some thousands
_CONSTRUCTED = 0x20
_BOOLEAN, _BIT_STRING, _OCTET_STRING, _SET = 0x01, 0x03, 0x04, 0x31
# Universal types that BER may split up: strings, and times, which are strings.
_STRINGS = frozenset({_BIT_STRING, _OCTET_STRING, 0x0C, *range(0x12, 0x1F)})
_END = b"\0\0"
_Part = tuple[bytes, bytes]  # identifier octets and content


def to_der(message: bytes) -> bytes:
    """Return the DER of one BER element. Raises Malformed, also when anything follows it."""
    part, end = _Reader(message).element(0, len(message), 0)
    if end != len(message):
        raise Malformed(f"{len(message) - end} bytes follow after the message")
    return _join(part)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = MAX_ELEMENTS

    def element(self, at: int, limit: int, depth: int) -> tuple[_Part, int]:
        """Read the element that begins at `at`; return it in DER, and where it ends."""
        self.left -= 1
        if self.left < 0:
            raise Malformed(f"the message has more than {MAX_ELEMENTS} elements")
        start = self._after_identifier(at, limit)
        identifier = self.data[at:start]
        start, size = self._length(start, limit)
        if identifier[0] & _CONSTRUCTED:
            parts, end = self._elements(start, size, limit, depth)
            return _constructed(identifier, parts), end
        if size is None:
            raise Malformed(f"the element at byte {at} has no length")
        end = start + size
        content = self.data[start:end]
        if identifier == bytes((_BOOLEAN,)) and size == 1 and content != b"\0":
            content = b"\xff"
        return (identifier, content), end

    def _elements(
        self, start: int, size: int | None, limit: int, depth: int
    ) -> tuple[list[_Part], int]:
        if depth == MAX_DEPTH:
            raise Malformed(f"the elements nest deeper than {MAX_DEPTH} levels")
        end = limit if size is None else start + size
        parts: list[_Part] = []
        while size is None or start < end:
            if size is None and self.data[start : start + 2] == _END and start + 2 <= end:
                return parts, start + 2
            part, start = self.element(start, end, depth + 1)
            parts.append(part)
        return parts, end

    def _after_identifier(self, at: int, limit: int) -> int:
        end = at + 1
        if at < limit and self.data[at] & 0x1F == 0x1F:  # the number follows, 7 bits an octet
            while end < limit and self.data[end] & 0x80:
                end += 1
            end += 1
        if end > limit:
            raise _cut_off(at)
        return end

    def _length(self, at: int, limit: int) -> tuple[int, int | None]:
        """Return where the content starts, and its length: None if it is indefinite."""
        if at >= limit:
            raise _cut_off(at)
        first = self.data[at]
        if first == 0x80:
            return at + 1, None
        octets = first & 0x7F if first > 0x80 else 0
        start = at + 1 + octets
        size = int.from_bytes(self.data[at + 1 : start], "big") if octets else first
        if start > limit or size > limit - start:
            raise _cut_off(at)
        return start, size


def _cut_off(at: int) -> Malformed:
    return Malformed(f"the message is cut off, or longer inside than outside, at byte {at}")


def _constructed(identifier: bytes, parts: list[_Part]) -> _Part:
    string = identifier[0] ^ _CONSTRUCTED
    if len(identifier) == 1 and string in _STRINGS:
        return bytes((string,)), _merge(string, parts)
    ders = [_join(part) for part in parts]
    if identifier[0] == _SET:
        ders.sort()  # X.690, 11.6
    return identifier, b"".join(ders)


def _merge(string: int, parts: list[_Part]) -> bytes:
    """Put the segments of a string together: X.690, 8.6.4, 8.7.3 and 8.23."""
    segment = {bytes((string,))} if string == _BIT_STRING else {bytes((string,)), b"\x04"}
    if any(identifier not in segment for identifier, _ in parts):
        raise Malformed("a string has segments of another type")
    contents = [content for _, content in parts]
    if string != _BIT_STRING:
        return b"".join(contents)
    if not all(contents) or any(content[0] for content in contents[:-1]):
        raise Malformed("a bit string has segments that are not whole bytes")
    unused = contents[-1][:1] if contents else b"\0"
    return unused + b"".join(content[1:] for content in contents)


def _join(part: _Part) -> bytes:
    return asn1.element(*part)
