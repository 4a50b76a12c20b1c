"""Write a dataset: patches are streamed in, place by place; memory holds one shard, never the dataset.

Threads compress and hash while the caller makes the next patches: both let go of the interpreter.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from seco.data import format as fmt
from seco.data import layout as layouts
from seco.data.footprint import geo_metadata
from seco.data.layout import Layout, Patch
from seco.data.shards import encode_chunk, join_chunks, shard_file
from seco.errors import DatasetError
from seco.sensors.bands import Band

__all__ = ["DatasetWriter", "Patch", "disk_errors", "open_index", "require_new", "write_meta"]
_THREADS = 4


class DatasetWriter:
    """Streams patches into a new dataset; `with` makes it whole at the end or removes it on an error."""

    def __init__(
        self, out: Path, *, bands: Sequence[Band], patch_px: int, licence: str, provenance: Mapping[str, Any]
    ) -> None:
        """Start a dataset in `<out>.partial`.

        Args:
            out: folder of the finished dataset; must not exist.
            bands: the stored bands, in order.
            patch_px: edge of a patch on its finest grid, in pixels.
            licence: licence and attribution of the imagery.
            provenance: what made this dataset: importer, source, options.
        """
        require_new(out)
        if patch_px < 1:
            raise DatasetError(f"patch size {patch_px} px; it must be at least 1")
        self.out = out
        self.partial = out.with_name(out.name + ".partial")
        if self.partial.exists():
            shutil.rmtree(self.partial)
        self.bands = tuple(bands)
        self.patch_px = patch_px
        self.licence = licence
        self.provenance = dict(provenance)
        self.num_patches = 0
        self.num_places = 0
        self._layout: Layout | None = None
        self._pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
        self._pending: list[Future[tuple[dict[str, Any], list[bytes]]]] = []
        self._shards = 0
        self._rows: list[dict[str, Any]] = []
        self._index: pq.ParquetWriter | None = None
        self._place: str | None = None
        self._seen: set[str] = set()

    def __enter__(self) -> DatasetWriter:
        """Make the partial folder."""
        with disk_errors(self.out):
            self.partial.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the dataset, or remove what there is of it if the block failed."""
        if kind is None:
            try:
                self._finish()
            except BaseException:
                self._abandon()
                raise
        else:
            self._abandon()

    def add(self, patch: Patch) -> None:
        """Append one patch.

        Raises:
            DatasetError: its bands, shapes or order do not fit, or the disk is full.
        """
        if self._layout is None:
            self._layout = self._start(patch)
        layout = self._layout
        planes = layout.planes(patch)
        if patch.place != self._place:
            if patch.place in self._seen:
                raise DatasetError(f"place {patch.place}: its patches do not come one after another")
            self._seen.add(patch.place)
            self._place = patch.place
            self.num_places += 1
        self._pending.append(self._pool.submit(_pack, layout, self.num_patches, patch, planes))
        self.num_patches += 1
        if len(self._pending) >= layout.shard:
            self._flush_pixels(layout)
            while len(self._rows) >= layouts.INDEX_BATCH:
                self._flush_index()

    def _start(self, patch: Patch) -> Layout:
        layout = Layout.of(patch, bands=self.bands, patch_px=self.patch_px)
        with disk_errors(self.out):
            self._index = open_index(self.partial / fmt.INDEX_NAME)
        return layout

    def _flush_pixels(self, layout: Layout) -> None:
        """Write the pending patches as one shard a group."""
        packed = [p.result() for p in self._pending]
        self._pending.clear()
        self._rows.extend(row for row, _ in packed)
        with disk_errors(self.out):
            for i, group in enumerate(layout.groups):
                data = join_chunks([chunks[i] for _, chunks in packed], shard=layout.shard)
                if data is not None:
                    file = shard_file(self.partial / fmt.ARCHIVE_NAME, group, self._shards)
                    file.parent.mkdir(parents=True)
                    file.write_bytes(data)
        self._shards += 1

    def _flush_index(self) -> None:
        assert self._index is not None
        rows, self._rows = self._rows[: layouts.INDEX_BATCH], self._rows[layouts.INDEX_BATCH :]
        if rows:
            with disk_errors(self.out):
                self._index.write_table(pa.Table.from_pylist(rows, schema=self._index.schema))

    def _finish(self) -> None:
        if not self.num_patches:
            raise DatasetError(f"nothing to write to {self.out}: the source gave no patch")
        assert self._layout is not None
        assert self._index is not None
        self._flush_pixels(self._layout)
        while self._rows:
            self._flush_index()
        self._pool.shutdown()
        with disk_errors(self.out):
            self._index.close()
            root = zarr.open_group(self.partial / fmt.ARCHIVE_NAME, mode="a", zarr_format=3)
            self._layout.create_arrays(root, num=self.num_patches)
            write_meta(
                self.partial, self._layout, num_patches=self.num_patches, num_places=self.num_places,
                licence=self.licence, provenance=self.provenance,
            )  # fmt: skip
            self.partial.rename(self.out)

    def _abandon(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._index is not None:
            # Closing writes a footer; on a full disk that fails too, and the folder goes anyway.
            try:
                self._index.close()
            except OSError as err:
                self.provenance["abandoned"] = str(err)
        shutil.rmtree(self.partial, ignore_errors=True)


def _pack(
    layout: Layout, number: int, patch: Patch, planes: Sequence[np.ndarray]
) -> tuple[dict[str, Any], list[bytes]]:
    """Return a patch's line of the index, and its compressed pixels, one a group."""
    return layout.row(number, patch, planes), [encode_chunk(p) for p in planes]


def open_index(file: Path) -> pq.ParquetWriter:
    """Start an index file."""
    schema = fmt.INDEX_SCHEMA.with_metadata({"geo": json.dumps(geo_metadata())})
    return pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True)


def write_meta(
    folder: Path, layout: Layout, *, num_patches: int, num_places: int, licence: str, provenance: Mapping[str, Any]
) -> None:  # fmt: skip
    """Write `dataset.json` of a folder whose index and archive are there, with their checksums."""
    described = [fmt.INDEX_NAME, *(f"{fmt.ARCHIVE_NAME}/{n}" for n in layout.array_paths())]
    meta = fmt.DatasetMeta(
        bands=layout.bands, groups=layout.groups, patch_px=layout.patch_px, num_patches=num_patches,
        num_places=num_places, licence=licence, provenance=dict(provenance),
        files={n: fmt.file_checksum(folder / n) for n in described},
    )  # fmt: skip
    text = json.dumps(meta.to_json(), indent=2, default=str)
    (folder / fmt.META_NAME).write_text(text, encoding="utf-8")


def require_new(out: Path) -> None:
    """Refuse a folder that exists; importers ask before they read anything.

    Raises:
        DatasetError: something is there already.
    """
    if out.exists():
        raise DatasetError(f"{out} exists already; choose another folder, or remove it first")


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Turn a failed write into one clear error."""
    try:
        yield
    except OSError as err:
        raise DatasetError(f"cannot write {out}: {err}; free disk space or choose another folder") from err
