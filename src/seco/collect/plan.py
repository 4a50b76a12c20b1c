"""WHEN: from places and scenes to what to fetch. Pure: metadata in, plan out; no network, no disk, no chance.

The rules, in words: docs/collecting.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, overload
from weakref import WeakKeyDictionary

import numpy as np
import shapely

from seco.collect.dates import slots_of
from seco.collect.model import GRID_M, SNAP_M, Candidate, Place, PlacePlan, Scene, SeasonPlan, Slot, Window
from seco.collect.settings import Collect
from seco.planet.utm import NORTHERNMOST, SOUTHERNMOST, to_utm

POLAR = "beyond the latitudes of tiles"
NO_SCENES = "no scenes there"
OVER_EDGE = "over the edge of every tile"
NOT_SEEN = "outside what its scenes saw"
NO_DAYS = "no scene in any season's days"
SEASON_MISSING = "a season without a scene"
REASONS = (POLAR, NO_SCENES, OVER_EDGE, NO_DAYS, NOT_SEEN, SEASON_MISSING)
"""Why a place has no plan; each place without one counts for the one that comes first in the search for it."""

OTHER_DAYS, CLOUDY = "outside the days asked", "too cloudy"
"""Why a scene is of no use."""

OUTLINE_SLACK = 0.02
"""Outlines in catalogues are simplified: so much of a patch may lie outside them. The pixels decide."""
FULL_NODATA_PERCENT = 0.01
"""A scene with no more nodata than this fills its raster, whatever its simplified outline says."""


def without_duplicates(scenes: Iterable[Scene]) -> list[Scene]:
    """Return the scenes in order of time, one for each tile and datatake.

    Of several, the one of the highest processing baseline stays; then the one that saw more, then the last by name.
    """
    best: dict[tuple[str, str], Scene] = {}
    for scene in scenes:
        key = (scene.grid, scene.datatake)
        if key not in best or _worth(scene) > _worth(best[key]):
            best[key] = scene
    return sorted(best.values(), key=lambda s: (s.datetime, s.key))


def _worth(scene: Scene) -> tuple[str, float, tuple[str, str, str]]:
    nodata = 100.0 if scene.nodata_percent is None else scene.nodata_percent
    return scene.baseline or "", -nodata, scene.key


def plan_places(
    places: Sequence[Place], scenes: Iterable[Scene], settings: Collect, *, orders: Sequence[int] | None = None
) -> list[PlacePlan]:  # fmt: skip
    """Plan places that lie near each other.

    Args:
        places: where.
        scenes: all that the catalogue has there, in any order, those of neighbouring tiles too; what does not fit the
            settings' dates and cloud cover is left out once more.
        settings: the rules.
        orders: each place's turn; their order in `places` unless given.

    Returns:
        A plan for each place, in the order of `places`.

    Raises:
        ConfigError: the range of dates holds too few seasons.
    """
    slots = [slots_of(p, settings) for p in places]
    usable = [s for s in without_duplicates(scenes) if unfit(s, settings) is None]
    by_grid: dict[str, list[Scene]] = {}
    for scene in usable:
        by_grid.setdefault(scene.grid, []).append(scene)
    # Many places share their days.
    known = {
        id(s): [(t.first.toordinal(), t.last.toordinal(), t.target.toordinal()) for t in s] for s in slots
    }
    days = np.array([known[id(s)] for s in slots]).reshape(len(places), settings.seasons, 3)
    offers = [_offer(places, days, by_grid[grid], settings) for grid in sorted(by_grid)]
    turns = range(len(places)) if orders is None else orders
    return [
        _plan(place, turn=int(turns[i]), row=i, slots=slots[i], offers=offers, settings=settings)
        for i, place in enumerate(places)
    ]


def unfit(scene: Scene, settings: Collect) -> str | None:
    """Return why a scene is of no use for any place; None where it may be. Unknown cloud cover passes: pixels decide."""
    first, last = settings.days
    if not first <= scene.day <= last:
        return OTHER_DAYS
    cloud = scene.cloud_percent
    return None if cloud is None or cloud <= settings.max_cloud else CLOUDY


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Offer:
    """What the scenes of one grid can do for each place.

    Attributes:
        scenes: of the grid, in order of time.
        left_m, top_m: corner of each place's window.
        reaches: whether the grid's raster holds the place.
        holds: whether it holds the whole window.
        depth_m: distance of the window from the raster's nearest edge; below 0 where it reaches over.
        met: for each place, whether any scene is of its days.
        place, season, scene: the pairs that will do, sorted by place, season and preference.
        coverage: of each pair.
        served: number of seasons of each place that have a scene.
        seen: mean coverage of the best scenes of each place.
    """

    scenes: list[Scene]
    left_m: np.ndarray
    top_m: np.ndarray
    reaches: np.ndarray
    holds: np.ndarray
    depth_m: np.ndarray
    met: np.ndarray
    place: np.ndarray
    season: np.ndarray
    scene: np.ndarray
    coverage: np.ndarray
    served: np.ndarray
    seen: np.ndarray

    @property
    def name(self) -> str:
        """Return the tile's name, else the grid's."""
        return self.scenes[0].tile or self.scenes[0].grid


def snapped(
    lon: np.ndarray, lat: np.ndarray, scene: Scene, size_px: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return easting and northing of positions on a scene's grid, and left and top of windows centred there.

    Corners lie on multiples of 60 m from the raster's own corner, so that the centre is off by 30 m at most.
    """
    left, _, _, top = scene.finest.bounds_m
    east, north = to_utm(scene.epsg, lon, lat)
    half = size_px * GRID_M / 2
    with np.errstate(invalid="ignore"):
        west = left + np.round((east - half - left) / SNAP_M) * SNAP_M
        upper = top - np.round((top - north - half) / SNAP_M) * SNAP_M
    return east, north, west, upper


