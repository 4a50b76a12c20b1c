"""How much of a box is land: a global mask of 0.05 degrees, summed once, so that any box is four look-ups.

The source is the 30 arc second mask in the package global-land-mask (MIT), made from NOAA's GLOBE elevations:
the sea is water, lakes count as land. Unpacked it is 0.9 GB, so it is read once in strips and a coarse copy
is kept in the cache.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt32
from numpy.typing import ArrayLike

from seco.errors import DatasetError
from seco.places.installed import again, package_file
from seco.runs import cache_folder

CELL_DEG = 0.05
ROWS, COLUMNS = 3600, 7200
_FACTOR = 6  # cells of 30 arc seconds in 0.05 degrees
_INSTALL = "pip install global-land-mask"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LandMask:
    """Land on a longitude-latitude grid of the whole globe, north up from 90 N 180 W.

    Attributes:
        percent: land in each cell, 0-100.
        integral: sums of `percent` over all cells above and left of each corner, one row and column larger.
    """

    percent: UInt8[np.ndarray, "rows columns"]
    integral: UInt32[np.ndarray, "rows+1 columns+1"]

    @classmethod
    def from_percent(cls, percent: UInt8[np.ndarray, "rows columns"]) -> LandMask:
        """Make a mask from the percentage of land in each cell of a global grid."""
        rows, columns = percent.shape
        integral = np.zeros(
            (rows + 1, columns + 1), np.uint32
        )  # 3600 x 7200 cells of 100 are 2.6e9, below 2**32
        np.cumsum(percent, axis=0, out=integral[1:, 1:])
        np.cumsum(integral[1:, 1:], axis=1, out=integral[1:, 1:])
        return cls(percent=percent, integral=integral)

    def fraction(
        self, lon: ArrayLike, lat: ArrayLike, *, width_deg: ArrayLike, height_deg: ArrayLike
    ) -> np.ndarray:
        """Return the fraction of land, 0-1, in boxes centred on points.

        Boxes need not lie on cell edges, go on over the antimeridian and end at the poles. Every square
        degree weighs the same, as every pixel of an equirectangular image does.

        Args:
            lon: longitudes of the centres, degrees, any turn.
            lat: latitudes of the centres, degrees, -90 to 90.
            width_deg: extent in longitude, above 0 to 360; one for all or one a box.
            height_deg: extent in latitude, above 0 to 180; one for all or one a box.

        Raises:
            DatasetError: a coordinate or extent is not finite or out of range.
        """
        lon, lat, width, height = check_boxes(lon, lat, width_deg, height_deg)
        rows, columns = self.percent.shape
        top = (90.0 - np.minimum(lat + height / 2, 90.0)) * rows / 180.0
        bottom = (90.0 - np.maximum(lat - height / 2, -90.0)) * rows / 180.0
        left = (lon - width / 2 + 180.0) * columns / 360.0
        right = (lon + width / 2 + 180.0) * columns / 360.0
        land = (
            self._sum(bottom, right) - self._sum(bottom, left) - self._sum(top, right) + self._sum(top, left)
        )
        fraction: np.ndarray = np.clip(land / ((bottom - top) * (right - left) * 100.0), 0.0, 1.0)
        return fraction

    def _sum(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Return the sum from the north-west corner to a fractional corner; columns may run over turns."""
        rows, columns = self.percent.shape
        turns, column = np.divmod(column, columns)
        total = turns * self._at(row, np.full_like(column, columns))
        return np.asarray(total + self._at(np.clip(row, 0, rows), column))

    def _at(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        # Between corners the integral of a piecewise constant function is bilinear: this is exact.
        rows, columns = self.percent.shape
        y = np.minimum(row.astype(np.int64), rows - 1)
        x = np.minimum(column.astype(np.int64), columns - 1)
        down, along = row - y, column - x
        table = self.integral
        north = table[y, x] * (1 - along) + table[y, x + 1] * along
        south = table[y + 1, x] * (1 - along) + table[y + 1, x + 1] * along
        return np.asarray(north * (1 - down) + south * down)


def check_boxes(
    lon: ArrayLike, lat: ArrayLike, width_deg: ArrayLike, height_deg: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Broadcast centres and extents in degrees to four arrays of one length.

    Raises:
        DatasetError: a coordinate or extent is not finite or out of range.
    """
    arrays = [np.atleast_1d(np.asarray(a, dtype=np.float64)) for a in (lon, lat, width_deg, height_deg)]
    limits = (
        ("longitude", -np.inf, np.inf),
        ("latitude", -90.0, 90.0),
        ("width", 0.0, 360.0),
        ("height", 0.0, 180.0),
    )
    for values, (name, low, high) in zip(arrays, limits, strict=True):
        positive = name in {"width", "height"}
        wrong = ~np.isfinite(values) | (values < low) | (values > high) | (positive & (values <= 0))
        if wrong.any():
            first = values[wrong][0]
            allowed = (
                f"{'above ' if positive else ''}{low:g} to {high:g}"
                if np.isfinite(low)
                else "a finite number"
            )
            raise DatasetError(
                f"{int(wrong.sum())} boxes have a wrong {name}, the first {first:g}: "
                f"it must be {allowed}, in degrees"
            )
    a, b, c, d = np.broadcast_arrays(*arrays)
    return a, b, c, d


@functools.cache
def land_mask() -> LandMask:
    """Return the global land mask of 0.05 degrees: made in seconds on a machine's first call, then cached.

    Raises:
        DatasetError: the package that holds the mask is missing, or the cache cannot be written.
    """
    return LandMask.from_percent(_cached_percent(cache_folder()))


def land_percent() -> UInt8[np.ndarray, "rows columns"]:
    """Return the land in each cell of the global mask, 0-100, without the sums, which take four times as much memory.

    Raises:
        DatasetError: as `land_mask`.
    """
    return _cached_percent(cache_folder())


def land_fraction(
    lon: ArrayLike, lat: ArrayLike, *, width_deg: ArrayLike, height_deg: ArrayLike
) -> np.ndarray:
    """Return the fraction of land, 0-1, in boxes of the global land mask; see `LandMask.fraction`."""
    return land_mask().fraction(lon, lat, width_deg=width_deg, height_deg=height_deg)


def _cached_percent(folder: Path) -> UInt8[np.ndarray, "rows columns"]:
    source = package_file("global_land_mask", "globe_combined_mask_compressed.npz", install=_INSTALL)
    version = importlib.metadata.version("global-land-mask")
    path = folder / f"land-percent-{version}-{ROWS}x{COLUMNS}.npy"
    kept = _read_percent(path)
    if kept is not None:
        return kept
    percent = _coarsen(source)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                np.save(file, percent)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as err:
        raise DatasetError(
            f"cannot keep the land mask ({percent.nbytes / 1e6:.0f} MB) in {folder} ({err.strerror}): "
            "set SECO_CACHE to a folder that can be written"
        ) from err
    return percent


def _read_percent(path: Path) -> UInt8[np.ndarray, "rows columns"] | None:
    """Read the cached mask; None where it is not there or was damaged, and so has to be made again."""
    try:
        percent = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return percent if percent.shape == (ROWS, COLUMNS) and percent.dtype == np.uint8 else None


def _coarsen(source: Path) -> UInt8[np.ndarray, "rows columns"]:
    """Count the land of 30 arc second cells (True = sea) in cells of 0.05 degrees, strip by strip."""
    percent = np.empty((ROWS, COLUMNS), np.uint8)
    shape = (ROWS * _FACTOR, COLUMNS * _FACTOR)
    try:
        with zipfile.ZipFile(source) as archive, archive.open("mask.npy") as stream:
            np.lib.format.read_magic(stream)
            found, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            if found != shape or fortran or dtype != np.bool_:
                raise DatasetError(
                    f"{source.name} holds {found} {dtype}, expected {shape} bool: "
                    f"install it again with `{again(_INSTALL)}`"
                )
            for row in range(ROWS):
                strip = np.frombuffer(stream.read(_FACTOR * shape[1]), np.bool_)
                sea = strip.reshape(_FACTOR, COLUMNS, _FACTOR).sum(axis=(0, 2), dtype=np.int64)
                percent[row] = np.round(100 - sea * (100 / _FACTOR**2))
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, ValueError) as err:
        raise DatasetError(f"{source} is damaged ({err}): install it again with `{again(_INSTALL)}`") from err
    return percent
