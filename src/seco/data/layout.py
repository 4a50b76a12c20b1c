"""How patches become rows and planes: what every writer of datasets shares. Nothing here touches a disk."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from seco.data import format as fmt
from seco.data.footprint import box_wkb, footprint_wkb
from seco.errors import DatasetError
from seco.sensors.bands import Band

SHARD_BYTES = 32 * 2**20
COMPRESSION_LEVEL = 1
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """How all patches of a dataset are stored.

    Attributes:
        bands: the stored bands, in order.
        patch_px: edge of a patch on its finest grid.
        groups: bands by pixel grid and type, finest first.
    """

    bands: tuple[Band, ...]
    patch_px: int
    groups: tuple[fmt.Group, ...]

    @classmethod
    def of(cls, patch: Patch, *, bands: Sequence[Band], patch_px: int) -> Layout:
        """Return the layout that a first patch implies.

        Raises:
            DatasetError: bands are missing, or the finest is not `patch_px` square.
        """
        groups = fmt.group_bands(bands, _as_mapping(patch, bands))
        finest = groups[0]
        if (finest.height_px, finest.width_px) != (patch_px, patch_px):
            raise DatasetError(
                f"patch of {finest.height_px} x {finest.width_px} px; this dataset's patches are {patch_px} px square"
            )
        return cls(bands=tuple(bands), patch_px=patch_px, groups=groups)

    @property
    def patch_bytes(self) -> int:
        """Size of one patch, uncompressed."""
        return sum(len(g.bands) * g.height_px * g.width_px * np.dtype(g.dtype).itemsize for g in self.groups)

    @property
    def shard(self) -> int:
        """Number of patches in a shard."""
        return int(min(1024, max(1, SHARD_BYTES // self.patch_bytes)))

    def planes(self, patch: Patch) -> list[np.ndarray]:
        """Return a patch's pixels, one array a group.

        Raises:
            DatasetError: its bands, shapes or types do not fit.
        """
        pixels = _as_mapping(patch, self.bands)
        return [self._plane(group, pixels, patch) for group in self.groups]

    def _plane(self, group: fmt.Group, pixels: Mapping[str, np.ndarray], patch: Patch) -> np.ndarray:
        missing = [b for b in group.bands if b not in pixels]
        if missing:
            raise DatasetError(f"place {patch.place}, {patch.date}: band {', '.join(missing)} is missing")
        wanted, dtype = (group.height_px, group.width_px), np.dtype(group.dtype)
        for name in group.bands:
            found = pixels[name]
            if found.shape != wanted or (found.dtype != dtype and found.dtype.name != group.dtype):
                raise DatasetError(
                    f"place {patch.place}, {patch.date}: band {name} is {found.dtype.name} {found.shape}; "
                    f"this dataset holds {group.dtype} {wanted}"
                )
        return np.stack([pixels[b] for b in group.bands])

    def row(self, number: int, patch: Patch, planes: Sequence[np.ndarray]) -> dict[str, Any]:
        """Return a patch's line of the index."""
        season = None
        if patch.date is not None and patch.lat is not None:
            season = fmt.season_of(patch.date.month, patch.lat)
        return {
            "row": number,
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

    def create_arrays(self, root: zarr.Group, *, num: int) -> list[zarr.Array]:
        """Create the archive's arrays for `num` patches in a Zarr group, without pixels."""
        return [
            root.create_array(g.name, **array_settings(g, num=num, shard=self.shard)) for g in self.groups
        ]

    def array_paths(self) -> list[str]:
        """Return the metadata files of the archive, below it."""
        return ["zarr.json", *(f"{g.name}/zarr.json" for g in self.groups)]


def array_settings(group: fmt.Group, *, num: int, shard: int) -> dict[str, Any]:
    """Return how the archive array of a group is made."""
    tail = (len(group.bands), group.height_px, group.width_px)
    return {
        "shape": (num, *tail),
        "chunks": (1, *tail),
        "shards": (shard, *tail),
        "dtype": group.dtype,
        "compressors": BloscCodec(cname="zstd", clevel=COMPRESSION_LEVEL, shuffle="bitshuffle"),
        "dimension_names": ("patch", "band", "y", "x"),
        "attributes": {"bands": list(group.bands)},
    }


def _as_mapping(patch: Patch, bands: Sequence[Band]) -> Mapping[str, np.ndarray]:
    if not isinstance(patch.pixels, np.ndarray):
        return patch.pixels
    if patch.pixels.ndim != 3 or len(patch.pixels) != len(bands):
        raise DatasetError(
            f"place {patch.place}: pixels of shape {patch.pixels.shape}; give ({len(bands)}, height, width)"
        )
    return {b.name: p for b, p in zip(bands, patch.pixels, strict=True)}