def _offer(places: Sequence[Place], at: np.ndarray, scenes: list[Scene], settings: Collect) -> _Offer:
    """Return what a grid's scenes can do for places whose seasons have a first, a last and a best day."""
    one = scenes[0]
    lon, lat = np.array([p.lon for p in places]), np.array([p.lat for p in places])
    east, north, west, upper = snapped(lon, lat, one, settings.size)
    left, bottom, right, top = one.finest.bounds_m
    edge = settings.size * GRID_M
    reaches = (east >= left) & (east < right) & (north > bottom) & (north <= top)
    depth = np.minimum.reduce([west - left, right - west - edge, top - upper, upper - edge - bottom])
    holds = reaches & (depth >= 0)
    days = np.array([s.day.toordinal() for s in scenes])
    able = holds if settings.edge == "whole" else reaches
    rows = np.flatnonzero(able)
    first, last = at[rows, :, 0, None], at[rows, :, 1, None]
    row, season, scene = np.nonzero((days >= first) & (days <= last))
    place = rows[row]
    met = np.zeros(len(places), bool)
    met[place] = True
    coverage = _coverage(scenes, place=place, scene=scene, west=west, upper=upper, edge=edge, holds=holds)
    keep = coverage >= 1.0 - settings.max_nodata - OUTLINE_SLACK
    place, season, scene, coverage = place[keep], season[keep], scene[keep], coverage[keep]
    away = np.abs(days[scene] - at[place, season, 2])
    cost = away / max(settings.window_days, 1) + _cloudiness(scenes, settings)[scene]
    order = np.lexsort((scene, cost, season, place))
    place, season, scene, coverage = place[order], season[order], scene[order], coverage[order]
    best = np.ones(len(place), bool)
    best[1:] = (place[1:] != place[:-1]) | (season[1:] != season[:-1])
    served = np.bincount(place[best], minlength=len(places))
    total = np.bincount(place[best], weights=coverage[best], minlength=len(places))
    return _Offer(
        scenes=scenes, left_m=west, top_m=upper, reaches=reaches, holds=holds, depth_m=depth, met=met, place=place,
        season=season, scene=scene, coverage=coverage, served=served, seen=total / np.maximum(served, 1),
    )  # fmt: skip


def _cloudiness(scenes: Sequence[Scene], settings: Collect) -> np.ndarray:
    """Return each scene's cloud as a share of the most allowed; unknown counts as the most."""
    most = settings.max_cloud or 1.0
    return np.array([1.0 if s.cloud_percent is None else s.cloud_percent / most for s in scenes])


