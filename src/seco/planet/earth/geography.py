"""The real Earth behind the simulated one: land cover, climate and cities at any spot."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math

import numpy as np

from seco.places.cities import largest_cities
from seco.places.land import land_mask
from seco.places.rasters import climate, land_cover
from seco.places.sphere import KM_PER_DEG

NUM_CITIES = 34_000
_FALLBACK = ((18, "Aw"), (35, "Cfa"), (55, "Cfb"), (66, "Dfc"), (91, "ET"))
"""Climate of the sea, by latitude up to which, where a coast reaches beyond its raster's land."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spots:
    """What is known of some points on the Earth.

    Attributes:
        lon, lat: degrees.
        land_cover: MODIS IGBP class.
        climate: Koeppen-Geiger class code of `seco.places.rasters.climate`, never the sea's.
        land: share of land around, 0-1.
        town: how near to a city's heart, 0-1.
    """

    lon: np.ndarray
    lat: np.ndarray
    land_cover: np.ndarray
    climate: np.ndarray
    land: np.ndarray
    town: np.ndarray


def look(lon: np.ndarray, lat: np.ndarray) -> Spots:
    """Look up points, degrees, one-dimensional arrays of one length."""
    lon = np.asarray((lon + 180.0) % 360.0 - 180.0)
    cover = _cell(land_cover().codes, lon, lat)
    zone = _cell(climate().codes, lon, lat)
    known = _known_climates()
    sea = ~known[zone]
    if sea.any():
        classes = climate().classes
        names = [next(name for limit, name in _FALLBACK if abs(b) < limit) for b in lat[sea]]
        zone = zone.copy()
        zone[sea] = [classes.index(n) for n in names]
    land = _cell(land_mask().percent, lon, lat).astype(np.float32) / 100
    return Spots(lon=lon, lat=lat, land_cover=cover, climate=zone, land=land, town=_town(lon, lat))


def _cell(raster: np.ndarray, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    rows, columns = raster.shape
    row = np.clip(((90.0 - lat) * (rows / 180.0)).astype(np.int64), 0, rows - 1)
    col = ((lon + 180.0) * (columns / 360.0)).astype(np.int64) % columns
    return raster[row, col]


@functools.cache
def _known_climates() -> np.ndarray:
    raster = climate()
    known = np.zeros(256, bool)
    known[: len(raster.classes)] = [bool(c) and c != "Ocean" for c in raster.classes]
    return known


@functools.cache
def _cities() -> dict[tuple[int, int], np.ndarray]:
    """Return cities by the degree cell that they lie in: longitude, latitude, radius of the built-up core in km."""
    cells: dict[tuple[int, int], list[tuple[float, float, float]]] = collections.defaultdict(list)
    for city in largest_cities(NUM_CITIES):
        # Built-up area grows about as population ** 0.8 (Angel et al. 2011): 100,000 people in some 3 km of radius.
        radius_km = 3.0 * (max(city.population, 1000) / 100_000) ** 0.4
        cells[math.floor(city.lat), math.floor(city.lon)].append((city.lon, city.lat, radius_km))
    return {cell: np.array(found) for cell, found in cells.items()}


def _town(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    cells = _cities()
    south, north = math.floor(lat.min()), math.floor(lat.max())
    degrees = sorted(set(np.floor(lon).astype(int).tolist()))
    across = sorted({(d + k + 180) % 360 - 180 for d in degrees for k in (-1, 0, 1)})
    near = [cells[i, j] for i in range(south - 1, north + 2) for j in across if (i, j) in cells]
    if not near:
        return np.zeros(len(lon), np.float32)
    cities = np.concatenate(near)
    east = ((lon - cities[:, :1] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(lat))
    distance = np.hypot(east, lat - cities[:, 1:2]) * (KM_PER_DEG / cities[:, 2:])
    return np.exp(-(distance.min(axis=0) ** 2)).astype(np.float32)
