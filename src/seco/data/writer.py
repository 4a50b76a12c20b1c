"""Write a dataset: patches are streamed in, place by place; memory holds one shard, never the dataset."""

from __future__ import annotations

import dataclasses
import datetime
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
from zarr.codecs import BloscCodec

from seco.data import format as fmt
from seco.data.footprint import box_wkb, footprint_wkb, geo_metadata
from seco.errors import DatasetError
from seco.sensors.bands import Band

SHARD_BYTES = 32 * 2**20
INDEX_BATCH = 8192


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patch:
    """One place at one date, as an importer hands it over.

    Attributes:
        place: place id; patches of one place come one after another, in date order.
        pixels: `(bands, height, width)`, or band name -> `(height, width)` where resolutions differ.
        transform: affine (a, b, c, d, e, f) of the finest grid in `crs`.
    """

    place: str
    pixels: np.ndarray | Mapping[str, np.ndarray]
    date: datetime.date | None = None
    lon: float | None = None
    lat: float | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    item: str = ""
    baseline: str | None = None
    clear_fraction: float | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    split: str | None = None


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
        self._groups: tuple[fmt.Group, ...] = ()
        self._arrays: list[zarr.Array] = []
        self._pending: list[list[np.ndarray]] = []
        self._flushed = 0
        self._shard = 0
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
        pixels = self._as_mapping(patch)
        if not self._groups:
            self._start(pixels)
        planes = [self._plane(group, pixels, patch) for group in self._groups]
        if patch.place != self._place:
            if patch.place in self._seen:
                raise DatasetError(f"place {patch.place}: its patches do not come one after another")
            self._seen.add(patch.place)
            self._place = patch.place
            self.num_places += 1
        for pending, plane in zip(self._pending, planes, strict=True):
            pending.append(plane)
        self._rows.append(self._row(patch, planes))
        self.num_patches += 1
        if len(self._pending[0]) >= self._shard:
            self._flush_pixels()
        if len(self._rows) >= INDEX_BATCH:
            self._flush_index()

    def _as_mapping(self, patch: Patch) -> Mapping[str, np.ndarray]:
        if not isinstance(patch.pixels, np.ndarray):
            return patch.pixels
        if patch.pixels.ndim != 3 or len(patch.pixels) != len(self.bands):
            raise DatasetError(
                f"place {patch.place}: pixels of shape {patch.pixels.shape}; give ({len(self.bands)}, height, width)"
            )
        return {b.name: p for b, p in zip(self.bands, patch.pixels, strict=True)}

    def _start(self, pixels: Mapping[str, np.ndarray]) -> None:
        self._groups = fmt.group_bands(self.bands, pixels)
        finest = self._groups[0]
        if (finest.height_px, finest.width_px) != (self.patch_px, self.patch_px):
            raise DatasetError(
                f"patch of {finest.height_px} x {finest.width_px} px; this dataset's patches are {self.patch_px} px square"
            )
        size = sum(len(g.bands) * g.height_px * g.width_px * np.dtype(g.dtype).itemsize for g in self._groups)
        self._shard = int(min(1024, max(1, SHARD_BYTES // size)))
        self._pending = [[] for _ in self._groups]
        with disk_errors(self.out):
            root = zarr.open_group(self.partial / fmt.ARCHIVE_NAME, mode="w", zarr_format=3)
            for group in self._groups:
                tail = (len(group.bands), group.height_px, group.width_px)
                array = root.create_array(
                    group.name, shape=(0, *tail), chunks=(1, *tail), shards=(self._shard, *tail), dtype=group.dtype,
                    compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
                    dimension_names=("patch", "band", "y", "x"), attributes={"bands": list(group.bands)},
                )  # fmt: skip
                self._arrays.append(array)
            schema = fmt.INDEX_SCHEMA.with_metadata({"geo": json.dumps(geo_metadata())})
            self._index = pq.ParquetWriter(
                self.partial / fmt.INDEX_NAME, schema, compression="zstd", write_page_checksum=True
            )

    def _plane(self, group: fmt.Group, pixels: Mapping[str, np.ndarray], patch: Patch) -> np.ndarray:
        missing = [b for b in group.bands if b not in pixels]
        if missing:
            raise DatasetError(f"place {patch.place}, {patch.date}: band {', '.join(missing)} is missing")
        for name in group.bands:
            found, wanted = pixels[name], (group.height_px, group.width_px)
            if found.shape != wanted or found.dtype.name != group.dtype:
                raise DatasetError(
                    f"place {patch.place}, {patch.date}: band {name} is {found.dtype.name} {found.shape}; "
                    f"this dataset holds {group.dtype} {wanted}"
                )
        return np.stack([pixels[b] for b in group.bands])

    def _row(self, patch: Patch, planes: list[np.ndarray]) -> dict[str, Any]:
        season = None
        if patch.date is not None and patch.lat is not None:
            season = fmt.season_of(patch.date.month, patch.lat)
        return {
            "row": self.num_patches,
            "place": patch.place,
            "lon": patch.lon,
            "lat": patch.lat,
            "crs": patch.crs,
            "transform": list(patch.transform) if patch.transform is not None else None,
            "date": patch.date,
            "season": season,
            "item": patch.item,
            "baseline": patch.baseline,
            "clear_fraction": patch.clear_fraction,
            "checksum": fmt.checksum(planes),
            "label": patch.label,
            "labels": list(patch.labels) if patch.labels is not None else None,
            "split": patch.split,
            "geometry": self._footprint(patch),
        }

    def _footprint(self, patch: Patch) -> bytes | None:
        """Return the patch's footprint; where only its centre is known, a box around that, by the finest band's GSD."""
        known = footprint_wkb(patch.crs, patch.transform, self.patch_px)
        sizes = [b.gsd_m for b in self.bands if b.gsd_m is not None]
        if known is not None or patch.lon is None or patch.lat is None or not sizes:
            return known
        return box_wkb(patch.lon, patch.lat, self.patch_px * min(sizes))

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
        with disk_errors(self.out):
            if self._index is not None:
                self._index.close()
            described = [fmt.INDEX_NAME, *(f"{fmt.ARCHIVE_NAME}/{n}" for n in self._archive_metadata())]
            meta = fmt.DatasetMeta(
                bands=self.bands, groups=self._groups, patch_px=self.patch_px, num_patches=self.num_patches,
                num_places=self.num_places, licence=self.licence, provenance=self.provenance,
                files={n: fmt.file_checksum(self.partial / n) for n in described},
            )  # fmt: skip
            text = json.dumps(meta.to_json(), indent=2, default=str)
            (self.partial / fmt.META_NAME).write_text(text, encoding="utf-8")
            self.partial.rename(self.out)

    def _archive_metadata(self) -> list[str]:
        return ["zarr.json", *(f"{g.name}/zarr.json" for g in self._groups)]

    def _abandon(self) -> None:
        if self._index is not None:
            # Closing writes a footer; on a full disk that fails too, and the folder goes anyway.
            try:
                self._index.close()
            except OSError as err:
                self.provenance["abandoned"] = str(err)
        shutil.rmtree(self.partial, ignore_errors=True)


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
