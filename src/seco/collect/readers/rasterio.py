"""Anything that GDAL reads of GeoTIFF and JPEG 2000: slower, for what the fast reader cannot; all bytes by the same wire."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import io
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from seco.collect.faults import PixelFault
from seco.collect.model import Asset, PixelWindow
from seco.collect.readers.base import check_header, clip
from seco.collect.wire import Wire
from seco.errors import FetchError

HELP = "GeoTIFF and JPEG 2000 of any compression and CRS, one window at a time, by rasterio (GDAL)"
PREFERENCE = 90

NUM_THREADS = 8
_PAGE_BYTES = 64 * 1024
_MAX_PAGES = 128
_OPTIONS = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_NUM_THREADS": "1"}


def suits(asset: Asset) -> bool:  # noqa: ARG001 - the contract's argument
    """Whether a raster is one for this reader: every one may be."""
    return True


async def open(asset: Asset, wire: Wire) -> Picture:  # noqa: A001 - the name of the contract
    """Read a header; see `seco.collect.readers.base.Reader.open`."""
    host = wire.host_of(asset.href)
    file = _File(wire, asset.href, asyncio.get_running_loop())
    # rasterio keeps what it knows of openers in the context: a raster is opened and closed in the same one.
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    opened = await loop.run_in_executor(_threads(), context.run, _open, asset, file, host)
    return Picture(asset, opened, file, host, context)


@functools.lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """Threads of GDAL's own: they wait for the wire, and the wire for the event loop's threads."""
    return ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="gdal")


def _open(asset: Asset, file: _File, host: str) -> list[Any]:
    import rasterio
    from rasterio.errors import RasterioError

    # One driver by name: no VRT, and nothing else that leads to other files.
    driver, ending = ("JP2OpenJPEG", ".jp2") if asset.is_jpeg2000 else ("GTiff", ".tif")
    try:
        with rasterio.Env(**_OPTIONS):
            # A name of its own: rasterio remembers openers by name.
            source = rasterio.open(
                f"{id(file):x}{ending}", driver=driver, opener=lambda *_args, **_kw: file.view()
            )
    except (RasterioError, OSError, ValueError) as err:
        raise file.fault or PixelFault("unsupported", host, " ".join(str(err).split())[:160]) from err
    try:
        _check(asset, source, host)
        return [source, *_resampled(asset, source)]
    except PixelFault:
        source.__exit__(None, None, None)
        raise


def _resampled(asset: Asset, source: Any) -> list[Any]:
    """Return a view of a raster on the asset's grid, where it is on another: classes by the nearest pixel."""
    if asset.warp is None:
        return []
    from rasterio.enums import Resampling
    from rasterio.transform import Affine
    from rasterio.vrt import WarpedVRT

    fill = asset.nodata if asset.nodata is not None else 0
    # As good as no tolerance (rasterio takes no 0): with one, a pixel would depend on the block that it was made with.
    return [
        WarpedVRT(
            source, tolerance=1e-6, crs=f"EPSG:{asset.warp.to_epsg}", transform=Affine(*asset.transform),
            width=asset.shape[1], height=asset.shape[0], src_nodata=fill, nodata=fill,
            resampling=Resampling.nearest if asset.band == "SCL" else Resampling.bilinear,
        )
    ]  # fmt: skip


def _check(asset: Asset, source: Any, host: str) -> None:
    if source.count != 1:
        raise PixelFault("unsupported", host, f"{source.count} bands in one file")
    transform = source.transform
    if asset.warp is not None:
        if source.crs is None or source.crs.to_epsg() != asset.warp.epsg:
            raise PixelFault(
                "mismatch", host, f"CRS is {source.crs}, and the catalogue says EPSG:{asset.warp.epsg}"
            )
        asset = dataclasses.replace(asset, shape=asset.warp.shape, transform=asset.warp.transform)
    check_header(
        asset, host=host, shape=source.shape, dtype=source.dtypes[0], corner=(transform.c, transform.f),
        pixel=(transform.a, -transform.e),
    )  # fmt: skip


class Picture:
    """A raster that GDAL has opened; one window at a time."""

    def __init__(
        self, asset: Asset, opened: list[Any], file: _File, host: str, context: contextvars.Context
    ) -> None:
        self._asset, self._opened, self._file, self._host = asset, opened, file, host
        self._context = context
        self._lock = asyncio.Lock()

    async def read(self, window: PixelWindow) -> np.ndarray:
        """Return a window; see `seco.collect.readers.base.Raster.read`."""
        cut = clip(window, self._asset.shape, host=self._host)
        fill = self._asset.nodata or 0
        pixels = None
        if cut.inside is not None:
            async with self._lock:
                loop = asyncio.get_running_loop()
                pixels = await loop.run_in_executor(_threads(), self._read, cut.inside)
        return cut.pad(pixels, fill=fill, dtype=self._asset.dtype)

    def __del__(self) -> None:
        # No reads are left: each holds the raster.
        for one in reversed(self._opened):
            self._context.run(one.__exit__, None, None, None)

    def _read(self, inside: PixelWindow) -> np.ndarray:
        import rasterio
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        with rasterio.Env(**_OPTIONS):
            self._file.fault = None
            try:
                where = Window(inside.column, inside.row, inside.width, inside.height)
                pixels: np.ndarray = self._opened[-1].read(1, window=where)
            except (RasterioError, OSError, ValueError) as err:
                raise self._file.fault or PixelFault(
                    "corrupt", self._host, " ".join(str(err).split())[:160]
                ) from err
            # GDAL takes a read that fails for the end of the file, and some of its drivers go on with zeros.
            if self._file.fault is not None:
                raise self._file.fault
        return pixels


class _File:
    """A file over the wire, in pages that are kept for a while; read from threads that are not the event loop's."""

    def __init__(self, wire: Wire, href: str, loop: asyncio.AbstractEventLoop) -> None:
        self._wire, self._href, self._loop = wire, href, loop
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._etag: str | None = None
        self.size: int | None = None
        self.fault: PixelFault | FetchError | None = None

    def view(self) -> _View:
        """Return a file object at its beginning."""
        if self.size is None:
            self.page(0)
        return _View(self)

    def page(self, number: int) -> bytes:
        """Return one page."""
        found = self._pages.get(number)
        if found is not None:
            self._pages.move_to_end(number)
            return found
        if self.fault is not None:
            # GDAL asks again at once; the wire has tried often enough.
            raise OSError(str(self.fault))
        request = self._wire.get(self._href, number * _PAGE_BYTES, _PAGE_BYTES, etag=self._etag)
        try:
            part = asyncio.run_coroutine_threadsafe(request, self._loop).result()
        except (PixelFault, FetchError) as err:
            self.fault = err
            raise OSError(str(err)) from err
        self._etag = self._etag or part.etag
        self.size = part.size if part.size is not None else self.size
        self._pages[number] = part.data
        if len(self._pages) > _MAX_PAGES:
            self._pages.popitem(last=False)
        return part.data


class _View(io.RawIOBase):
    """What GDAL reads."""

    def __init__(self, file: _File) -> None:
        super().__init__()
        self._file, self._at = file, 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size or 0}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return bytes from here on."""
        end = self._file.size or 0
        stop = end if size is None or size < 0 else min(self._at + size, end)
        out = bytearray()
        while self._at < stop:
            number, inside = divmod(self._at, _PAGE_BYTES)
            piece = self._file.page(number)[inside : inside + stop - self._at]
            if not piece:
                break
            out += piece
            self._at += len(piece)
        return bytes(out)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
