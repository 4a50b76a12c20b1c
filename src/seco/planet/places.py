"""Where and when: the places of a simulated dataset, and the days on which each is seen."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Iterator

import numpy as np
import shapely

from seco.errors import DatasetError
from seco.places.apart import Squares
from seco.places.files import read_polygon
from seco.places.land import land_fraction
from seco.places.samplers import candidates, select_places
from seco.places.sphere import box_deg
from seco.planet.catalogue.orbits import MIN_SUN_DEG, seen
from seco.planet.catalogue.passes import CYCLE
from seco.planet.earth.light import sun_elevation_deg
from seco.planet.earth.noise import uniform
from seco.planet.earth.render import clear_fraction
from seco.planet.settings import Build, Planet
from seco.planet.utm import FALSE_NORTHING_M, to_lonlat, to_utm, utm_epsg

SNAP_M = 60
"""Patches lie on the grid that pixels of 10, 20 and 60 m share."""
MAX_LOOKS = 8
"""Passes of one season that are looked at for a clear sky."""
POLAR_DEG = 60.0
"""Nearer to the equator the sun stands high enough at half past ten on every day of the year."""
_SHIFT = 61


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """One square of ground.

    Attributes:
        id: its number, six digits.
        lon, lat: its centre, degrees.
        epsg: its UTM zone.
        left_m, top_m: easting and northing of its upper left corner.
    """

    id: str
    lon: float
    lat: float
    epsg: int
    left_m: int
    top_m: int


def draw_places(build: Build, *, seed: int) -> Iterator[Place]:
    """Draw the places of a dataset, always the same, in the order of drawing.

    Raises:
        DatasetError: too little land where places are allowed, or a polygon file that cannot be read.
    """
    within = read_polygon(build.within) if build.within is not None else None
    extent_m = build.patch_px * 10
    squares = Squares(extent_m)
    tried = inside = on_land = 0

    def accept(lonlat: np.ndarray) -> np.ndarray:
        nonlocal tried, inside, on_land
        tried += len(lonlat)
        lon, lat = lonlat.T
        good = (lat >= build.lat_min) & (lat <= build.lat_max)
        if within is not None:
            good &= shapely.contains_xy(within, lon, lat)
        inside += int(np.count_nonzero(good))
        width, height = box_deg(lat, extent_m)
        good &= land_fraction(lon, lat, width_deg=width, height_deg=height) >= build.min_land
        on_land += int(np.count_nonzero(good))
        for i in np.flatnonzero(good & (np.abs(lat) > POLAR_DEG)):
            place = _placed(0, float(lon[i]), float(lat[i]), extent_m)
            good[i] = np.count_nonzero(_seen_in_sun(place, build)) >= build.num_dates
        if not build.overlap:
            for i in np.flatnonzero(good):
                place = _placed(0, float(lon[i]), float(lat[i]), extent_m)
                good[i] = squares.take(place.left_m, place.top_m, grid=place.epsg)
        return good

    stream = candidates(
        build.sampler, seed=seed, num_cities=build.num_cities, sigma_km=build.sigma_km,
        lat_min=build.lat_min, lat_max=build.lat_max,
    )  # fmt: skip
    try:
        chosen = select_places(
            stream, num=build.num_places, accept=accept, max_tries=max(200_000, 400 * build.num_places),
            relax="--within, --min-land, --lat-min/--lat-max, --sampler, days with sun there (--from, --to, --dates), or "
            "allow overlap (--overlap)",
        )  # fmt: skip
    except DatasetError as err:
        if build.within is None or on_land:
            raise
        if inside:
            raise DatasetError(
                f"no land in {build.within}: {inside} positions tried in it, none with a land fraction of "
                f"{build.min_land:g}; choose another polygon, or lower --min-land"
            ) from err
        around = "near a city" if build.sampler == "cities" else "on land"
        raise DatasetError(
            f"none of {tried:,} positions drawn {around} lies in {build.within}; choose another polygon or a larger one, "
            "another --sampler, or other latitudes (--lat-min, --lat-max)"
        ) from err
    return (_placed(i, lon, lat, extent_m) for i, (lon, lat) in enumerate(chosen))


def _placed(number: int, lon: float, lat: float, extent_m: int) -> Place:
    epsg = utm_epsg(float(lon), float(lat))
    east, north = (float(v) for v in to_utm(epsg, float(lon), float(lat)))
    left = round((east - extent_m / 2) / SNAP_M) * SNAP_M
    # Tiles count from the equator southwards, and 10,000 km of false northing is no multiple of 60 m.
    equator = FALSE_NORTHING_M if epsg > 32700 else 0
    top = equator + round((north + extent_m / 2 - equator) / SNAP_M) * SNAP_M
    at = to_lonlat(epsg, left + extent_m / 2, top - extent_m / 2)
    return Place(id=f"{number:06d}", lon=float(at[0]), lat=float(at[1]), epsg=epsg, left_m=left, top_m=top)


def choose_days(planet: Planet, place: Place, build: Build) -> list[datetime.date]:
    """Choose the days on which a place is photographed: one in each of `num_dates` equal parts of the time asked.

    As in the paper, all of a place's dates are shifted by one random amount. In each part the pass nearest to its date is
    taken that is clear enough; if none is, the clearest looked at. A part of polar night gives its date to the nearest
    pass with sun in another part.

    Raises:
        DatasetError: there are fewer days with sun than dates.
    """
    part = (build.last - build.first).days / build.num_dates
    key = (planet.seed, _SHIFT, place.epsg, place.left_m, place.top_m)
    shift = float(uniform(*key))
    sunny, passes = _in_sun(place, build), _seen_in_sun(place, build)
    taken: list[int] = []
    for k in range(build.num_dates):
        first = round(k * part)
        length = max(1, round((k + 1) * part) - first)
        wanted = first + min(int(shift * length), length - 1)
        near = [n for n in _nearest(sunny, wanted) if n not in taken]
        if not near:
            raise DatasetError(
                f"place at {place.lon:.2f}, {place.lat:.2f}: {np.count_nonzero(sunny)} days from {build.first} to "
                f"{build.last} on which the sun stands {MIN_SUN_DEG:g} degrees high, dates asked: {build.num_dates}; "
                "ask for fewer dates (--dates), another time (--from, --to) or other latitudes (--lat-min, --lat-max)"
            )
        here = [n for n in near if first <= n < first + length]
        # A part too short for a pass takes the day nearest to its date, whether anything passes or not.
        candidates = (
            [n for n in here if passes[n]] or here[:1] or [n for n in near if passes[n]][:1] or near[:1]
        )
        taken.append(_clear_day(planet, place, build, candidates))
    return [build.first + datetime.timedelta(days=n) for n in sorted(taken)]


def _nearest(which: np.ndarray, to: int) -> list[int]:
    """Return the numbers of the days that are marked, the nearest first."""
    marked = np.flatnonzero(which)
    order = np.argsort(np.abs(marked - to), kind="stable")
    return [int(n) for n in marked[order]]


def _in_sun(place: Place, build: Build) -> np.ndarray:
    """Tell for each day of the time whether the sun stands high enough over a place for a product."""
    return _sunny(place.lat, build.first, build.last)


@functools.lru_cache(maxsize=16)
def _sunny(lat: float, first: datetime.date, last: datetime.date) -> np.ndarray:
    days = (last - first).days
    if abs(lat) <= POLAR_DEG:
        return np.ones(days, bool)
    days_of = (first + datetime.timedelta(days=n) for n in range(days))
    return np.array([float(sun_elevation_deg(np.array(lat), day)) >= MIN_SUN_DEG for day in days_of])


def _seen_in_sun(place: Place, build: Build) -> np.ndarray:
    """Tell for each day of the time whether the satellites see a place on it, with sun."""
    days = (build.last - build.first).days
    # The satellites' tracks repeat, so that one cycle says all.
    cycle = [
        sees(place, build.patch_px, build.first + datetime.timedelta(days=n))
        for n in range(min(CYCLE.days, days))
    ]
    return np.resize(cycle, days) & _in_sun(place, build)


def _clear_day(planet: Planet, place: Place, build: Build, candidates: list[int]) -> int:
    """Return the first of some days, counted from the first of the time, that is clear enough; else the clearest."""
    if not build.min_clear or len(candidates) == 1:
        return candidates[0]

    def look(day: int, beyond: float) -> float:
        return clear_fraction(
            planet, epsg=place.epsg, left_m=place.left_m, top_m=place.top_m, size_px=build.patch_px,
            day=build.first + datetime.timedelta(days=day), beyond=beyond,
        )  # fmt: skip

    # How little a day is clear that is not clear enough matters only if none is.
    too_little = float(np.nextafter(build.min_clear, 0))
    for day in candidates[:MAX_LOOKS]:
        if look(day, too_little) >= build.min_clear:
            return day
    best, best_clear = candidates[0], -1.0
    for day in candidates[:MAX_LOOKS]:
        clear = look(day, best_clear)
        if clear > best_clear:
            best, best_clear = day, clear
    return best


def sees(place: Place, patch_px: int, day: datetime.date) -> bool:
    """Tell whether a day's passes see all corners of a place."""
    edge = patch_px * 10
    east = np.array([[place.left_m, place.left_m + edge]], np.float64)
    north = np.array([[place.top_m], [place.top_m - edge]], np.float64)
    return bool(seen(epsg=place.epsg, easting_m=east, northing_m=north, day=day).all())
