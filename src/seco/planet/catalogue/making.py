"""`seco planet scenes`: settings to a folder with a catalogue and, where asked, rendered scenes."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from seco.config import setting
from seco.data.workers import in_order, num_cores
from seco.errors import ConfigError, DatasetError
from seco.places.sphere import LonLat
from seco.planet.catalogue.archive import (
    CATALOG_NAME,
    NAME,
    PLACES_NAME,
    REVISIT_DAYS,
    TILES_NAME,
    Archive,
    read_archive,
    read_places,
    tiles_of,
    write_archive,
)
from seco.planet.catalogue.catalog import write_catalog
from seco.planet.catalogue.orbits import acquisition_on
from seco.planet.catalogue.passes import check_day
from seco.planet.catalogue.points import read_points, write_points
from seco.planet.catalogue.scenes import ReadBand, path_of, renderer, scene_cog
from seco.planet.catalogue.tiles import FULL_PX, Tile
from seco.planet.earth.surfaces import BANDS
from seco.planet.places import draw_places
from seco.planet.serving.cog import write_cog
from seco.planet.settings import Build
from seco.runs import progress

_ENOUGH_FOR_PROCESSES = 8


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Which scenes a planet's catalogue lists."""

    num_places: int | None = setting(
        None,
        "places to draw around cities, as `seco planet build` does (default: those of --points)",
        flag="--places",
    )
    points: Path | None = setting(
        None,
        "file of places instead: CSV with lon and lat, GeoJSON or GeoParquet points (default: those of --places)",
    )
    first: datetime.date = setting(datetime.date(2023, 1, 1), "day of the first scenes", flag="--from")
    last: datetime.date = setting(
        datetime.date(2023, 12, 31), "day of the last scenes, included", flag="--to"
    )
    tile_px: int = setting(FULL_PX, "edge of a tile, 10 m pixels: 10980 (the real one), 5490, 2196 or 1098")
    revisit_days: int = setting(
        REVISIT_DAYS, "keep scenes of one five-day cycle in so many days; a multiple of 5"
    )
    change_share: float = setting(
        0.0, "share of squares of 3 km where a forest is cut or a district built, 0-1"
    )
    seed: int = setting(0, "seed of the planet and of the places")
    render: bool = setting(
        False, "write the scenes to disk, compressed, instead of making them when they are read"
    )
    static: Literal["auto", "yes", "no"] = setting(
        "auto", "a file an item, linked from catalog.json; auto: where about 20,000 or fewer are expected"
    )
    jobs: int = setting(0, "processes; 0: one a core")

    def __post_init__(self) -> None:
        if (self.num_places is None) == (self.points is None):
            raise ConfigError("give either --places N or --points FILE")
        if self.num_places is not None and self.num_places < 1:
            raise ConfigError(f"{self.num_places} places asked; ask for at least 1 (--places)")
        if self.jobs < 0:
            raise ConfigError(f"{self.jobs} processes; 0 or more (--jobs)")
        self.archive()

    def build(self) -> Build:
        """Return the settings of the dataset that `seco planet build` would make of the same places and time."""
        return Build(
            num_places=self.num_places or 1, num_dates=1, first=self.first, last=self.last + datetime.timedelta(days=1),
            change_share=self.change_share, seed=self.seed,
        )  # fmt: skip

    def archive(self) -> Archive:
        """Return what makes the scenes."""
        if self.first > self.last:
            raise ConfigError(
                f"days from {self.first} to {self.last}: the first day comes first (--from, --to)"
            )
        # Before a day is added to the last: the calendar of Python has an end.
        check_day(self.first)
        check_day(self.last)
        return Archive(
            planet=self.build().planet(), tile_px=self.tile_px, first=self.first, last=self.last,
            revisit_days=self.revisit_days, rendered=self.render,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was made.

    Attributes:
        num_places, num_tiles: places, and the tiles that hold them.
        num_items: scenes in the catalogue; None where it was whole already.
        num_files, num_bytes: what was rendered, files that were there before included.
    """

    num_places: int
    num_tiles: int
    num_items: int | None
    num_files: int = 0
    num_bytes: int = 0


def make_scenes(
    scenes: Scenes, out: Path, *, read: ReadBand | None = None, say: Callable[[str], None] = lambda _: None
) -> Made:
    """Make a planet's catalogue at `out`, and render its scenes where asked; go on where an earlier call was stopped.

    Args:
        scenes: the settings.
        out: folder to make, or to go on with.
        read: the renderer; the planet's own unless given.
        say: is told what happens.

    Raises:
        DatasetError: `out` holds something else or a planet of other settings, places cannot be read, or the disk is full.
        CatalogError: there is no scene of the places in the time asked.
    """
    archive = scenes.archive()
    points = _places(scenes)
    _claim(archive, points, out)
    tiles = tiles_of(archive, points)
    say(f"places: {len(points)}; tiles of {archive.tile_px} px that hold them: {len(tiles)}")
    jobs = scenes.jobs or (num_cores() if len(tiles) >= _ENOUGH_FOR_PROCESSES else 1)
    num_items = None
    if (out / CATALOG_NAME).is_file():
        _require_files(scenes.static, out)
        say("the catalogue is whole")
    else:
        num_items = write_catalog(archive, tiles, out, static=scenes.static, jobs=jobs, read=read).num_items
    num_files = num_bytes = 0
    if archive.rendered:
        work = in_order(
            partial(_render_scene, archive, out, read),
            _tasks(archive, tiles),
            jobs=jobs,
            what="renders scenes",
        )
        for files, size in progress(work, "scenes"):
            num_files, num_bytes = num_files + files, num_bytes + size
    return Made(
        num_places=len(points),
        num_tiles=len(tiles),
        num_items=num_items,
        num_files=num_files,
        num_bytes=num_bytes,
    )


def _places(scenes: Scenes) -> LonLat:
    if scenes.points is not None:
        return np.round(read_points(scenes.points), 6)
    return np.round([(p.lon, p.lat) for p in draw_places(scenes.build(), seed=scenes.seed)], 6)


def _claim(archive: Archive, points: LonLat, out: Path) -> None:
    """Write the settings into a new folder, or see that those in it are the same."""
    if (out / NAME).is_file():
        if read_archive(out) != archive or not np.array_equal(read_places(out), points):
            raise DatasetError(
                f"{out} holds a planet of other settings or places; give the same ones to go on, or choose another folder"
            )
        return
    if out.exists() and not (out.is_dir() and _is_begun(points, out)):
        raise DatasetError(f"{out} exists and is no planet; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DatasetError(f"cannot make {out}: {err}; choose another folder") from err
    write_points(points, out / PLACES_NAME)
    write_archive(archive, out)


def _is_begun(points: LonLat, out: Path) -> bool:
    """Tell whether a folder is empty or holds no more than a stopped call wrote before its settings: the same places."""
    found = [p.name for p in out.iterdir() if not p.name.startswith((f".{PLACES_NAME}.", f".{NAME}."))]
    return not found or (found == [PLACES_NAME] and np.array_equal(read_places(out), points))


def _require_files(static: Literal["auto", "yes", "no"], out: Path) -> None:
    """Refuse to leave a whole catalogue as it is where its items lie otherwise than asked."""
    has_files = any((out / TILES_NAME).glob(f"*/{CATALOG_NAME}"))
    if static != "auto" and has_files != (static == "yes"):
        raise DatasetError(
            f"{out} holds a whole catalogue {'with' if has_files else 'without'} a file an item, and --static {static} asks "
            "for the other; leave --static out to go on, or choose another folder"
        )


def _tasks(archive: Archive, tiles: tuple[Tile, ...]) -> Iterator[tuple[Tile, datetime.date]]:
    for tile in tiles:
        for taken in archive.scenes(tile):
            yield tile, taken.day


def _render_scene(
    archive: Archive, out: Path, read: ReadBand | None, task: tuple[Tile, datetime.date]
) -> tuple[int, int]:
    """Write the files of a scene that are not there yet; return the number of its files and their bytes."""
    tile, day = task
    taken = acquisition_on(tile, day)
    assert taken is not None
    folder = out / TILES_NAME / path_of(tile, taken)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DatasetError(f"cannot make {folder}: {err}; free disk space or choose another folder") from err
    num_bytes = 0
    for band in (*BANDS, "SCL"):
        path = folder / f"{band}.tif"
        # Files get their names when they are whole, so that one that is there need not be made again.
        if path.is_file():
            num_bytes += path.stat().st_size
        else:
            num_bytes += write_cog(scene_cog(archive, tile, taken, band, read=read or renderer()), path)
    return len(BANDS) + 1, num_bytes
