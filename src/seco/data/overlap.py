"""Which places share ground."""

from __future__ import annotations

import numpy as np
import shapely
from jaxtyping import Bool, Float, Integer

AT_A_TIME = 65_536
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
    grow = (grow_deg - HAIR_DEG) * np.array([-1.0, -1.0, 1.0, 1.0])
    west, east = (boxes[:, 0].min(initial=0) + grow[0], boxes[:, 2].max(initial=0) + grow[2])
    near = np.flatnonzero((copies[:, 2] >= west) & (copies[:, 0] <= east))
    tree = shapely.STRtree(shapely.box(*copies[near].T))
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(boxes), AT_A_TIME):
        grown = shapely.box(*(boxes[start : start + AT_A_TIME] + grow).T)
        pairs = tree.query(grown, predicate="intersects").T
        found.append(
            np.unique(
                np.stack([pairs[:, 0] + start, near[pairs[:, 1]] % max(1, len(others))], axis=1), axis=0
            )
        )
    return np.concatenate(found)


def touched(
    boxes: Float[np.ndarray, "places 4"], others: Boxes, *, grow_deg: float = 0.0
) -> Bool[np.ndarray, " places"]:
    """Tell for each of `boxes` whether it shares ground with any of `others`."""
    hit = np.zeros(len(boxes), bool)
    hit[overlapping(boxes, others, grow_deg=grow_deg)[:, 0]] = True
    return hit
