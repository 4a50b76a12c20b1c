"""Spots of the Earth that tests look at, a renderer that tells which pixel it was asked for, and the real items."""

import contextlib
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
    pixel = {"SCL": 20, "B01": 60, "B09": 60}.get(
        band, 20 if band in ["B05", "B06", "B07", "B8A", "B11", "B12"] else 10
    )
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
    return {
        p.stem: json.loads(p.read_text(encoding="utf-8"))["features"] for p in sorted(folder.glob("*.json"))
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A planet of small tiles around two places, one at the antimeridian, and the renderer it was made with."""
    from seco.planet.catalogue.making import Scenes, make_scenes

    root = tmp_path_factory.mktemp("served")
    (root / "two.csv").write_text("lon,lat\n5.0,49.1\n-179.999,-16.8\n")
    days = {"first": dt.date(2023, 6, 1), "last": dt.date(2023, 7, 10)}
    make_scenes(Scenes(points=root / "two.csv", **days, tile_px=1098, jobs=1), root / "planet", read=coded)
    return root / "planet", coded


# GDAL holds Python's lock while it opens a file, so that a server within the same process could not answer it.
SERVE = """
import json, sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from seco.planet.serving.serve import PlanetServer
spec = spec_from_file_location("planet_conftest", sys.argv[2])
module = module_from_spec(spec)
spec.loader.exec_module(module)
with PlanetServer(Path(sys.argv[1]), port=0, stac_port=0, read=module.coded) as server:
    print(json.dumps([server.pixels_url, server.stac_url]), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def serving():
    """Serve a planet with the renderer that tells pixels apart, in another process; give both addresses."""

    @contextlib.contextmanager
    def serve(folder):
        command = [sys.executable, "-c", SERVE, str(folder), str(Path(__file__))]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            try:
                yield json.loads(program.stdout.readline())
            finally:
                program.communicate(timeout=30)

    return serve
