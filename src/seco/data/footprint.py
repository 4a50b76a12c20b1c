"""Footprints: from a patch's grid to a polygon in longitude/latitude, as GeoParquet keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from seco.errors import DatasetError


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
    """Return the patch's footprint as WKB polygon in longitude/latitude, or None without a grid."""
    if crs is None or transform is None:
        return None
    ring = [to_lonlat(crs, x, y) for x, y in corners(transform, patch_px)]
    return bytes(shapely.to_wkb(shapely.Polygon(ring)))


def geo_metadata() -> dict[str, Any]:
    """Return the GeoParquet 1.1 file metadata of the index."""
    column = {"encoding": "WKB", "geometry_types": ["Polygon"], "edges": "planar"}
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
