"""Two simulated sun-synchronous satellites: when each passes, and how far from its track any ground lies.

Circular orbits over a spherical Earth, phased as Sentinel-2A and -2B are: 143 orbits in ten days, the second platform
half a cycle behind, descending over the equator at half past ten. Relative orbit numbers fall on the days and places on
which the real ones do.

Source: ESA, Sentinel-2 mission guide (repeat cycle, inclination, altitude, local time, swath); the phase and the orbit
numbers are set by real items (S2A R116 of 2019-01-01, S2B R095 of 2025-07-31).
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from seco.errors import ConfigError
from seco.places.sphere import EARTH_RADIUS_KM

SWATH_M = 290_000
ALTITUDE_M = 786_000
INCLINATION_DEG = 98.62
NODE_HOUR = 10.5
"""Mean local solar time of the descending node."""
CYCLE = datetime.timedelta(days=10)
ORBITS_PER_CYCLE = 143
PERIOD_S = CYCLE.total_seconds() / ORBITS_PER_CYCLE
EARTH_RADIUS_M = EARTH_RADIUS_KM * 1000
FIRST_DAY, LAST_DAY = datetime.date(2017, 7, 1), datetime.date(2099, 12, 31)
"""Days on which the planet is seen: both real satellites fly since the first."""

FAR_M = 1e7
"""Stands for any distance from the track too large to matter, and for the far side of the Earth."""
_NEAR_M = 1_000_000
_PLATFORMS = (
    # platform, a descending node of relative orbit 1, the absolute number of that orbit
    ("sentinel-2a", datetime.datetime(2019, 1, 2, 23, 16, 16, tzinfo=datetime.UTC), 18445),
    ("sentinel-2b", datetime.datetime(2018, 12, 28, 23, 16, 16, tzinfo=datetime.UTC), 9465),
)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One descent from the farthest north to the farthest south, in daylight.

    Attributes:
        platform: `sentinel-2a` or `sentinel-2b`.
        relative_orbit: 1 to 143, the same track whenever it comes back.
        absolute_orbit: orbits since launch.
        node: when the platform crosses the equator.
    """

    platform: str
    relative_orbit: int
    absolute_orbit: int
    node: datetime.datetime

    @property
    def start(self) -> datetime.datetime:
        """Return when the descent begins, a quarter of an orbit before the equator."""
        return self.node - datetime.timedelta(seconds=PERIOD_S / 4)

    @property
    def node_lon(self) -> float:
        """Return the longitude of the equator's crossing, degrees, which follows from the local time there."""
        midnight = self.node.replace(hour=0, minute=0, second=0, microsecond=0)
        hours = (self.node - midnight) / datetime.timedelta(hours=1)
        return (15.0 * (NODE_HOUR - hours) + 180.0) % 360.0 - 180.0


@lru_cache(maxsize=4096)
def passes_on(day: datetime.date) -> tuple[Pass, ...]:
    """Return all descents that begin on a UTC day, in order of time.

    Raises:
        ConfigError: the day is before 2017-07-01 or after 2099-12-31.
    """
    check_day(day)
    begin = datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
    out = []
    for platform, epoch, absolute in _PLATFORMS:
        quarter = datetime.timedelta(seconds=PERIOD_S / 4)
        number = math.ceil((begin + quarter - epoch) / CYCLE * ORBITS_PER_CYCLE)
        while True:
            # From the epoch each time, in whole microseconds, so that nothing adds up over the years.
            node = epoch + CYCLE * number / ORBITS_PER_CYCLE
            if (node - quarter).date() > day:
                break
            relative = number % ORBITS_PER_CYCLE + 1
            out.append(
                Pass(platform=platform, relative_orbit=relative, absolute_orbit=absolute + number, node=node)
            )
            number += 1
    return tuple(sorted(out, key=lambda p: p.node))


def check_day(day: datetime.date) -> None:
    """Refuse days on which nothing flies.

    Raises:
        ConfigError: the day is before 2017-07-01 or after 2099-12-31.
    """
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ConfigError(f"day {day}: the planet is seen from {FIRST_DAY} to {LAST_DAY}")


def abeam(node_lon: ArrayLike, lon: ArrayLike, lat: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return how far positions lie from descending tracks, and when they are abeam of the satellite.

    Args:
        node_lon: where the tracks cross the equator, degrees; broadcast against the positions.
        lon: longitudes, degrees.
        lat: latitudes, degrees.

    Returns:
        Metres to the left of the track (to the right: negative; 10,000 km: too far away to matter), and seconds
        after the node.
    """
    node, lon, lat = np.broadcast_arrays(
        *(np.radians(np.asarray(a, np.float64)) for a in (node_lon, lon, lat))
    )
    inclination = math.radians(INCLINATION_DEG)
    away = (
        lon - node
    )  # longitude from the node, in the frame of the orbit, whose axes are the node and the pole
    # The satellite's angle from the node when it is abeam: a first guess from the latitude, then the Earth's turn until
    # then. The turn is a fourteenth of the satellite's, so that each round gains more than a digit.
    angle = -np.arcsin(np.clip(np.sin(lat) / math.sin(inclination), -1.0, 1.0))
    left = np.zeros_like(angle)
    level, north = np.cos(lat), np.sin(lat)
    for _ in range(8):
        turned = away + angle * (PERIOD_S / 86_400.0)
        outward, east = level * np.cos(turned), level * np.sin(turned)
        ahead = east * math.cos(inclination) - north * math.sin(inclination)
        left = east * math.sin(inclination) + north * math.cos(inclination)
        angle = np.arctan2(ahead, outward)
    metres = np.arcsin(np.clip(left, -1.0, 1.0)) * EARTH_RADIUS_M
    on_this_side = (np.abs(angle) < math.radians(95)) & (np.abs(metres) < _NEAR_M)
    return np.where(on_this_side, metres, FAR_M), np.asarray(angle * (PERIOD_S / math.tau))


def incidence_deg(across_m: float) -> float:
    """Return the angle from the zenith under which ground at a distance from the track sees the satellite."""
    centre = abs(across_m) / EARTH_RADIUS_M
    look = math.atan2(math.sin(centre), (EARTH_RADIUS_M + ALTITUDE_M) / EARTH_RADIUS_M - math.cos(centre))
    return math.degrees(look + centre)
