"""DER out of BER, for peers whose encoders use the freedom that BER leaves in lengths and strings.

RFC 9810 wants DER. Indefinite and over-long lengths and strings in segments say nothing of their
own, so writing them as DER loses nothing. Nothing else is repaired: what is not DER for another
reason stays as it came, and the codec refuses it. Protection is then verified over the very bytes
that are read. (pyasn1 was tried for this; it repairs more, and with the schemas of pyasn1-modules
it cannot read what is most common, indefinite lengths.)
"""

from cmp.errors import Malformed

MAX_DEPTH = 64  # the deepest element of a PKIMessage lies some 20 levels down
_CONSTRUCTED = 0x20
_BIT_STRING = 0x03
_OCTET_STRING = 0x04
# Universal types that BER may split up: strings, and times, which are strings.
_STRINGS = frozenset({_BIT_STRING, _OCTET_STRING, 0x0C, *range(0x12, 0x1F)})
_END = b"\0\0"


def to_der(message: bytes) -> bytes:
    """Return the DER of one BER element. Raises Malformed, also when anything follows it."""
    identifier, content, end = _element(message, 0, len(message), 0)
    if end != len(message):
        raise Malformed(f"{len(message) - end} bytes follow after the message")
    return _join(identifier, content)


def _element(data: bytes, at: int, limit: int, depth: int) -> tuple[bytes, bytes, int]:
    """Return identifier octets, content in DER, and where the element ends."""
    start = _after_identifier(data, at, limit)
    identifier = data[at:start]
    start, size = _length(data, start, limit)
    constructed = identifier[0] & _CONSTRUCTED
    if not constructed:
        if size is None:
            raise Malformed(f"the element at byte {at} has no length")
        return identifier, data[start : start + size], start + size
    if depth == MAX_DEPTH:
        raise Malformed(f"the elements nest deeper than {MAX_DEPTH} levels")
    end = limit if size is None else start + size
    parts: list[tuple[bytes, bytes]] = []
    while size is None or start < end:
        if size is None and data[start : start + 2] == _END:
            end = start + 2
            break
        inner, content, start = _element(data, start, end, depth + 1)
        parts.append((inner, content))
    if len(identifier) == 1 and identifier[0] ^ _CONSTRUCTED in _STRINGS:
        string = identifier[0] ^ _CONSTRUCTED
        return bytes((string,)), _merge(string, parts), end
    return identifier, b"".join(_join(*part) for part in parts), end


def _after_identifier(data: bytes, at: int, limit: int) -> int:
    end = at + 1
    if at < limit and data[at] & 0x1F == 0x1F:  # the number follows, seven bits an octet
        while end < limit and data[end] & 0x80:
            end += 1
        end += 1
    if end > limit:
        raise Malformed(f"the message is cut off, or longer inside than outside, at byte {at}")
    return end


def _length(data: bytes, at: int, limit: int) -> tuple[int, int | None]:
    """Return where the content starts, and its length: None if it is indefinite."""
    first = data[at] if at < limit else 0xFF
    if first == 0x80:
        return at + 1, None
    octets = first & 0x7F if first > 0x80 else 0
    start = at + 1 + octets
    size = int.from_bytes(data[at + 1 : start], "big") if octets else first
    if start > limit or size > limit - start:
        raise Malformed(f"the message is cut off, or longer inside than outside, at byte {at}")
    return start, size


def _merge(string: int, parts: list[tuple[bytes, bytes]]) -> bytes:
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


def _join(identifier: bytes, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return identifier + bytes((size,)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return identifier + bytes((0x80 | len(octets),)) + octets + content
