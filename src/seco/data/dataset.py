"""Read a dataset: its metadata, its index, single patches, and the training tier made on first need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from seco.data import format as fmt
from seco.data.shards import read_patches, shard_of
from seco.errors import DatasetError
from seco.sensors.bands import Band, select

if TYPE_CHECKING:
    from seco.data.tier import TrainingTier

ROWS = 65_536
"""Rows of the index worked on at a time."""
MANY = 32
"""Patches from which on shards are decoded directly: for fewer, checking a shard's list takes longer than Zarr does."""


class Dataset:
    """A dataset on disk. Cheap to open: columns of the index are read on first use, pixels when asked for."""

    def __init__(self, path: Path) -> None:
        """Open the dataset at `path`.

        Raises:
            DatasetError: not a dataset, damaged, or of a newer version.
        """
        self.path = Path(path)
        # What to call it: the user's own folder or zip, where it was imported from that.
        self.source = self.path
        self.meta = fmt.read_meta(self.path)

    def __len__(self) -> int:
        """Return the number of patches."""
        return self.meta.num_patches

    @cached_property
    def index(self) -> pa.Table:
        """The whole index, a row a patch (docs/dataset-format.md lists its columns): some 300 bytes a row in memory."""
        with self._reading() as file:
            table = pa.Table.from_batches(file.iter_batches(), schema=file.schema_arrow)
        for name in fmt.ADDED_COLUMNS:
            if name not in table.column_names:
                table = table.append_column(
                    fmt.INDEX_SCHEMA.field(name), pa.nulls(len(table), fmt.INDEX_SCHEMA.field(name).type)
                )
        return table

    def index_batches(self, name: str) -> Iterator[pa.Array]:
        """Yield a column of the index some rows at a time, without holding the index in memory."""
        with self._reading() as file:
            for batch in file.iter_batches(columns=[name]):
                yield batch.column(0)

    @contextmanager
    def _reading(self, **options: Any) -> Iterator[pq.ParquetFile]:
        """Open the index, checked for its columns and its length."""
        path = self.path / fmt.INDEX_NAME
        try:
            with pq.ParquetFile(path, page_checksum_verification=True, **options) as file:
                missing = [
                    n
                    for n in fmt.INDEX_SCHEMA.names
                    if n not in (*file.schema_arrow.names, *fmt.ADDED_COLUMNS)
                ]
                if missing:
                    raise DatasetError(f"{path} lacks column {', '.join(missing)}; import the dataset again")
                if file.metadata.num_rows != len(self):
                    raise DatasetError(
                        f"{path} has {file.metadata.num_rows} rows; {fmt.META_NAME} says {len(self)}: import again"
                    )
                yield file
        except (OSError, pa.ArrowException) as err:
            raise DatasetError(f"cannot read {path}: {err}; import the dataset again") from err
        finally:
            pa.default_memory_pool().release_unused()  # it keeps twice what a column takes

    @cached_property
    def _encoded(self) -> tuple[pa.Array, np.ndarray]:
        with self._reading(read_dictionary=["place"]) as file:
            column = file.read(columns=["place"])["place"].unify_dictionaries()
        rows = [c.indices.to_numpy(zero_copy_only=False) for c in column.chunks]
        names = column.chunk(0).dictionary if rows else pa.array([], pa.string())
        return names, np.concatenate([*rows, np.zeros(0, np.int32)], dtype=np.int32)

    @property
    def place_names(self) -> pa.Array:
        """Place ids, in order of appearance."""
        return self._encoded[0]

    @cached_property
    def place_ids(self) -> list[str]:
        """Place ids, in order of appearance, as a list."""
        return self.place_names.to_pylist()

    @property
    def place(self) -> np.ndarray:
        """For each patch the position of its place in `place_ids`, int32 (patches,)."""
        return self._encoded[1]

    @cached_property
    def first_row(self) -> np.ndarray:
        """For each place the row of its first patch, int64 (places,), ascending."""
        # Places are numbered as they appear, so a first patch is one that raises the number.
        found, highest = [np.zeros(0, np.int64)], np.int32(-1)
        for start in range(0, len(self.place), ROWS):
            reached = np.maximum.accumulate(self.place[start : start + ROWS].clip(highest))
            found.append(start + np.flatnonzero(np.diff(reached, prepend=highest)))
            highest = reached[-1]
        return np.concatenate(found)

    @cached_property
    def dates(self) -> np.ndarray:
        """Day of each patch, datetime64[D] (patches,); NaT where unknown."""
        return self.column("date").astype("datetime64[D]")

    @cached_property
    def months(self) -> np.ndarray:
        """Month 1-12 of each patch, int64 (patches,); 0 where the date is unknown."""
        known = ~np.isnat(self.dates)
        months = self.dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
        return np.where(known, months, 0)

    @cached_property
    def lonlat(self) -> np.ndarray:
        """Centre of each patch, degrees, float64 (patches, 2), longitude first; NaN where unknown."""
        return np.stack([self.column("lon").astype(float), self.column("lat").astype(float)], axis=1)

    def column(self, name: str) -> np.ndarray:
        """Return a column of the index as a NumPy array."""
        return self.index[name].to_numpy()

    @property
    def labels(self) -> list[str | None]:
        """Label of each patch, None where it has none."""
        return self.index["label"].to_pylist()

    @property
    def label_sets(self) -> list[list[str] | None]:
        """The labels of each patch, for sources that give any number of them; None where nothing is said."""
        return self.index["labels"].to_pylist()

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all pixels and band declarations: equal fingerprints mean equal data."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr(self.meta.bands).encode())
        for some in self.index_batches("checksum"):
            digest.update("".join(some.to_pylist()).encode())
        return digest.hexdigest()

    @cached_property
    def arrays(self) -> list[zarr.Array]:
        """The archive arrays, one a band group, each (patches, bands, height, width)."""
        try:
            root = zarr.open_group(self.path / fmt.ARCHIVE_NAME, mode="r", zarr_format=3)
            arrays = [root[g.name] for g in self.meta.groups]
        except (OSError, KeyError, ValueError, TypeError) as err:
            raise DatasetError(
                f"cannot read the archive of {self.path}: {err}; import the dataset again"
            ) from err
        for group, array in zip(self.meta.groups, arrays, strict=True):
            wanted = (len(self), len(group.bands), group.height_px, group.width_px)
            if not isinstance(array, zarr.Array) or array.shape != wanted or array.dtype.name != group.dtype:
                found = f"{array.dtype.name} {array.shape}" if isinstance(array, zarr.Array) else "no array"
                raise DatasetError(
                    f"{self.path}: archive {group.name} is {found}; expected {group.dtype} {wanted}"
                )
        return arrays  # type: ignore[return-value]

    @cached_property
    def _shards(self) -> list[int | None]:
        return [shard_of(a, g) for a, g in zip(self.arrays, self.meta.groups, strict=True)]

    def planes(self, start: int, stop: int) -> list[np.ndarray]:
        """Return patches `start` to `stop` as stored: one (patches, bands, height, width) array a group."""
        stop = min(stop, len(self))
        archive = self.path / fmt.ARCHIVE_NAME
        try:
            if not 0 <= start <= stop - MANY:
                return [np.asarray(a[start:stop]) for a in self.arrays]
            return [
                read_patches(archive, group, start, stop, shard=shard)
                if shard
                else np.asarray(array[start:stop])
                for group, array, shard in zip(self.meta.groups, self.arrays, self._shards, strict=True)
            ]
        except (OSError, ValueError, RuntimeError) as err:
            raise DatasetError(
                f"{self.path}: cannot decode patches {start} to {stop - 1} ({err}); run `seco dataset check`"
            ) from err

    def read(self, row: int) -> dict[str, np.ndarray]:
        """Return one patch at native resolution: band name -> (height, width)."""
        if not 0 <= row < len(self):
            raise DatasetError(f"patch {row} is not in {self.path}, which has {len(self)}")
        planes = self.planes(row, row + 1)
        return {
            n: p[0][i] for g, p in zip(self.meta.groups, planes, strict=True) for i, n in enumerate(g.bands)
        }

    def bands(self, names: Sequence[str] | None = None) -> tuple[Band, ...]:
        """Return the bands asked for (all by default), in the order asked."""
        if names is None:
            return self.meta.bands
        return tuple(self.meta.bands[i] for i in select(self.meta.bands, names))

    def training(self, names: Sequence[str] | None = None) -> TrainingTier:
        """Return the training tier for these bands, made now if it is not there."""
        from seco.data.tier import training_tier

        return training_tier(self, names)


def open_dataset(path: str | Path) -> Dataset:
    """Open the dataset at `path`."""
    return Dataset(Path(path))
