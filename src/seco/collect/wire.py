"""Bytes of files, wherever they are: politely, tried again within bounds, signed anew, and counted.

All bytes of pixels come through here, whichever reader asks. docs/fetching.md says what is tried again and what is not.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from seco.collect.catalogs import Signer
from seco.collect.faults import EXPIRED, SLOW_DOWN, UNANSWERED, Patience, PixelFault
from seco.collect.hrefs import Allowed, Target, target_of, without_query
from seco.collect.http import Http, Part
from seco.errors import FetchError

MAX_READ_BYTES = 256 * 2**20
"""Most bytes of one request; a block of a raster is a thousandth of that."""
STREAK = 24
"""So many requests of a host in a row given up on, and none answered in between, end the run: it is not the files."""
_STATUS = re.compile(r"status code: (\d{3})")


@dataclasses.dataclass(kw_only=True)
class Counts:
    """What went over the wire.

    Attributes:
        requests, num_bytes: answered requests and their bytes.
        retries: tries again.
        signed: signatures asked anew after a refusal.
        faults: by host and kind, each try that failed.
        given_up: by host and kind, requests that failed for good.
    """

    requests: int = 0
    num_bytes: int = 0
    retries: int = 0
    signed: int = 0
    faults: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    given_up: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Count what another wire counted."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; faults are lists of host, kind and number."""
        return {
            "requests": self.requests,
            "bytes": self.num_bytes,
            "retries": self.retries,
            "signed_again": self.signed,
            "faults": [[*k, n] for k, n in sorted(self.faults.items())],
            "given_up": [[*k, n] for k, n in sorted(self.given_up.items())],
        }


