"""What an HTTP server answers for one thing that it has: whole or in ranges, with its conditions. No sockets here.

Source: RFC 9110 (HTTP semantics), sections 13 to 15.
"""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import itertools
import mimetypes
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from seco.planet.bytecache import ByteCache
from seco.planet.serving.cog import VirtualCog
from seco.planet.serving.ranges import UnsatisfiableError, has_tag, parse_range

Piece = bytes | memoryview
Found = VirtualCog | bytes | Path
"""What may stand behind an address: pixels to be made, bytes in memory, a file."""

CONDITIONS = ("Range", "If-Range", "If-None-Match")
"""Headers of a request that decide what is answered."""
EPOCH = "Mon, 01 Jan 2024 00:00:00 GMT"
"""`Last-Modified` of what has no time of its own."""
_FILE_CHUNK_BYTES = 256 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resource:
    """One thing that can be asked for.

    Attributes:
        size_bytes: of the whole.
        etag: differs where the bytes may differ.
        modified: an HTTP date.
        media_type: what it is.
        chunks: gives the bytes from a first up to, not including, a last in pieces.
    """

    size_bytes: int
    etag: str
    modified: str
    media_type: str
    chunks: Callable[[int, int], Iterator[Piece]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A response before it is sent.

    Attributes:
        status: of HTTP.
        headers: names and values, without Date and Content-Length.
        length_bytes: of the body.
        body: gives the body in pieces.
        counts: whether it is one of those that the server counts.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    length_bytes: int = 0
    body: Callable[[], Iterator[Piece]] = lambda: iter(())
    counts: bool = True


def plain(status: int, text: str, *headers: tuple[str, str], media_type: str = "text/plain") -> Answer:
    """Answer with a short text."""
    data = text.encode("utf-8")
    kind = ("Content-Type", f"{media_type}; charset=utf-8")
    return Answer(status=status, headers=(kind, *headers), length_bytes=len(data), body=lambda: iter((data,)))


def resource(found: Found, *, path: str, cache: ByteCache[bytes]) -> Resource:
    """Make a thing ready to be asked for.

    Args:
        found: pixels, bytes or a file.
        path: its address on the server, under which blocks are kept.
        cache: where blocks are kept.

    Raises:
        OSError: the file is not there or cannot be read.
    """
    if isinstance(found, VirtualCog):
        cog = found
        etag = _digest(path.encode("utf-8", "surrogatepass"), cog.header().rstrip(b"\0"))

        def slot(number: int) -> bytes:
            return cache.get((etag, number), lambda: cog.slot(number))

        return Resource(
            size_bytes=cog.size_bytes, etag=etag, modified=EPOCH, media_type="image/tiff",
            chunks=lambda start, stop: cog.chunks(start, stop, slot),
        )  # fmt: skip
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if isinstance(found, bytes):
        data = memoryview(found)
        return Resource(
            size_bytes=len(data), etag=_digest(found), modified=EPOCH, media_type=media_type,
            chunks=lambda start, stop: iter((data[start:stop],)),
        )  # fmt: skip
    file = found
    known = file.stat()
    if not file.is_file():
        raise FileNotFoundError(file)
    return Resource(
        size_bytes=known.st_size, etag=f'"{known.st_mtime_ns:x}-{known.st_size:x}"',
        modified=email.utils.formatdate(known.st_mtime, usegmt=True), media_type=media_type,
        chunks=lambda start, stop: _file_chunks(file, start, stop),
    )  # fmt: skip


def _file_chunks(path: Path, start: int, stop: int) -> Iterator[Piece]:
    with path.open("rb") as file:
        while start < stop:
            piece = os.pread(file.fileno(), min(_FILE_CHUNK_BYTES, stop - start), start)
            if not piece:
                return  # it became shorter; the server closes the connection, so that the reader sees it
            yield piece
            start += len(piece)


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        digest.update(part)
    return f'"{digest.hexdigest()}"'


def answer(thing: Resource, headers: Mapping[str, str]) -> Answer:
    """Answer a GET or HEAD request.

    Args:
        thing: what is asked for.
        headers: those of `CONDITIONS` that the request has.
    """
    common = (("ETag", thing.etag), ("Last-Modified", thing.modified), ("Accept-Ranges", "bytes"))
    if has_tag(headers.get("If-None-Match", ""), thing.etag):
        return Answer(status=304, headers=common)
    size, wanted = thing.size_bytes, headers.get("Range")
    if headers.get("If-Range", thing.etag) not in (thing.etag, thing.modified):
        wanted = None  # it changed since the client got its other parts: it needs the whole again
    try:
        ranges = parse_range(wanted, size)
    except UnsatisfiableError:
        return plain(416, f"no such bytes; there are {size}\n", ("Content-Range", f"bytes */{size}"))
    kind = ("Content-Type", thing.media_type)
    if ranges is None:
        return Answer(
            status=200, headers=(kind, *common), length_bytes=size, body=lambda: thing.chunks(0, size)
        )
    if len(ranges) > 1:
        return _multipart(thing, ranges, common)
    start, stop = ranges[0]
    return Answer(
        status=206, headers=(kind, ("Content-Range", f"bytes {start}-{stop - 1}/{size}"), *common),
        length_bytes=stop - start, body=lambda: thing.chunks(start, stop),
    )  # fmt: skip


def _multipart(thing: Resource, ranges: list[tuple[int, int]], common: tuple[tuple[str, str], ...]) -> Answer:
    """Answer several ranges as multipart/byteranges (RFC 9110, section 14.6)."""
    boundary = "part-" + thing.etag.strip('"')
    fronts = [
        f"\r\n--{boundary}\r\nContent-Type: {thing.media_type}\r\n"
        f"Content-Range: bytes {start}-{stop - 1}/{thing.size_bytes}\r\n\r\n".encode("ascii")
        for start, stop in ranges
    ]
    end = f"\r\n--{boundary}--\r\n".encode("ascii")

    def body() -> Iterator[Piece]:
        for front, (start, stop) in zip(fronts, ranges, strict=True):
            yield from itertools.chain((front,), thing.chunks(start, stop))
        yield end

    return Answer(
        status=206, headers=(("Content-Type", f"multipart/byteranges; boundary={boundary}"), *common),
        length_bytes=sum(map(len, fronts)) + sum(b - a for a, b in ranges) + len(end), body=body,
    )  # fmt: skip
