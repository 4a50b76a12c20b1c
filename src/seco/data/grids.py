"""Pixel grids: what a raster's plane is, how two grids lie on each other, and how one is cut into patches. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import math

import numpy as np

from seco.errors import ConfigError

TOLERANCE_PX = 0.01
"""Grids whose corners agree to this share of a pixel are one grid: less than any product's geolocation error."""
BLOCK_PX = 1024
"""Patches are cut block by block of this size, so that a compressed tile of the source is decoded once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the pixels of a raster lie.

    Attributes:
        crs: authority code or WKT; None where the file says nothing.
        transform: affine (a, b, c, d, e, f): x = a*col + b*row + c, y = d*col + e*row + f; None with `crs` None.
    """

    crs: str | None
    transform: tuple[float, float, float, float, float, float] | None
    height: int
    width: int

    @property
    def pixel(self) -> tuple[float, float]:
        """Pixel height and width in units of the CRS (1, 1 without one)."""
        if self.transform is None:
            return 1.0, 1.0
        a, b, _, d, e, _ = self.transform
        return math.hypot(b, e), math.hypot(a, d)

    @property
    def gsd_m(self) -> float | None:
        """Pixel height in metres, to a decimetre; None without a CRS."""
        if self.crs is None:
            return None
        from pyproj import CRS

        crs = CRS.from_user_input(self.crs)
        metres = 111_195.0 if crs.is_geographic else crs.axis_info[0].unit_conversion_factor
        return round(self.pixel[0] * metres, 1)

    def window(self, row: int, col: int) -> tuple[float, ...] | None:
        """Return the affine of the same grid with its origin at (row, col)."""
        if self.transform is None:
            return None
        a, b, c, d, e, f = self.transform
        return a, b, a * col + b * row + c, d, e, d * col + e * row + f

    def describe(self) -> str:
        """Say where the grid lies, for messages."""
        size = f"{self.width} x {self.height} px"
        if self.transform is None:
            return f"{size} without CRS"
        name = self.crs if self.crs and len(self.crs) < 40 else "a CRS given as WKT"
        return f"{size} of {self.pixel[1]:g} in {name} from ({self.transform[2]:g}, {self.transform[5]:g})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane:
    """One band of a file: what its header says, no pixels.

    Attributes:
        path: what the reader opens.
        name: the band's name in the file, if it has one.
        index: 1-based band of a raster file.
        variable, step: variable and time step of a NetCDF file.
        scale, offset, nodata: as declared; None where they are not.
        when: date that the file's metadata give.
        flipped: rows are stored from south to north and turned while reading.
    """

    path: str
    name: str | None
    grid: Grid
    dtype: str
    index: int = 1
    variable: str | None = None
    step: int | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    when: datetime.datetime | None = None
    flipped: bool = False


def same_grid(a: Grid, b: Grid) -> bool:
    """Whether two grids have the same pixels."""
    return (a.height, a.width) == (b.height, b.width) and factors(a, b) == (1.0, 1.0)


def factors(fine: Grid, other: Grid) -> tuple[float, float] | None:
    """Return how many pixels of `fine` one pixel of `other` spans (down, across), or None if they do not line up.

    Grids line up if they have one CRS, parallel axes and one origin.
    """
    if fine.transform is None or other.transform is None:
        if fine.transform != other.transform:
            return None
        return fine.height / other.height, fine.width / other.width
    if fine.crs != other.crs:
        return None
    a, b, c, d, e, f = fine.transform
    down = other.pixel[0] / fine.pixel[0]
    across = other.pixel[1] / fine.pixel[1]
    wanted = (a * across, b * down, d * across, e * down)
    got = tuple(other.transform[i] for i in (0, 1, 3, 4))
    step = max(fine.pixel)
    # A slope error shifts the far corner by as much as the raster is long.
    slack = TOLERANCE_PX * step / max(other.height, other.width)
    if any(abs(w - g) > slack for w, g in zip(wanted, got, strict=True)):
        return None
    if max(abs(c - other.transform[2]), abs(f - other.transform[5])) > TOLERANCE_PX * step:
        return None
    return _rounded(down, other.height), _rounded(across, other.width)


def _rounded(factor: float, length: int) -> float:
    nearest = round(factor)
    return float(nearest) if nearest and abs(factor - nearest) * length <= TOLERANCE_PX * nearest else factor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
    """A patch's place on the finest grid: tile numbers and the pixel of its upper left corner."""

    number_row: int
    number_col: int
    row: int
    col: int


def tiles(grid: Grid, *, patch_px: int, stride_px: int) -> list[Tile]:
    """Cut a grid into patches, block by block; pixels at the right and bottom that fill no patch are left.

    Raises:
        ConfigError: patch or stride is not positive.
    """
    if patch_px < 1 or stride_px < 1:
        raise ConfigError(f"patch {patch_px} px, stride {stride_px} px; each must be at least 1")
    rows = range(0, grid.height - patch_px + 1, stride_px)
    cols = range(0, grid.width - patch_px + 1, stride_px)
    out = [
        Tile(number_row=i, number_col=j, row=row, col=col)
        for i, row in enumerate(rows)
        for j, col in enumerate(cols)
    ]
    out.sort(key=lambda t: (t.row // BLOCK_PX, t.col // BLOCK_PX, t.row, t.col))
    return out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """Rows (or columns) to read of a coarser plane, and which of them each fine pixel takes."""

    start: int
    size: int
    take: np.ndarray


def span(start_px: int, patch_px: int, factor: float, length: int) -> Span:
    """Return which pixels of a plane, each `factor` fine pixels long, cover fine pixels from `start_px` on (nearest)."""
    wanted = np.floor((start_px + np.arange(patch_px) + 0.5) / factor).astype(np.int64)
    wanted = np.clip(wanted, 0, length - 1)
    first = int(wanted[0])
    return Span(start=first, size=int(wanted[-1]) - first + 1, take=wanted - first)


def native_size(factor: tuple[float, float], *, patch_px: int, stride_px: int) -> int | None:
    """Return a patch's edge in pixels of a coarser plane, or None where its pixels do not divide the patch."""
    down, across = factor
    if down != across or down != int(down) or down < 1:
        return None
    whole = int(down)
    return patch_px // whole if patch_px % whole == 0 and stride_px % whole == 0 else None
