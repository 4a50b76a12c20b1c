"""The folder layout that SeCo and SSL4EO-S12 share: `000123/<item id>/B2.tif ... B12.tif, metadata.json`.

SeCo's own files are display bytes (reflectance 0 to 1, clipped, as 0 to 255, compressed as JPEG: lossy); SSL4EO-S12's are
Sentinel-2 numbers of 16 bits. Both carry a latitude-longitude box in place of their UTM grid, shifted by up to half a
pixel from band to band, so only the centre is taken from it.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Literal

import numpy as np

from seco.config import setting, to_plain
from seco.data.encodings import Encoding, common, convert, make_band
from seco.data.footprint import is_projected, to_lonlat
from seco.data.grids import Grid, factors
from seco.data.importing import ImportReport
from seco.data.items import Item, Metadata, items, metadata, taken_on
from seco.data.listing import Listing
from seco.data.rasters import PixelReader, read_whole
from seco.data.writer import DatasetWriter, Patch, require_new
from seco.errors import ConfigError, DatasetError
from seco.runs import progress
from seco.sensors import sentinel2
from seco.sensors.bands import Band, select

HELP = "the folder layout of SeCo and SSL4EO-S12: place/item/B2.tif ..., a folder or a zip file"
EXAMPLE = "seco dataset import seco seco_100k/ seco100k"

LOOK_AHEAD = 100
"""Dates whose files are looked at to know which bands there are."""
STRETCH = "reflectance 0 to 1 as 0 to 255, clipped, JPEG (SeCo)"
MAX_PIXELS = 4096**2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of the import."""

    bands: tuple[str, ...] = setting(
        (), "bands to keep, such as B02,B03,B04; default: all that the first 100 dates have"
    )
    num_dates: int = setting(0, "number of dates that each place must have; 0 takes any number")
    on_missing: Literal["error", "skip"] = setting(
        "error",
        "what to do with dates that lack a band or a date in their name, and with places that lack dates",
    )
    on_bad: Literal["error", "skip"] = setting(
        "error", "what to do with dates that cannot be read or have another size"
    )
    licence: str = setting(
        "not stated; contains modified Copernicus Sentinel data", "licence and attribution, kept"
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.num_dates < 0:
            raise ConfigError(f"num dates {self.num_dates}; it must be at least 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stored:
    """How the pixels of a band lie in its files."""

    shape: tuple[int, int]
    dtype: str
    gsd_m: float


@dataclasses.dataclass
class _Counts:
    """What the source lacks."""

    lacking: int = 0
    undated: int = 0
    bad: int = 0
    short: int = 0
    no_metadata: int = 0
    no_grid: int = 0
    extra: Counter[str] = dataclasses.field(default_factory=Counter)
    dates: Counter[int] = dataclasses.field(default_factory=Counter)


def run(source: Path, out: Path, options: Options) -> ImportReport:
    """Import the folders in `source` as a new dataset at `out`."""
    require_new(out)
    with Listing(source) as listing, PixelReader():
        walked = items(listing)
        ahead = list(islice(walked, LOOK_AHEAD))
        if not ahead:
            raise DatasetError(
                f"{source} has no folder of the layout place/item/B2.tif; for other names use `seco dataset import geotiff`"
            )
        names = _bands(ahead, options)
        stored = _first_stored(listing, ahead, names, options)
        counts = _Counts()
        offsets = _offsets(listing) if any(s.dtype != "uint8" for s in stored.values()) else {0.0}
        targets = {n: common({_encoding(stored[n], o) for o in offsets}, n)[0] for n in names}
        bands = [_band(n, targets[n], stored[n]) for n in names]
        patch_px = max(s.shape[0] for s in stored.values())
        provenance = {"importer": "seco", "source": source.name, "options": to_plain(options)}
        with DatasetWriter(
            out, bands=bands, patch_px=patch_px, licence=options.licence, provenance=provenance
        ) as writer:
            reader = _Importer(listing, names, stored, targets, options, counts)
            for patch in reader.patches(progress(chain(ahead, walked), "dates")):
                writer.add(patch)
            notes = _notes(counts, offsets, stored)
            if not writer.num_patches:
                raise DatasetError(f"no patch is left of {source}: {'; '.join(notes)}")
            writer.provenance["notes"] = notes
    return ImportReport(num_places=writer.num_places, num_patches=writer.num_patches, notes=tuple(notes))


def _bands(ahead: list[Item], options: Options) -> list[str]:
    """Return the bands to import: those asked for, else all that any of the first dates has."""
    have = [b for b in sentinel2.BANDS if any(b.name in i.files for i in ahead)]
    if options.bands:
        wanted = [sentinel2.canonical(w) for w in options.bands]
        return [have[i].name for i in select(have, wanted)]
    return [b.name for b in have]


def _first_stored(
    listing: Listing, ahead: list[Item], names: list[str], options: Options
) -> dict[str, _Stored]:
    """Look at the first complete and readable date for what sizes and types the bands have."""
    for item in ahead:
        if any(n not in item.files for n in names):
            continue
        try:
            pixels, _ = _read(listing, item, names)
        except DatasetError:
            if options.on_bad == "error":
                raise
            continue
        finest = max(p.shape[0] for p in pixels.values())
        if any(
            p.shape[0] != p.shape[1] or p.dtype.name not in ("uint8", "uint16", "int16")
            for p in pixels.values()
        ):
            shown = ", ".join(f"{n} {p.dtype.name} {p.shape[1]} x {p.shape[0]}" for n, p in pixels.items())
            raise DatasetError(f"{item.where}: bands are {shown}; they must be square, of 8 or 16 bits")
        gsd = min(sentinel2.band(n).gsd_m or 10.0 for n in names if pixels[n].shape[0] == finest)
        return {
            n: _Stored(shape=(p.shape[0], p.shape[1]), dtype=p.dtype.name, gsd_m=gsd * finest / p.shape[0])
            for n, p in pixels.items()
        }
    lacking = sorted({n for i in ahead for n in names if n not in i.files})
    raise DatasetError(
        f"none of the first {len(ahead)} dates is whole and has all bands {', '.join(names)} (some lack "
        f"{', '.join(lacking) or 'none'}); choose bands that all have (--bands)"
    )


def _read(listing: Listing, item: Item, names: list[str]) -> tuple[dict[str, np.ndarray], dict[str, Grid]]:
    """Return the bands of a date, each (height, width), and their grids."""
    pixels, grids = {}, {}
    for name in names:
        path = listing.path(item.files[name])
        found, grids[name] = read_whole(path, MAX_PIXELS)
        if len(found) != 1:
            raise DatasetError(f"{path} has {len(found)} bands; this layout has one a file")
        pixels[name] = found[0]
    return pixels, grids


def _offsets(listing: Listing) -> set[float]:
    """Return every reflectance offset that the metadata imply: one pass over the small files, none over pixels."""
    return {metadata(listing, item).offset for item in progress(items(listing), "metadata")}


def _encoding(stored: _Stored, offset: float) -> Encoding:
    if stored.dtype == "uint8":
        return Encoding(dtype="uint8", units="display")
    scale = 1 / sentinel2.QUANTIFICATION
    return Encoding(dtype=stored.dtype, units="dn", scale=scale, offset=offset, nodata=0.0)


def _band(name: str, target: Encoding, stored: _Stored) -> Band:
    band = make_band(name, target, stored.gsd_m, is_sentinel2=True)
    if target.units == "display":
        return dataclasses.replace(band, stretch=STRETCH, stretch_range=(0.0, 1.0))
    return band


@dataclasses.dataclass(frozen=True)
class _Importer:
    """Turns folders into patches, place by place."""

    listing: Listing
    names: list[str]
    stored: dict[str, _Stored]
    targets: dict[str, Encoding]
    options: Options
    counts: _Counts

    def patches(self, walked: Iterable[Item]) -> Iterator[Patch]:
        """Yield the patches of all places; the dates of a place in order."""
        seen: dict[str, str] = {}
        for folder, group in groupby(walked, key=lambda i: i.folder):
            place = folder.rpartition("/")[2] or self.listing.stem
            if place in seen:
                raise DatasetError(
                    f"{seen[place]} and {folder} are both called place {place}; import one of the folders above them"
                )
            seen[place] = folder
            yield from self._place(place, list(group))

    def _place(self, place: str, group: list[Item]) -> Iterator[Patch]:
        dated: list[tuple[datetime.date, Item, Metadata]] = []
        for item in group:
            self.counts.extra.update(n for n in item.files if n not in self.names)
            lacking = [n for n in self.names if n not in item.files]
            if lacking:
                self._missing(f"{item.where} lacks band {', '.join(lacking)}")
                self.counts.lacking += 1
                continue
            about = metadata(self.listing, item)
            day = taken_on(item, about)
            if day is None:
                self._missing(f"{item.where} has a date neither in its name nor in its metadata")
                self.counts.undated += 1
                continue
            dated.append((day, item, about))
        dated.sort(key=lambda d: (d[0], d[1].name))
        wanted = self.options.num_dates
        if wanted and len(dated) != wanted:
            self._missing(f"place {place} has {len(dated)} dates, not {wanted}")
            self.counts.short += 1
            return
        patches = [p for p in (self._patch(place, *d) for d in dated) if p is not None]
        if patches:
            self.counts.dates[len(patches)] += 1
        yield from patches

    def _missing(self, what: str) -> None:
        if self.options.on_missing == "error":
            raise DatasetError(
                f"{what}; complete it, choose other --bands, or leave such out (--on-missing skip)"
            )

    def _patch(self, place: str, day: datetime.date, item: Item, about: Metadata) -> Patch | None:
        try:
            pixels, grids = _read(self.listing, item, self.names)
            _check_stored(item, pixels, self.stored)
        except DatasetError as err:
            if self.options.on_bad == "error":
                raise DatasetError(f"{err} (or leave such dates out: --on-bad skip)") from err
            self.counts.bad += 1
            return None
        self.counts.no_metadata += not about.found
        fine = max(self.names, key=lambda n: self.stored[n].shape)
        crs, transform, lon, lat = _position(grids, grids[fine])
        self.counts.no_grid += transform is None
        stored = {
            n: convert(p, _encoding(self.stored[n], about.offset), self.targets[n]) for n, p in pixels.items()
        }
        return Patch(
            place=place, pixels=stored, date=day, lon=lon, lat=lat, crs=crs, transform=transform, item=item.name,
            baseline=about.baseline,
        )  # fmt: skip


def _check_stored(item: Item, pixels: dict[str, np.ndarray], stored: dict[str, _Stored]) -> None:
    for name, plane in pixels.items():
        wanted = stored[name]
        if (plane.shape, plane.dtype.name) != (wanted.shape, wanted.dtype):
            raise DatasetError(
                f"{item.where}: band {name} is {plane.dtype.name} {plane.shape}; the first date's is "
                f"{wanted.dtype} {wanted.shape}"
            )


def _position(
    grids: dict[str, Grid], fine: Grid
) -> tuple[str | None, tuple[float, ...] | None, float | None, float | None]:
    """Return CRS and transform where they can be trusted, and the centre in longitude and latitude."""
    if fine.crs is None or fine.transform is None:
        return None, None, None, None
    a, b, c, d, e, f = fine.transform
    col, row = fine.width / 2, fine.height / 2
    lon, lat = to_lonlat(fine.crs, a * col + b * row + c, d * col + e * row + f)
    # A box in degrees is the reprojected outline of a patch that lies on the sensor's own, projected grid.
    if not is_projected(fine.crs) or any(factors(fine, g) is None for g in grids.values()):
        return None, None, lon, lat
    return fine.crs, fine.transform, lon, lat


def _notes(counts: _Counts, offsets: set[float], stored: dict[str, _Stored]) -> list[str]:
    """Say what was left out, assumed, or is not as a reader may expect."""
    told = {
        "dates left out for missing bands": counts.lacking,
        "dates left out, for nothing says when they were taken": counts.undated,
        "dates left out that cannot be read or have another size": counts.bad,
        "places left out for their number of dates": counts.short,
        "dates without metadata: no processing baseline is known, and no offset assumed": counts.no_metadata,
        "patches without a grid: their files give a box in degrees, of which only the centre is kept": counts.no_grid,
    }
    out = [f"{n} {what}" for what, n in told.items() if n]
    shown = ", ".join(f"{n} with {k}" for k, n in sorted(counts.dates.items()))
    out.append(f"places by number of dates: {shown or 'none'}")
    out += [
        f"{n} dates have band {band} too, which is not imported" for band, n in sorted(counts.extra.items())
    ]
    if len(offsets) > 1:
        out.append("dates with and without the offset of baseline 04.00 are shifted to one, without loss")
    if any(s.dtype == "uint8" for s in stored.values()):
        out.append(f"8-bit pixels are display bytes: {STRETCH}")
    return out
