"""Items from files on this disk: stac-geoparquet, or linked JSON. One after another, as JSON has them."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import shapely

from seco.collect.assets import OF_ITS_OWN, Alike
from seco.collect.catalogs import Catalog
from seco.collect.plan import CLOUDY, OTHER_DAYS
from seco.collect.settings import Collect
from seco.errors import CatalogError

Item = tuple[Any, str | None]
"""An item, and the address from which its relative hrefs start."""

MAX_JSON_BYTES = 512 * 2**20
_BATCH_ROWS = 2_000
_PART_ROWS = 10_000
_BOX = ("bbox.xmin", "bbox.ymin", "bbox.xmax", "bbox.ymax")
_TOP = {"type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection"}
_NEEDED = (
    "id", "collection", "geometry", "bbox", "assets", "datetime", "start_datetime", "platform", "tileId",
    "processing:version", "earthsearch:boa_offset_applied", "eopf:datatake_id",
)  # fmt: skip
_NEEDED_OF = ("proj:", "mgrs:", "grid:", "eo:cloud", "s2:")
_NEEDED_OF_ASSETS = (
    "href", "type", "title", "description", "roles", "eo:bands", "bands", "raster:bands", "data_type", "nodata", "scale",
    "offset", "unit",
)  # fmt: skip
_NEEDED_OF_ASSETS_TOO = ("proj:", "raster:", "classification:")


class Near:
    """Which boxes may lie near one of many others, by cells of a degree.

    Args:
        boxes: west, south, east and north of each, none across the date line.
    """

    def __init__(self, boxes: np.ndarray) -> None:
        cells = np.zeros((180, 360), np.int64)
        for west, south, east, north in boxes:
            rows, columns = (slice(*_cells(a, b, n)) for a, b, n in ((south, north, 90), (west, east, 180)))
            cells[rows, columns] = 1
        self._below = np.zeros((181, 361), np.int64)
        self._below[1:, 1:] = cells.cumsum(axis=0).cumsum(axis=1)

    def touches(self, west: np.ndarray, south: np.ndarray, east: np.ndarray, north: np.ndarray) -> np.ndarray:
        """Return which boxes may; those across the date line, or that are none, always may."""
        usual = (west <= east) & (east - west < 180) & (west >= -180) & (east <= 180)
        usual &= (south <= north) & (south >= -90) & (north <= 90)
        spans = [np.where(usual, v, 0) for v in (west, south, east, north)]
        left, right = _cells(spans[0], spans[2], 180)
        low, high = _cells(spans[1], spans[3], 90)
        sums = self._below
        inside = sums[high, right] - sums[low, right] - sums[high, left] + sums[low, left]
        return (inside > 0) | ~usual


def _cells(low: Any, high: Any, half: int) -> tuple[Any, Any]:
    """Return the first cell that a span touches, and the one after its last."""
    first = np.clip(np.floor(low) + half, 0, 2 * half - 1).astype(int)
    return first, np.clip(np.floor(high) + half, 0, 2 * half - 1).astype(int) + 1


def parquet_parts(catalog: Catalog, settings: Collect, near: Near) -> tuple[list[tuple[int, ...]], int]:
    """Return the row groups of a stac-geoparquet file in parts to read one by one, and the number of their rows.

    Row groups whose statistics say that they hold nothing near the places and of the days asked are left out.

    Raises:
        CatalogError: the file is missing or damaged.
    """
    with _parquet(catalog) as file:
        about = file.metadata
        wanted = [i for i in range(about.num_row_groups) if _may_hold(about.row_group(i), settings, near)]
        sizes = [about.row_group(i).num_rows for i in wanted]
    parts: list[list[int]] = []
    held = _PART_ROWS
    for number, size in zip(wanted, sizes, strict=True):
        if held + size > _PART_ROWS:
            parts.append([])
            held = 0
        parts[-1].append(number)
        held += size
    return [tuple(p) for p in parts], sum(sizes)


def parquet_items(
    catalog: Catalog, settings: Collect, dropped: Counter[str], *, near: Near, part: tuple[int, ...]
) -> Iterator[Item]:
    """Yield the items of some row groups that lie near places, are of the days asked and not too cloudy.

    Columns that nobody needs are not read. Items that lie near but are left out are counted in `dropped`.

    Raises:
        CatalogError: the file is missing or damaged, or holds no STAC items.
    """
    with _parquet(catalog) as file:
        path = Path(catalog.url).resolve()
        columns = _columns(file.schema_arrow, path)
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=part, columns=columns):
            for row in _rows(_wanted_rows(batch, settings, dropped, near)):
                yield _item_of_row(row), str(path)


@contextmanager
def _parquet(catalog: Catalog) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(catalog.url).resolve()
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as err:
        raise CatalogError(
            f"cannot read catalogue {path}: {' '.join(str(err).split())[:200]}; give a stac-geoparquet file"
        ) from err


def _columns(schema: Any, path: Path) -> list[str]:
    """Return the columns to read, those of assets one by one."""
    import pyarrow as pa

    names = [n for n in schema.names if n in _NEEDED or n.startswith(_NEEDED_OF)]
    missing = {"id", "geometry", "assets", "datetime"} - set(names)
    if missing:
        raise CatalogError(
            f"catalogue {path}: no column {', '.join(sorted(missing))}; give a stac-geoparquet file"
        )
    assets = schema.field("assets").type
    if not pa.types.is_struct(assets):
        return names
    inner = [
        f"assets.{key.name}.{field.name}"
        for key in assets if pa.types.is_struct(key.type)
        for field in key.type
        if field.name in _NEEDED_OF_ASSETS or field.name.startswith(_NEEDED_OF_ASSETS_TOO)
    ]  # fmt: skip
    return [*(n for n in names if n != "assets"), *inner]


def _may_hold(group: Any, settings: Collect, near: Near) -> bool:
    """Tell by a row group's statistics whether it can hold an item that is wanted; without statistics it can."""
    low, high = {}, {}
    for i in range(group.num_columns):
        column = group.column(i)
        if (
            column.path_in_schema in ("datetime", *_BOX)
            and column.is_stats_set
            and column.statistics.has_min_max
        ):
            low[column.path_in_schema], high[column.path_in_schema] = (
                column.statistics.min,
                column.statistics.max,
            )
    first, last = settings.days
    when = low.get("datetime"), high.get("datetime")
    if isinstance(when[0], dt.datetime) and isinstance(when[1], dt.datetime):
        # A day to spare at either end, whatever the time zone.
        day = dt.timedelta(days=1)
        if when[1].date() < first - day or when[0].date() > last + day:
            return False
    if all(name in low for name in _BOX):
        west, south = (np.array([low[n]]) for n in _BOX[:2])
        east, north = (np.array([high[n]]) for n in _BOX[2:])
        return bool(near.touches(west, south, east, north)[0])
    return True


