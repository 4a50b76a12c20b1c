"""Green and snowy seasons of real climates by latitude, measured on Blue Marble, for any day of the year.

The table (`curves.json`) holds what was measured: a row a Koeppen class and band of ten degrees of latitude. Bands that a
class does not reach are filled here, in this order: the nearest band of the same class in the same hemisphere; the
class's main letter (mean over its classes, weighted by their area) in the same band, then in the nearest band of the
same hemisphere; the same in the other hemisphere, six months later.
"""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from seco.errors import ConfigError

BAND_DEG = 10
NUM_BANDS = 180 // BAND_DEG
YEAR_DAYS = 365
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MID_MONTH = np.cumsum(_MONTH_DAYS) - np.array(_MONTH_DAYS) / 2
"""Days from the start of the year to the middle of each month."""

Cycle = Float[np.ndarray, "bands=18 months=12"]


class Season(NamedTuple):
    """State of a landscape at a latitude and on a day, each value 0-1.

    Attributes:
        green: greenness: 0 as bare desert, 1 as the greenest 2% of the globe's land and months.
        snow: share of the land under snow as seen from above; forests hide some of it.
    """

    green: Float[np.ndarray, " *shape"]
    snow: Float[np.ndarray, " *shape"]


def seasonal(code: str, lat: ArrayLike, day_of_year: ArrayLike) -> Season:
    """Return greenness and snow of a climate.

    Linear between the middles of months, round the end of the year, and between the middles of latitude bands; beyond
    85 degrees as at 85.

    Args:
        code: Koeppen class, as `Cfb`.
        lat: degrees, -90 to 90.
        day_of_year: 1 is the first of January; fractions, and days of any year's turn, are fine.

    Returns:
        Arrays of the shape that `lat` and `day_of_year` have together.

    Raises:
        ConfigError: there is no such climate, or a number is not finite or out of range.
    """
    cycles = _filled()
    if code not in cycles:
        raise ConfigError(f"climate {code!r} has no seasons; known: {', '.join(cycles)}")
    north, day = np.asarray(lat, np.float64), np.asarray(day_of_year, np.float64)
    if (wrong := north[~(np.abs(north) <= 90)]).size:
        raise ConfigError(f"latitude {wrong[0]}; between -90 and 90 degrees")
    if (wrong := day[~np.isfinite(day)]).size:
        raise ConfigError(f"day of the year {wrong[0]}; a finite number of days")
    green, snow = (_at(cycle, north, day) for cycle in cycles[code])
    return Season(green=green, snow=snow)


def climates() -> tuple[str, ...]:
    """Return the Koeppen classes that have seasons."""
    return tuple(_filled())


def _at(cycle: Cycle, lat: np.ndarray, day: np.ndarray) -> Float[np.ndarray, " *shape"]:
    """Interpolate a table at latitudes and days of the year."""
    row = np.clip((lat + 90) / BAND_DEG - 0.5, 0, NUM_BANDS - 1)
    low = np.minimum(row.astype(np.int64), NUM_BANDS - 2)
    up = row - low
    # One month more at each end, so that December and January are neighbours.
    middles = np.concatenate([[_MID_MONTH[-1] - YEAR_DAYS], _MID_MONTH, [_MID_MONTH[0] + YEAR_DAYS]])
    # The first of January is day 1, and its noon half a day from the start of the year.
    turned = np.mod(day - 0.5, YEAR_DAYS)
    after = np.clip(np.searchsorted(middles, turned, side="right"), 1, len(middles) - 1)
    late = (turned - middles[after - 1]) / (middles[after] - middles[after - 1])
    first, second = (after - 2) % 12, (after - 1) % 12
    south = cycle[low, first] * (1 - late) + cycle[low, second] * late
    north = cycle[low + 1, first] * (1 - late) + cycle[low + 1, second] * late
    return np.asarray(south * (1 - up) + north * up)


@functools.cache
def _filled() -> dict[str, tuple[Cycle, Cycle]]:
    """Read the table and fill its gaps: greenness and snow of each class in every band and month, 0-1."""
    table = json.loads(files("seco.planet.earth").joinpath("curves.json").read_text(encoding="utf-8"))
    measured: dict[str, np.ndarray] = {}
    sums: dict[str, np.ndarray] = {}
    areas: dict[str, np.ndarray] = {}
    for code, bands in table["climates"].items():
        both = np.full((NUM_BANDS, 2, 12), np.nan)
        for south, row in bands.items():
            band = (int(south) + 90) // BAND_DEG
            both[band] = np.array([row["green"], row["snow"]]) / 100
            area = areas.setdefault(code[0], np.zeros(NUM_BANDS))
            sums.setdefault(code[0], np.zeros_like(both))[band] += row["cells"] * both[band]
            area[band] += row["cells"]
        measured[code] = both
    letters = {}
    for letter, total in sums.items():
        # Bands where a letter has no land stay unknown.
        known = np.where(areas[letter] > 0, areas[letter], np.nan)
        letters[letter] = total / known[:, None, None]
    filled = {}
    for code, both in measured.items():
        full = _fill(both, letters[code[0]])
        filled[code] = (full[:, 0], full[:, 1])
    return filled


def _fill(own: np.ndarray, letter: np.ndarray) -> np.ndarray:
    """Fill the bands that are NaN, (bands, what, months)."""
    half = NUM_BANDS // 2
    halves = []
    for side in (slice(None, half), slice(half, None)):
        near = _nearest(own[side])
        if near is None:
            # Of the letter, its own band where it is there, else its nearest.
            near = _nearest(letter[side])
        halves.append(near)
    # Where even the letter is absent: mirror at the equator and turn by six months.
    for here, there in ((0, 1), (1, 0)):
        if halves[here] is None:
            other = halves[there]
            assert other is not None, "a climate without a single row is not in the table"
            halves[here] = np.roll(other[::-1], 6, axis=-1)
    return np.concatenate([h for h in halves if h is not None])


def _nearest(rows: np.ndarray) -> np.ndarray | None:
    """Give each band that is NaN the row of the nearest one that is not; None where all are NaN."""
    known = np.flatnonzero(~np.isnan(rows).any(axis=(1, 2)))
    if not known.size:
        return None
    return rows[known[np.abs(np.arange(len(rows))[:, None] - known).argmin(axis=1)]]


def about() -> dict[str, Any]:
    """Return what the table says of itself: where it comes from and by which rules it was made."""
    table = json.loads(files("seco.planet.earth").joinpath("curves.json").read_text(encoding="utf-8"))
    return {k: v for k, v in table.items() if k != "climates"}
