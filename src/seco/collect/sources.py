"""Items from files on this disk: stac-geoparquet, or linked JSON. One after another, as JSON has them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from seco.collect.catalogs import Catalog
from seco.collect.plan import CLOUDY, OTHER_DAYS
from seco.collect.settings import Collect
from seco.errors import CatalogError

Item = tuple[Any, str | None]
"""An item, and the address from which its relative hrefs start."""

MAX_JSON_BYTES = 512 * 2**20
_BATCH_ROWS = 2_000
_TOP = {"type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection"}
_NEEDED = (
    "id", "collection", "geometry", "assets", "datetime", "start_datetime", "platform", "tileId", "processing:version",
    "earthsearch:boa_offset_applied", "eopf:datatake_id",
)  # fmt: skip
_NEEDED_OF = ("proj:", "mgrs:", "grid:", "eo:cloud", "s2:")


def parquet_items(catalog: Catalog, settings: Collect, dropped: Counter[str]) -> Iterator[Item]:
    """Yield the items of a stac-geoparquet file that are of the days asked and not too cloudy, in batches.

    The others are counted in `dropped`.

    Raises:
        CatalogError: the file is missing or damaged, or holds no STAC items.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(catalog.url).resolve()
    try:
        file = pq.ParquetFile(path)
        names = [n for n in file.schema_arrow.names if n in _NEEDED or n.startswith(_NEEDED_OF)]
        missing = {"id", "geometry", "assets", "datetime"} - set(names)
        if missing:
            raise CatalogError(
                f"catalogue {path}: no column {', '.join(sorted(missing))}; give a stac-geoparquet file"
            )
        for batch in file.iter_batches(_BATCH_ROWS, columns=names):
            for row in _wanted_rows(batch, settings, dropped).to_pylist():
                yield _item_of_row(row), str(path)
    except (OSError, pa.ArrowException) as err:
        raise CatalogError(
            f"cannot read catalogue {path}: {' '.join(str(err).split())[:200]}; give a stac-geoparquet file"
        ) from err


def _wanted_rows(batch: Any, settings: Collect, dropped: Counter[str]) -> Any:
    """Leave out what need not be looked at; what cannot be judged here stays, since all is judged again."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first, last = (pa.scalar(d, pa.date32()) for d in settings.days)
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


def _item_of_row(row: Mapping[str, Any]) -> Any:
    import shapely

    try:
        geometry = shapely.geometry.mapping(shapely.from_wkb(row["geometry"]))
    except (TypeError, shapely.errors.ShapelyError):
        geometry = None  # counted as an item without footprint
    given = row["assets"]
    assets = {k: _given(a) for k, a in given.items() if a} if isinstance(given, dict) else given
    return {
        "id": row["id"],
        "collection": row.get("collection"),
        "geometry": geometry,
        "assets": assets,
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
