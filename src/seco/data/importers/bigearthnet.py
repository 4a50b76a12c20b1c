"""BigEarthNet: version 1 (`PATCH/PATCH_B02.tif`, `PATCH_labels_metadata.json`) and 2 (`SCENE/PATCH/`, metadata.parquet)."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seco.config import setting, to_plain
from seco.data.arranging import SPLIT_NAMES, split_name
from seco.data.footprint import to_lonlat
from seco.data.grids import Grid, factors
from seco.data.importing import ImportReport
from seco.data.listing import Listing
from seco.data.nomenclature import CLASSES_19, CLASSES_43
from seco.data.rasters import PixelReader, read_whole
from seco.data.writer import DatasetWriter, Patch, require_new
from seco.errors import DatasetError
from seco.runs import progress
from seco.sensors import sentinel2

HELP = "BigEarthNet, version 1 or 2 (reBEN): Sentinel-2 patches with any number of land-cover labels"
EXAMPLE = "seco dataset import bigearthnet BigEarthNet-v1.0/ ben --bands B04,B03,B02"

BANDS = sentinel2.LEVEL_2A
LABELS_SUFFIX = "_labels_metadata.json"
METADATA = "metadata.parquet"
BAD_LISTS = ("patches_with_seasonal_snow.csv", "patches_with_cloud_and_shadow.csv")
SPLIT_LISTS = tuple(
    f"{stem}{part}.{ending}"
    for stem in ("", "bigearthnet-")
    for part in ("train", "val", "test")
    for ending in ("csv", "txt")
)
PATCH_NAME = re.compile(r"S2[A-D]_MSIL2A_(\d{8})T\d{6}_\S+")
MAX_PIXELS = 512**2
MAX_LIST_BYTES = 2**27
IN_FLIGHT = 64
"""Patches being read at once: what bounds the memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of the import."""

    bands: tuple[str, ...] = setting((), "bands to keep, such as B04,B03,B02; default: all twelve")
    metadata: str | None = setting(
        None, "version 2: its metadata.parquet; default: the one in the folder or beside it"
    )
    split_files: tuple[str, ...] = setting(
        (),
        "version 1: lists of patches, such as train.csv,val.csv,test.csv; default: those in the folder or beside it",
    )
    bad_files: tuple[str, ...] = setting(
        (),
        "version 1: lists of patches under snow or cloud; default: the two published ones in the folder or beside it",
    )
    on_cloudy: Literal["skip", "keep"] = setting("skip", "what to do with patches listed under snow or cloud")
    on_bad: Literal["error", "skip"] = setting(
        "error", "what to do with patches that lack a band or labels, or cannot be read"
    )
    licence: str = setting(
        "CDLA-Permissive-1.0; contains modified Copernicus Sentinel data", "licence and attribution, kept"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _About:
    """What lists and metadata say of patches, by name. `labels` is None in version 1, whose labels lie beside the pixels."""

    labels: Mapping[str, tuple[str, ...]] | None
    split: Mapping[str, str]
    cloudy: frozenset[str]
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Found:
    """A folder of a patch."""

    name: str
    folder: str
    files: frozenset[str]


def run(source: Path, out: Path, options: Options) -> ImportReport:
    """Import the patches in `source` as a new dataset at `out`."""
    require_new(out)
    names = [sentinel2.canonical(b) for b in options.bands] or list(BANDS)
    unknown = [n for n in names if n not in BANDS]
    if unknown or len(set(names)) < len(names):
        raise DatasetError(
            f"bands {','.join(options.bands)}: of BigEarthNet's twelve, each once: {', '.join(BANDS)}"
        )
    about = _about(source, options)
    bands = [sentinel2.band(n) for n in names]
    counts: Counter[str] = Counter()
    provenance = {"importer": "bigearthnet", "source": source.name, "options": to_plain(options)}
    patch_px = round(1200 / min(b.gsd_m or 10.0 for b in bands))
    with (
        Listing(source) as listing,
        PixelReader(),
        DatasetWriter(
            out, bands=bands, patch_px=patch_px, licence=options.licence, provenance=provenance
        ) as writer,
    ):
        found = _wanted(listing, about, options, counts)
        reader = _Reader(listing, names, about, options, counts)
        for patch in reader.patches(progress(found, "patches")):
            writer.add(patch)
            counts[f"in split {patch.split}" if patch.split else "in no split"] += 1
        notes = [
            f"lists: {', '.join(about.files) or 'none'}",
            *(f"{n} {what}" for what, n in sorted(counts.items())),
        ]
        if not writer.num_patches:
            raise DatasetError(
                f"{source} holds no patch of BigEarthNet (PATCH/PATCH_B02.tif) that is wanted: {'; '.join(notes)}"
            )
        writer.provenance["notes"] = notes
    return ImportReport(num_places=writer.num_places, num_patches=writer.num_patches, notes=tuple(notes))


def _about(source: Path, options: Options) -> _About:
    """Read the lists and the metadata that are named, or lie in the folder or beside it."""
    near = (source, source.parent) if source.is_dir() else (source.parent,)

    def beside(names: Iterable[str]) -> list[Path]:
        return [
            next(f / n for f in near if (f / n).is_file())
            for n in names
            if any((f / n).is_file() for f in near)
        ]

    tables = [Path(options.metadata)] if options.metadata else beside([METADATA])[:1]
    if tables:
        return _from_metadata(tables[0])
    split: dict[str, str] = {}
    lists = [Path(f) for f in options.split_files] or beside(SPLIT_LISTS)
    for file in lists:
        part = split_name(file.name)
        for name in _listed(file):
            if split.setdefault(name, part) != part:
                raise DatasetError(f"{name} stands in the lists of {split[name]} and {part}; leave it in one")
    bad = [Path(f) for f in options.bad_files] or beside(BAD_LISTS)
    cloudy = frozenset(name for file in bad for name in _listed(file))
    return _About(labels=None, split=split, cloudy=cloudy, files=tuple(f.name for f in (*lists, *bad)))


def _listed(file: Path) -> list[str]:
    """Read a list of patches: the first column of each line, under a heading or not.

    Raises:
        DatasetError: it cannot be read, or a line names no patch.
    """
    try:
        if file.stat().st_size > MAX_LIST_BYTES:
            raise DatasetError(
                f"{file} has {file.stat().st_size} bytes; a list of patches has at most {MAX_LIST_BYTES}"
            )
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise DatasetError(f"cannot read the list {file}: {err}; give one patch a line") from err
    names = [line.split(",")[0].strip().strip('"') for line in lines]
    for number, name in enumerate(names):
        if name and number and not PATCH_NAME.fullmatch(name):
            raise DatasetError(f"{file}, line {number + 1}: {name[:60]!r} is no patch of BigEarthNet")
    return [n for n in names if PATCH_NAME.fullmatch(n)]


def _from_metadata(file: Path) -> _About:
    """Read version 2's table.

    Raises:
        DatasetError: it cannot be read, lacks a column, or says what is not known.
    """
    flags = ("contains_seasonal_snow", "contains_cloud_or_shadow")
    try:
        have = pq.read_schema(file).names
        missing = [n for n in ("patch_id", "labels", "split") if n not in have]
        if missing:
            raise DatasetError(f"{file} lacks column {', '.join(missing)}; it has {', '.join(have)}")
        told = [f for f in flags if f in have]
        table = pq.read_table(file, columns=["patch_id", "labels", "split", *told])
    except (OSError, pa.ArrowException) as err:
        raise DatasetError(
            f"cannot read {file}: {err}; give version 2's metadata.parquet (--metadata)"
        ) from err
    names = table["patch_id"].to_pylist()
    parts = [SPLIT_NAMES.get(str(p).lower()) for p in table["split"].to_pylist()]
    if None in parts:
        raise DatasetError(
            f"{file}: split {table['split'][parts.index(None)]} of {names[parts.index(None)]} is not known"
        )
    labels = table["labels"].to_pylist()
    strange = sorted({n for found in labels for n in found or ()} - set(CLASSES_19) - set(CLASSES_43))
    if strange:
        raise DatasetError(f"{file}: label {strange[0]!r} is none of BigEarthNet's")
    cloudy = np.zeros(len(table), bool)
    for flag in told:
        cloudy |= table[flag].to_numpy().astype(bool)
    return _About(
        labels={n: tuple(found or ()) for n, found in zip(names, labels, strict=True)},
        split={n: str(p) for n, p in zip(names, parts, strict=True)},
        cloudy=frozenset(np.array(names, dtype=object)[cloudy].tolist()), files=(file.name,),
    )  # fmt: skip


def _wanted(listing: Listing, about: _About, options: Options, counts: Counter[str]) -> Iterator[_Found]:
    """Yield the folders of patches as they are walked, but for those under snow or cloud; no list of all is ever kept."""
    for folder, files in listing.folders():
        name = folder.rpartition("/")[2] or listing.stem
        if not PATCH_NAME.fullmatch(name) or not any(f.startswith(f"{name}_B") for f in files):
            continue
        if options.on_cloudy == "skip" and name in about.cloudy:
            counts["left out under snow or cloud"] += 1
        elif about.labels is not None and name not in about.labels:
            counts["left out, not in the metadata"] += 1
        else:
            yield _Found(name, folder, frozenset(files))


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads patches in threads, in order, a bounded number at a time."""

    listing: Listing
    names: list[str]
    about: _About
    options: Options
    counts: Counter[str]

    def patches(self, found: Iterable[_Found]) -> Iterator[Patch]:
        """Yield each patch; those that cannot be read are an error, or left out and counted."""
        waiting: deque[Future[Patch]] = deque()
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            try:
                for patch in found:
                    waiting.append(pool.submit(_read, self.listing, patch, self.names, self.about))
                    if len(waiting) >= IN_FLIGHT:
                        yield from self._done(waiting.popleft())
                while waiting:
                    yield from self._done(waiting.popleft())
            finally:
                for future in waiting:
                    future.cancel()

    def _done(self, future: Future[Patch]) -> Iterator[Patch]:
        try:
            patch = future.result()
        except DatasetError as err:
            if self.options.on_bad == "error":
                raise DatasetError(f"{err} (or leave such patches out: --on-bad skip)") from err
            self.counts["left out, incomplete or not readable"] += 1
            return
        yield patch


