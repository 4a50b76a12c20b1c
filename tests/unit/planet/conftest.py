"""Spots of the Earth that tests look at."""

from collections.abc import Callable

import pytest

from seco.planet.utm import to_utm, utm_epsg

SPOTS = {
    "champagne": (4.1, 48.9),
    "brie": (2.9, 48.9),
    "amazon": (-60.2, -3.1),
    "sahara": (26.0, 24.0),
    "moscow": (37.0, 55.6),
    "taiga": (100.0, 60.5),
    "pampas": (-61.0, -35.0),
    "alentejo": (-8.0, 38.3),
    "cairo": (31.25, 30.05),
}


@pytest.fixture(scope="session")
def at() -> Callable[[str], tuple[int, int, int]]:
    """Give EPSG code, left and top (metres, multiples of 60) of a square at a spot."""

    def find(name: str) -> tuple[int, int, int]:
        lon, lat = SPOTS[name]
        epsg = utm_epsg(lon, lat)
        east, north = to_utm(epsg, lon, lat)
        return epsg, int(east // 60) * 60, int(north // 60) * 60

    return find
