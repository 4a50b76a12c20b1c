"""Raster files: their headers as planes, and windows of their pixels, by rasterio and netCDF4."""

from __future__ import annotations

import contextlib
import datetime
import math
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from seco.data.grids import BLOCK_PX, Grid, Plane
from seco.data.naming import parse_date
from seco.data.netcdf import is_netcdf, open_netcdf
from seco.errors import DatasetError

OPEN_FILES = 128
"""Files kept open at once; systems allow a process 1,024 or more, of which others need some."""
BLOCK_BYTES = 64 * 2**20
"""Pixels kept of what was read ahead."""
_DATE_TAGS = (
    "TIFFTAG_DATETIME",
    "ACQUISITION_DATE",
    "ACQUISITIONDATETIME",
    "DATE_ACQUIRED",
    "DATETIME",
    "DATE",
)


@contextlib.contextmanager
def raster_errors(path: str) -> Iterator[None]:
    """Turn a failed read into one clear error; silence the warning that a plain picture has no position."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except (RasterioError, OSError, RuntimeError) as err:
        reason = " ".join(str(err.__cause__ or err).split())
        raise DatasetError(f"cannot read {path}: {reason}; fetch the file again or leave it out") from err


def grid_of(source: Any) -> Grid:
    """Return the grid of an open rasterio dataset; a CRS without a transform, or the reverse, counts as none."""
    if source.crs is None or source.transform.is_identity:
        return Grid(crs=None, transform=None, height=source.height, width=source.width)
    a, b, c, d, e, f = (float(v) for v in tuple(source.transform)[:6])
    return Grid(
        crs=source.crs.to_string(), transform=(a, b, c, d, e, f), height=source.height, width=source.width
    )


def raster_planes(path: str) -> list[Plane]:
    """Return the bands of a GeoTIFF, JPEG 2000 or other raster file, from its header alone.

    Raises:
        DatasetError: the file cannot be opened.
    """
    with raster_errors(path), rasterio.open(path) as source:
        grid = grid_of(source)
        when = _tagged_date(source.tags())
        out = []
        for i in range(source.count):
            nodata = source.nodatavals[i]
            # rasterio gives 1 and 0 where a file declares nothing.
            declared = (source.scales[i], source.offsets[i]) != (1.0, 0.0)
            out.append(
                Plane(
                    path=path, name=_band_name(source, i), grid=grid, dtype=source.dtypes[i], index=i + 1,
                    scale=float(source.scales[i]) if declared else None,
                    offset=float(source.offsets[i]) if declared else None,
                    nodata=None if nodata is None or math.isnan(nodata) else float(nodata), when=when,
                )
            )  # fmt: skip
        return out


def _band_name(source: Any, i: int) -> str | None:
    """Return a band's description, else its colour where the file says that it is one."""
    kind = source.colorinterp[i].name
    return source.descriptions[i] or (kind if kind in ("red", "green", "blue", "alpha") else None)


def read_whole(path: str, limit_px: int) -> tuple[np.ndarray, Grid]:
    """Return all bands of a small raster, (bands, height, width), and its grid.

    Raises:
        DatasetError: it cannot be read, or has more than `limit_px` pixels a band.
    """
    with raster_errors(path), rasterio.open(path) as source:
        if source.height * source.width > limit_px:
            raise DatasetError(
                f"{path} has {source.width} x {source.height} px; the limit is {limit_px} px: cut it with "
                "`seco dataset import geotiff`"
            )
        return source.read(), grid_of(source)


def _tagged_date(tags: dict[str, str]) -> datetime.datetime | None:
    named = {k.upper(): v for k, v in tags.items()}
    for tag in _DATE_TAGS:
        if tag in named:
            with contextlib.suppress(DatasetError):  # a tag that holds no date says nothing
                return parse_date(named[tag])
    return None