def _read(listing: Listing, found: _Found, names: list[str], about: _About) -> Patch:
    """Read one patch.

    Raises:
        DatasetError: a band or the labels are missing or not as they should be.
    """
    inside = f"{found.folder}/" if found.folder else ""
    pixels: dict[str, np.ndarray] = {}
    grids: dict[str, Grid] = {}
    for band in names:
        file = f"{found.name}_{band}.tif"
        if file not in found.files:
            raise DatasetError(f"{found.name} lacks {file}; choose other --bands, or fetch it again")
        planes, grids[band] = read_whole(listing.path(inside + file), MAX_PIXELS)
        edge = round(1200 / (sentinel2.band(band).gsd_m or 10.0))
        if planes.shape != (1, edge, edge) or planes.dtype != np.uint16:
            raise DatasetError(
                f"{file} is {planes.dtype.name} {planes.shape}; it should be uint16 (1, {edge}, {edge})"
            )
        pixels[band] = planes[0]
    fine = grids[min(names, key=lambda n: sentinel2.band(n).gsd_m or 0.0)]
    crs, transform, lon, lat = None, None, None, None
    if fine.crs is not None and fine.transform is not None:
        a, b, c, d, e, f = fine.transform
        col, row = fine.width / 2, fine.height / 2
        lon, lat = to_lonlat(fine.crs, a * col + b * row + c, d * col + e * row + f)
        if all(factors(fine, g) is not None for g in grids.values()):
            crs, transform = fine.crs, fine.transform
    labels = about.labels[found.name] if about.labels is not None else _labels(listing, inside, found)
    match = PATCH_NAME.fullmatch(found.name)
    assert match is not None  # it was when the folder was found
    try:
        date = datetime.date.fromisoformat(match[1])
    except ValueError as err:
        raise DatasetError(f"{found.name} has no date in its name ({match[1]})") from err
    return Patch(
        place=found.name, pixels=pixels, date=date, lon=lon, lat=lat, crs=crs, transform=transform, item=found.name,
        labels=tuple(sorted(set(labels))), split=about.split.get(found.name),
    )  # fmt: skip


def _labels(listing: Listing, inside: str, found: _Found) -> list[str]:
    """Read version 1's labels beside the pixels."""
    file = f"{found.name}{LABELS_SUFFIX}"
    if file not in found.files:
        raise DatasetError(f"{found.name} lacks {file}; version 2 wants its metadata.parquet (--metadata)")
    try:
        values: Any = json.loads(listing.read(inside + file))
        labels = [str(n) for n in values["labels"]]
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise DatasetError(f"{file} is damaged ({type(err).__name__}: {err}); fetch it again") from err
    strange = [n for n in labels if n not in CLASSES_43 and n not in CLASSES_19]
    if strange:
        raise DatasetError(f"{file}: label {strange[0][:60]!r} is none of BigEarthNet's")
    return labels
