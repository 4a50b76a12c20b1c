"""What a collection of so many places will cost, from a plan of some: searches, requests, bytes, hours, disk."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seco.collect.model import Place
from seco.collect.planner import Planner, Survey
from seco.collect.search import group_places
from seco.planet.catalogue.tiles import tiles_covering

SIZES = (1_000, 10_000, 200_000, 1_000_000)
RATE = 100.0
"""Windows a second where nothing was measured: about what two cores reach at 100 ms a request (docs/results/collect.md)."""
RATE_NAME = "rate.json"
_LEAST_WINDOWS = 200
_HEADER_BYTES = 32 * 1024
_TILES_ON_LAND, _CELLS_ON_LAND = 20_795, 19_001
"""Tiles, and cells of a degree, with any land north of 60 S (land mask of 0.05 degrees): no more are to be searched."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """Windows (one band of one patch) read in a second, and where the figure comes from."""

    windows_a_second: float
    source: str


def write_rate(folder: Path, *, windows: int, seconds: float) -> None:
    """Keep how fast a run was, for the estimate of what is left; a short one says nothing."""
    from seco.runs import write_json

    if windows >= _LEAST_WINDOWS and seconds > 0:
        write_json(folder / RATE_NAME, {"windows": windows, "seconds": round(seconds, 3)})


def read_rate(folder: Path, *, told: float | None = None) -> Rate:
    """Return the rate to reckon with: as told, else as measured in this collection before, else the usual one."""
    if told is not None:
        return Rate(windows_a_second=told, source="as told")
    try:
        found = json.loads((folder / RATE_NAME).read_bytes())
        return Rate(
            windows_a_second=found["windows"] / found["seconds"], source="measured in this collection before"
        )
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return Rate(
            windows_a_second=RATE, source="assumed; a minute of `seco collect` on the same --out measures it"
        )


def estimate(
    planner: Planner, survey: Survey, rate: Rate, *, sizes: Sequence[int] = SIZES
) -> list[dict[str, Any]]:
    """Reckon what collections of several sizes cost, if pixels are as their metadata say.

    Args:
        planner: that made the survey.
        survey: of a plan of the places at hand.
        rate: windows a second.
        sizes: numbers of places with all seasons; the plan's own number is put first.

    Returns:
        A row for each size. Where more places are asked than there are at hand, tiles grow in proportion, up to all that
        have land: an upper limit.
    """
    own = survey.num_whole if planner.settings.incomplete == "replace" else survey.num_planned
    return [_row(planner, survey, rate, num) for num in dict.fromkeys((own, *sizes)) if num]


def _row(planner: Planner, survey: Survey, rate: Rate, num: int) -> dict[str, Any]:
    planned = max(survey.num_planned, 1)
    looked = math.ceil(num * survey.num_places / planned)
    share = max(looked / max(len(planner.places), 1), 1.0)
    there = planner.places[:looked]
    known = len(tiles_covering([p.lon for p in there], [p.lat for p in there])) if there else 0
    tiles = _grown(known, share, most=_TILES_ON_LAND)
    patches = num * survey.num_patches / planned
    a_tile = survey.num_scenes / max(survey.num_tiles, 1)
    # A scene is opened once if its patches are cut one after another; there cannot be more than patches.
    opened = min(patches, a_tile * tiles)
    bands = len(planner.search.bands) + 1
    searches = _searches(planner, survey, there, share, tiles)
    fetched = patches * survey.fetched_bytes / max(survey.num_patches, 1) + opened * bands * _HEADER_BYTES
    stored = patches * survey.pixel_bytes / max(survey.num_patches, 1)
    return {
        "places": num, "looked_at": looked, "patches": round(patches), "searches": searches,
        "search_hours": round(searches / planner.catalog.limits.requests_a_second / 3600, 2),
        "requests": round((patches + opened) * bands), "gb_fetched": round(fetched / 1e9, 2),
        "hours": round(patches * bands / rate.windows_a_second / 3600, 2),
        "gb_disk": round(stored * planner.catalog.bytes_a_pixel / 2 / 1e9, 2),
    }  # fmt: skip


def _searches(planner: Planner, survey: Survey, there: Sequence[Place], share: float, tiles: int) -> int:
    if planner.catalog.kind != "api":
        return 0
    pages = math.ceil(survey.num_found / max(survey.num_searched, 1) / planner.catalog.limits.page_items)
    if planner.search.way == "tile":
        return tiles * max(pages, 1)
    groups = len(group_places(there, size_px=planner.settings.size)[0])
    return _grown(groups, share, most=_CELLS_ON_LAND) * max(pages, 1)


def _grown(num: int, share: float, *, most: int) -> int:
    """Return a number of tiles or cells of more places, in proportion, until the land is full."""
    return max(num, min(round(num * share), most))