class PixelReader:
    """Reads windows of planes; keeps the files it used last open, and the blocks of pixels around what it read."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, Grid | None, float | None], Any] = OrderedDict()
        self._blocks: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()
        # One environment for all files: rasterio makes and drops one a call otherwise, which doubles the time to open.
        self._env = rasterio.Env()

    def __enter__(self) -> PixelReader:
        self._env.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.clear()
        while self._open:
            self._open.popitem()[1].close()
        self._env.__exit__(kind, value, trace)

    def read(
        self, plane: Plane, row: int, col: int, height: int, width: int, *, onto: Grid | None = None,
        nodata: float | None = None, nearest: bool = False, ahead: bool = True,
    ) -> np.ndarray:  # fmt: skip
        """Return the stored numbers of a window, (height, width).

        Args:
            plane: what to read.
            row, col: upper left pixel, on the plane's own grid, or on `onto`.
            height, width: size of the window.
            onto: resample the plane onto this grid first (bilinear, or nearest for classes).
            nodata: stored number outside the source and where it has nothing, for `onto`.
            nearest: resample by the nearest pixel.
            ahead: read the block around the window too, since its neighbours are asked for next.

        Raises:
            DatasetError: the file cannot be read.
        """
        if not ahead:
            return self._window(plane, (row, col, height, width), onto, nodata, nearest=nearest)
        grid = onto or plane.grid
        top, left = row // BLOCK_PX * BLOCK_PX, col // BLOCK_PX * BLOCK_PX
        # Wide enough for every window of this size that begins in the block.
        block = (
            top,
            left,
            min(BLOCK_PX + height, grid.height - top),
            min(BLOCK_PX + width, grid.width - left),
        )
        key = (plane.path, plane.index, plane.variable, plane.step, onto, block)
        if key not in self._blocks:
            found = self._window(plane, block, onto, nodata, nearest=nearest)
            while self._blocks and sum(b.nbytes for b in self._blocks.values()) + found.nbytes > BLOCK_BYTES:
                self._blocks.popitem(last=False)
            self._blocks[key] = found
        self._blocks.move_to_end(key)
        return self._blocks[key][row - top : row - top + height, col - left : col - left + width]

    def _window(
        self, plane: Plane, window: tuple[int, int, int, int], onto: Grid | None, nodata: float | None, *, nearest: bool
    ) -> np.ndarray:  # fmt: skip
        row, col, height, width = window
        with raster_errors(plane.path):
            if plane.variable is None:
                source = self._opened(plane, onto, nodata, nearest=nearest)
                return source.read(plane.index, window=Window(col, row, width, height))
            if onto is not None:
                grid = plane.grid
                whole = self._window(plane, (0, 0, grid.height, grid.width), None, None, nearest=nearest)
                with (
                    _as_raster(whole, grid, nodata) as source,
                    _warped(source, plane, onto, nodata, nearest=nearest) as warped,
                ):
                    return warped.read(1, window=Window(col, row, width, height))
            variable = self._opened(plane, None, None, nearest=True)[plane.variable]
            if plane.flipped:
                row = plane.grid.height - row - height
            inside = (slice(row, row + height), slice(col, col + width))
            pixels = np.asarray(variable[inside if plane.step is None else (plane.step, *inside)])
            return pixels[::-1] if plane.flipped else pixels

    def _opened(self, plane: Plane, onto: Grid | None, nodata: float | None, *, nearest: bool) -> Any:
        key = (plane.path, onto, nodata)
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        while len(self._open) >= OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        handle: Any
        if is_netcdf(plane.path):
            handle = open_netcdf(plane.path)
        elif onto is None:
            handle = rasterio.open(plane.path)
        else:
            handle = _warped(rasterio.open(plane.path), plane, onto, nodata, nearest=nearest)
        self._open[key] = handle
        return handle


def _warped(source: Any, plane: Plane, onto: Grid, nodata: float | None, *, nearest: bool) -> Any:
    if plane.grid.crs is None or onto.transform is None:
        raise DatasetError(f"{plane.path} has no CRS, so it cannot be resampled; give georeferenced files")
    return WarpedVRT(
        source, crs=onto.crs, transform=rasterio.Affine(*onto.transform), height=onto.height, width=onto.width,
        resampling=Resampling.nearest if nearest else Resampling.bilinear, src_nodata=nodata, nodata=nodata,
    )  # fmt: skip


@contextlib.contextmanager
def _as_raster(pixels: np.ndarray, grid: Grid, nodata: float | None) -> Iterator[Any]:
    """Open an array as GDAL opens a raster file, in a type that has room for `nodata` too."""
    dtype = pixels.dtype
    if nodata is not None and dtype.kind in "iu":
        # A mask of signed bytes has no room for the 255 of what was not looked at.
        dtype = np.promote_types(dtype, np.min_scalar_type(int(nodata)))
    where = {} if grid.transform is None else {"crs": grid.crs, "transform": rasterio.Affine(*grid.transform)}
    with rasterio.MemoryFile() as file:
        with file.open(
            driver="GTiff", count=1, height=grid.height, width=grid.width, dtype=dtype.name, **where
        ) as out:
            out.write(pixels.astype(dtype, copy=False), 1)
        with file.open() as source:
            yield source
