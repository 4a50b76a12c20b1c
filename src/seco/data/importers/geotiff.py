"""The user's own multi-date rasters, cut to aligned patches on one grid.

GeoTIFF and JPEG 2000 by a pattern of names, ESA's and THEIA's Sentinel-2 products by theirs, NetCDF by its time axis; in a
folder or a zip file, which is read in place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from seco.config import setting, to_plain
from seco.data import baselines, cutting, encodings, naming
from seco.data.encodings import Declared, Encoding
from seco.data.grids import Plane
from seco.data.importing import ImportReport
from seco.data.listing import Listing
from seco.data.naming import Member
from seco.data.netcdf import is_netcdf, netcdf_planes
from seco.data.rasters import PixelReader, raster_planes
from seco.data.scenes import Collection, OnMissing, Sensor, assemble
from seco.data.writer import DatasetWriter, require_new
from seco.errors import ConfigError, DatasetError
from seco.runs import progress
from seco.sensors.bands import Band
from seco.sensors.sentinel2 import QUANTIFICATION

HELP = "your own multi-date rasters (GeoTIFF, JPEG 2000, NetCDF, SAFE or THEIA folders, zipped or not)"
EXAMPLE = (
    "seco dataset import geotiff rasters/ mydata --pattern '{place}/{date}*.tif' --patch 64 --min-clear 0.8"
)

COPERNICUS = "Contains modified Copernicus Sentinel data"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of the import."""

    pattern: str | None = setting(
        None,
        "names of the files, such as '{place}/{date}_{band}.tif' (* = anything); ESA, THEIA and NetCDF need none",
    )
    patch: int = setting(64, "edge of a patch, in pixels of the finest band")
    stride: int | None = setting(
        None, "pixels from one patch to the next; the patch's edge, so that none overlap"
    )
    bands: tuple[str, ...] = setting((), "bands to keep, such as B02,B03,B04; all where none is named")
    band_names: tuple[str, ...] = setting(
        (), "names of each file's bands, in order, where the files name none"
    )
    sensor: Sensor = setting("auto", "whose bands they are; auto: Sentinel-2's if all names look so")
    place_from: Literal["tile", "folder"] = setting(
        "tile", "of ESA and THEIA products: the place is the MGRS tile, or the folder that holds the product"
    )
    mask: str = setting("auto", "cloud mask: a band's or variable's name, a pattern of files, none, or auto")
    mask_hidden: tuple[int, ...] = setting(
        (), "numbers of the mask that hide the ground; by the mask's name otherwise"
    )
    min_clear: float = setting(0.0, "least clear fraction of a patch at a date, 0 to 1; others are dropped")
    min_dates: int = setting(1, "least number of dates a place; others are dropped")
    on_misaligned: cutting.OnMisaligned = setting(
        "error", "what to do with dates on another grid than the first"
    )
    on_missing: OnMissing = setting("error", "what to do with dates that lack a band")
    units: Literal["auto", "reflectance", "dn", "display"] = setting("auto", "what the stored numbers are")
    scale: float | None = setting(
        None, "from stored number to reflectance; by the file or the sensor otherwise"
    )
    offset: float | None = setting(
        None, "reflectance of stored number 0; by the file or the sensor otherwise"
    )
    nodata: float | None = setting(
        None, "stored number that means nothing was measured; by the file otherwise"
    )
    licence: str | None = setting(None, "licence and attribution of the imagery, kept with the dataset")

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.patch < 1:
            raise ConfigError(f"patch {self.patch} px; it must be at least 1")
        if self.stride is not None and self.stride < 1:
            raise ConfigError(f"stride {self.stride} px; it must be at least 1")
        if not 0 <= self.min_clear <= 1:
            raise ConfigError(f"min clear {self.min_clear}; it is a fraction from 0 to 1")
        if self.min_dates < 1:
            raise ConfigError(f"min dates {self.min_dates}; it must be at least 1")
        if self.min_clear > 0 and self.mask == "none":
            raise ConfigError("min clear needs a cloud mask, and mask is none")


