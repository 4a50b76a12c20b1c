"""Which places share ground: what an encoder was trained on with what it is tested on, and one place with another."""

from __future__ import annotations

import numpy as np
import shapely
from jaxtyping import Bool, Float, Integer

from seco.nets.spec import EncoderSpec

Boxes = Float[np.ndarray, "_ 4"]

HAIR_DEG = 1e-9
"""Boxes are shrunk by this, so that neighbours which share an edge do not count as overlapping."""


def overlapping(boxes: Boxes, others: Boxes) -> Integer[np.ndarray, "pairs 2"]:
    """Return the pairs (position in `boxes`, position in `others`) that share ground, across the antimeridian too.

    Args:
        boxes, others: (west, south, east, north), degrees.
    """
    turn = np.array([360.0, 0.0, 360.0, 0.0])
    copies = np.concatenate([others, others + turn, others - turn])
    tree = shapely.STRtree(shapely.box(*copies.T))
    west, south, east, north = boxes.T
    shrunk = shapely.box(west + HAIR_DEG, south + HAIR_DEG, east - HAIR_DEG, north - HAIR_DEG)
    pairs = tree.query(shrunk, predicate="intersects").T
    pairs[:, 1] %= len(others)
    return np.unique(pairs, axis=0)


def touched(boxes: Float[np.ndarray, "places 4"], others: Boxes) -> Bool[np.ndarray, " places"]:
    """Tell for each of `boxes` whether it shares ground with any of `others`."""
    hit = np.zeros(len(boxes), bool)
    hit[overlapping(boxes, others)[:, 0]] = True
    return hit


def is_transductive(spec: EncoderSpec, test_boxes: Boxes | None) -> bool | None:
    """Tell whether an encoder was trained, without labels, on ground that it is tested on.

    Returns:
        False for an encoder trained on no imagery of places; None where it was, or the test data, have no position.
    """
    if spec.method == "none":
        return False
    if test_boxes is None or not spec.trained_boxes:
        return None
    return bool(touched(test_boxes, np.array(spec.trained_boxes, np.float64)).any())
