"""Footprints: from a patch's grid to a polygon in longitude/latitude, as GeoParquet keeps it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from seco.errors import DatasetError

METRES_PER_DEGREE = 111_195.0
"""Length of a degree of latitude on a sphere of 6,371 km."""
TURNED = 1.1
"""How much wider the box around a patch is, which is turned against north by up to 6 degrees."""


@lru_cache(maxsize=256)
def transformer_to_lonlat(crs: str) -> Transformer | None:
    """Return a transformer from `crs` to longitude/latitude, or None where it is that already.

    Raises:
        DatasetError: the CRS is not known.
    """
    try:
        parsed = CRS.from_user_input(crs)
    except ProjError as err:
        raise DatasetError(f"CRS {crs!r} is not known: {err}") from err
    if parsed.is_geographic:
        return None
    return Transformer.from_crs(parsed, "OGC:CRS84", always_xy=True)


def to_lonlat(crs: str, x: float, y: float) -> tuple[float, float]:
    """Return longitude and latitude of a point in `crs`."""
    transformer = transformer_to_lonlat(crs)
    if transformer is None:
        return x, y
    lon, lat = transformer.transform(x, y)
    return float(lon), float(lat)


def is_projected(crs: str) -> bool:
    """Whether a CRS has metres or feet on a plane, as opposed to degrees."""
    return transformer_to_lonlat(crs) is not None


def corners(transform: Sequence[float], patch_px: int) -> list[tuple[float, float]]:
    """Return the four outer corners of a patch in its own CRS, ring order."""
    a, b, c, d, e, f = transform
    pixels = ((0, 0), (patch_px, 0), (patch_px, patch_px), (0, patch_px))
    return [(a * col + b * row + c, d * col + e * row + f) for col, row in pixels]


def footprint_wkb(crs: str | None, transform: Sequence[float] | None, patch_px: int) -> bytes | None:
    """Return the patch's footprint as WKB polygon in longitude/latitude, or None without a grid.

    The first corner lies in -180..180. A footprint across the antimeridian stays one ring, whose longitudes run on beyond.
    """
    if crs is None or transform is None:
        return None
    ring = [to_lonlat(crs, x, y) for x, y in corners(transform, patch_px)]
    first = wrap(ring[0][0])
    whole = [(first + wrap(lon - ring[0][0]), lat) for lon, lat in ring]
    return bytes(shapely.to_wkb(shapely.Polygon(whole)))


def box_wkb(lon: float, lat: float, edge_m: float) -> bytes:
    """Return a box that surely holds a patch of which only the centre and the size are known, as WKB polygon."""
    # A patch on a projected grid is turned against north, by a few degrees at most.
    half = 0.5 * TURNED * edge_m / METRES_PER_DEGREE
    across = half / max(math.cos(math.radians(lat)), 0.01)
    return bytes(shapely.to_wkb(shapely.box(wrap(lon) - across, lat - half, wrap(lon) + across, lat + half)))


def wrap(lon: float) -> float:
    """Return a longitude, or a difference of two, within -180..180."""
    return lon if -180 <= lon <= 180 else (lon + 180) % 360 - 180


def geo_metadata() -> dict[str, Any]:
    """Return the GeoParquet 1.1 file metadata of the index."""
    column = {"encoding": "WKB", "geometry_types": ["Polygon"], "edges": "planar"}
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