def _coverage(
    scenes: Sequence[Scene], *, place: np.ndarray, scene: np.ndarray, west: np.ndarray, upper: np.ndarray, edge: int,
    holds: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return for each pair of place and scene the share of the window that the scene saw."""
    share = np.ones(len(place))
    # A scene that fills its raster sees every window that the raster holds.
    fills = np.array([_fills(s) for s in scenes])
    asked = np.flatnonzero(~(fills[scene] & holds[place]))
    if not len(asked):
        return share
    outlines = np.empty(len(scenes), dtype=object)
    used = np.unique(scene[asked])
    outlines[used] = seen_m([scenes[i] for i in used])
    shapely.prepare(outlines)
    here, of = place[asked], outlines[scene[asked]]
    windows = shapely.box(west[here], upper[here] - edge, west[here] + edge, upper[here])
    partly = np.flatnonzero(~shapely.contains(of, windows))
    overlap = shapely.intersection(of[partly], windows[partly])
    share[asked[partly]] = shapely.area(overlap) / edge**2
    return share


def _fills(scene: Scene) -> bool:
    return scene.nodata_percent is not None and scene.nodata_percent <= FULL_NODATA_PERCENT


_SEEN: WeakKeyDictionary[Scene, shapely.Geometry] = WeakKeyDictionary()
"""Outlines of scenes that somebody holds: neighbouring groups of places ask for the same ones."""


def seen_m(scenes: Sequence[Scene]) -> np.ndarray:
    """Return what each scene saw in its own CRS, clipped to its raster: an array of geometries.

    Catalogues make outlines from rasters: straight edges are straight on the raster, not in longitude and latitude,
    where they would be off by hundreds of metres in the middle. So corners are projected and joined anew.
    """
    for scene in scenes:
        if scene.seen is not None:
            _SEEN[scene] = scene.seen
    unknown = [s for s in scenes if s not in _SEEN]
    if unknown:
        boxes = shapely.box(*np.array([s.finest.bounds_m for s in unknown]).T)
        zones = np.array([0 if _fills(s) else s.epsg for s in unknown])
        for epsg in np.unique(zones[zones > 0]):
            of = np.flatnonzero(zones == epsg)
            outlines = _projected(np.array([unknown[i].footprint for i in of]), int(epsg))
            boxes[of] = shapely.intersection(outlines, boxes[of])
        _SEEN.update(zip(unknown, boxes, strict=True))
    found = np.empty(len(scenes), dtype=object)
    found[:] = [_SEEN[s] for s in scenes]
    return found


def _projected(outlines: np.ndarray, epsg: int) -> np.ndarray:
    """Return outlines in a UTM zone; those with a corner that has no place there are empty."""

    def project(points: np.ndarray) -> np.ndarray:
        return np.stack(to_utm(epsg, points[:, 0], points[:, 1]), axis=1)

    projected = shapely.transform(outlines, project)
    points, of = shapely.get_coordinates(projected, return_index=True)
    projected[np.unique(of[~np.isfinite(points).all(axis=1)])] = shapely.Polygon()
    bad = np.flatnonzero(~shapely.is_valid(projected))
    projected[bad] = shapely.make_valid(projected[bad])
    return projected


def _plan(
    place: Place, *, turn: int, row: int, slots: tuple[Slot, ...], offers: Sequence[_Offer], settings: Collect
) -> PlacePlan:
    if not SOUTHERNMOST <= place.lat <= NORTHERNMOST:
        return PlacePlan(place=place, order=turn, reason=POLAR)
    near = [o for o in offers if o.reaches[row]]
    able = [o for o in near if settings.edge == "pad" or o.holds[row]]
    best = min(able, key=lambda o: _preference(o, row), default=None)
    if best is None:
        return PlacePlan(place=place, order=turn, reason=OVER_EDGE if near else NO_SCENES)
    served = int(best.served[row])
    if not served:
        met = any(o.met[row] for o in able)
        return PlacePlan(place=place, order=turn, reason=NOT_SEEN if met else NO_DAYS)
    if served < len(slots) and settings.incomplete == "replace":
        return PlacePlan(place=place, order=turn, reason=SEASON_MISSING)
    window = Window(
        epsg=best.scenes[0].epsg, left_m=float(best.left_m[row]), top_m=float(best.top_m[row]), size_px=settings.size
    )  # fmt: skip
    start, stop = np.searchsorted(best.place, (row, row + 1))
    bounds = (start + np.searchsorted(best.season[start:stop], range(len(slots) + 1))).tolist()
    seasons = tuple(
        SeasonPlan(slot=t, candidates=_Ranked(place, i, best, range(bounds[i], bounds[i + 1]), window))
        for i, t in enumerate(slots)
    )
    return PlacePlan(place=place, order=turn, seasons=seasons, tile=best.name, window=window)


def _preference(offer: _Offer, row: int) -> tuple[int, bool, float, float, str]:
    """Most seasons first; then the whole patch, the best coverage, the patch farthest from the edge, the name."""
    coverage = round(float(offer.seen[row]), 3)
    return -int(offer.served[row]), not offer.holds[row], -coverage, -float(offer.depth_m[row]), offer.name


class _Ranked(Sequence[Candidate]):
    """The candidates of a season, each made when it is asked for: plans of a million places would be mostly these."""

    __slots__ = ("_offer", "_pairs", "_place", "_season", "_window")

    def __init__(self, place: Place, season: int, offer: _Offer, pairs: range, window: Window) -> None:
        self._place, self._season, self._offer, self._window = place, season, offer, window
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, rank: int) -> Candidate: ...

    @overload
    def __getitem__(self, rank: slice) -> Sequence[Candidate]: ...

    def __getitem__(self, rank: int | slice) -> Candidate | Sequence[Candidate]:
        if isinstance(rank, slice):
            return [self[i] for i in range(*rank.indices(len(self)))]
        pair = self._pairs[rank]
        return Candidate(
            place=self._place.id, place_index=self._place.index, season=self._season, rank=rank % len(self._pairs),
            scene=self._offer.scenes[self._offer.scene[pair]], window=self._window,
            coverage=float(self._offer.coverage[pair]),
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        # To another process go the candidates alone, not all that the offer knows of other places.
        return tuple, (list(self),)
