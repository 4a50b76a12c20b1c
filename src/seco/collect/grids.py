"""The grids of an item's rasters: from the asset, else the item, else the tile's name. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pyproj import Transformer

from seco.collect.model import SNAP_M, Affine, Warp
from seco.errors import ConfigError, DatasetError
from seco.planet.catalogue.tiles import FINEST_M, tile_from_id

_MAX_PX = 200_000


class ItemFault(Exception):  # noqa: N818 - it is counted by reason, and no error of the user
    """What is wrong with an item, before its name is known."""

    def __init__(self, reason: str, detail: Any = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, str(detail)[:200]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Where a raster's pixels lie: `shape`, `transform` and `warp` of an `Asset`."""

    shape: tuple[int, int]
    transform: Affine
    warp: Warp | None = None


def number(value: Any, reason: str) -> float:
    """Return a finite number.

    Raises:
        ItemFault: it is none, for this reason.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ItemFault(reason, value)
    return float(value)


@lru_cache(maxsize=64)
def onto(epsg: int, utm: int) -> Transformer:
    """Return the way from one CRS to another."""
    return Transformer.from_crs(epsg, utm, always_xy=True)


def grid_of(
    gsd_m: float, fields: Mapping[str, Any], properties: Mapping[str, Any], *, tile: str | None, epsg: int, own: int
) -> Grid:  # fmt: skip
    """Return the grid of an asset.

    Args:
        gsd_m: edge of its pixels, where nothing says otherwise.
        fields: of the asset.
        properties: of the item.
        tile: name of the item's tile.
        epsg: CRS of the scene, a UTM zone.
        own: CRS of the raster itself.

    Raises:
        ItemFault: there is none, or it is not one that can be cut.
    """
    found = _told(fields, properties)
    if own != epsg:
        if found is None:
            raise ItemFault("no grid", f"EPSG:{own}")
        return _warped(gsd_m, found, own=own, epsg=epsg)
    if found is None:
        return _grid_of_tile(gsd_m, tile, epsg)
    a, _, _, _, e, _ = found.transform
    if e != -a:
        raise ItemFault("raster is not north up with square pixels", found.transform)
    if a != gsd_m and (a < FINEST_M or a % FINEST_M or SNAP_M % a):
        # Windows begin on multiples of 60 m: others would fall between pixels.
        raise ItemFault("pixels are not of 10, 20, 30 or 60 m", f"{a:g}")
    return found


def _told(fields: Mapping[str, Any], properties: Mapping[str, Any]) -> Grid | None:
    """Return the grid as the asset, else the item tells it; None where neither does."""
    shape = fields.get("proj:shape") or properties.get("proj:shape")
    numbers = fields.get("proj:transform") or properties.get("proj:transform")
    if shape is None or numbers is None:
        return None
    if len(shape) != 2 or len(numbers) not in (6, 9):
        raise ItemFault("grid cannot be read", f"{shape}, {numbers}")
    height, width = (number(n, "grid cannot be read") for n in shape)
    a, b, c, d, e, f = (number(n, "grid cannot be read") for n in numbers[:6])
    if not (
        1 <= height <= _MAX_PX and 1 <= width <= _MAX_PX and height == int(height) and width == int(width)
    ):
        raise ItemFault("size of a raster is out of range", f"{height:g} x {width:g}")
    if b or d or a <= 0 or e >= 0:
        raise ItemFault("raster is not north up with square pixels", numbers)
    return Grid(shape=(int(height), int(width)), transform=(a, b, c, d, e, f))


def _warped(pixel_m: float, one: Grid, *, own: int, epsg: int) -> Grid:
    """Return the UTM grid onto which a raster of another CRS is resampled: from 60 m to 60 m within it."""
    (height, width), (a, _, c, _, e, f) = one.shape, one.transform
    west, south, east, north = onto(own, epsg).transform_bounds(
        c, f + e * height, c + a * width, f, densify_pts=21
    )
    if not all(math.isfinite(v) for v in (west, south, east, north)):
        raise ItemFault("no grid", f"no place in EPSG:{epsg}")
    left, top = math.ceil(west / SNAP_M) * SNAP_M, math.floor(north / SNAP_M) * SNAP_M
    columns, rows = (int(v // SNAP_M * SNAP_M / pixel_m) for v in (east - left, top - south))
    if not (1 <= rows <= _MAX_PX and 1 <= columns <= _MAX_PX):
        raise ItemFault("size of a raster is out of range", f"{rows} x {columns}")
    return Grid(
        shape=(rows, columns), transform=(pixel_m, 0.0, float(left), 0.0, -pixel_m, float(top)),
        warp=Warp(epsg=own, shape=one.shape, transform=one.transform, to_epsg=epsg),
    )  # fmt: skip


def _grid_of_tile(pixel_m: float, tile: str | None, epsg: int) -> Grid:
    try:
        known = tile_from_id(tile) if tile else None
    except (ConfigError, DatasetError):
        known = None
    if known is None or known.epsg != epsg:
        raise ItemFault("no grid", f"tile {tile}")
    size = int(known.edge_m / pixel_m)
    return Grid(
        shape=(size, size),
        transform=(pixel_m, 0.0, float(known.left_m), 0.0, -pixel_m, float(known.top_m)),
    )
