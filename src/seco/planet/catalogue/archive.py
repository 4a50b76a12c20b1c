"""`planet.json`: the settings from which all scenes of a planet follow."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seco import config as configs
from seco.errors import ConfigError, DatasetError
from seco.planet.catalogue.orbits import Acquisition, acquisitions, footprint_m
from seco.planet.catalogue.passes import check_day
from seco.planet.catalogue.points import read_points
from seco.planet.catalogue.tiles import FULL_PX, Tile, step_of, tiles_covering
from seco.planet.settings import Planet
from seco.runs import write_json

NAME = "planet.json"
VERSION = 1
PLACES_NAME = "places.csv"
REVISIT_DAYS = 5
PIXELS_URL = "http://127.0.0.1:8642"
"""Where `seco planet serve` puts pixels unless told otherwise; stands in catalogues of scenes that are not rendered."""
ITEMS_NAME, COLLECTION_NAME, CATALOG_NAME = "items.parquet", "collection.json", "catalog.json"
TILES_NAME = "tiles"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
    """What makes every scene of a planet.

    Attributes:
        planet: its ground and seasons.
        tile_px: edge of a tile in pixels of 10 m.
        first, last: days of the first and the last acquisition, both included.
        revisit_days: a multiple of 5: acquisitions of one revisit cycle in so many are kept.
        rendered: whether scenes lie on disk beside the catalogue; else they are made when they are read.
    """

    planet: Planet
    tile_px: int = FULL_PX
    first: datetime.date
    last: datetime.date
    revisit_days: int = REVISIT_DAYS
    rendered: bool = False

    def __post_init__(self) -> None:
        step_of(self.tile_px)
        check_day(self.first)
        check_day(self.last)
        if self.first > self.last:
            raise ConfigError(
                f"days from {self.first} to {self.last}: the first day comes first (--from, --to)"
            )
        if self.revisit_days < REVISIT_DAYS or self.revisit_days % REVISIT_DAYS:
            raise ConfigError(
                f"a revisit of {self.revisit_days} days: give a multiple of {REVISIT_DAYS} (--revisit-days)"
            )

    def holds(self, day: datetime.date) -> bool:
        """Whether acquisitions of a day belong to the archive."""
        return (
            self.first <= day <= self.last
            and day.toordinal() // REVISIT_DAYS % (self.revisit_days // REVISIT_DAYS) == 0
        )

    def scenes(self, tile: Tile) -> Iterator[Acquisition]:
        """Yield the acquisitions of a tile, in order of time."""
        for taken in acquisitions(tile, first=self.first, last=self.last):
            if self.holds(taken.day) and not footprint_m(tile, taken.day).is_empty:
                yield taken


def tiles_of(archive: Archive, points: np.ndarray) -> tuple[Tile, ...]:
    """Return the tiles that hold any of the places, in the order of their names."""
    return tiles_covering(points[:, 0], points[:, 1], tile_px=archive.tile_px)


def write_archive(archive: Archive, out: Path) -> None:
    """Write `planet.json`."""
    write_json(out / NAME, to_json(archive))


def to_json(archive: Archive) -> dict[str, Any]:
    """Return what `planet.json` says."""
    plain = configs.to_plain(archive)
    return {"version": VERSION, "simulated": True, **plain, "places": PLACES_NAME}


def read_archive(out: Path) -> Archive:
    """Read `planet.json` of a folder.

    Raises:
        DatasetError: it is missing, damaged, or of a newer version.
        ConfigError: a setting in it is out of range.
    """
    path = out / NAME
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as err:
        raise DatasetError(
            f"{out} is no planet of scenes: there is no {NAME} in it; make one with `seco planet scenes FOLDER --places 20`"
        ) from err
    except (OSError, ValueError, RecursionError) as err:
        raise DatasetError(f"{path} is damaged ({err}); make the planet again") from err
    version = found.get("version") if isinstance(found, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DatasetError(f"{path} is damaged (no version); make the planet again")
    if version > VERSION:
        raise DatasetError(
            f"{path} is of version {version}; this seco knows up to {VERSION}: use a newer one"
        )
    try:
        values = {f.name: found[f.name] for f in dataclasses.fields(Archive)}
        values["planet"] = _planet(values["planet"])
        values |= {name: datetime.date.fromisoformat(values[name]) for name in ("first", "last")}
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise DatasetError(f"{path} is damaged ({type(err).__name__}: {err}); make the planet again") from err
    kinds = {"tile_px": int, "revisit_days": int, "rendered": bool}
    wrong = [n for n, kind in kinds.items() if type(values[n]) is not kind]
    if wrong:
        raise DatasetError(f"{path} is damaged ({wrong[0]} is {values[wrong[0]]!r}); make the planet again")
    return Archive(**values)


def _planet(values: dict[str, Any]) -> Planet:
    return configs.build(Planet, values)


def read_places(out: Path) -> np.ndarray:
    """Return the places of a planet, (n, 2) longitude and latitude.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    return read_points(out / PLACES_NAME)
