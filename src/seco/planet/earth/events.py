"""What happens to the land: forests are cut and districts built, each on its day."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
from jaxtyping import Bool, Int32

from seco.planet.earth.land import Window
from seco.planet.earth.noise import uniform
from seco.planet.earth.surfaces import Surface
from seco.planet.settings import Planet

CHANGE_CELL_PX = 300
_CHANGE = 11
_LEAFY = (Surface.CONIFER, Surface.BROADLEAF, Surface.EVERGREEN_BROADLEAF)
_OPEN = (
    Surface.GRASS, Surface.SHRUB, Surface.WINTER_CROP, Surface.SUMMER_CROP, Surface.PADDY, Surface.BARE,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens to the land.

    Attributes:
        kind: a forest cut, or a district built.
        day: the first day on which it is there.
        where: the pixels that turn.
        surface: what each of them turns into.
    """

    kind: str
    day: datetime.date
    where: Bool[np.ndarray, "h w"]
    surface: Int32[np.ndarray, " n"]


def events(planet: Planet, window: Window, surface: np.ndarray, town: np.ndarray) -> list[Event]:
    """Find what happens under some pixels: each cell of 3 km may have one event, a rectangle of land that turns."""
    cols, rows, key = window.cols, window.rows, window.key
    if not planet.change_share:
        return []
    found = []
    span = (planet.change_to - planet.change_from).days + 1
    i, j = (a.ravel() for a in np.meshgrid(
        np.arange(rows.min() // CHANGE_CELL_PX - 1, rows.max() // CHANGE_CELL_PX + 2),
        np.arange(cols.min() // CHANGE_CELL_PX - 1, cols.max() // CHANGE_CELL_PX + 2), indexing="ij",
    ))  # fmt: skip
    draws = [uniform(*key, _CHANGE, k, i, j) for k in range(8)]
    for n in np.flatnonzero(draws[0] < planet.change_share):
        x0 = (j[n] + draws[1][n]) * CHANGE_CELL_PX
        y0 = (i[n] + draws[2][n]) * CHANGE_CELL_PX
        c, s = np.cos(draws[3][n] * np.pi), np.sin(draws[3][n] * np.pi)
        half = 25 + 45 * draws[4][n], 25 + 45 * draws[5][n]
        dx, dy = (cols - x0).astype(np.float32), (rows - y0).astype(np.float32)[:, None]
        inside = (np.abs(dx * c + dy * s) < half[0]) & (np.abs(dy * c - dx * s) < half[1])
        if not inside.any():
            continue
        day = planet.change_from + datetime.timedelta(days=int(draws[6][n] * span))
        if draws[7][n] < 0.5:
            where = inside & np.isin(surface, _LEAFY)
            kind, new = "forest cut", np.full(int(where.sum()), int(Surface.CUT_FOREST), np.int32)
        else:
            where = inside & np.isin(surface, _OPEN)
            kind = "district built"
            # What is not yet built on is raw ground; parks and gardens come with the years.
            planned = town[where]
            new = np.where(
                np.isin(planned, (Surface.GARDEN, Surface.GRASS, Surface.BROADLEAF)),
                Surface.RAW_GROUND,
                planned,
            )
        if where.any():
            found.append(Event(kind=kind, day=day, where=where, surface=new.astype(np.int32)))
    return sorted(found, key=lambda event: event.day)
