"""A map of the places: land in outline, places by the part they played, held-out blocks shaded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from seco.data.split import find_split, place_boxes, split_by_block
from seco.errors import DatasetError, SecoError
from seco.places.land import land_mask
from seco.report.facts import Run
from seco.report.ground import HELD_OUT, PARTS, TRAIN, Ground
from seco.report.markup import clean
from seco.report.pictures import data_uri, sprite

WIDTH_PX = 1440
Bounds = tuple[float, float, float, float]
WORLD: Bounds = (-180.0, -60.0, 180.0, 84.0)
"""What a map of the world shows: few learn from places in Antarctica."""
MIN_SPAN_DEG = 24.0
"""Closer than this, coasts tell nobody where a place is."""
MAX_POINTS = 12_000
MAX_PICTURES = 1600
GREY = 128


def land_picture(bounds: Bounds) -> str:
    """Draw the land as a `data:` address: one grey, opaque where there is land, so that it fits light and dark.

    Args:
        bounds: west, south, east, north, degrees.

    Raises:
        DatasetError: the package that holds the land mask is missing.
    """
    percent = land_mask().percent
    per_deg = percent.shape[1] / 360
    west, south, east, north = bounds
    left, right = round((west + 180) * per_deg), round((east + 180) * per_deg)
    cells = percent[round((90 - north) * per_deg) : round((90 - south) * per_deg), left:right]
    factor = max(1, cells.shape[1] // WIDTH_PX)
    rows, columns = cells.shape[0] // factor, cells.shape[1] // factor
    share = cells[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor).mean((1, 3))
    # A few levels are enough for a smooth coast, and compress far better than all.
    alpha = (np.round(share / 100 * 6) * 42).clip(0, 255).astype(np.uint8)
    return data_uri(Image.fromarray(np.stack([np.full_like(alpha, GREY), alpha], -1)), kind="PNG")


def frame(lonlat: Float[np.ndarray, "places 2"]) -> Bounds:
    """Return what to show: the surroundings of the places, or the world where they lie far apart."""
    west, south = lonlat.min(0)
    east, north = lonlat.max(0)
    width = max(MIN_SPAN_DEG, 1.5 * (east - west), 2.6 * (north - south))
    if width > 140 or south < WORLD[1] or north > WORLD[3]:
        return WORLD if south >= WORLD[1] and north <= WORLD[3] else (-180.0, -90.0, 180.0, 90.0)
    centre_lon, centre_lat = (west + east) / 2, (south + north) / 2
    height = width * 0.42
    left = float(np.clip(np.round(centre_lon - width / 2), -180, 180 - np.ceil(width)))
    bottom = float(np.clip(np.round(centre_lat - height / 2), -90, 90 - np.ceil(height)))
    return left, bottom, left + float(np.ceil(width)), bottom + float(np.ceil(height))


def map_data(run: Run, ground: Ground, *, seed: int) -> dict[str, Any]:
    """Return what the page draws a map from.

    Raises:
        DatasetError: no place has a position.
    """
    dataset = ground.dataset
    lonlat = dataset.lonlat[dataset.first_row]
    known = np.flatnonzero(np.isfinite(lonlat).all(1))
    if not len(known):
        raise DatasetError("the places of this dataset have no position")
    shown = known
    if len(known) > MAX_POINTS:
        shown = np.sort(np.random.default_rng(seed).permutation(known)[:MAX_POINTS])
    parts = [p for p in PARTS if (ground.part[known] == p).any()]
    points: dict[str, Any] = {
        "lon": np.round((lonlat[shown, 0] + 180) % 360 - 180, 3).tolist(),
        "lat": np.round(lonlat[shown, 1], 3).tolist(),
        "part": [parts.index(p) for p in ground.part[shown]],
        "name": [clean(dataset.place_ids[p]) for p in shown],
        "dates": ground.num_dates[shown].tolist(),
    }
    bounds = frame(lonlat[known])
    pictures = None
    if len(shown) <= MAX_PICTURES:
        middle = [int(dataset.first_row[p] + ground.num_dates[p] // 2) for p in shown]
        pictures = sprite(np.array(middle), ground.tier, px=40 if len(shown) <= MAX_PICTURES // 2 else 32)
        points["date"] = [ground.date_words(r) for r in middle]
    return {
        "points": points, "parts": parts, "counts": [int((ground.part[known] == p).sum()) for p in parts],
        "sprite": pictures, "bounds": bounds, "land": land_picture(bounds), "blocks": held_out_blocks(run, ground),
        "num_known": len(known), "num_places": len(lonlat), "num_shown": len(shown),
    }  # fmt: skip


def held_out_blocks(run: Run, ground: Ground) -> list[list[float]]:
    """Return the blocks held out as a whole as (west, south, east, north), none where the split was not drawn by block.

    They are those of the split's grid that hold a held-out place and no training place: a split can be edited by hand.
    """
    try:
        boxes = place_boxes(ground.dataset)
        edge = _block_deg(run, ground, boxes)
        if edge is None:
            return []
        cells = [_cells(boxes[ground.part == part], edge) for part in (HELD_OUT, TRAIN)]
    except (SecoError, TypeError, ValueError, OverflowError):
        return []
    return [
        [i * edge - 180, j * edge - 90, (i + 1) * edge - 180, (j + 1) * edge - 90]
        for i, j in sorted(cells[0] - cells[1])
    ]


def _block_deg(run: Run, ground: Ground, boxes: np.ndarray) -> float | None:
    """Return the edge of the blocks that places were held out by; None where they were not."""
    config = run.config
    named, share = config.get("split"), config.get("test_share")
    if named is not None:
        return find_split(ground.dataset, str(named))[0].block_deg
    if not isinstance(share, (int, float)) or not 0 < share < 1:
        return None
    return split_by_block(
        boxes, seed=int(config.get("split_seed") or 0), test_share=float(share),
        block_deg=float(config.get("block_deg") or 10.0),
    ).block_deg  # fmt: skip


def _cells(boxes: np.ndarray, edge: float) -> set[tuple[int, int]]:
    centres = np.stack([boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]], 1) / 2
    return {(math.floor((x + 180) / edge), math.floor((y + 90) / edge)) for x, y in centres.tolist()}
