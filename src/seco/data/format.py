"""The dataset format, version 1. The specification is docs/dataset-format.md; this module is its names and checks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from seco.errors import DatasetError
from seco.sensors.bands import Band

FORMAT = "seco-dataset"
FORMAT_VERSION = 1
META_NAME = "dataset.json"
INDEX_NAME = "index.parquet"
ARCHIVE_NAME = "archive"
TRAINING_NAME = "training"

INDEX_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("lon", pa.float64()),
        pa.field("lat", pa.float64()),
        pa.field("crs", pa.string()),
        pa.field("transform", pa.list_(pa.float64())),
        pa.field("date", pa.date32()),
        pa.field("season", pa.int8()),
        pa.field("item", pa.string()),
        pa.field("baseline", pa.string()),
        pa.field("clear_fraction", pa.float32()),
        pa.field("checksum", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("split", pa.string()),
        pa.field("geometry", pa.binary()),
    ]
)

ADDED_COLUMNS = ("labels",)
"""Columns that datasets written before they were added lack: they read as null."""

INDEX_DOCS = {
    "row": "position of the patch along the first axis of every archive array",
    "place": "place id; patches of one place stand together, in date order",
    "lon": "longitude of the patch centre, degrees",
    "lat": "latitude of the patch centre, degrees",
    "crs": "CRS of the transform, as an authority code or WKT",
    "transform": "affine (a, b, c, d, e, f) of the finest grid: x = a*col + b*row + c, y = d*col + e*row + f",
    "date": "day of acquisition (composites: first day of their period)",
    "season": "meteorological season at that latitude: 0 winter, 1 spring, 2 summer, 3 autumn",
    "item": "id of the scene, file or folder the pixels came from",
    "baseline": "processing baseline of the product, where it has one",
    "clear_fraction": "share of pixels that are neither cloud nor nodata; null where unknown",
    "checksum": "BLAKE2b-64 of the stored pixels",
    "label": "class name, where the source has one",
    "labels": "class names, where the source has any number of them a patch; null where it says nothing",
    "split": "the source's own split (train, val, test), where it has one",
    "geometry": "footprint, WKB polygon in longitude/latitude; without a transform a box around the centre",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Bands that share one pixel grid, and so one archive array of shape (patches, bands, height, width)."""

    name: str
    bands: tuple[str, ...]
    height_px: int
    width_px: int
    dtype: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetMeta:
    """What `dataset.json` says."""

    bands: tuple[Band, ...]
    groups: tuple[Group, ...]
    patch_px: int
    num_patches: int
    num_places: int
    licence: str
    provenance: dict[str, Any]
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    """Checksums of the index and of the archive's metadata, by path; of the pixels each index row has its own."""

    def to_json(self) -> dict[str, Any]:
        """Return the contents of `dataset.json`."""
        values: dict[str, Any] = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "num_places": self.num_places,
            "num_patches": self.num_patches,
            "patch_px": self.patch_px,
            "bands": [b.to_json() for b in self.bands],
            "groups": [dataclasses.asdict(g) for g in self.groups],
            "licence": self.licence,
            "provenance": self.provenance,
            "files": self.files,
        }
        # As it reads back: what JSON cannot say is text, and so are keys.
        plain = json.loads(json.dumps(values, default=str))
        return plain | {"checksum": json_checksum(plain)}


def json_checksum(values: Mapping[str, Any]) -> str:
    """Hash what `dataset.json` says, but for its own `checksum`: keys sorted, no spaces."""
    told = {k: v for k, v in values.items() if k != "checksum"}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_checksum(file: Path) -> str:
    """Hash a file's bytes (BLAKE2b-64)."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def read_meta(path: Path) -> DatasetMeta:
    """Read and check `dataset.json` of the dataset at `path`.

    Raises:
        DatasetError: not a dataset, damaged, or of a newer version.
    """
    file = path / META_NAME
    if not file.is_file():
        if path.with_name(path.name + ".partial").exists():
            raise DatasetError(
                f"{path} was never finished ({path.name}.partial is there); run its import again"
            )
        raise DatasetError(f"{path} is not a dataset (no {META_NAME}); make one with `seco dataset import`")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values.get("format") != FORMAT:
            raise DatasetError(f"{file} is not a {FORMAT} file (format {values.get('format')!r})")
        version = values.get("version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise DatasetError(
                f"{path} has dataset version {version!r}; this seco reads up to {FORMAT_VERSION}: upgrade seco"
            )
        groups = tuple(Group(**{**g, "bands": tuple(g["bands"])}) for g in values["groups"])
        return DatasetMeta(
            bands=tuple(Band.from_json(b) for b in values["bands"]),
            groups=groups,
            patch_px=int(values["patch_px"]),
            num_patches=int(values["num_patches"]),
            num_places=int(values["num_places"]),
            licence=str(values["licence"]),
            provenance=dict(values["provenance"]),
            files=dict(values.get("files", {})),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise DatasetError(
            f"{file} is damaged ({type(err).__name__}: {err}); import the dataset again"
        ) from err


def checksum(planes: Sequence[np.ndarray]) -> str:
    """Hash the pixels of one patch: one array a group, in group order, little-endian, C order."""
    digest = hashlib.blake2b(digest_size=8)
    for plane in planes:
        digest.update(
            np.ascontiguousarray(plane).astype(plane.dtype.newbyteorder("<"), copy=False).reshape(-1).data
        )
    return digest.hexdigest()


def season_of(month: int, lat: float) -> int:
    """Return the meteorological season of a month at a latitude: 0 winter, 1 spring, 2 summer, 3 autumn."""
    season = (month % 12) // 3
    return season if lat >= 0 else (season + 2) % 4


def group_bands(bands: Sequence[Band], pixels: Mapping[str, np.ndarray]) -> tuple[Group, ...]:
    """Group bands by pixel grid and dtype, finest grid first, keeping band order within a group."""
    kinds: dict[tuple[int, int, str], list[str]] = {}
    for band in bands:
        if band.name not in pixels:
            raise DatasetError(f"band {band.name} is declared but the patch has only {', '.join(pixels)}")
        plane = pixels[band.name]
        if plane.ndim != 2:
            raise DatasetError(f"band {band.name}: pixels have shape {plane.shape}; give (height, width)")
        kinds.setdefault((*plane.shape, plane.dtype.name), []).append(band.name)
    ordered = sorted(kinds.items(), key=lambda kv: (-kv[0][0] * kv[0][1], kv[1]))
    return tuple(
        Group(name=f"g{i}", bands=tuple(names), height_px=h, width_px=w, dtype=dtype)
        for i, ((h, w, dtype), names) in enumerate(ordered)
    )