def run(source: Path, out: Path, options: Options) -> ImportReport:
    """Import the rasters in `source` as a new dataset at `out`.

    Raises:
        DatasetError: no layout fits, files lack dates, bands or alignment, cannot be read, or leave no patch.
    """
    require_new(out)
    with Listing(source) as listing, PixelReader() as reader:
        layout, members = _members(listing, options)
        collection = _collect(listing, layout, members, options)
        notes = list(collection.notes)
        others = len(listing.names) - len(members)
        if others:
            notes.append(f"{others} other files in {source.name} are no part of the layout ({layout})")
        cut, bands, places = _plan(layout, collection, options, reader, notes)
        counts = cutting.Counts()
        cutter = cutting.Cutter(cut, reader, counts)
        provenance = {
            "importer": "geotiff", "source": source.name, "layout": layout, "options": to_plain(options)
        }  # fmt: skip
        licence = options.licence or (COPERNICUS if layout in ("esa", "theia") else "not stated")
        with DatasetWriter(
            out, bands=bands, patch_px=cut.patch_px, licence=licence, provenance=provenance
        ) as writer:
            for place in progress(places, "places"):
                for patch in cutter.patches(place):
                    writer.add(patch)
            left_out = _left_out(counts, options)
            if not writer.num_patches:
                raise DatasetError(f"no patch is left of {source}: {'; '.join(left_out)}")
            notes += left_out
            writer.provenance["notes"] = notes
    return ImportReport(num_places=writer.num_places, num_patches=writer.num_patches, notes=tuple(notes))


def _members(listing: Listing, options: Options) -> tuple[str, list[Member]]:
    """Find the files to read."""
    if options.pattern is None:
        layout, members = naming.recognise(listing.names, source=str(listing.source))
        if options.place_from == "folder" and layout != "netcdf":
            members = [dataclasses.replace(m, place=_folder(m) or listing.stem) for m in members]
        return layout, members
    members = naming.by_pattern(listing.names, options.pattern)
    if not members:
        example = f"such as {listing.names[0]}" if listing.names else "for there are none"
        raise DatasetError(
            f"no file in {listing.source} matches --pattern {options.pattern!r}, {example}; the pattern is compared with "
            "the whole path below that folder"
        )
    return "pattern", members


def _folder(member: Member) -> str | None:
    """Return the folder that holds a file's product: the last one above what is named after the product."""
    parts = PurePosixPath(member.name).parts[:-1]
    own = next((i for i, p in enumerate(parts) if member.item in p), len(parts))
    return parts[own - 1] if own else None


def _collect(listing: Listing, layout: str, members: Sequence[Member], options: Options) -> Collection:
    """Read all headers and put files together to scenes."""
    pattern = options.mask if any(c in options.mask for c in "{*/") else None
    mask_files = naming.by_pattern(listing.names, pattern) if pattern else None
    own = {m.name for m in mask_files or ()}
    bands = [m for m in members if m.name not in own]
    planes: dict[str, list[Plane]] = {}
    for member in progress([*bands, *(mask_files or ())], "headers"):
        path = listing.path(member.name)
        planes[member.name] = netcdf_planes(path) if is_netcdf(path) else raster_planes(path)
    if mask_files == []:
        raise DatasetError(f"no file in {listing.source} matches --mask {pattern!r}")
    return assemble(
        bands, planes, fallback_place=listing.stem, sensor="sentinel2" if layout in ("esa", "theia") else options.sensor,
        band_names=options.band_names, bands=options.bands,
        mask=None if pattern or options.mask == "auto" else options.mask, hidden=options.mask_hidden,
        mask_files=mask_files, on_missing=options.on_missing,
    )  # fmt: skip


def _plan(
    layout: str, collection: Collection, options: Options, reader: PixelReader, notes: list[str]
) -> tuple[cutting.Cut, list[Band], list[cutting.Place]]:
    """Decide grids, tiles and encodings before anything is written."""
    if options.min_clear > 0 and collection.rule is None:
        raise DatasetError("no cloud mask is among the files, which --min-clear needs; name one with --mask")
    if collection.rule is None:
        notes.append("no cloud mask found: clear fractions are unknown")
    else:
        notes.append(f"clear fractions by mask {collection.rule.band}")
    places = cutting.plan_places(collection, on_misaligned=options.on_misaligned)
    stride = options.stride or options.patch
    places = _fitting(places, options.patch, stride, notes)
    native = cutting.native_sizes(places, collection.bands, patch_px=options.patch, stride_px=stride)
    repeated = [b for b, px in native.items() if px is None]
    if repeated:
        notes.append(
            f"bands {', '.join(repeated)} are repeated onto the finest grid: their pixels do not divide patches of "
            f"{options.patch} px every {stride} px"
        )
    sources, targets = _encode(layout, collection, options, reader, notes)
    bands = [
        encodings.make_band(
            b, targets[b], places[0].grids[b].gsd_m if native[b] else places[0].grid.gsd_m,
            is_sentinel2=collection.is_sentinel2,
        )
        for b in collection.bands
    ]  # fmt: skip
    cut = cutting.Cut(
        patch_px=options.patch, stride_px=stride, native_px=native, targets=targets, sources=sources,
        rule=collection.rule, check_floats=options.units == "auto", min_clear=options.min_clear,
        min_dates=options.min_dates,
    )  # fmt: skip
    return cut, bands, places


