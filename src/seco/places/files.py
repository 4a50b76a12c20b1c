"""Places and areas from files: points as CSV, GeoJSON or GeoParquet, polygons as GeoJSON."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

from seco.errors import DatasetError
from seco.places.sphere import LonLat

MAX_BYTES = 2 * 2**30
MAX_POLYGON_BYTES = 256 * 2**20
MAX_NAME = 200
"""Characters that are kept of a place's name."""
_LON_LAT = (("lon", "lat"), ("longitude", "latitude"), ("lng", "lat"), ("long", "lat"), ("x", "y"))
_NAMES = ("id", "name")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Points:
    """Places of a file, in its order.

    Attributes:
        lonlat: longitude and latitude, degrees.
        names: what the file calls each (its column or property `id`, else `name`), without control characters;
            None where it says nothing.
    """

    lonlat: LonLat
    names: tuple[str | None, ...]


def read_points(path: Path) -> Points:
    """Read places from CSV (columns lon and lat), GeoJSON (points) or GeoParquet (points, or columns lon and lat).

    Raises:
        DatasetError: the file is missing, damaged, of another kind, too large or empty, or a position is no longitude
            and latitude.
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
        lonlat, names = reader(path)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, csv.Error, pa.ArrowException,
            shapely.errors.ShapelyError) as err:  # fmt: skip
        raise DatasetError(
            f"places {path}: {_words(err)}; give longitude and latitude in degrees, as CSV with columns lon and lat, "
            "GeoJSON points or GeoParquet"
        ) from err
    except OSError as err:
        raise DatasetError(f"cannot read places {path}: {_words(err)}; give a file of places") from err
    if len(lonlat) == 0:
        raise DatasetError(f"places {path}: there are none; give at least one")
    _check(lonlat, path)
    return Points(lonlat=lonlat, names=tuple(_clean(n) for n in names))


def read_polygon(file: Path) -> shapely.Geometry:
    """Read the area of a GeoJSON file: a geometry, a feature or a collection of features, in longitude and latitude.

    Raises:
        DatasetError: it cannot be read, or has no area.
    """
    try:
        size = file.stat().st_size
        if size > MAX_POLYGON_BYTES:
            raise DatasetError(f"polygon {file}: {size} bytes; the limit is {MAX_POLYGON_BYTES}: simplify it")
        value = json.loads(file.read_text(encoding="utf-8"))
        features = value["features"] if value.get("type") == "FeatureCollection" else [value]
        shapes = [shapely.from_geojson(json.dumps(f.get("geometry", f))) for f in features]
        area = shapely.make_valid(shapely.union_all(shapes))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        shapely.errors.ShapelyError,
    ) as err:
        raise DatasetError(f"cannot read the polygon in {file}: {_words(err)}; give GeoJSON") from err
    west, south, east, north = area.bounds if not area.is_empty else (0.0, 0.0, 0.0, 0.0)
    if area.area <= 0 or not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise DatasetError(
            f"{file} holds no area within longitudes -180 to 180 and latitudes -90 to 90 "
            f"(bounds {west:g}, {south:g}, {east:g}, {north:g}); give polygons in longitude and latitude"
        )
    return area


def _words(err: BaseException) -> str:
    return " ".join(str(err).split())[:200] or type(err).__name__


def _clean(name: Any) -> str | None:
    """Return a name without control characters, line breaks and marks that turn the direction of writing."""
    if name is None:
        return None
    text = "".join(c if c.isprintable() else " " for c in str(name)[:MAX_NAME])
    return " ".join(text.split()) or None


def _check(lonlat: LonLat, path: Path) -> None:
    lon, lat = lonlat.T
    wrong = np.flatnonzero(~((np.abs(lon) <= 180) & (np.abs(lat) <= 90)))
    if len(wrong) == 0:
        return
    at = int(wrong[0])
    # A latitude that would be a good longitude beside a longitude that would be a good latitude.
    swapped = bool(
        (np.abs(lat[wrong]) > 90).any() and (np.abs(lat) <= 180).all() and (np.abs(lon) <= 90).all()
    )
    hint = "; longitude and latitude look swapped" if swapped else ""
    raise DatasetError(
        f"places {path}: place {at + 1} is {lon[at]:g}, {lat[at]:g}; longitude comes first, -180 to 180, then latitude, "
        f"-90 to 90{hint} ({len(wrong)} of {len(lonlat)} places are outside)"
    )


def _from_csv(path: Path) -> tuple[LonLat, Sequence[Any]]:
    pairs, names = [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        head = [name.strip().lower() for name in next(rows, [])]
        lon, lat = (head.index(c) for c in _columns(head))
        name = next((head.index(n) for n in _NAMES if n in head), None)
        for row in rows:
            if not row:
                continue
            try:
                pairs.append((float(row[lon]), float(row[lat])))
                names.append(None if name is None else row[name])
            except (ValueError, IndexError) as err:
                raise ValueError(f"line {rows.line_num} is {','.join(row)[:80]!r}") from err
    return np.array(pairs, np.float64).reshape(-1, 2), names


def _from_geojson(path: Path) -> tuple[LonLat, Sequence[Any]]:
    found = json.loads(path.read_bytes())
    features = found["features"]
    shapes = [feature["geometry"] for feature in features]
    _only_points({str(g["type"]) for g in shapes})
    lonlat = np.array([g["coordinates"][:2] for g in shapes], np.float64).reshape(-1, 2)
    return lonlat, [_name_of(feature) for feature in features]


def _name_of(feature: dict[str, Any]) -> Any:
    found = {**(feature.get("properties") or {}), **{k: feature[k] for k in ("id",) if k in feature}}
    return next((found[n] for n in _NAMES if found.get(n) is not None), None)


def _from_parquet(path: Path) -> tuple[LonLat, Sequence[Any]]:
    file = pq.ParquetFile(path)
    columns = file.schema_arrow.names
    name = next((n for n in _NAMES if n in columns), None)
    names = file.read([name])[name].to_pylist() if name else [None] * file.metadata.num_rows
    if any(lon in columns and lat in columns for lon, lat in _LON_LAT):
        table = file.read(list(_columns(columns)))
        lon, lat = (table[c].to_numpy().astype(np.float64) for c in _columns(columns))
        return np.stack([lon, lat], axis=1), names
    return _from_geometry(file), names


def _from_geometry(file: pq.ParquetFile) -> LonLat:
    """Read points from the geometry of a GeoParquet file."""
    geo = json.loads((file.metadata.metadata or {}).get(b"geo", b"{}"))
    column = geo.get("primary_column", "geometry")
    if column not in file.schema_arrow.names:
        raise ValueError(
            f"no columns lon and lat, and no geometry, among {', '.join(file.schema_arrow.names[:8])}"
        )
    about = geo.get("columns", {}).get(column, {})
    crs = about.get("crs")
    if crs is not None and not pyproj.CRS.from_user_input(crs).is_geographic:
        raise ValueError(f"its coordinates are in {pyproj.CRS.from_user_input(crs).name}, not degrees")
    if about.get("encoding", "WKB") != "WKB":
        raise ValueError(f"its geometry is encoded as {about['encoding']!r}, not WKB")
    points = shapely.from_wkb(file.read([column])[column].to_pylist())
    _only_points({g.geom_type if g is not None else "nothing" for g in points})
    return shapely.get_coordinates(points)


def _only_points(kinds: set[str]) -> None:
    others = sorted(kinds - {"Point"})
    if others:
        hint = " (an area goes into --within)" if any("Polygon" in k for k in others) else ""
        raise ValueError(f"holds {', '.join(others)}, not points only{hint}")


def _columns(names: Sequence[str]) -> tuple[str, str]:
    for lon, lat in _LON_LAT:
        if lon in names and lat in names:
            return lon, lat
    raise ValueError(f"no columns lon and lat among {', '.join(names[:8]) or 'none'}")
