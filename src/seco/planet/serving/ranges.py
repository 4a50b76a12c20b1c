"""Which bytes an HTTP request asks for. Pure: header text in, ranges out. Source: RFC 9110, sections 13 and 14."""

from __future__ import annotations

import re

MAX_RANGES = 64
"""More ranges than this in one request are refused: a small request must not cause endless work."""
_SPEC = re.compile(r"([0-9]{0,19})-([0-9]{0,19})")


class UnsatisfiableError(Exception):
    """No byte of what was asked for exists: the answer is 416."""


def parse_range(value: str | None, size: int) -> list[tuple[int, int]] | None:
    """Return (start, stop) of each range that the header asks for.

    Args:
        value: of the header `Range`; None where the request has none.
        size: of the whole in bytes.

    Returns:
        Ranges within the whole; None where all of it is meant, which is also what a header that is malformed or in
        another unit than bytes means.

    Raises:
        UnsatisfiableError: all ranges lie beyond the end, or there are more than `MAX_RANGES`.
    """
    unit, _, specs = (value or "").partition("=")
    if unit.strip().lower() != "bytes":
        return None
    out = []
    parts = [p.strip() for p in specs.split(",") if p.strip()]
    for part in parts:
        match = _SPEC.fullmatch(part)
        if match is None or part == "-":
            return None
        first, last = (int(g) if g else None for g in match.groups())
        if first is None:
            start, stop = size - min(last or 0, size), size
        elif last is not None and last < first:
            return None
        else:
            start, stop = first, size if last is None else min(last + 1, size)
        if start < stop:
            out.append((start, stop))
    if not parts:
        return None
    if not out or len(parts) > MAX_RANGES:
        raise UnsatisfiableError
    return out


def has_tag(header: str, etag: str) -> bool:
    """Whether `If-None-Match` names this entity tag, or any by a star; weak marks do not matter there."""
    tags = [t.strip().removeprefix("W/") for t in header.split(",")]
    return "*" in tags or etag in tags
