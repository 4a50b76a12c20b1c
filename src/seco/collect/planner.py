"""The plan of a whole collection: places in waves, each searched and planned, and what that will cost."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seco.collect.catalogs import Catalog
from seco.collect.dates import in_order
from seco.collect.model import Place, PlacePlan
from seco.collect.plan import POLAR, plan_places
from seco.collect.search import Group, Search, group_places
from seco.collect.settings import Collect
from seco.errors import DatasetError
from seco.planet.catalogue.points import read_points

_SPARE = 0.2
_LEAST_SPARE = 8
_MOST_IN_WAVE = 20_000
"""Plans of a wave may have to be put in order, so that all of them are in memory at once."""
_ID_COLUMNS = ("place", "place_id", "id", "name")
_MAX_ID = 120


def read_places(path: Path) -> list[Place]:
    """Read places from CSV, GeoJSON or GeoParquet; those of a file without a column of ids are named by their row.

    Raises:
        DatasetError: the file is missing, damaged, empty, or names two places alike.
    """
    points = read_points(path)
    ids = _ids(path, len(points))
    if len(set(ids)) < len(ids):
        twice = next(i for i, n in Counter(ids).items() if n > 1)
        raise DatasetError(f"places {path}: two places are named {twice!r}; give each a name of its own")
    return [
        Place(index=i, id=name, lon=float(lon), lat=float(lat))
        for i, (name, (lon, lat)) in enumerate(zip(ids, points, strict=True))
    ]


def _ids(path: Path, num: int) -> list[str]:
    names: Sequence[Any] = ()
    if path.suffix.lower() in (".parquet", ".geoparquet"):
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        column = next((c for c in _ID_COLUMNS if c in file.schema_arrow.names), None)
        names = file.read([column])[column].to_pylist() if column else ()
    elif path.suffix.lower() == ".csv":
        import csv

        with path.open(encoding="utf-8-sig", newline="") as source:
            rows = csv.DictReader(source)
            column = next((c for c in _ID_COLUMNS if c in (rows.fieldnames or ())), None)
            names = [row[column] for row in rows] if column else ()
    if len(names) != num:
        width = len(str(num - 1))
        return [f"{i:0{width}d}" for i in range(num)]
    wrong = [str(n) for n in names if n is None or not 0 < len(str(n)) <= _MAX_ID]
    if wrong:
        raise DatasetError(
            f"places {path}: a place is named {wrong[0][:_MAX_ID]!r}; 1 to {_MAX_ID} characters"
        )
    return [str(n) for n in names]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """What a plan holds, before any pixel is fetched.

    Attributes:
        num_places: places looked at.
        num_planned: places with a plan.
        num_whole: places with all seasons.
        reasons: places without a plan, by reason.
        num_patches: patches to fetch.
        num_scenes: scenes that these are cut from.
        num_tiles: tiles (or grids) that these are of.
        num_found: scenes that the searches found.
        num_searched: answers that these came in, by tile, box or grid.
        dropped: items of the catalogue left out, by reason.
        requests: estimate of the requests for pixels.
        fetched_bytes: estimate of the bytes fetched, without headers.
        pixel_bytes: of the patches, as stored before compression.
    """

    num_places: int
    num_planned: int
    num_whole: int
    reasons: dict[str, int]
    num_patches: int
    num_scenes: int
    num_tiles: int
    num_found: int
    num_searched: int
    dropped: dict[str, int]
    requests: int
    fetched_bytes: int
    pixel_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Brief:
    """What a survey needs of a plan."""

    order: int
    is_whole: bool
    reason: str | None
    tile: str | None
    scenes: tuple[str, ...]


class Planner:
    """Plans a collection wave by wave.

    Without a number of places all are one wave, in groups of neighbours, so that each scene is opened once. With a number,
    places are taken in their seeded order: a first wave with some to spare, then further ones, for as long as
    whoever fetches finds places unusable. Waves, and plans in them, depend on nothing but settings, places and catalogue.

    Args:
        places: all that there are.
        catalog: where scenes are.
        settings: the rules.
        folder: of the run, where searches are kept.
    """

    def __init__(self, places: Sequence[Place], catalog: Catalog, *, settings: Collect, folder: Path) -> None:
        self.settings, self.catalog = settings, catalog
        self.places = list(places) if settings.num_places is None else in_order(places, seed=settings.seed)
        self.search = Search(catalog, settings, folder)
        self._costs: dict[str | None, np.ndarray] = {}
        self._order = np.empty(1 + max((p.index for p in self.places), default=-1), np.int64)
        self._order[[p.index for p in self.places]] = np.arange(len(self.places))
        # Searched are boxes of all places, so that a later wave need not search the same ground again.
        self._groups = {g.key: g for g in group_places(self.places, size_px=settings.size)[0]}

    def waves(self) -> Iterator[Sequence[Place]]:
        """Yield places to plan next; stop drawing when there are enough."""
        wanted = self.settings.num_places
        if wanted is None:
            yield self.places
            return
        size = min(wanted + max(math.ceil(wanted * _SPARE), _LEAST_SPARE), _MOST_IN_WAVE)
        for start in range(0, len(self.places), size):
            yield self.places[start : start + size]

    def plans(self, wave: Sequence[Place]) -> Iterator[PlacePlan]:
        """Search for a wave and yield the plan of each of its places, neighbours after each other.

        Raises:
            CatalogError: the catalogue cannot be searched.
            ConfigError: the range of dates holds too few seasons.
        """
        groups, polar = group_places(wave, size_px=self.settings.size)
        for place in polar:
            yield PlacePlan(place=place, order=self._turn(place), reason=POLAR)
        searched = [self._groups[g.key] for g in groups]
        # A file is read as a whole whatever is wanted of it, so it is read once for all.
        self.search.prepare(searched if self.catalog.kind == "api" else list(self._groups.values()))
        for group in groups:
            yield from self._of_group(group)

    def in_turn(self, wave: Sequence[Place]) -> Iterator[PlacePlan]:
        """Yield the plans of a wave in the order in which places are taken.

        The first places, as many as are asked for, are all needed whatever becomes of each: they come tile by tile, so that
        a scene's header is read once and its patches share blocks. The others stand in for those that fail, in their turn.
        """
        wanted = self.settings.num_places
        if wanted is None:
            yield from self.plans(wave)
            return
        # A plan holds on to its candidates' scenes, which for a wave around the globe would be gigabytes: of all plans only
        # the tile is kept, and each is made again, alone, when its turn comes. It depends on no other place.
        tiles = {p.order: p.tile or "" for p in self.plans(wave)}
        at = {self._turn(p): p for p in wave}
        needed = sorted((tile, order) for order, tile in tiles.items() if order < wanted)
        for _, run in itertools.groupby(needed, key=lambda t: t[0]):
            yield from sorted(self._again([at[order] for _, order in run]), key=lambda p: p.order)
        for order in sorted(o for o in tiles if o >= wanted):
            yield from self._again([at[order]])

    def _again(self, places: Sequence[Place]) -> Iterator[PlacePlan]:
        """Plan places whose scenes were searched for already."""
        groups, polar = group_places(places, size_px=self.settings.size)
        for place in polar:
            yield PlacePlan(place=place, order=self._turn(place), reason=POLAR)
        for group in groups:
            yield from self._of_group(group)

    def _turn(self, place: Place) -> int:
        return int(self._order[place.index])

    def _of_group(self, group: Group) -> list[PlacePlan]:
        orders = [self._turn(p) for p in group.places]
        return plan_places(
            group.places, self.search.scenes(self._groups[group.key]), self.settings, orders=orders
        )

    def survey(self) -> Survey:
        """Plan all that will be needed if every pixel is as its metadata say, and count."""
        wanted = self.settings.num_places
        reasons: Counter[str] = Counter()
        scenes: set[str] = set()
        tiles: set[str | None] = set()
        num_places = planned = whole = 0
        cost = np.zeros(3)
        for wave in self.waves():
            briefs = map(self._brief, self.plans(wave))  # and not plans, whose scenes would fill the memory
            # By turn, since of a wave no more are taken than are needed.
            for brief in sorted(briefs, key=lambda b: b.order) if wanted else briefs:
                if wanted is not None and self._enough(planned, whole):
                    break
                num_places += 1
                whole += brief.is_whole
                if brief.reason is not None:
                    reasons[brief.reason] += 1
                    continue
                planned += 1
                scenes.update(brief.scenes)
                tiles.add(brief.tile)
                cost += len(brief.scenes) * self._costs[brief.tile]
            if wanted is not None and self._enough(planned, whole):
                break
        per_scene = len(self.search.bands) + 1
        return Survey(
            num_places=num_places, num_planned=planned, num_whole=whole, reasons=dict(reasons.most_common()),
            num_patches=int(cost[0]), num_scenes=len(scenes), num_tiles=len(tiles),
            num_found=self.search.num_scenes, num_searched=self.search.num_answers,
            dropped=dict(self.search.dropped.most_common()),
            requests=int(cost[0] * per_scene + len(scenes) * per_scene),
            fetched_bytes=int(cost[1]), pixel_bytes=int(cost[2]),
        )  # fmt: skip

    def _brief(self, plan: PlacePlan) -> _Brief:
        firsts = [s.candidates[0].scene for s in plan.seasons if s.candidates]
        if firsts and plan.tile not in self._costs:
            # Scenes of a grid have rasters of the same sizes.
            self._costs[plan.tile] = self._cost_of(firsts[0].assets)
        return _Brief(
            order=plan.order, is_whole=plan.is_whole, reason=plan.reason, tile=plan.tile, scenes=tuple(s.id for s in firsts)
        )  # fmt: skip

    def _enough(self, planned: int, whole: int) -> bool:
        have = whole if self.settings.incomplete == "replace" else planned
        return have >= (self.settings.num_places or 0)

    def _cost_of(self, assets: Any) -> np.ndarray:
        """Return one patch, the bytes fetched for it and the bytes of its pixels; neighbours may share blocks."""
        fetched = stored = 0.0
        for asset in assets.values():
            width = self.settings.size * 10 / asset.pixel_m
            block = self.catalog.block_px
            touched = min((width + block - 1) / block, math.ceil(asset.shape[0] / block)) ** 2
            size = np.dtype(asset.dtype).itemsize
            fetched += touched * block**2 * self.catalog.bytes_a_pixel * size / 2
            stored += width**2 * size
        return np.array([1.0, fetched, stored])
