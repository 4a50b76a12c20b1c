"""Where and when: the places of a simulated dataset, and the days on which each is seen."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

import numpy as np
import shapely

from seco.places.apart import Squares
from seco.places.files import read_polygon
from seco.places.land import land_fraction
from seco.places.samplers import candidates, select_places
from seco.places.sphere import box_deg
from seco.planet.noise import uniform
from seco.planet.orbits import seen
from seco.planet.passes import CYCLE
from seco.planet.render import clear_fraction
from seco.planet.settings import Build, Planet
from seco.planet.utm import to_lonlat, to_utm, utm_epsg

SNAP_M = 60
"""Patches lie on the grid that pixels of 10, 20 and 60 m share."""
MAX_LOOKS = 8
"""Passes of one season that are looked at for a clear sky."""
_DATES, _SHIFT = 60, 61


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

    def accept(lonlat: np.ndarray) -> np.ndarray:
        lon, lat = lonlat.T
        good = (lat >= build.lat_min) & (lat <= build.lat_max)
        if within is not None:
            good &= shapely.contains_xy(within, lon, lat)
        width, height = box_deg(lat, extent_m)
        good &= land_fraction(lon, lat, width_deg=width, height_deg=height) >= build.min_land
        if not build.overlap:
            for i in np.flatnonzero(good):
                place = _placed(0, float(lon[i]), float(lat[i]), extent_m)
                good[i] = squares.take(place.left_m, place.top_m, grid=place.epsg)
        return good

    stream = candidates(
        build.sampler, seed=seed, num_cities=build.num_cities, sigma_km=build.sigma_km,
        lat_min=build.lat_min, lat_max=build.lat_max,
    )  # fmt: skip
    chosen = select_places(
        stream, num=build.num_places, accept=accept, max_tries=max(200_000, 400 * build.num_places),
        relax="--within, --min-land, --lat-min/--lat-max, --sampler, or allow overlap (--overlap)",
    )  # fmt: skip
    return (_placed(i, lon, lat, extent_m) for i, (lon, lat) in enumerate(chosen))


def _placed(number: int, lon: float, lat: float, extent_m: int) -> Place:
    epsg = utm_epsg(float(lon), float(lat))
    east, north = (float(v) for v in to_utm(epsg, float(lon), float(lat)))
    left = round((east - extent_m / 2) / SNAP_M) * SNAP_M
    top = round((north + extent_m / 2) / SNAP_M) * SNAP_M
    at = to_lonlat(epsg, left + extent_m / 2, top - extent_m / 2)
    return Place(id=f"{number:06d}", lon=float(at[0]), lat=float(at[1]), epsg=epsg, left_m=left, top_m=top)


def choose_days(planet: Planet, place: Place, build: Build) -> list[datetime.date]:
    """Choose the days on which a place is photographed: one in each of `num_dates` equal parts of the time asked.

    As in the paper, all of a place's dates are shifted by one random amount. In each part the pass nearest to its date is
    taken that is clear enough; if none is, the clearest looked at.
    """
    part = (build.last - build.first).days / build.num_dates
    key = (planet.seed, _SHIFT, place.epsg, place.left_m, place.top_m)
    shift = float(uniform(*key))
    visible = [
        sees(place, build.patch_px, build.first + datetime.timedelta(days=n)) for n in range(CYCLE.days)
    ]
    days = []
    for k in range(build.num_dates):
        first = build.first + datetime.timedelta(days=round(k * part))
        length = max(1, round((k + 1) * part) - round(k * part))
        wanted = min(int(shift * length), length - 1)
        nearest = np.argsort(np.abs(np.arange(length) - wanted), kind="stable").tolist()
        offset = (first - build.first).days
        # The satellites' tracks repeat, so that one cycle says all; a part too short for a pass takes its wanted day.
        passes = [n for n in nearest if visible[(offset + n) % CYCLE.days]] or [wanted]
        days.append(_clear_day(planet, place, build, [first + datetime.timedelta(days=n) for n in passes]))
    return days


def _clear_day(planet: Planet, place: Place, build: Build, candidates: list[datetime.date]) -> datetime.date:
    if not build.min_clear or len(candidates) == 1:
        return candidates[0]
    best, best_clear = candidates[0], -1.0
    for day in candidates[:MAX_LOOKS]:
        clear = clear_fraction(
            planet, epsg=place.epsg, left_m=place.left_m, top_m=place.top_m, size_px=build.patch_px, day=day
        )
        if clear > best_clear:
            best, best_clear = day, clear
        if clear >= build.min_clear:
            break
    return best


def sees(place: Place, patch_px: int, day: datetime.date) -> bool:
    """Tell whether a day's passes see all corners of a place."""
    edge = patch_px * 10
    east = np.array([[place.left_m, place.left_m + edge]], np.float64)
    north = np.array([[place.top_m], [place.top_m - edge]], np.float64)
    return bool(seen(epsg=place.epsg, easting_m=east, northing_m=north, day=day).all())
