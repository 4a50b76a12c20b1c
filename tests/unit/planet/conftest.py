"""A renderer that tells which pixel it was asked for, and the real items to compare with."""

import json

import numpy as np
import pytest


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