def _wanted_rows(batch: Any, settings: Collect, dropped: Counter[str], near: Near) -> Any:
    """Leave out what need not be looked at; what cannot be judged here stays, since all is judged again."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first, last = (pa.scalar(d, pa.date32()) for d in settings.days)
    if "bbox" in batch.schema.names:
        box = batch["bbox"]
        if pa.types.is_struct(box.type) and all(box.type.get_field_index(n[5:]) >= 0 for n in _BOX):
            sides = [
                np.asarray(pc.struct_field(box, n[5:]).cast(pa.float64()).fill_null(np.nan)) for n in _BOX
            ]
            batch = batch.filter(pa.array(near.touches(*sides)))
    if pa.types.is_timestamp(batch.schema.field("datetime").type):
        day = pc.cast(batch["datetime"], pa.date32(), safe=False)
        batch = _keep(
            batch, pc.and_(pc.greater_equal(day, first), pc.less_equal(day, last)), OTHER_DAYS, dropped
        )
    if "eo:cloud_cover" in batch.schema.names:
        cloud = batch["eo:cloud_cover"]
        if pa.types.is_floating(cloud.type):
            batch = _keep(batch, pc.less_equal(cloud, settings.max_cloud), CLOUDY, dropped)
    return batch


def _keep(batch: Any, mask: Any, reason: str, dropped: Counter[str]) -> Any:
    import pyarrow.compute as pc

    kept = batch.filter(pc.fill_null(mask, True))
    dropped.update({reason: batch.num_rows - kept.num_rows} if kept.num_rows < batch.num_rows else {})
    return kept


def _rows(batch: Any) -> list[dict[str, Any]]:
    """Return rows as Python has them; what all assets of a name have alike is made once and not once a row."""
    import pyarrow as pa

    column = batch["assets"]
    usual = pa.types.is_struct(column.type) and all(pa.types.is_struct(a.type) for a in column.type)
    if not usual or column.null_count:
        return batch.to_pylist()
    rows = batch.drop_columns(["assets"]).to_pylist()
    assets: list[dict[str, Any]] = [{} for _ in rows]
    known: list[tuple[Any, list[Any]]] = []
    for name, one in zip((a.name for a in column.type), column.flatten(), strict=True):
        present = np.flatnonzero(np.asarray(one.is_valid()))
        given = one.take(pa.array(present)) if len(present) < len(rows) else one
        for i, fields in zip(present.tolist(), _assets_of(given, known), strict=True):
            assets[i][name] = fields
    return [{**row, "assets": a} for row, a in zip(rows, assets, strict=True)]


def _assets_of(column: Any, known: list[tuple[Any, list[Any]]]) -> list[Alike]:
    """Return assets of one name, none of them null; columns that other names have too are in `known`."""
    import pyarrow as pa

    if not len(column):
        return []
    first = pa.array(np.zeros(len(column), np.int64))
    common: dict[str, Any] = {}
    own: list[tuple[str, list[Any]]] = []
    is_alike = True
    for field, values in zip(column.type, column.flatten(), strict=True):
        if field.name not in OF_ITS_OWN and values.equals(values.take(first)):
            common[field.name] = values[0].as_py()
            continue
        is_alike &= field.name in OF_ITS_OWN
        made = next((v for other, v in known if other.equals(values)), None)
        if made is None:
            made = values.to_pylist()
            if field.name != "href":
                known.append((values, made))
        own.append((field.name, made))
    common = {k: v for k, v in common.items() if v is not None}
    mark = sys.intern(repr(common)) if is_alike else None
    assets = []
    for i in range(len(column)):
        fields = Alike(common)
        fields.mark = mark
        for name, values in own:
            if values[i] is not None:
                fields[name] = values[i]
        assets.append(fields)
    return assets


def _item_of_row(row: Mapping[str, Any]) -> Any:
    try:
        geometry: Any = shapely.from_wkb(row["geometry"])
    except (TypeError, shapely.errors.ShapelyError):
        geometry = None  # counted as an item without footprint
    given = row["assets"]
    if isinstance(given, dict):
        given = {k: a if isinstance(a, Alike) else _given(a) for k, a in given.items() if a}
    return {
        "id": row["id"],
        "collection": row.get("collection"),
        "geometry": geometry,
        "assets": given,
        "properties": {k: v for k, v in row.items() if k not in _TOP and v is not None},
    }


def _given(values: Any) -> Any:
    """Return an asset without the fields that other assets have."""
    return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values


def file_items(catalog: Catalog) -> Iterator[Item]:
    """Yield the items of a static catalogue, or of a FeatureCollection, on this disk.

    Links are followed within the catalogue's own folder, each file once.

    Raises:
        CatalogError: a file is missing or damaged, or a link leads out of the folder.
    """
    start = Path(catalog.url).resolve()
    folder = start.parent
    waiting, seen = [start], {start}
    while waiting:
        path = waiting.pop()
        found = read_json_file(path)
        if found.get("type") == "Feature":
            yield found, str(path)
            continue
        if found.get("type") == "FeatureCollection":
            yield from ((item, str(path)) for item in found.get("features") or ())
            continue
        links = found.get("links")
        for link in reversed(links if isinstance(links, list) else []):
            if isinstance(link, dict) and link.get("rel") in ("item", "items", "child"):
                target = _linked(path, folder, link.get("href"))
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)


def _linked(path: Path, folder: Path, href: Any) -> Path:
    text = str(href)
    if not isinstance(href, str) or urlsplit(text).scheme not in ("", "file"):
        raise CatalogError(
            f"catalogue {path} links to {text[:100]!r}; a local catalogue links to local files"
        )
    target = (path.parent / unquote(urlsplit(text).path)).resolve()
    if not target.is_relative_to(folder):
        raise CatalogError(f"catalogue {path} links to {text[:100]!r}, outside its own folder {folder}")
    return target


def read_json_file(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        CatalogError: the file is missing, too large or no JSON object.
    """
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise CatalogError(
                f"catalogue {path}: {size} bytes; the limit is {MAX_JSON_BYTES}; use items.parquet"
            )
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        raise CatalogError(
            f"cannot read catalogue {path}: {' '.join(str(err).split())[:200]}; give STAC as JSON"
        ) from err
    if not isinstance(found, dict):
        raise CatalogError(f"catalogue {path} holds a {type(found).__name__}; give a STAC catalogue")
    return found
