"""Spots of the Earth that tests look at, a renderer that tells which pixel it was asked for, and the real items."""

import json
from collections.abc import Callable

import numpy as np
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


def coded(planet, *, epsg, band, acquisition_day, left_m, top_m, width_px, height_px, decimation=1):
    """Pixels whose number says which native pixel they are: (column + 7 * row) of the zone, modulo 5000, plus 1000."""
    pixel = {"SCL": 20, "B01": 60, "B09": 60}.get(band, 20 if band in "B05 B06 B07 B8A B11 B12".split() else 10)
    cols = left_m // pixel + np.arange(width_px) * decimation
    rows = -top_m // pixel + np.arange(height_px) * decimation
    code = cols[None, :] + 7 * rows[:, None]
    return (1 + code % 11).astype(np.uint8) if band == "SCL" else (1000 + code % 5000).astype(np.uint16)


@pytest.fixture(name="coded")
def coded_fixture():
    return coded


@pytest.fixture(scope="session")
def real_items(seco_data):
    """The 51 real items by the name of their file."""
    folder = seco_data("stac_items")
    return {p.stem: json.loads(p.read_text(encoding="utf-8"))["features"] for p in sorted(folder.glob("*.json"))}
