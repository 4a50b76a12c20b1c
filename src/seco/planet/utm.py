"""UTM zones and latitude bands as MGRS has them, and the projections between them and longitude/latitude.

Source: NGA.SIG.0012 (The Universal Grids and the Transverse Mercator and Polar Stereographic Map Projections),
with its exceptions around Norway (32V) and Svalbard (31X, 33X, 35X, 37X).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from pyproj import Transformer

from seco.errors import ConfigError

LATITUDE_BANDS = "CDEFGHJKLMNPQRSTUVWX"
"""Bands of 8 degrees from 80 S on; X, the last, has 12."""
SOUTHERNMOST, NORTHERNMOST = -80.0, 84.0
FALSE_NORTHING_M = 10_000_000


def utm_zone(lon: ArrayLike, lat: ArrayLike) -> np.ndarray:
    """Return the UTM zone, 1-60, of each longitude and latitude, exceptions included.

    Raises:
        ConfigError: a position is not finite, or a latitude beyond 80 S to 84 N, where UTM ends.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    wrong = ~(np.isfinite(lon) & (lat >= SOUTHERNMOST) & (lat <= NORTHERNMOST))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ConfigError(
            f"position {lon.flat[at]:g}, {lat.flat[at]:g}: UTM has latitudes {SOUTHERNMOST:g} to {NORTHERNMOST:g}; "
            "give longitude first and leave out the poles"
        )
    return zones_of(lon, lat)


def zones_of(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Return UTM zones without any check; what lies beyond UTM's latitudes gets its zone as if it did not."""
    wrapped = (lon + 180.0) % 360.0 - 180.0
    zone = np.clip((wrapped + 180.0) // 6.0, 0, 59).astype(np.int64) + 1
    zone = np.where((lat >= 56) & (lat < 64) & (wrapped >= 3) & (wrapped < 12), 32, zone)
    svalbard = (lat >= 72) & (wrapped >= 0) & (wrapped < 42)
    # 9, 21 and 33 degrees east take the place of the borders at 6, 12, ..., so that zones 32, 34 and 36 vanish.
    return np.where(svalbard, 31 + 2 * np.digitize(wrapped, (9.0, 21.0, 33.0)), zone)


def latitude_band(lat: float) -> str:
    """Return the MGRS letter of a latitude; beyond 80 S and 84 N that of the nearest band."""
    return LATITUDE_BANDS[min(max(int((lat - SOUTHERNMOST) // 8), 0), len(LATITUDE_BANDS) - 1)]


def utm_epsg(lon: float, lat: float) -> int:
    """Return the EPSG code of the UTM zone of a position: 326zz north of the equator, 327zz south of it."""
    return (32600 if lat >= 0 else 32700) + int(utm_zone(lon, lat))


def zone_of_epsg(epsg: int) -> tuple[int, bool]:
    """Return the zone of an EPSG code of WGS 84 / UTM, and whether it is the southern one.

    Raises:
        ConfigError: it is no such code.
    """
    hemisphere, zone = divmod(epsg, 100)
    if hemisphere not in (326, 327) or not 1 <= zone <= 60:
        raise ConfigError(
            f"EPSG:{epsg} is no UTM zone on WGS 84: give 32601 to 32660 (north) or 32701 to 32760"
        )
    return zone, hemisphere == 327


@lru_cache(maxsize=128)
def _to_lonlat(epsg: int) -> Transformer:
    zone_of_epsg(epsg)
    return Transformer.from_crs(epsg, "OGC:CRS84", always_xy=True)


@lru_cache(maxsize=128)
def _to_utm(epsg: int) -> Transformer:
    zone_of_epsg(epsg)
    return Transformer.from_crs("OGC:CRS84", epsg, always_xy=True)


def to_lonlat(epsg: int, easting_m: ArrayLike, northing_m: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude, degrees, of positions in a UTM zone."""
    lon, lat = _to_lonlat(epsg).transform(
        np.asarray(easting_m, np.float64), np.asarray(northing_m, np.float64)
    )
    return np.asarray(lon), np.asarray(lat)


def to_utm(epsg: int, lon: ArrayLike, lat: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return easting and northing, metres, in a UTM zone; positions far from the zone come out infinite."""
    east, north = _to_utm(epsg).transform(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    return np.asarray(east), np.asarray(north)
