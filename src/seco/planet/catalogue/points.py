"""Files of places: what a planet's scenes must hold."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from seco.errors import DatasetError
from seco.places import files
from seco.places.sphere import LonLat
from seco.planet.utm import NORTHERNMOST, SOUTHERNMOST
from seco.runs import write_atomic


def read_points(path: Path) -> LonLat:
    """Read places from CSV (columns lon and lat), GeoJSON (points) or GeoParquet (points, or columns lon and lat).

    Raises:
        DatasetError: the file is missing, damaged, of another kind, empty, or holds positions outside UTM's latitudes.
    """
    points = files.read_points(path).lonlat
    lon, lat = points.T
    wrong = ~((lat >= SOUTHERNMOST) & (lat <= NORTHERNMOST))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise DatasetError(
            f"places {path}: place {at + 1} is {lon[at]:g}, {lat[at]:g}; longitude comes first, -180 to 180, "
            f"then latitude, {SOUTHERNMOST:g} to {NORTHERNMOST:g}, where Sentinel-2 has tiles"
        )
    return points


def write_points(points: LonLat, path: Path) -> None:
    """Write places as CSV, atomically."""
    text = io.StringIO()
    text.write("lon,lat\n")
    text.writelines(f"{lon!r},{lat!r}\n" for lon, lat in points.tolist())
    write_atomic(path, text.getvalue())
