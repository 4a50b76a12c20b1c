"""Readers found by name, and rasters kept open: a header is read once, whatever is cut from its scene."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections import OrderedDict
from typing import cast

import numpy as np

from seco.collect.faults import PixelFault
from seco.collect.model import Asset, PixelWindow
from seco.collect.readers.base import Raster, Reader
from seco.collect.wire import Wire
from seco.errors import ConfigError

MAX_OPEN = 2048
"""Headers kept; of a 10 m band of Sentinel-2 a few kilobytes."""
MAX_GONE = 100_000
MAX_FAILURES = 2
"""How often a raster that was never opened may fail, all tries each time, before it counts as gone for this call."""
READS = 4
"""How often a block that cannot be decoded is fetched, header included, before it counts as unreadable."""
_AGAIN = ("corrupt", "changed")
_FOR_GOOD = ("missing", "mismatch", "unsupported", "refused", "too-large")


def names() -> list[str]:
    """Return the names of all readers."""
    package = importlib.import_module("seco.collect.readers")
    return sorted(
        m.name
        for m in pkgutil.iter_modules(package.__path__)
        if m.name != "base" and not m.name.startswith("_")
    )


def find(name: str) -> Reader:
    """Return a reader by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"no reader {name!r}; known: {', '.join(names())}")
    return cast(Reader, importlib.import_module(f"seco.collect.readers.{name}"))


class Rasters:
    """Reads windows of rasters by whichever reader suits, and keeps the headers of those read last.

    Args:
        wire: where bytes come from.
        max_open: headers to keep.
        readers: names of the readers to use; all unless given.
    """

    def __init__(self, wire: Wire, *, max_open: int = MAX_OPEN, readers: tuple[str, ...] = ()) -> None:
        self.wire = wire
        self._max_open = max_open
        self._readers = sorted((find(n) for n in readers or names()), key=lambda r: r.PREFERENCE)
        self._open: OrderedDict[str, asyncio.Task[Raster]] = OrderedDict()
        self._gone: OrderedDict[str, PixelFault] = OrderedDict()
        self._failures: OrderedDict[str, int] = OrderedDict()
        self.num_opened = 0
        self.num_read = 0

    async def read(self, asset: Asset, window: PixelWindow) -> np.ndarray:
        """Return `(height, width)` of a raster's stored numbers; beyond its edges nodata.

        Raises:
            PixelFault: they cannot be had.
            FetchError: a host cannot be reached at all.
        """
        host = self.wire.host_of(asset.href)
        for attempt in range(1, READS + 1):
            task = self._opened(asset)
            try:
                raster = await asyncio.shield(task)
                pixels = await raster.read(window)
            except PixelFault as fault:
                if fault.kind not in _AGAIN:
                    raise
                # The header too may be what is damaged.
                if self._open.get(asset.href) is task:
                    del self._open[asset.href]
                self.wire.counts.faults[host, fault.kind] += fault.kind == "corrupt"
                if attempt == READS:
                    self.wire.counts.given_up[host, fault.kind] += 1
                    raise
                self.wire.counts.retries += 1
            else:
                self.num_read += 1
                return pixels
        raise AssertionError("unreachable")

    def _opened(self, asset: Asset) -> asyncio.Task[Raster]:
        """Return the one task that opens a raster, for all who want it."""
        href = asset.href
        if href in self._gone:
            raise self._gone[href].anew()
        task = self._open.get(href)
        if task is None:
            task = asyncio.create_task(self._try_readers(asset))
            task.add_done_callback(lambda done: self._forget(href, done))
            self._open[href] = task
            if len(self._open) > self._max_open:
                # Whoever waits for it or reads from it still holds it.
                self._open.popitem(last=False)
        self._open.move_to_end(href)
        return task

    def _forget(self, href: str, task: asyncio.Task[Raster]) -> None:
        """Drop what could not be opened: the next to ask tries anew, unless it is so for good."""
        if task.cancelled():
            self._open.pop(href, None)
            return
        fault = task.exception()
        if fault is None:
            return
        if self._open.get(href) is task:
            del self._open[href]
        if isinstance(fault, PixelFault) and (fault.kind in _FOR_GOOD or self._fails_for_good(href, fault)):
            self._gone[href] = fault.anew()
            if len(self._gone) > MAX_GONE:
                self._gone.popitem(last=False)

    def _fails_for_good(self, href: str, fault: PixelFault) -> bool:
        """Count a failure of a raster's header; tell whether it is one too many.

        Every place of a scene would wait through all tries again. Only what was never opened counts: a raster that is
        damaged in parts gives the others, whatever was read before, so that order and stops change nothing.
        """
        if fault.kind in _AGAIN:
            return False
        self._failures[href] = self._failures.get(href, 0) + 1
        if len(self._failures) > MAX_GONE:
            self._failures.popitem(last=False)
        return self._failures[href] >= MAX_FAILURES

    async def _try_readers(self, asset: Asset) -> Raster:
        fault: PixelFault | None = None
        for reader in self._readers:
            if reader.suits(asset):
                try:
                    raster = await reader.open(asset, self.wire)
                except PixelFault as err:
                    if err.kind != "unsupported":
                        raise
                    fault = err
                    continue
                self.num_opened += 1
                self._failures.pop(asset.href, None)
                return raster
        raise fault or PixelFault("unsupported", self.wire.host_of(asset.href), "no reader reads it")

    async def close(self) -> None:
        """Stop opening, and let go of all."""
        waiting = [t for t in self._open.values() if not t.done()]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._open.clear()
