"""STAC items as stac-geoparquet, in batches: rustac makes each batch, pyarrow puts them into one file.

rustac's own writer of batches is asynchronous, and its runtime lives on when Python ends: a third of short programs that
use it crash at their exit (https://github.com/PyO3/pyo3-async-runtimes/issues/40). What it does synchronously is safe.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import rustac

from seco.errors import DatasetError

BATCH = 1000


def write_items(items: Iterable[dict[str, Any]], path: Path) -> int:
    """Write items to a file under a temporary name that is then renamed; return their number. None at all, no file.

    Args:
        items: with the same fields each; taken as they are needed, a thousand at a time.
        path: where to; a file that is there is replaced.

    Raises:
        DatasetError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    boxes: list[Sequence[float]] = []
    kinds: set[str] = set()
    num = 0
    writer: pq.ParquetWriter | None = None
    try:
        for batch in _batches(items):
            table = _table(batch)
            if writer is None:
                metadata = dict(table.schema.metadata)
                about = metadata.pop(b"geo")
                # It comes with bounds and kinds of one batch, the kinds in no order; the file's own stands at its end.
                schema = table.schema.with_metadata(metadata)
                writer = pq.ParquetWriter(temporary, schema, compression="zstd")
            geo = json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]
            boxes.append(geo["bbox"])
            kinds.update(geo["geometry_types"])
            writer.write_table(table.cast(schema))
            num += len(batch)
        if writer is not None:
            writer.add_key_value_metadata({"geo": _geo(about, boxes, kinds)})
            writer.close()
            temporary.replace(path)
    except (rustac.RustacError, OSError, pa.ArrowException) as err:
        raise DatasetError(f"cannot write {path}: {err}; free disk space or choose another folder") from err
    finally:
        if writer is not None and writer.is_open:
            writer.close()
        temporary.unlink(missing_ok=True)
    return num


def _table(batch: list[dict[str, Any]]) -> pa.Table:
    """Return items as a table in stac-geoparquet's layout, with GeoParquet's metadata."""
    with tempfile.TemporaryDirectory(prefix="seco-items-") as folder:
        file = Path(folder) / "items.parquet"
        rustac.write_sync(str(file), batch, parquet_compression="uncompressed")
        source = pq.ParquetFile(file)
        table = source.read()
        return table.replace_schema_metadata(metadata_of(source))


def metadata_of(source: pq.ParquetFile) -> dict[bytes, bytes]:
    """Return what makes a file GeoParquet: it stands in the file's own metadata, not in the schema's."""
    return {k: v for k, v in (source.metadata.metadata or {}).items() if k != b"ARROW:schema"}


def _geo(about: bytes, boxes: list[Sequence[float]], kinds: set[str]) -> str:
    """Return GeoParquet's metadata of the whole file: kinds of geometry and bounds of all batches."""
    geo = json.loads(about)
    west, south, east, north = zip(*boxes, strict=True)
    box = [min(west), min(south), max(east), max(north)]
    geo["columns"]["geometry"] |= {"bbox": box, "geometry_types": sorted(kinds)}
    return json.dumps(geo)


def _batches(items: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    source = iter(items)
    while batch := list(islice(source, BATCH)):
        yield batch