class _Host:
    """How much one host is asked, and how it fares."""

    def __init__(self, *, concurrency: int, requests_a_second: float | None) -> None:
        self._gate = asyncio.Semaphore(concurrency)
        self._step = 1.0 / requests_a_second if requests_a_second else 0.0
        self._next = 0.0
        self.num_answers = 0
        self.streak = 0

    @asynccontextmanager
    async def turn(self, sleep: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
        """Wait for a place among the requests at once, and until the host may be asked again."""
        async with self._gate:
            clock = asyncio.get_running_loop().time
            while (wait := self._next - clock()) > 0:
                await sleep(wait)
            self._next = max(self._next, clock()) + self._step
            yield

    def pause(self, seconds: float) -> None:
        """Ask nothing for a while."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)


class Wire:
    """Gets ranges of files over http(s), from s3 and from local disk; belongs to the event loop it is used in.

    Args:
        patience: tries and waits.
        allowed: which addresses may be asked.
        signer: makes addresses readable.
        concurrency: requests at once to one host.
        requests_a_second: most requests begun in a second at one host; None: no limit.
        s3: settings of obstore's `S3Store`; none: without keys, region of $AWS_REGION.
        sleep: waits; tests pass their own.
    """

    def __init__(
        self, *, patience: Patience | None = None, allowed: Allowed | None = None, signer: Signer | None = None,
        concurrency: int = 32, requests_a_second: float | None = None, s3: Mapping[str, Any] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self.patience = patience or Patience()
        self._allowed = allowed or Allowed()
        self._signer = signer
        self._concurrency, self._rate = concurrency, requests_a_second
        self._s3_settings = s3
        self._s3: dict[str, Any] = {}
        self._sleep = sleep
        self._http = Http(patience=self.patience, allowed=self._allowed)
        self._hosts: dict[str, _Host] = {}
        self._renewing = asyncio.Lock()
        self.counts = Counts()

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    def host_of(self, href: str) -> str:
        """Return the host of an href, for counts.

        Raises:
            PixelFault: it may not be asked.
        """
        return target_of(href, self._allowed).host

    async def get(self, href: str, start: int, length: int, *, etag: str | None = None) -> Part:
        """Get bytes of a file; fewer where it ends.

        Args:
            href: as the catalogue wrote it; it is signed here.
            start, length: which bytes.
            etag: the tag that the file had before; another one is a fault of kind `changed`.

        Raises:
            PixelFault: they cannot be had, after all tries.
            FetchError: the host cannot be reached at all, or refuses everything: no file's own fault.
        """
        target = target_of(href, self._allowed)
        if not 0 < length <= MAX_READ_BYTES:
            raise PixelFault("too-large", target.host, f"{length} bytes at once")
        host = self._host(target.host)
        attempt, renewed = 0, False
        while True:
            attempt += 1
            signed = await self._sign(target)
            try:
                async with host.turn(self._sleep):
                    part = await self._once(target, signed, start, length)
                _require_same(part, etag, target)
            except PixelFault as fault:
                self.counts.faults[target.host, fault.kind] += 1
                if fault.kind in EXPIRED and self._signer is not None and not renewed:
                    renewed = True
                    await self._renew(target, signed)
                    continue
                if fault.kind == "changed" or not fault.is_transient or attempt >= self.patience.tries:
                    await self._give_up(fault, target, host)
                    raise
                await self._wait(fault, attempt, host, what=f"{without_query(href)} {start}")
                self.counts.retries += 1
                continue
            host.num_answers += 1
            host.streak = 0
            self.counts.requests += 1
            self.counts.num_bytes += len(part.data)
            return part

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            self._hosts[name] = _Host(concurrency=self._concurrency, requests_a_second=self._rate)
        return self._hosts[name]

    async def _wait(self, fault: PixelFault, attempt: int, host: _Host, *, what: str) -> None:
        seconds = self.patience.wait_s(fault, attempt, what=what)
        if seconds > self.patience.longest_asked_s:
            raise FetchError(
                f"{fault.host} asks to wait {seconds:.0f} s; the limit is {self.patience.longest_asked_s:.0f} s: "
                "run the same command again later, it goes on where it was"
            )
        if fault.kind in SLOW_DOWN:
            host.pause(seconds)
        await self._sleep(seconds)

    async def _sign(self, target: Target) -> str:
        if self._signer is None or target.kind != "http":
            return target.href
        # It may ask a server for a token, and that would block everything else.
        return await asyncio.to_thread(self._signer.sign, target.href)

    async def _renew(self, target: Target, used: str) -> None:
        assert self._signer is not None
        # One at a time: where another request has renewed it in the meantime, its signature will do.
        async with self._renewing:
            if await self._sign(target) == used:
                self.counts.signed += 1
                await asyncio.to_thread(self._signer.renew)

    async def _give_up(self, fault: PixelFault, target: Target, host: _Host) -> None:
        """Count a request that failed for good; end the run where it is not the file that is at fault."""
        self.counts.given_up[target.host, fault.kind] += 1
        others_answer = any(h.num_answers for n, h in self._hosts.items() if n != target.host)
        # A host that never answered, while others do, is the fault of whoever wrote its address.
        is_ours = bool(host.num_answers) or not others_answer
        is_silent = is_ours and fault.kind in UNANSWERED and target.kind == "http"
        if is_silent and not await self._http.reaches(target.href):
            raise FetchError(
                f"{target.host} cannot be reached ({fault}); see to the network and run the same command again: "
                "it goes on where it was"
            ) from fault
        if fault.kind in EXPIRED or fault.is_transient:
            host.streak += 1
            if host.streak >= STREAK and is_ours:
                raise FetchError(
                    f"{host.streak} requests in a row failed at {target.host} (the last: {fault}); run the same command "
                    "again later, it goes on where it was"
                ) from fault

    async def _once(self, target: Target, signed: str, start: int, length: int) -> Part:
        if target.kind == "http":
            return await self._http.get(signed, start, length)
        if target.kind == "file":
            return await asyncio.to_thread(_read_file, target, start, length)
        return await self._from_s3(target, start, length)

    async def _from_s3(self, target: Target, start: int, length: int) -> Part:
        import obstore
        from obstore.store import S3Store

        bucket, _, key = target.href[5:].partition("/")
        try:
            if bucket not in self._s3:
                settings = self._s3_settings or {
                    "skip_signature": True, "region": os.environ.get("AWS_REGION", "us-west-2")
                }  # fmt: skip
                self._s3[bucket] = S3Store(bucket, retry_config={"max_retries": 0}, **settings)
            async with asyncio.timeout(self.patience.connect_s + self.patience.read_s):
                result = await obstore.get_async(
                    self._s3[bucket], key, options={"range": (start, start + length)}
                )
                data = bytes(await result.bytes_async())
        except FileNotFoundError as err:
            raise PixelFault("missing", target.host, "no such object") from err
        except TimeoutError as err:
            raise PixelFault("timeout", target.host, "no answer in time") from err
        except (obstore.exceptions.BaseError, OSError, ValueError) as err:
            found = _STATUS.search(str(err))
            raise PixelFault(
                found[1] if found else "reset", target.host, str(err).split("\n", 1)[0][:200]
            ) from err
        if len(data) != min(length, result.meta["size"] - start):
            raise PixelFault("truncated", target.host, f"{len(data)} of {length} bytes")
        return Part(data=data, etag=result.meta["e_tag"], size=result.meta["size"])


def _require_same(part: Part, etag: str | None, target: Target) -> None:
    """See that bytes are of the same file as those before."""
    if etag is not None and part.etag is not None and part.etag != etag:
        raise PixelFault("changed", target.host, "the file is another one than before")


def _read_file(target: Target, start: int, length: int) -> Part:
    try:
        number = os.open(target.href, os.O_RDONLY)
    except FileNotFoundError as err:
        raise PixelFault("missing", target.host, target.href) from err
    except OSError as err:
        raise PixelFault("unreadable", target.host, str(err)) from err
    try:
        about = os.fstat(number)
        data = os.pread(number, length, start)
    except OSError as err:
        raise PixelFault("unreadable", target.host, str(err)) from err
    finally:
        os.close(number)
    if start >= about.st_size:
        raise PixelFault("mismatch", target.host, "the file is shorter than its own header says")
    return Part(data=data, etag=f"{about.st_mtime_ns:x}-{about.st_size:x}", size=about.st_size)
