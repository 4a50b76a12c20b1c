"""What is known of places: nearest city, country, continent, climate, land cover; as codes, and in words."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from seco.errors import DatasetError
from seco.places.cities import City, continents, largest_cities, nearest_city, num_cities
from seco.places.land import land_fraction
from seco.places.rasters import LabelRaster, climate, dominant_class, land_cover
from seco.places.sphere import LonLat, box_deg

COAST_DEG = 0.1
"""Box in which the commonest class is taken where a raster has the sea at the place itself."""

Kind = Literal["country", "continent", "climate", "landcover"]
_RASTERS: tuple[tuple[str, Kind], ...] = (("climate", "climate"), ("land_cover", "landcover"))


@functools.cache
def _cities() -> tuple[City, ...]:
    return largest_cities(num_cities())


@functools.cache
def _countries() -> tuple[tuple[str, ...], np.ndarray]:
    """Return countries by code, and that of each city as an index into them."""
    names = tuple(sorted({c.country for c in _cities()}))
    index = {name: i for i, name in enumerate(names)}
    return names, np.array([index[c.country] for c in _cities()], np.int64)


@functools.cache
def _continents() -> tuple[tuple[str, ...], np.ndarray]:
    """Return continents by name, and that of each city as an index into them."""
    of = continents()
    names = tuple(sorted(set(of.values())))
    return names, np.array([names.index(of.get(c.country, names[0])) for c in _cities()], np.int64)


def names_of(kind: Kind) -> tuple[str, ...]:
    """Return the names of a kind's classes, by code."""
    if kind == "country":
        return _countries()[0]
    if kind == "continent":
        return _continents()[0]
    return climate().classes if kind == "climate" else land_cover().classes


def classes_of(kind: Kind, lonlat: LonLat) -> Int64[np.ndarray, " n"]:
    """Return the class of each place; -1 where a raster knows none near it.

    Climate and land cover are those of the raster's cell in which the place lies. Where that is the sea, the commonest
    class within `COAST_DEG` stands for it; for land cover, if there is none, water.
    """
    if kind == "country":
        return _countries()[1][nearest_city(lonlat).rank]
    if kind == "continent":
        return _continents()[1][nearest_city(lonlat).rank]
    if kind == "climate":
        return _raster_class(climate(), lonlat, otherwise=-1)
    return _raster_class(land_cover(), lonlat, otherwise=0)


def _raster_class(raster: LabelRaster, lonlat: LonLat, *, otherwise: int) -> np.ndarray:
    lon, lat = lonlat.T
    rows, columns = raster.codes.shape
    row = np.clip(((90.0 - lat) * (rows / 180.0)).astype(np.int64), 0, rows - 1)
    column = ((lon + 180.0) * (columns / 360.0)).astype(np.int64) % columns
    code = raster.codes[row, column].astype(np.int64)
    unknown = np.isin(code, [*raster.water, *_nameless(raster)])
    if unknown.any():
        found = dominant_class(
            raster, lon[unknown], lat[unknown], ignore=(*raster.water, *_nameless(raster)),
            width_deg=COAST_DEG / np.cos(np.radians(lat[unknown])), height_deg=COAST_DEG,
        )  # fmt: skip
        code[unknown] = np.where(found.code >= 0, found.code, otherwise)
    return code


def _nameless(raster: LabelRaster) -> tuple[int, ...]:
    return tuple(i for i, name in enumerate(raster.classes) if not name)


def land_around(lonlat: LonLat, *, edge_m: float) -> np.ndarray:
    """Return the land fraction, 0-1, of squares on the ground centred on places."""
    lon, lat = lonlat.T
    width, height = box_deg(lat, edge_m)
    return land_fraction(lon, lat, width_deg=width, height_deg=height)


def describe(lonlat: LonLat, *, edge_m: float) -> tuple[dict[str, pa.Array], tuple[str, ...]]:
    """Return the columns of a table that say where places are, by name; and notes on what could not be had.

    Climate and land cover come in packages that need not be installed: without them their columns are null.
    """
    near = nearest_city(lonlat)
    cities = pa.array([c.name for c in _cities()], pa.string())
    columns = {
        "country": _words(names_of("country"), _countries()[1][near.rank]),
        "continent": _words(names_of("continent"), _continents()[1][near.rank]),
        "city": cities.take(pa.array(near.rank)),
        "city_km": pa.array(np.round(near.km, 3)),
    }
    notes = []
    for column, kind in _RASTERS:
        try:
            columns[column] = _words(names_of(kind), classes_of(kind, lonlat))
        except DatasetError as err:
            columns[column] = pa.nulls(len(lonlat), pa.string())
            notes.append(f"no {column.replace('_', ' ')}: {err}")
    columns["land_fraction"] = pa.array(np.round(land_around(lonlat, edge_m=edge_m), 4))
    return columns, tuple(notes)


def _words(names: tuple[str, ...], code: np.ndarray) -> pa.Array:
    """Return names of codes; null where the code is below 0."""
    return pa.array(names, pa.string()).take(pa.array(code, mask=code < 0))
