"""Folders of pictures, labelled by their folder or not, read in place from a folder or a zip file."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from seco.config import setting, to_plain
from seco.data import arranging, pictures
from seco.data.arranging import Entry
from seco.data.decoding import decode_all, jobs_for, source_of
from seco.data.encodings import Declared, decide, make_band, sentinel2_name
from seco.data.footprint import to_lonlat
from seco.data.grids import Grid, Plane
from seco.data.importing import ImportReport
from seco.data.listing import Listing
from seco.data.pictures import Colour, Header, Picture
from seco.data.writer import DatasetWriter, Patch, require_new
from seco.errors import ConfigError, DatasetError
from seco.runs import progress
from seco.sensors import rgb
from seco.sensors.bands import Band

HELP = "a folder or zip file of pictures (JPEG, PNG, WebP, TIFF), in class folders or not"
EXAMPLE = "seco dataset import images EuroSAT.zip eurosat"

NUM_SAMPLED = 64
"""Headers that are read before all pictures are taken to be alike."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of the import."""

    size: int | None = setting(None, "edge of every picture, in pixels; default: the most common one")
    on_size: Literal["resize", "error"] = setting(
        "resize", "what to do with pictures of other sizes (cropped square first)"
    )
    colour: Literal["auto", "rgb", "grey"] = setting(
        "auto", "what to store; auto: grey if all pictures are, else RGB"
    )
    labels: arranging.Labels = setting(
        "auto", "labels by folder; auto: if pictures lie in two folders or more"
    )
    split_files: tuple[str, ...] = setting(
        (), "lists of names, such as train.txt,val.txt,test.txt, beside you or in the source"
    )
    on_bad: Literal["error", "skip"] = setting("error", "what to do with pictures that cannot be read")
    band_names: tuple[str, ...] = setting(
        (), "of TIFF with other than 1 or 3 bands of bytes: their names, in order"
    )
    units: Literal["auto", "reflectance", "dn", "display"] = setting(
        "auto", "of such TIFF: what the numbers are"
    )
    scale: float | None = setting(None, "of such TIFF: from stored number to reflectance")
    offset: float | None = setting(None, "of such TIFF: reflectance of stored number 0")
    nodata: float | None = setting(None, "of such TIFF: stored number that means nothing was measured")
    stretch_range: tuple[float, float] | None = setting(
        None, "of pictures: reflectances that became bytes 0 and 255, where known, such as 0,0.275"
    )
    gsd: float | None = setting(None, "ground sampling distance in metres, where known")
    licence: str = setting("not stated", "licence and attribution of the pictures, kept with the dataset")
    jobs: int | None = setting(
        None, "processes that decode pictures; default: all cores where there are many pictures, else one"
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.size is not None and not 1 <= self.size <= 8192:
            raise ConfigError(f"size {self.size} px; it must be from 1 to 8192")
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"jobs {self.jobs}; give at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Survey:
    """What the headers of all pictures say.

    Attributes:
        alike: the one header of all of them, if it was read of some only; the others are checked as they are decoded.
    """

    names: list[str]
    edges: Counter[int]
    modes: Counter[str]
    kinds: Counter[tuple[int, str, tuple[str | None, ...]]]
    bad: list[str]
    alike: Header | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is stored, and how: decided before the first picture is decoded."""

    survey: _Survey
    colour: Colour
    size: int
    bands: list[Band]
    entries: list[Entry]
    notes: list[str]


class _NotAlikeError(Exception):
    """A picture is not like the sampled ones, or cannot be read."""


@dataclasses.dataclass
class _Counts:
    """What was changed or left out."""

    resized: int = 0
    cropped: int = 0
    bad: int = 0


def run(source: Path, out: Path, options: Options) -> ImportReport:
    """Import the pictures in `source` as a new dataset at `out`."""
    require_new(out)
    with Listing(source) as listing, pictures.quiet():
        names = [n for n in listing.names if n.lower().endswith(pictures.SUFFIXES)]
        if not names:
            raise DatasetError(
                f"{source} holds no picture among {len(listing.names)} files; known: {', '.join(pictures.SUFFIXES)}"
            )
        guessed = _guess(listing, names, options)
        if guessed is not None:
            try:
                return _write(listing, out, guessed, options)
            except _NotAlikeError:
                guessed = None  # nothing was kept; every header is read first
        return _write(listing, out, _plan(listing, _survey(listing, names, options), options), options)


def _plan(listing: Listing, survey: _Survey, options: Options) -> _Plan:
    """Decide what is stored, and how."""
    colour = _colour(survey, options)
    size = options.size or max(survey.edges, key=lambda e: (survey.edges[e], e))
    bands = _bands(survey, colour, options)
    entries, notes = _listed(listing, arranging.arrange(survey.names, options.labels), options)
    return _Plan(survey=survey, colour=colour, size=size, bands=bands, entries=entries, notes=notes)


def _write(listing: Listing, out: Path, plan: _Plan, options: Options) -> ImportReport:
    """Decode and store the pictures."""
    chosen = {k: v for k, v in to_plain(options).items() if k != "jobs"}  # which changes nothing
    provenance = {"importer": "images", "source": listing.source.name, "options": chosen}
    counts = _Counts(bad=len(plan.survey.bad))
    with DatasetWriter(
        out, bands=plan.bands, patch_px=plan.size, licence=options.licence, provenance=provenance
    ) as writer:
        for entry, picture in _pictures(listing, plan, options, counts):
            writer.add(_patch(entry, picture, plan.size))
        notes = _notes(plan, counts) + plan.notes
        if not writer.num_patches:
            raise DatasetError(f"no picture is left of {listing.source}: {'; '.join(notes)}")
        writer.provenance["notes"] = notes
    return ImportReport(num_places=writer.num_places, num_patches=writer.num_patches, notes=tuple(notes))


def _guess(listing: Listing, names: Sequence[str], options: Options) -> _Plan | None:
    """Survey some pictures from all over, and take all to be like them, as in most sources; None where these differ.

    What is wrong, with the pictures or with the options for such ones, is said, or counted, after the survey of all.
    """
    try:
        some = {
            pictures.read_header(source_of(listing, n), n) for n in names[:: -(-len(names) // NUM_SAMPLED)]
        }
        if len(some) > 1:
            return None
        header, num = some.pop(), len(names)
        kinds = {(header.num_bands, header.dtype, header.names): num} if header.mode == "bands" else {}
        survey = _Survey(
            names=list(names), edges=Counter({min(header.height, header.width): num}), modes=Counter({header.mode: num}),
            kinds=Counter(kinds), bad=[], alike=header,
        )  # fmt: skip
        return _plan(listing, survey, options)
    except DatasetError:
        return None


def _survey(listing: Listing, names: Sequence[str], options: Options) -> _Survey:
    """Read every header: the most common size and the kinds of pictures are known before the first is stored."""
    out = _Survey(names=[], edges=Counter(), modes=Counter(), kinds=Counter(), bad=[])
    for name in progress(names, "headers"):
        try:
            header = pictures.read_header(source_of(listing, name), name)
        except DatasetError as err:
            _refuse(err, options)
            out.bad.append(name)
            continue
        out.names.append(name)
        out.edges[min(header.height, header.width)] += 1
        out.modes[header.mode] += 1
        if header.mode == "bands":
            out.kinds[header.num_bands, header.dtype, header.names] += 1
    if not out.names:
        raise DatasetError(
            f"none of the {len(names)} pictures in {listing.source} can be read, such as {names[0]}"
        )
    return out


def _refuse(err: DatasetError, options: Options) -> None:
    if options.on_bad == "error":
        raise DatasetError(f"{err}; mend or remove it, or leave such pictures out (--on-bad skip)") from err


def _colour(survey: _Survey, options: Options) -> Colour:
    """Choose one kind for all pictures."""
    num = survey.modes["bands"]
    if num and (num < len(survey.names) or len({k[:2] for k in survey.kinds}) > 1):
        shown = ", ".join(f"{n} of {k} bands of {d}" for (k, d, _), n in survey.kinds.items())
        raise DatasetError(
            f"of {len(survey.names)} pictures, {shown}, the others otherwise; import each kind apart"
        )
    if num:
        return "bands"
    if options.colour != "auto":
        return "grey" if options.colour == "grey" else "rgb"
    return "grey" if all(m in pictures.GREY_MODES for m in survey.modes) else "rgb"


def _bands(survey: _Survey, colour: Colour, options: Options) -> list[Band]:
    """Declare the bands."""
    if colour == "bands":
        return _raster_bands(survey, options)
    stretch = "unknown" if options.stretch_range is None else "linear"
    bands = list(rgb.display_bands(stretch=stretch, gsd_m=options.gsd))
    if colour == "grey":
        bands = [Band(name="grey", units="display", gsd_m=options.gsd, stretch=stretch)]
    return [dataclasses.replace(b, stretch_range=options.stretch_range) for b in bands]


def _raster_bands(survey: _Survey, options: Options) -> list[Band]:
    num, dtype, own = next(iter(survey.kinds))
    names = list(options.band_names) or [n or f"band{i + 1}" for i, n in enumerate(own)]
    if len(names) != num:
        raise DatasetError(
            f"{survey.names[0]} has {num} bands; --band-names names {len(names)}: {', '.join(names)}"
        )
    is_sentinel2 = all(sentinel2_name(n) for n in names)
    declared = Declared(
        units=None if options.units == "auto" else options.units, scale=options.scale, offset=options.offset,
        nodata=options.nodata,
    )  # fmt: skip
    plane = Plane(
        path=survey.names[0], name=None, dtype=dtype, grid=Grid(crs=None, transform=None, height=1, width=1)
    )
    return [
        make_band(
            n, decide(plane, n, declared=declared, is_sentinel2=is_sentinel2, default_offset=0.0), options.gsd,
            is_sentinel2=is_sentinel2,
        )
        for n in names
    ]  # fmt: skip


def _listed(listing: Listing, entries: Sequence[Entry], options: Options) -> tuple[list[Entry], list[str]]:
    """Apply the split files."""
    if not options.split_files:
        return list(entries), []
    lists: dict[str, list[str]] = {}
    for file in options.split_files:
        inside = [n for n in listing.names if n == file or n.endswith("/" + file)]
        if Path(file).is_file():
            raw = Path(file).read_bytes()
        elif len(inside) == 1:
            raw = listing.read(inside[0], pictures.MAX_FILE_BYTES)
        else:
            raise DatasetError(
                f"split file {file} is neither here nor, once, in {listing.source}; give its path"
            )
        try:
            lines = [line.strip() for line in raw.decode("utf-8").splitlines()]
        except UnicodeDecodeError as err:
            raise DatasetError(f"split file {file} is no text ({err}); give one name a line") from err
        lists.setdefault(arranging.split_name(file), []).extend(line for line in lines if line)
    return arranging.apply_lists(entries, lists)


def _pictures(
    listing: Listing, plan: _Plan, options: Options, counts: _Counts
) -> Iterator[tuple[Entry, Picture]]:
    """Yield each entry with its picture; those that cannot be read are an error, or left out and counted.

    Raises:
        _NotAlikeError: all were taken to be alike, and one is not.
    """
    jobs = options.jobs or jobs_for(plan.survey.edges)
    entries = progress(plan.entries, "pictures")
    for entry, picture in decode_all(listing, entries, colour=plan.colour, size_px=plan.size, jobs=jobs):
        if isinstance(picture, DatasetError):
            if plan.survey.alike is not None:
                raise _NotAlikeError(str(picture)) from picture
            _refuse(picture, options)
            counts.bad += 1
            continue
        if plan.survey.alike not in (None, picture.header):
            raise _NotAlikeError(entry.name)
        height, width = picture.header.height, picture.header.width
        if options.on_size == "error" and (height, width) != (plan.size, plan.size):
            raise DatasetError(
                f"{entry.name} is {width} x {height} px, not {plan.size} x {plan.size}; say --on-size resize, or give "
                "another --size"
            )
        counts.cropped += height != width
        counts.resized += min(height, width) != plan.size
        yield entry, picture


def _patch(entry: Entry, picture: Picture, size: int) -> Patch:
    grid = picture.grid
    lon = lat = None
    if grid is not None and grid.crs is not None and grid.transform is not None:
        a, b, c, d, e, f = grid.transform
        lon, lat = to_lonlat(grid.crs, (a + b) * size / 2 + c, (d + e) * size / 2 + f)
    return Patch(
        place=entry.place, pixels=picture.pixels, item=entry.name, label=entry.label, split=entry.split, lon=lon, lat=lat,
        crs=grid.crs if grid else None, transform=grid.transform if grid else None,
    )  # fmt: skip


def _notes(plan: _Plan, counts: _Counts) -> list[str]:
    """Say what was found, changed and left out."""
    survey, entries, colour, size = plan.survey, plan.entries, plan.colour, plan.size
    classes = Counter(e.label for e in entries if e.label is not None)
    unlabelled = len(entries) - sum(classes.values())
    out = [f"{len(classes)} classes" if classes else "no labels"]
    if classes and unlabelled:
        out.append(f"{unlabelled} pictures lie in no class folder and have no label")
    splits = Counter(e.split for e in entries if e.split is not None)
    if splits:
        out.append("the source's own split: " + ", ".join(f"{n} {s}" for s, n in sorted(splits.items())))
    grey = sum(survey.modes[m] for m in pictures.GREY_MODES)
    told = {
        f"pictures resized to {size} px": counts.resized,
        "pictures cropped to the square in their middle": counts.cropped,
        "pictures left out that cannot be read": counts.bad,
        "grey pictures repeated to three bands": grey if colour == "rgb" else 0,
        "colour pictures made grey": len(survey.names) - grey if colour == "grey" else 0,
        "pictures have an alpha channel, which is dropped": sum(
            survey.modes[m] for m in ("RGBA", "LA", "PA")
        ),
        "pictures of other colour models converted to RGB": sum(
            survey.modes[m] for m in ("P", "PA", "CMYK", "YCbCr")
        ),
    }
    return out + [f"{n} {what}" for what, n in told.items() if n]
