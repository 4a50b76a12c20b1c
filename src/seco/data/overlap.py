"""Which places share ground."""

from __future__ import annotations

import numpy as np
import shapely
from jaxtyping import Bool, Float, Integer

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
    tree = shapely.STRtree(shapely.box(*copies.T))
    west, south, east, north = boxes.T
    grow = grow_deg - HAIR_DEG
    grown = shapely.box(west - grow, south - grow, east + grow, north + grow)
    pairs = tree.query(grown, predicate="intersects").T
    pairs[:, 1] %= len(others)
    return np.unique(pairs, axis=0)


def touched(
    boxes: Float[np.ndarray, "places 4"], others: Boxes, *, grow_deg: float = 0.0
) -> Bool[np.ndarray, " places"]:
    """Tell for each of `boxes` whether it shares ground with any of `others`."""
    hit = np.zeros(len(boxes), bool)
    hit[overlapping(boxes, others, grow_deg=grow_deg)[:, 0]] = True
    return hit
