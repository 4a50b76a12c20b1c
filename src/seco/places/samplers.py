"""Where to look: streams of candidate places, each a pure function of its seed.

A sampler yields batches of (longitude, latitude) without end. Batch i depends on the seed and i alone, so the
first n places are the same however many are asked for, and whoever turns some down just goes on drawing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool

from seco.errors import ConfigError, DatasetError
from seco.places.cities import City, largest_cities
from seco.places.land import LandMask, land_mask
from seco.places.sphere import EARTH_RADIUS_KM, LonLat, wrap_longitude

BATCH = 1024

# The first word after the seed, so that two samplers with one seed do not share their draws.
_AROUND_CITIES, _ON_LAND = 1, 2


def around_cities(
    cities: Sequence[City], *, sigma_km: float, seed: int, metric: Literal["ground", "paper"] = "ground"
) -> Iterator[LonLat]:
    """Draw as SeCo does: a city uniformly, then a Gaussian around it.

    Args:
        cities: the cities, all equally likely; the paper takes the 10,000 most populous.
        sigma_km: standard deviation in each of the two directions; the paper's is 50 km.
        seed: seed of the stream.
        metric: `ground` spreads evenly on the ground. `paper` spreads evenly in degrees, as the original's
            code does: it leaves out the cosine of the latitude, so that the spread from west to east narrows
            away from the equator.

    Returns:
        An endless iterator of (n, 2) arrays: longitude -180 to 180, latitude -90 to 90, degrees.

    Raises:
        ConfigError: no city, a deviation that is not positive, or a seed below 0.

    Source: Mañas et al. 2021, the sampling code published with it.
    """
    _check_seed(seed)
    if not cities:
        raise ConfigError("no city to draw places around: give at least 1")
    if not 0 < sigma_km < np.inf:
        raise ConfigError(
            f"the standard deviation around cities is {sigma_km} km: it must be above 0 and finite"
        )
    centres = np.array([(city.lon, city.lat) for city in cities], dtype=np.float64)
    move = _on_ground if metric == "ground" else _in_degrees

    def batches() -> Iterator[LonLat]:
        for rng in _generators(seed, _AROUND_CITIES):
            chosen = centres[rng.integers(len(centres), size=BATCH)]
            yield move(chosen, rng.normal(scale=sigma_km, size=(BATCH, 2)))

    return batches()


def uniform_on_land(
    land: LandMask, *, seed: int, lat_min: float = -90.0, lat_max: float = 90.0
) -> Iterator[LonLat]:
    """Draw points evenly over the land's area on the sphere.

    Args:
        land: the land mask.
        seed: seed of the stream.
        lat_min: southern limit, degrees.
        lat_max: northern limit, degrees.

    Returns:
        An endless iterator of (n, 2) arrays: longitude -180 to 180, latitude -90 to 90, degrees.

    Raises:
        ConfigError: latitude limits reversed or out of range, or a seed below 0.
        DatasetError: there is no land between the limits.
    """
    _check_seed(seed)
    if not -90 <= lat_min < lat_max <= 90:
        raise ConfigError(
            f"latitude limits {lat_min:g} to {lat_max:g}: "
            "the first must be below the second, both within -90 to 90"
        )
    rows, columns = land.percent.shape
    # A row's area is the difference of the sines of its edges; the limits cut the rows that they cross.
    edges = np.clip(90.0 - np.arange(rows + 1) * (180.0 / rows), lat_min, lat_max)
    sines = np.sin(np.radians(edges))
    row_land = np.diff(land.integral[:, -1])
    cumulative = np.cumsum(row_land * (sines[:-1] - sines[1:]))
    if cumulative[-1] <= 0:
        raise DatasetError(f"no land between latitudes {lat_min:g} and {lat_max:g}: widen the limits")

    def batches() -> Iterator[LonLat]:
        for rng in _generators(seed, _ON_LAND):
            draws = rng.random((BATCH, 4))
            row = np.searchsorted(cumulative, draws[:, 0] * cumulative[-1], side="right")
            column = np.empty(BATCH, np.int64)
            for r in np.unique(row):
                here = row == r
                along = land.integral[r + 1, 1:] - land.integral[r, 1:]
                column[here] = np.searchsorted(along, draws[here, 1] * along[-1], side="right")
            lon = (column + draws[:, 2]) * (360.0 / columns) - 180.0
            lat = np.degrees(np.arcsin(sines[row + 1] + draws[:, 3] * (sines[row] - sines[row + 1])))
            yield np.stack([lon, lat], axis=1)

    return batches()


def candidates(
    sampler: Literal["cities", "land"],
    *,
    seed: int,
    num_cities: int,
    sigma_km: float,
    lat_min: float,
    lat_max: float,
) -> Iterator[LonLat]:
    """Return the stream of a sampler by its name, around the real cities or on the real land.

    Latitude limits keep `land` from drawing in vain; whoever takes places around cities turns down what lies outside.
    """
    if sampler == "land":
        return uniform_on_land(land_mask(), seed=seed, lat_min=lat_min, lat_max=lat_max)
    return around_cities(largest_cities(num_cities), sigma_km=sigma_km, seed=seed)


def select_places(
    candidates: Iterable[LonLat],
    *,
    num: int,
    accept: Callable[[LonLat], Bool[np.ndarray, " n"]],
    max_tries: int,
    relax: str = "the land fraction, the latitude limits or the rule against overlap",
) -> LonLat:
    """Take the first `num` candidates that are accepted.

    Args:
        candidates: batches of (longitude, latitude), from a sampler or a file.
        num: places to find.
        accept: says for each candidate of a batch whether it is taken. It is called once a batch, in order,
            so it may remember what it took, to keep places apart.
        max_tries: candidates to look at before giving up.
        relax: what the user could relax, for the error message.

    Returns:
        (num, 2) longitude and latitude, degrees, in the order of drawing.

    Raises:
        ConfigError: `num` or `max_tries` below 1.
        DatasetError: too few were accepted.
    """
    if num < 1:
        raise ConfigError(f"{num} places asked: ask for at least 1")
    if max_tries < 1:
        raise ConfigError(f"at most {max_tries} tries: allow at least 1")
    taken: list[np.ndarray] = []
    found = tried = 0
    for batch in candidates:
        # The last batch is cut, so that the bound on tries holds to the candidate.
        looked_at = batch[: max_tries - tried]
        tried += len(looked_at)
        kept = looked_at[accept(looked_at)]
        taken.append(kept)
        found += len(kept)
        if found >= num:
            return np.concatenate(taken)[:num]
        if tried >= max_tries:
            break
    raise DatasetError(
        f"found {found} of the {num} places asked in {tried} tries: ask for fewer places, or relax {relax}"
    )


def _generators(seed: int, stream: int) -> Iterator[np.random.Generator]:
    for batch in itertools.count():
        yield np.random.default_rng((seed, stream, batch))


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"seed {seed}: it must be 0 or more")


def _on_ground(centres: LonLat, offset_km: LonLat) -> LonLat:
    """Go from each centre along a great circle: right at the poles and over the antimeridian."""
    lon, lat = np.radians(centres).T
    angle = np.hypot(*offset_km.T) / EARTH_RADIUS_KM
    bearing = np.arctan2(*offset_km.T)  # east, north: clockwise from north
    # The new point in the frame whose first axis meets the equator at the city's meridian; no difference of nearly
    # equal numbers, which would ruin the longitude at the poles.
    ahead = np.cos(lat) * np.cos(angle) - np.sin(lat) * np.sin(angle) * np.cos(bearing)
    east = np.sin(angle) * np.sin(bearing)
    up = np.sin(lat) * np.cos(angle) + np.cos(lat) * np.sin(angle) * np.cos(bearing)
    new_lon = lon + np.arctan2(east, ahead)
    new_lat = np.arctan2(up, np.hypot(ahead, east))
    return np.stack([wrap_longitude(np.degrees(new_lon)), np.degrees(new_lat)], axis=1)


def _in_degrees(centres: LonLat, offset_km: LonLat) -> LonLat:
    """Add the same number of degrees for a kilometre in both directions, and reflect at the poles."""
    lon, lat = (centres + np.degrees(offset_km / EARTH_RADIUS_KM)).T
    lat = (lat + 90.0) % 360.0
    over = lat > 180.0
    lat = np.where(over, 360.0 - lat, lat) - 90.0
    return np.stack([wrap_longitude(np.where(over, lon + 180.0, lon)), lat], axis=1)
