"""Which places share ground."""

from __future__ import annotations

import numpy as np
import shapely
from jaxtyping import Bool, Float, Integer

AT_A_TIME = 16_384
"""Boxes held as shapes at a time: each takes ten times its four numbers."""
Boxes = Float[np.ndarray, "_ 4"]

HAIR_DEG = 1e-9
"""Boxes are shrunk by this, so that neighbours which share an edge do not count as overlapping."""


def overlapping(boxes: Boxes, others: Boxes, *, grow_deg: float = 0.0) -> Integer[np.ndarray, "pairs 2"]:
    """Return the pairs (position in `boxes`, position in `others`) that share ground, across the antimeridian too.

    Args:
        boxes, others: (west, south, east, north), degrees.
        grow_deg: pairs that come closer than this count too.
    """
    turn = np.array([360.0, 0.0, 360.0, 0.0])
    copies = np.concatenate([others, others + turn, others - turn])
    grown = boxes + (grow_deg - HAIR_DEG) * np.array([-1.0, -1.0, 1.0, 1.0])
    west, east = grown[:, 0].min(initial=0), grown[:, 2].max(initial=0)
    near = np.flatnonzero((copies[:, 2] >= west) & (copies[:, 0] <= east))
    near = near[np.argsort(copies[near, 0], kind="stable")]
    found = [np.zeros((0, 2), np.int64)]
    for first in range(0, len(near), AT_A_TIME):
        some = copies[near[first : first + AT_A_TIME]]  # a strip from west to east
        tree = shapely.STRtree(shapely.box(*some.T))
        beside = np.flatnonzero((grown[:, 2] >= some[0, 0]) & (grown[:, 0] <= some[:, 2].max()))
        for start in range(0, len(beside), AT_A_TIME):
            asked = beside[start : start + AT_A_TIME]
            box, other = tree.query(shapely.box(*grown[asked].T), predicate="intersects")
            found.append(np.stack([asked[box], near[first + other] % len(others)], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def touched(
    boxes: Float[np.ndarray, "places 4"], others: Boxes, *, grow_deg: float = 0.0
) -> Bool[np.ndarray, " places"]:
    """Tell for each of `boxes` whether it shares ground with any of `others`."""
    hit = np.zeros(len(boxes), bool)
    hit[overlapping(boxes, others, grow_deg=grow_deg)[:, 0]] = True
    return hit
