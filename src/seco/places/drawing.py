"""Draw places: a stream of candidates, rules that turn some down, and the first that pass all of them."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import rasterio
import rasterio.features
import shapely
from jaxtyping import Int64, UInt8

from seco.errors import DatasetError
from seco.places.about import land_around
from seco.places.apart import Apart, apart_m
from seco.places.balance import PILOT, Balance, measure
from seco.places.cities import City, largest_cities
from seco.places.files import read_points, read_polygon
from seco.places.land import LandMask, land_mask
from seco.places.samplers import BATCH, around_cities, uniform_on_land
from seco.places.settings import NUM_PLACES, Places
from seco.places.sphere import KM_PER_DEG, LonLat

DIGITS = 6
"""Decimals of a degree that places keep: a tenth of a metre."""
WINDOW = 262_144
"""Candidates after which the pace is looked at."""
_REACH = 5.0
"""Standard deviations from a city beyond which no place is expected: 4 in a million lie there."""
_ORDER = 4
"""Word after the seed for the order of a file's places."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """Places in the order of drawing.

    Attributes:
        lonlat: longitude and latitude, degrees; what is spare comes last.
        num: how many are not spare.
        names: what a file calls them; None where they are not from a file.
        tried: candidates that were looked at.
        turned_down: how many were turned down, by the setting that did.
        balance: the shares aimed at, or None.
        notes: what the user should know.
    """

    lonlat: LonLat
    num: int
    names: tuple[str | None, ...] | None
    tried: int
    turned_down: dict[str, int]
    balance: Balance | None
    notes: tuple[str, ...] = ()


def draw(settings: Places) -> Drawn:
    """Draw places. The first n of them do not depend on how many are asked for.

    Raises:
        ConfigError: more cities than are known.
        DatasetError: a file cannot be read, there is no land in the area, or fewer places can be found than were asked for.
    """
    area = _area(settings)
    names: tuple[str | None, ...] | None = None
    if settings.points is not None:
        points = read_points(settings.points)
        order = _order(len(points.lonlat), settings)
        stream: Callable[[], Iterator[LonLat]] = lambda: _batches(points.lonlat[order])  # noqa: E731
        names = tuple(points.names[i] for i in order)
    else:
        order = None
        stream = lambda: _sampler(settings, area)  # noqa: E731
    rules = _Rules(settings, area)
    balance = None
    if settings.balance:
        balance = measure(
            settings.balance, _pilot(stream(), rules), power=settings.balance_power, boost=settings.max_boost,  # type: ignore[arg-type]
            seed=settings.seed,
        )  # fmt: skip
        rules = _Rules(settings, area, balance)
    num = settings.num_places or (NUM_PLACES if order is None else len(order))
    total = num + math.ceil(num * settings.spare)
    lonlat, serial = _take(stream(), rules, total)
    wanted = 1 if settings.num_places is None and order is not None else num
    if len(serial) < wanted:
        raise DatasetError(_too_few(len(serial), num, rules))
    notes = []
    if settings.num_places is None and order is not None:
        num = min(num, len(serial))
    elif len(serial) < total:
        notes.append(f"only {len(serial) - num} of {total - num} spare places were found ({_reasons(rules)})")
    return Drawn(
        lonlat=lonlat, num=num, tried=rules.tried, turned_down=dict(rules.turned_down), balance=balance, notes=tuple(notes),
        names=None if names is None else tuple(names[i] for i in serial.tolist()),
    )  # fmt: skip


class _Rules:
    """The rules that a candidate must pass, one after the other, and how many each turned down."""

    def __init__(
        self, settings: Places, area: shapely.Geometry | None, balance: Balance | None = None
    ) -> None:
        self._settings, self._area, self._balance = settings, area, balance
        box_m = 0.0 if settings.overlap else apart_m(settings.patch_px * 10)
        spaced = bool(box_m or settings.min_distance_km)
        self._apart = Apart(distance_km=settings.min_distance_km, box_m=box_m) if spaced else None
        self._batch = 0
        self.tried = 0
        self.turned_down: collections.Counter[str] = collections.Counter()

    def plain(self, lonlat: LonLat) -> np.ndarray:
        """Return the candidates, by their row, that pass the rules on each place by itself."""
        settings, rows = self._settings, np.arange(len(lonlat))
        lat = lonlat[:, 1]
        rows = self._keep(rows, (lat >= settings.lat_min) & (lat <= settings.lat_max), "--lat-min/--lat-max")
        if self._area is not None:
            rows = self._keep(rows, shapely.contains_xy(self._area, lonlat[rows]), "--within")
        if settings.min_land > 0:
            land = land_around(lonlat[rows], edge_m=settings.patch_px * 10)
            rows = self._keep(rows, land >= settings.min_land, "--min-land")
        return rows

    def apply(self, lonlat: LonLat) -> np.ndarray:
        """Return the candidates, by their row, that pass all rules; those taken before count."""
        self.tried += len(lonlat)
        rows = self.plain(lonlat)
        if self._balance is not None:
            draws = self._balance.draws(self._batch, len(lonlat))[rows]
            rows = self._keep(rows, self._balance.keep(lonlat[rows], draws), "--balance")
        self._batch += 1
        if self._apart is not None:
            settings = self._settings
            by = " or ".join(
                n
                for n, on in (
                    ("--min-distance-km", settings.min_distance_km),
                    ("--no-overlap", not settings.overlap),
                )
                if on
            )
            rows = self._keep(rows, self._apart.take(lonlat[rows]), by)
        return rows

    def _keep(self, rows: np.ndarray, good: np.ndarray, by: str) -> np.ndarray:
        num = len(good) - int(np.count_nonzero(good))
        if num:
            self.turned_down[by] += num
        return rows[good]


def _take(stream: Iterator[LonLat], rules: _Rules, total: int) -> tuple[LonLat, Int64[np.ndarray, " n"]]:
    """Take the first `total` that pass, or fewer where the stream ends or the pace leaves no hope; with their numbers."""
    places, serials = [np.empty((0, 2))], [np.empty(0, np.int64)]
    found = before = looked = 0
    for batch in stream:
        first = rules.tried
        rows = rules.apply(batch)
        places.append(batch[rows])
        serials.append(rows + first)
        found += len(rows)
        if found >= total:
            break
        if rules.tried - looked >= WINDOW:
            pace = (found - before) / (rules.tried - looked)
            if pace * (250 * total + 3_000_000 - rules.tried) < total - found:
                break
            before, looked = found, rules.tried
    return np.concatenate(places)[:total], np.concatenate(serials)[:total].astype(np.int64)


def _pilot(stream: Iterator[LonLat], rules: _Rules) -> LonLat:
    """Return the first candidates that pass the rules on each place by itself."""
    places = [np.empty((0, 2))]
    found = tried = 0
    for batch in stream:
        rows = rules.plain(batch)
        places.append(batch[rows])
        found, tried = found + len(rows), tried + len(batch)
        # Where hardly any pass, fewer must do.
        if found >= PILOT or tried >= 16 * PILOT:
            break
    return np.concatenate(places)[:PILOT]


def _too_few(found: int, num: int, rules: _Rules) -> str:
    return (
        f"found {found} of the {num} places asked among {rules.tried} candidates ({_reasons(rules)}): "
        "ask for fewer (--num), or relax what turned most down"
    )


def _reasons(rules: _Rules) -> str:
    """Say in words how many candidates each setting turned down."""
    return "turned down: " + (
        ", ".join(f"{n} by {by}" for by, n in rules.turned_down.most_common()) or "none"
    )


def _area(settings: Places) -> shapely.Geometry | None:
    """Read the polygons; lines and points, which mending one may leave, have no area."""
    if settings.within is None:
        return None
    parts = shapely.get_parts(read_polygon(settings.within))
    parts = shapely.get_parts(parts[shapely.get_dimensions(parts) == 2])
    area = shapely.multipolygons(parts)
    shapely.prepare(area)
    if settings.min_land > 0 and not _percent_inside(area).any():
        raise DatasetError(
            f"{settings.within}: no land inside its polygons; give other ones, or --min-land 0"
        )
    return area


def land_inside(area: shapely.Geometry) -> LandMask:
    """Return the land mask with nothing but the cells that an area touches."""
    return LandMask.from_percent(_percent_inside(area))


def _percent_inside(area: shapely.Geometry) -> UInt8[np.ndarray, "rows columns"]:
    percent = land_mask().percent
    rows, columns = percent.shape
    touched = rasterio.features.rasterize(
        [(area, 1)], out_shape=percent.shape, all_touched=True, dtype="uint8",
        transform=rasterio.Affine(360 / columns, 0.0, -180.0, 0.0, -180 / rows, 90.0),
    )  # fmt: skip
    return percent * touched


def _sampler(settings: Places, area: shapely.Geometry | None) -> Iterator[LonLat]:
    if settings.sampler == "land":
        land = land_mask() if area is None else land_inside(area)
        stream = uniform_on_land(land, seed=settings.seed, lat_min=settings.lat_min, lat_max=settings.lat_max)
    else:
        cities = largest_cities(settings.num_cities)
        if area is not None:
            cities = _cities_near(cities, area, reach_km=_REACH * settings.sigma_km)
            if not cities:
                raise DatasetError(
                    f"{settings.within}: none of the {settings.num_cities} cities is within "
                    f"{_REACH * settings.sigma_km:g} km of its polygons; take more cities (--num-cities), "
                    "a wider Gaussian (--sigma-km) or --sampler land"
                )
        stream = around_cities(cities, sigma_km=settings.sigma_km, seed=settings.seed, metric=settings.metric)
    return (np.round(batch, DIGITS) for batch in stream)


def _cities_near(cities: tuple[City, ...], area: shapely.Geometry, *, reach_km: float) -> tuple[City, ...]:
    """Leave out cities too far from an area's bounds to have a place in it, or else small areas would take for ever."""
    lon, lat = np.array([(c.lon, c.lat) for c in cities]).T
    north = reach_km / KM_PER_DEG
    near = np.zeros(len(cities), bool)
    for west, south, east, top in shapely.bounds(shapely.get_parts(area)):
        lat_far = min(max(abs(south - north), abs(top + north)), 89.0)
        across = min(north / math.cos(math.radians(lat_far)), 180.0)
        off = np.abs((lon - (west + east) / 2 + 180) % 360 - 180)
        near |= (off <= (east - west) / 2 + across) & (lat >= south - north) & (lat <= top + north)
    return tuple(c for c, n in zip(cities, near, strict=True) if n)


def _order(num: int, settings: Places) -> Int64[np.ndarray, " n"]:
    if settings.order == "file":
        return np.arange(num)
    return np.random.default_rng((settings.seed, _ORDER)).permutation(num).astype(np.int64)


def _batches(lonlat: LonLat) -> Iterator[LonLat]:
    for first in range(0, len(lonlat), BATCH):
        yield np.round(lonlat[first : first + BATCH], DIGITS)
