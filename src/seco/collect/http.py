"""HTTP/1.1 as far as ranges of files need it: kept connections, every header seen, every redirect and peer checked.

Clients of object stores hide what politeness and safety need (Retry-After, redirects, the address that was really
reached) and open a connection anew for every signed href. Source: RFC 9110 and 9112.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
import urllib.parse
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from seco.collect.faults import Patience, PixelFault, retry_after_s
from seco.collect.hrefs import Allowed, target_of

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 256 * 2**20
MAX_REDIRECTS = 4
MAX_IDLE = 64
"""Connections kept open to one host."""
_REDIRECTS = (301, 302, 303, 307, 308)
_AGENT = "seco"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Bytes of a file.

    Attributes:
        data: what was asked for, or less where the file ends.
        etag: the file's tag, where the server gives one.
        size: bytes of the whole file, where known.
    """

    data: bytes
    etag: str | None
    size: int | None


class Http:
    """Gets ranges; belongs to the event loop it is used in.

    Args:
        patience: how long connections and answers may take.
        allowed: which addresses may be reached.
    """

    def __init__(self, *, patience: Patience, allowed: Allowed) -> None:
        self._patience, self._allowed = patience, allowed
        self._idle: dict[tuple[str, str, int], list[_Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None

    async def get(self, href: str, start: int, length: int) -> Part:
        """Get bytes of a file, through a few redirects.

        Raises:
            PixelFault: with the kind of what went wrong; nothing is tried again here.
        """
        for _ in range(MAX_REDIRECTS + 1):
            target = target_of(href, self._allowed)
            if target.kind != "http":
                raise PixelFault("refused", target.host, "a redirect away from http")
            status, headers, body = await self._ask(href, start, length, host=target.host)
            if status in _REDIRECTS and "location" in headers:
                moved = urllib.parse.urljoin(href, headers["location"])
                if href.lower().startswith("https:") and not moved.lower().startswith("https:"):
                    raise PixelFault("refused", target.host, "a redirect from https to http")
                href = moved
                continue
            return _part(status, headers, body, start=start, length=length, host=target.host)
        raise PixelFault("protocol", target.host, f"more than {MAX_REDIRECTS} redirects")

    async def _ask(
        self, href: str, start: int, length: int, *, host: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        parts = urllib.parse.urlsplit(href)
        scheme, name = parts.scheme.lower(), parts.hostname or ""
        key = (scheme, name, parts.port or (443 if scheme == "https" else 80))
        path = urllib.parse.quote(parts.path or "/", safe="/%:=&?~#+!$,;'@()*[]") + (
            f"?{parts.query}" if parts.query else ""
        )
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nUser-Agent: {_AGENT}\r\n"
            f"Accept-Encoding: identity\r\nRange: bytes={start}-{start + length - 1}\r\n\r\n"
        ).encode("latin-1", "replace")
        try:
            async with asyncio.timeout(self._patience.connect_s + self._patience.read_s):
                while True:
                    idle = self._idle[key]
                    connection = idle.pop() if idle else await self._connect(key, host)
                    try:
                        status, headers, body = await connection.exchange(request, host, limit=length)
                    except _StaleError:
                        # A server may close a kept connection at any time; that is no fault of anybody.
                        connection.close()
                        continue
                    except BaseException:
                        connection.close()
                        raise
                    if connection.is_open and len(idle) < MAX_IDLE:
                        idle.append(connection)
                    else:
                        connection.close()
                    return status, headers, body
        except TimeoutError as err:
            raise PixelFault("timeout", host, "no answer in time") from err
        except (ConnectionResetError, BrokenPipeError) as err:
            raise PixelFault("reset", host, str(err)) from err
        except (OSError, ssl.SSLError) as err:
            raise PixelFault("connect", host, str(err)) from err

    async def _connect(self, key: tuple[str, str, int], host: str) -> _Connection:
        scheme, name, port = key
        if scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(self._patience.connect_s):
                reader, writer = await asyncio.open_connection(
                    name,
                    port,
                    ssl=self._tls if scheme == "https" else None,
                    limit=MAX_HEAD_BYTES,
                    happy_eyeballs_delay=0.25,
                )
        except TimeoutError as err:
            raise PixelFault("connect", host, f"no connection after {self._patience.connect_s:g} s") from err
        except (OSError, UnicodeError) as err:
            raise PixelFault("connect", host, str(err)) from err
        try:
            self._allowed.check_peer(writer.get_extra_info("peername")[0], host=host)
        except PixelFault:
            writer.close()
            raise
        return _Connection(reader, writer)

    async def reaches(self, href: str) -> bool:
        """Tell whether the host of an href takes connections now."""
        parts = urllib.parse.urlsplit(href)
        scheme = parts.scheme.lower()
        key = (scheme, parts.hostname or "", parts.port or (443 if scheme == "https" else 80))
        try:
            connection = await self._connect(key, parts.netloc)
        except PixelFault:
            return False
        connection.close()
        return True

    async def close(self) -> None:
        """Close all connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()
        await asyncio.sleep(0)


class _StaleError(Exception):
    """A kept connection was closed by the server before it answered."""


class _Connection:
    """One connection: a request and its answer at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._num_answers = 0
        self.is_open = True

    async def exchange(
        self, request: bytes, host: str, *, limit: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        try:
            self._writer.write(request)
            await self._writer.drain()
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError) as err:
            if self._num_answers and not getattr(err, "partial", b""):
                raise _StaleError from err
            raise PixelFault("reset", host, "closed before the answer") from err
        except asyncio.LimitOverrunError as err:
            raise PixelFault("protocol", host, f"headers of more than {MAX_HEAD_BYTES} bytes") from err
        status, headers, keeps = _parse_head(head, host)
        body = await self._body(status, headers, host, limit=limit)
        self.is_open = keeps and body is not None
        self._num_answers += 1
        return status, headers, body or b""

    async def _body(self, status: int, headers: Mapping[str, str], host: str, *, limit: int) -> bytes | None:
        """Return the body; None for one that is not read, after which the connection is of no use."""
        most = limit if status == 206 else MAX_BODY_BYTES if status == 200 else MAX_HEAD_BYTES
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks(host, most=most, needed=status in (200, 206))
        text = headers.get("content-length", "")
        if not (text.isascii() and text.isdigit()):
            return None if status not in (200, 206) else await self._to_the_end(host)
        length = int(text)
        if length > most:
            if status in (200, 206):
                raise PixelFault("too-large", host, f"{length} bytes where {most} were asked")
            return None
        try:
            return await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as err:
            raise PixelFault("truncated", host, f"{len(err.partial)} of {length} bytes") from err

    async def _to_the_end(self, host: str) -> bytes:
        raise PixelFault("protocol", host, "an answer that does not say how long it is")

    async def _chunks(self, host: str, *, most: int, needed: bool) -> bytes | None:
        out = bytearray()
        try:
            while True:
                line = await self._reader.readuntil(b"\r\n")
                size = int(line.partition(b";")[0], 16)
                if len(out) + size > most:
                    if needed:
                        raise PixelFault("too-large", host, f"more than the {most} bytes that were asked")
                    return None
                out += (await self._reader.readexactly(size + 2))[:size]
                if not size:
                    return bytes(out)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as err:
            raise PixelFault("truncated", host, "a chunked body that is not whole") from err

    def close(self) -> None:
        self.is_open = False
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()


def _parse_head(head: bytes, host: str) -> tuple[int, dict[str, str], Any]:
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if (
        len(words) < 2
        or not words[0].startswith("HTTP/1.")
        or not (words[1].isdigit() and len(words[1]) == 3)
    ):
        raise PixelFault("protocol", host, "an answer that is no HTTP")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    wishes = headers.get("connection", "").lower()
    keeps = "close" not in wishes and (words[0] != "HTTP/1.0" or "keep-alive" in wishes)
    return int(words[1]), headers, keeps


def _part(
    status: int, headers: Mapping[str, str], body: bytes, *, start: int, length: int, host: str
) -> Part:
    if status == 206:
        unit, _, rest = headers.get("content-range", "").partition(" ")
        span, _, total = rest.partition("/")
        first = span.partition("-")[0]
        if unit.lower() != "bytes" or first != str(start):
            raise PixelFault("protocol", host, "bytes of another range than asked")
        size = int(total) if total.isdigit() else None
        if len(body) != (length if size is None else min(length, size - start)):
            raise PixelFault("truncated", host, f"{len(body)} of {length} bytes")
        return Part(data=body, etag=headers.get("etag"), size=size)
    if status == 200:
        # A server without ranges sends the whole file; small ones will do.
        return Part(data=body[start : start + length], etag=headers.get("etag"), size=len(body))
    if status == 404:
        raise PixelFault("missing", host, "404")
    if status == 416:
        raise PixelFault("mismatch", host, "the file is shorter than its own header says")
    raise PixelFault(str(status), host, retry_after_s=retry_after_s(headers.get("retry-after")))
