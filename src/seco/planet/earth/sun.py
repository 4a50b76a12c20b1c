"""Where the sun stands, and how far it is.

Sources: The Astronomical Almanac's low-precision solar position as given by J. J. Michalsky, Solar Energy 40(3),
227-235 (1988), good to 0.01 degrees from 1950 to 2050; ESA, Sentinel-2 Level-1 radiometry (reflectance conversion).
"""

from __future__ import annotations

import datetime
import functools
import math

import numpy as np
from numpy.typing import ArrayLike

_NOON_2000 = datetime.datetime(2000, 1, 1, 12, tzinfo=datetime.UTC)
_ESA_EPOCH = datetime.datetime(1950, 1, 1, tzinfo=datetime.UTC)


@functools.lru_cache(maxsize=4096)
def sun_direction(when: datetime.datetime) -> tuple[float, float]:
    """Return the longitude and latitude over which the sun stands in the zenith, degrees.

    Args:
        when: a moment with its time zone.
    """
    days = (when - _NOON_2000) / datetime.timedelta(days=1)
    anomaly = math.radians(357.528 + 0.9856003 * days)
    mean = 280.460 + 0.9856474 * days
    ecliptic = math.radians(mean + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    obliquity = math.radians(23.439 - 4e-7 * days)
    right_ascension = math.atan2(math.cos(obliquity) * math.sin(ecliptic), math.cos(ecliptic))
    declination = math.asin(math.sin(obliquity) * math.sin(ecliptic))
    # Greenwich mean sidereal time, degrees; `days` counts from noon, so that the day's own turn is in it.
    sidereal = 280.46062 + 360.98564737 * days
    lon = (math.degrees(right_ascension) - sidereal + 180.0) % 360.0 - 180.0
    return lon, math.degrees(declination)


def sun_angles(lon: ArrayLike, lat: ArrayLike, when: datetime.datetime) -> tuple[np.ndarray, np.ndarray]:
    """Return the sun's elevation and its azimuth clockwise from north, degrees; refraction is left out.

    Args:
        lon: longitude, degrees.
        lat: latitude, degrees.
        when: a moment with its time zone.
    """
    sun_lon, sun_lat = sun_direction(when)
    hour, lat, dec = np.radians(np.asarray(lon) - sun_lon), np.radians(lat), math.radians(sun_lat)
    up = np.sin(lat) * math.sin(dec) + np.cos(lat) * math.cos(dec) * np.cos(hour)
    north = np.cos(lat) * math.sin(dec) - np.sin(lat) * math.cos(dec) * np.cos(hour)
    east = -math.cos(dec) * np.sin(hour)
    elevation = np.degrees(np.arcsin(np.clip(up, -1.0, 1.0)))
    return np.asarray(elevation), np.asarray(np.degrees(np.arctan2(east, north)) % 360.0)


def reflectance_conversion_factor(when: datetime.datetime) -> float:
    """Return ESA's correction for the distance between earth and sun, 1 / d(t)^2 squared mean distances."""
    days = (when - _ESA_EPOCH) / datetime.timedelta(days=1)
    return 1.0 / (1.0 - 0.01673 * math.cos(0.0172 * (days - 2.0))) ** 2
