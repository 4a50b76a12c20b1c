"""A look at a TIFF's directories before a parser that trusts them: it asks for as much memory as they say, and dies."""

from __future__ import annotations

import struct

MAX_TAG_BYTES = 2**26
"""Most bytes of one tag's values; block sizes of a band of 10,980 px take a few hundred thousand at most."""
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_MAX_DIRECTORIES = 64


def excess(head: bytes) -> str | None:
    """Return what is too much in the directories that lie whole in the first bytes of a TIFF; None where nothing is."""
    if len(head) < 16 or head[:2] not in (b"II", b"MM"):
        return None
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", head, 2)[0] == 43
    number, entry, offset = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    number, entry, offset = order + number, order + entry, order + offset
    at = struct.unpack_from(offset, head, 8 if big else 4)[0]
    for _ in range(_MAX_DIRECTORIES):
        if not 0 < at <= len(head) - struct.calcsize(number):
            return None
        num = struct.unpack_from(number, head, at)[0]
        if num > 4096:
            return f"a directory of {num} tags"
        at += struct.calcsize(number)
        for _ in range(num):
            if at + struct.calcsize(entry) > len(head):
                return None
            tag, kind, count, _ = struct.unpack_from(entry, head, at)
            if count * _SIZES.get(kind, 1) > MAX_TAG_BYTES:
                return f"tag {tag} with {count} values"
            at += struct.calcsize(entry)
        if at + struct.calcsize(offset) > len(head):
            return None
        at = struct.unpack_from(offset, head, at)[0]
    return f"more than {_MAX_DIRECTORIES} directories"