def _encode(
    layout: str, collection: Collection, options: Options, reader: PixelReader, notes: list[str]
) -> tuple[dict[tuple[str, str], Encoding], dict[str, Encoding]]:
    """Decide what numbers mean in each file, and in the dataset."""
    declared = Declared(
        units=None if options.units == "auto" else options.units, scale=options.scale, offset=options.offset,
        nodata=options.nodata,
    )  # fmt: skip
    if layout == "theia":
        declared = dataclasses.replace(
            declared,
            scale=1 / QUANTIFICATION if declared.scale is None else declared.scale,
            offset=0.0 if declared.offset is None else declared.offset,
            nodata=encodings.THEIA_NODATA if declared.nodata is None else declared.nodata,
        )
    shifts = [0.0] * len(collection.scenes)
    if collection.is_sentinel2 and declared.offset is None and _needs_offset(collection):
        shifts = baselines.offsets(collection.scenes, reader, notes)
    sources: dict[tuple[str, str], Encoding] = {}
    for scene, shift in zip(collection.scenes, shifts, strict=True):
        for band, plane in scene.planes.items():
            sources[plane.path, band] = encodings.decide(
                plane, band, declared=declared, is_sentinel2=collection.is_sentinel2, default_offset=shift
            )
    targets: dict[str, Encoding] = {}
    for band in collection.bands:
        found = {e for (_, b), e in sources.items() if b == band}
        targets[band], how = encodings.common(found, band)
        if how == "shift":
            notes.append(f"band {band}: files of {len(found)} offsets are shifted to one, without loss")
        elif how == "rescale":
            notes.append(
                f"band {band}: files have {len(found)} scales; stored as {targets[band].dtype} in steps of "
                f"{targets[band].scale or 0:.3g} reflectance"
            )
    return sources, targets


def _needs_offset(collection: Collection) -> bool:
    """Whether numbers follow Sentinel-2's convention, as opposed to a scale that the file declares."""
    planes = [p for s in collection.scenes for p in s.planes.values()]
    return any(p.scale is None and p.dtype in ("uint16", "int16", "int32", "uint32") for p in planes)


def _fitting(
    places: list[cutting.Place], patch_px: int, stride_px: int, notes: list[str]
) -> list[cutting.Place]:
    """Leave out the places that are smaller than a patch."""
    grids = [p.grid for p in places]
    large = [p for p in places if min(p.grid.height, p.grid.width) >= patch_px]
    if not large:
        raise DatasetError(
            f"{len(places)} places are smaller than a patch of {patch_px} px ({places[0].name}: {grids[0].width} x "
            f"{grids[0].height} px); choose a smaller --patch"
        )
    if len(large) < len(places):
        notes.append(
            f"{len(places) - len(large)} places are smaller than a patch of {patch_px} px and left out"
        )
    rest = max((n - patch_px) % stride_px for p in large for n in (p.grid.height, p.grid.width))
    if rest:
        notes.append(f"up to {rest} px at the right and bottom edges fill no patch")
    return large


def _left_out(counts: cutting.Counts, options: Options) -> list[str]:
    """Say what was dropped while cutting."""
    out = []
    if counts.empty:
        out.append(f"{counts.empty} patches hold nothing but nodata")
    if counts.cloudy:
        out.append(f"{counts.cloudy} patches dropped for a clear fraction below {options.min_clear:g}")
    if counts.unmasked:
        out.append(f"{counts.unmasked} patches dropped for want of a cloud mask")
    if counts.few_dates:
        out.append(f"{counts.few_dates} places dropped for fewer than {options.min_dates} dates")
    return out
