"""One scene of any size as bands on one grid: a raster file, a date of a NetCDF file, or a folder with a file a band."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from jaxtyping import Bool

from seco.config import setting
from seco.data import baselines, encodings, naming
from seco.data.encodings import Declared
from seco.data.grids import Grid, Plane, same_grid
from seco.data.listing import Listing
from seco.data.masks import is_mask
from seco.data.naming import Member
from seco.data.netcdf import is_netcdf, netcdf_planes
from seco.data.rasters import PixelReader, raster_planes
from seco.data.scenes import Scene, assemble
from seco.errors import DatasetError
from seco.sensors.bands import Band
from seco.sensors.sentinel2 import QUANTIFICATION

SUFFIXES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".webp", ".vrt", ".nc", ".nc4")
_BAND_AT_END = re.compile(
    r"(?:.*[_.\- ])?(b\d{1,2}|b8a|scl|qa60|red|green|blue|nir)(?:[_.\- ]\d+m)?", re.IGNORECASE
)
_UNDATED = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """What a scene's files do not say."""

    date: str | None = setting(None, "date to take where files hold several, such as 2021-07-15")
    band_names: tuple[str, ...] = setting((), "names of a file's bands, in order, where it has none")
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class RasterScene:
    """Bands on one grid, that of the finest band; coarser ones are resampled while reading.

    Attributes:
        name: the file's or folder's.
        grid: of what is read.
        bands: what their numbers mean.
        planes: where they are read from.
        notes: what was assumed.
    """

    name: str
    grid: Grid
    bands: tuple[Band, ...]
    planes: tuple[Plane, ...]
    notes: tuple[str, ...] = ()

    def read(
        self, reader: PixelReader, row: int, col: int, height: int, width: int, *, onto: Grid | None = None
    ) -> tuple[np.ndarray, Bool[np.ndarray, "h w"]]:
        """Return stored pixels (bands, height, width), and where every band was measured.

        Args:
            reader: keeps files open.
            row, col, height, width: window, on the scene's grid or on `onto`.
            onto: another grid to resample to.
        """
        wanted = onto or self.grid
        parts, measured = [], np.ones((height, width), bool)
        for plane, band in zip(self.planes, self.bands, strict=True):
            other = None if same_grid(plane.grid, wanted) else wanted
            if other is not None and (plane.grid.transform is None or other.transform is None):
                raise DatasetError(
                    f"{plane.path} has {plane.grid.width} x {plane.grid.height} px, the scene {wanted.width} x "
                    f"{wanted.height} px, and no CRS says how they lie; give georeferenced files or one size"
                )
            pixels = reader.read(
                plane, row, col, height, width, onto=other, nodata=band.nodata if other else None, ahead=False
            )
            parts.append(pixels)
            measured &= ~encodings.empty(pixels, band.nodata)
        return np.stack([p.astype(np.result_type(*parts), copy=False) for p in parts]), measured


def open_scene(
    path: Path | str, options: SceneOptions | None = None, *, name: str | None = None
) -> RasterScene:
    """Open a scene: its headers are read, no pixels but a few that tell Sentinel-2's offset.

    Args:
        path: a raster or NetCDF file, a path that GDAL opens, or a folder (or zip) with a file a band.
        options: what the files do not say.
        name: for messages; the path's by default.

    Raises:
        DatasetError: nothing can be read, several dates and none chosen, or nothing says what the numbers mean.
    """
    options = options or SceneOptions()
    label = name or Path(path).name
    if str(path).startswith("/vsi"):
        return _of_planes(label, _named(raster_planes(str(path)), str(path), options), options)
    file = Path(path)
    if not file.exists():
        raise DatasetError(f"{file} does not exist; give a raster file, or a folder with a file a band")
    if file.is_file() and file.suffix.lower() not in (".zip", ".nc", ".nc4", ".netcdf"):
        return _of_planes(label, _named(raster_planes(str(file)), str(file), options), options)
    return _of_files(file, label, options)


def _named(planes: list[Plane], path: str, options: SceneOptions) -> dict[str, Plane]:
    """Name the bands of one file: by the user's list, by their descriptions or colours, else by number."""
    planes = [p for p in planes if p.name != "alpha"]
    if options.band_names and len(options.band_names) != len(planes):
        raise DatasetError(
            f"{path} has {len(planes)} bands; --band-names names {len(options.band_names)}: {', '.join(options.band_names)}"
        )
    names = [*options.band_names] or [p.name or f"band{p.index}" for p in planes]
    if (
        len(planes) == 3
        and not options.band_names
        and all(p.name is None and p.dtype == "uint8" for p in planes)
    ):
        names = ["red", "green", "blue"]
    kept = {n: p for n, p in zip(names, planes, strict=True) if not is_mask(n)}
    if not kept:
        raise DatasetError(f"{path} holds a mask and no band; give the imagery")
    return kept


