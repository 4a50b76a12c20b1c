"""Write a dataset: patches are streamed in, place by place; memory holds one shard, never the dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
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
from seco.errors import DatasetError
from seco.sensors.bands import Band

__all__ = ["DatasetWriter", "Patch", "disk_errors", "open_index", "require_new", "write_meta"]


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
        self._arrays: list[zarr.Array] = []
        self._pending: list[list[np.ndarray]] = []
        self._flushed = 0
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
        for pending, plane in zip(self._pending, planes, strict=True):
            pending.append(plane)
        self._rows.append(layout.row(self.num_patches, patch, planes))
        self.num_patches += 1
        if len(self._pending[0]) >= layout.shard:
            self._flush_pixels()
        if len(self._rows) >= layouts.INDEX_BATCH:
            self._flush_index()

    def _start(self, patch: Patch) -> Layout:
        layout = Layout.of(patch, bands=self.bands, patch_px=self.patch_px)
        self._pending = [[] for _ in layout.groups]
        with disk_errors(self.out):
            root = zarr.open_group(self.partial / fmt.ARCHIVE_NAME, mode="w", zarr_format=3)
            self._arrays = layout.create_arrays(root, num=0)
            self._index = open_index(self.partial / fmt.INDEX_NAME)
        return layout

    def _flush_pixels(self) -> None:
        num = len(self._pending[0]) if self._pending else 0
        if not num:
            return
        # zarr hands each batch to a thread of its own, and for patches of few kilobytes that costs more than compressing.
        with disk_errors(self.out), zarr.config.set({"codec_pipeline.batch_size": 64}):
            for array, pending in zip(self._arrays, self._pending, strict=True):
                array.resize((self._flushed + num, *array.shape[1:]))
                array[self._flushed : self._flushed + num] = np.stack(pending)
                pending.clear()
        self._flushed += num

    def _flush_index(self) -> None:
        if self._rows and self._index is not None:
            with disk_errors(self.out):
                self._index.write_table(pa.Table.from_pylist(self._rows, schema=self._index.schema))
            self._rows.clear()

    def _finish(self) -> None:
        if not self.num_patches:
            raise DatasetError(f"nothing to write to {self.out}: the source gave no patch")
        self._flush_pixels()
        self._flush_index()
        assert self._layout is not None
        assert self._index is not None
        with disk_errors(self.out):
            self._index.close()
            write_meta(
                self.partial, self._layout, num_patches=self.num_patches, num_places=self.num_places,
                licence=self.licence, provenance=self.provenance,
            )  # fmt: skip
            self.partial.rename(self.out)

    def _abandon(self) -> None:
        if self._index is not None:
            # Closing writes a footer; on a full disk that fails too, and the folder goes anyway.
            try:
                self._index.close()
            except OSError as err:
                self.provenance["abandoned"] = str(err)
        shutil.rmtree(self.partial, ignore_errors=True)


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
