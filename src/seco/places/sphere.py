"""The Earth as a sphere: its radius, longitudes of any turn, points as unit vectors, squares in degrees."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG
KM_PER_DEG = math.pi * EARTH_RADIUS_KM / 180

LonLat = Float[np.ndarray, "n 2"]


def wrap_longitude(lon: np.ndarray) -> np.ndarray:
    """Bring longitudes of any turn to -180 (included) to 180 degrees (not included)."""
    wrapped = np.asarray((lon + 180.0) % 360.0 - 180.0)
    # Just west of the antimeridian the remainder rounds up to a full turn.
    return np.where(wrapped >= 180.0, -180.0, wrapped)


def unit_vectors(lonlat: LonLat) -> Float[np.ndarray, "n 3"]:
    """Return points of the unit sphere: distances between them know neither poles nor antimeridian."""
    lon, lat = np.radians(lonlat).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def chord_of(km: float) -> float:
    """Return the straight distance in unit vectors of two points so many kilometres apart on the ground."""
    return 2 * math.sin(min(km / (2 * EARTH_RADIUS_KM), math.pi / 2))


def km_of_chord(chord: ArrayLike) -> np.ndarray:
    """Return the distance on the ground, km, of two points a straight distance apart in unit vectors."""
    half = np.clip(np.asarray(chord, np.float64) / 2, 0.0, 1.0)
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(half))


def box_deg(lat: np.ndarray, edge_m: float) -> tuple[np.ndarray, float]:
    """Return the extent in longitude (one a latitude) and in latitude, degrees, of squares so many metres wide."""
    height = float(np.degrees(edge_m / (EARTH_RADIUS_KM * 1000)))
    return height / np.maximum(np.cos(np.radians(lat)), 0.02), height
