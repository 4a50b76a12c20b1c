"""Outlines in UTM as GeoJSON in longitude and latitude, cut at the antimeridian as RFC 7946 has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from shapely.geometry.polygon import orient

from seco.planet.utm import to_lonlat

DIGITS = 6
"""Decimals of a degree that are kept: a tenth of a metre."""
_STRAIGHT_M = 30_000
"""Longest edge: straight in UTM and straight in degrees differ by up to 100 m over so much, at 80 degrees north."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """An outline in longitude and latitude.

    Attributes:
        geometry: GeoJSON Polygon; a MultiPolygon where the antimeridian cuts it.
        bbox: west, south, east, north; west is larger than east across the antimeridian.
        lon: longitude of its centroid, degrees.
        lat: latitude of its centroid, degrees.
    """

    geometry: dict[str, Any]
    bbox: list[float]
    lon: float
    lat: float


def outline(shape: shapely.Geometry, *, epsg: int) -> Outline:
    """Return an outline in a UTM zone as GeoJSON.

    Args:
        shape: polygon or polygons, metres, not empty; its edges are straight in UTM, and so get points in between.
        epsg: the zone.
    """
    assert not shape.is_empty
    middle_lon, middle_lat = to_lonlat(epsg, shape.centroid.x, shape.centroid.y)
    middle = float(middle_lon)

    def turn(points: np.ndarray) -> np.ndarray:
        lon, lat = to_lonlat(epsg, points[:, 0], points[:, 1])
        # Longitudes run on beyond 180 degrees, so that a ring across the antimeridian stays whole until it is cut.
        return np.stack([middle + (lon - middle + 180.0) % 360.0 - 180.0, lat], axis=1)

    whole = shapely.transform(shapely.segmentize(shape, _STRAIGHT_M), turn)
    parts = _cut(whole)
    rounded = [[_ring(r) for r in (p.exterior, *p.interiors)] for p in parts]
    # Numbers as JSON gives them back, so that items made, written and read are equal.
    single = {"type": "Polygon", "coordinates": rounded[0]}
    geometry = single if len(rounded) == 1 else {"type": "MultiPolygon", "coordinates": rounded}
    return Outline(
        geometry=geometry,
        bbox=_bbox(parts),
        lon=round((middle + 180.0) % 360.0 - 180.0, 5),
        lat=round(float(middle_lat), 5),
    )


def _cut(whole: shapely.Geometry) -> list[shapely.Polygon]:
    """Cut at the antimeridian, and bring every piece to longitudes within -180 to 180."""
    pieces = []
    for turns in (-1, 0, 1):
        inside = shapely.intersection(
            whole, shapely.box(360.0 * turns - 180.0, -90.0, 360.0 * turns + 180.0, 90.0)
        )
        moved = shapely.transform(inside, lambda p, t=turns: p - [360.0 * t, 0.0])
        pieces += [p for p in shapely.get_parts(moved) if p.geom_type == "Polygon" and p.area > 0]
    return [orient(p) for p in pieces]


def _ring(ring: shapely.LinearRing) -> list[list[float]]:
    return [[round(x, DIGITS), round(y, DIGITS)] for x, y in shapely.get_coordinates(ring).tolist()]


def _bbox(parts: list[shapely.Polygon]) -> list[float]:
    bounds = np.array([p.bounds for p in parts])
    west, south = bounds[:, :2].min(axis=0).tolist()
    east, north = bounds[:, 2:].max(axis=0).tolist()
    if (
        east - west > 180.0
    ):  # pieces at both ends of the map: the box goes from the eastern piece over the antimeridian
        eastern = bounds[:, 0] > 0
        west, east = bounds[eastern, 0].min(), bounds[~eastern, 2].max()
    return [round(float(v), DIGITS) for v in (west, south, east, north)]
