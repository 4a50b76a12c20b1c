"""Files of places: what a planet's scenes must hold."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from seco.errors import DatasetError
from seco.planet.utm import NORTHERNMOST, SOUTHERNMOST
from seco.runs import write_atomic

LonLat = Float[np.ndarray, "n 2"]

MAX_BYTES = 2 * 2**30
_NAMES = (("lon", "lat"), ("longitude", "latitude"), ("x", "y"))


def read_points(path: Path) -> LonLat:
    """Read places from CSV (columns lon and lat), GeoJSON (points) or GeoParquet (points, or columns lon and lat).

    Raises:
        DatasetError: the file is missing, damaged, of another kind, empty, or holds positions outside UTM's latitudes.
    """
    readers = {
        ".csv": _from_csv, ".json": _from_geojson, ".geojson": _from_geojson, ".parquet": _from_parquet,
        ".geoparquet": _from_parquet,
    }  # fmt: skip
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DatasetError(f"places {path}: the kind {path.suffix!r} is not known; give {', '.join(readers)}")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DatasetError(f"places {path}: {size} bytes; the limit is {MAX_BYTES}")
        points = reader(path)
    except OSError as err:
        raise DatasetError(f"cannot read places {path}: {err}; give the path of a file of places") from err
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, csv.Error) as err:
        raise DatasetError(
            f"places {path}: {' '.join(str(err).split())[:200] or type(err).__name__}; give longitude and latitude in "
            "degrees, as CSV with columns lon and lat, GeoJSON points or GeoParquet"
        ) from err
    if len(points) == 0:
        raise DatasetError(f"places {path}: there are none; give at least one")
    lon, lat = points.T
    wrong = ~((np.abs(lon) <= 180) & (lat >= SOUTHERNMOST) & (lat <= NORTHERNMOST))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise DatasetError(
            f"places {path}: place {at + 1} is {points[at, 0]:g}, {points[at, 1]:g}; longitude comes first, -180 to 180, "
            f"then latitude, {SOUTHERNMOST:g} to {NORTHERNMOST:g}, where Sentinel-2 has tiles"
        )
    return points


def write_points(points: LonLat, path: Path) -> None:
    """Write places as CSV, atomically."""
    text = io.StringIO()
    text.write("lon,lat\n")
    text.writelines(f"{lon!r},{lat!r}\n" for lon, lat in points.tolist())
    write_atomic(path, text.getvalue())


def _from_csv(path: Path) -> LonLat:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        head = [name.strip().lower() for name in next(rows, [])]
        lon, lat = _columns(head)
        pairs = [(float(row[head.index(lon)]), float(row[head.index(lat)])) for row in rows if row]
    return np.array(pairs, np.float64).reshape(-1, 2)


def _from_geojson(path: Path) -> LonLat:
    found = json.loads(path.read_bytes())
    pairs = [feature["geometry"] for feature in found["features"]]
    kinds = {g["type"] for g in pairs} - {"Point"}
    if kinds:
        raise ValueError(f"holds {', '.join(sorted(map(str, kinds)))}, not points only")
    return np.array([g["coordinates"][:2] for g in pairs], np.float64).reshape(-1, 2)


def _from_parquet(path: Path) -> LonLat:
    import pyarrow.parquet as pq
    import shapely

    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    if "lon" not in names and "longitude" not in names and "geometry" in names:
        points = shapely.from_wkb(file.read(["geometry"])["geometry"].to_pylist())
        kinds = {g.geom_type if g is not None else "nothing" for g in points} - {"Point"}
        if kinds:
            raise ValueError(f"holds {', '.join(sorted(kinds))}, not points only")
        return shapely.get_coordinates(points)
    lon, lat = _columns(names)
    table = file.read([lon, lat])
    return np.stack([table[c].to_numpy().astype(np.float64) for c in (lon, lat)], axis=1)


def _columns(names: list[str]) -> tuple[str, str]:
    for lon, lat in _NAMES:
        if lon in names and lat in names:
            return lon, lat
    raise ValueError(f"no columns lon and lat among {', '.join(names[:8]) or 'none'}")
