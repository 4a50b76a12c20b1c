"""Sunlight on the planet: where the sun stands over each pixel row, and how far clouds throw their shadows.

All of it follows from a pixel's own row, never from the window that it is seen in.
"""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
from jaxtyping import Float32, Int64

from seco.planet.earth.sun import sun_angles
from seco.planet.utm import FALSE_NORTHING_M

CLOUD_BASE_M = 1400.0
LOWEST_DEG = 4.0
"""The lowest suns of real products are a few degrees high, and so are these at the least."""
BELT_PX = 3000
"""Shadows have one direction and length over so many rows, 30 km, over which the sun's height changes by 0.27 degrees."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Belt:
    """Neighbouring rows of a window whose shadows are alike.

    Attributes:
        rows: which of the window's rows.
        elevation: height of the sun, radians.
        step: one pixel towards the sun, (columns, rows).
    """

    rows: slice
    elevation: float
    step: tuple[float, float]

    @property
    def cloud_reach_px(self) -> tuple[int, int]:
        """How many columns and rows lie between a cloud's shadow and the cloud."""
        away = CLOUD_BASE_M / np.tan(self.elevation) / 10
        return tuple(int(np.clip(np.round(s * away), -800, 800)) for s in self.step)  # type: ignore[return-value]


def belts(epsg: int, rows: Int64[np.ndarray, " h"], day: datetime.date) -> tuple[Belt, ...]:
    """Cut rows, in ascending order, into belts; most windows lie in one."""
    number = rows // BELT_PX
    found, first = np.unique(number, return_index=True)
    elevation, azimuth = sun_at(latitudes(epsg, found * BELT_PX + BELT_PX // 2), day)
    ends = (*first[1:].tolist(), len(rows))
    return tuple(
        Belt(rows=slice(int(a), b), elevation=float(e), step=(float(np.sin(z)), float(-np.cos(z))))
        for a, b, e, z in zip(first, ends, elevation, azimuth, strict=True)
    )


def sun_elevation_deg(lat: np.ndarray, day: datetime.date) -> np.ndarray:
    """Return the sun's elevation at latitudes at half past ten solar time; below 0 in polar night."""
    return sun_angles(0.0, lat, _pass_time(day))[0]


def sun_at(lat: np.ndarray, day: datetime.date) -> tuple[np.ndarray, np.ndarray]:
    """Return the sun's elevation and azimuth, radians, at latitudes when the satellites pass, half past ten solar time.

    One time of day for the whole planet, so that pixels do not depend on which pass is asked; products are a few
    minutes off.
    """
    elevation, azimuth = sun_angles(0.0, lat, _pass_time(day))
    return np.radians(np.maximum(elevation, LOWEST_DEG)), np.radians(azimuth)


def _pass_time(day: datetime.date) -> datetime.datetime:
    return datetime.datetime(day.year, day.month, day.day, 10, 30, tzinfo=datetime.UTC)


def latitudes(epsg: int, rows: Int64[np.ndarray, " h"]) -> Float32[np.ndarray, " h"]:
    """Return the latitude of pixel rows, on the zone's central meridian; good to a tenth of a degree within the zone."""
    northing = -10.0 * rows - (FALSE_NORTHING_M if epsg >= 32700 else 0)
    return (northing / 111_132.95 / 0.9996).astype(np.float32)