def _of_planes(
    label: str, found: dict[str, Plane], options: SceneOptions, *, default_offset: float = 0.0,
    notes: Sequence[str] = (), theia: Literal["theia", "other"] = "other",
) -> RasterScene:  # fmt: skip
    """Decide what the numbers of named planes mean."""
    is_s2 = all(encodings.sentinel2_name(n) for n in found)
    declared = Declared(
        units=None if options.units == "auto" else options.units, scale=options.scale, offset=options.offset,
        nodata=options.nodata,
    )  # fmt: skip
    if theia == "theia":
        declared = dataclasses.replace(
            declared, scale=declared.scale or 1 / QUANTIFICATION, offset=declared.offset or 0.0,
            nodata=encodings.THEIA_NODATA if declared.nodata is None else declared.nodata,
        )  # fmt: skip
    grid = min((p.grid for p in found.values()), key=lambda g: g.pixel[0] if g.transform else -g.height)
    bands = []
    for name, plane in found.items():
        encoding = encodings.decide(
            plane, name, declared=declared, is_sentinel2=is_s2, default_offset=default_offset
        )
        bands.append(encodings.make_band(name, encoding, plane.grid.gsd_m, is_sentinel2=is_s2))
    return RasterScene(
        name=label, grid=grid, bands=tuple(bands), planes=tuple(found.values()), notes=tuple(notes)
    )


def _of_files(path: Path, label: str, options: SceneOptions) -> RasterScene:
    """Put the files of a folder, or the dates of a NetCDF file, together and choose one date."""
    with Listing(path) as listing, PixelReader() as reader:
        names = [n for n in listing.names if n.lower().endswith(SUFFIXES)]
        if not names:
            raise DatasetError(f"{path} holds no raster file; known: {', '.join(SUFFIXES)}")
        try:
            layout, members = naming.recognise(names, source=str(path))
        except DatasetError:
            layout, members = "bands", _by_band(names, path)
        planes = {}
        for member in members:
            file = listing.path(member.name)
            found = netcdf_planes(file) if is_netcdf(file) else raster_planes(file)
            planes[member.name] = found[:1] if layout == "bands" else found
        collection = assemble(
            members, planes, fallback_place=listing.stem,
            sensor="sentinel2" if layout in ("esa", "theia") else "auto", mask="none",
        )  # fmt: skip
        scene = _chosen(collection.scenes, options.date, path)
        notes: list[str] = []
        shift = 0.0
        convention = any(p.scale is None and p.dtype != "uint8" for p in scene.planes.values())
        if collection.is_sentinel2 and options.offset is None and layout != "theia" and convention:
            shift = baselines.offsets([scene], reader, notes)[0]
        return _of_planes(
            label, dict(scene.planes), options, default_offset=shift, notes=notes,
            theia="theia" if layout == "theia" else "other",
        )  # fmt: skip


def _by_band(names: Sequence[str], path: Path) -> list[Member]:
    """Read bands off names that end in one: `B02.tif`, `scene_B8A_20m.jp2`, `red.tif`."""
    out = []
    for name in names:
        found = _BAND_AT_END.fullmatch(PurePosixPath(name).stem)
        if found:
            out.append(Member(name=name, place=path.name, when=_UNDATED, band=found[1]))
    if not out:
        raise DatasetError(
            f"{path}: no file's name ends in a band (such as scene_B02.tif or red.tif); the first is {names[0]}: rename "
            "them, or give one file with all bands"
        )
    return out


def _chosen(scenes: Sequence[Scene], date: str | None, path: Path) -> Scene:
    if date is None:
        if len(scenes) > 1:
            some = ", ".join(s.when.date().isoformat() for s in scenes[:4])
            raise DatasetError(f"{path} holds {len(scenes)} scenes ({some}, ...); choose one with --date")
        return scenes[0]
    day = naming.parse_date(date).date()
    kept = [s for s in scenes if s.when.date() == day]
    if len(kept) != 1:
        some = ", ".join(s.when.date().isoformat() for s in scenes[:4])
        raise DatasetError(f"{path} holds {len(kept)} scenes of {day}; there are {len(scenes)}: {some}, ...")
    return kept[0]
