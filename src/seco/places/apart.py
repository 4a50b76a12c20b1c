"""Keeping places apart: squares on a grid that share no pixel, and places at a distance on the ground."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from typing import Any

import numpy as np
from jaxtyping import Bool

from seco.places.sphere import EARTH_RADIUS_KM, LonLat, chord_of, unit_vectors

TURNED = 1.1
"""How much wider the box around a patch is than the patch, whose grid is turned against north by up to 6 degrees."""
SNAP_M = 60
"""Patches are moved onto a grid of this many metres when they are cut, by at most half of it in each direction."""


def apart_m(edge_m: float) -> float:
    """Return how far apart two centres must be, from west to east or from south to north, that patches never overlap.

    This holds whichever UTM grids the two are cut from, and after both were moved onto them.
    """
    return TURNED * (edge_m + SNAP_M)


class Squares:
    """Squares of one size on grids: takes those that overlap none taken before. Touching is no overlap."""

    def __init__(self, edge: int) -> None:
        """Start with no square; `edge` and all corners in the same unit."""
        self._edge = edge
        self._taken: dict[tuple[Hashable, int, int], list[tuple[int, int]]] = {}

    def take(self, x: int, y: int, *, grid: Hashable = None) -> bool:
        """Take the square with this corner if it is free.

        Args:
            x, y: the same corner of every square.
            grid: squares of different grids are never compared.
        """
        edge, col, row = self._edge, x // self._edge, y // self._edge
        # Squares are kept by the cell, one of them wide, that their corner lies in.
        cells = ((grid, col + i, row + j) for i in (-1, 0, 1) for j in (-1, 0, 1))
        near = (corner for cell in cells for corner in self._taken.get(cell, ()))
        if any(abs(a - x) < edge and abs(b - y) < edge for a, b in near):
            return False
        self._taken.setdefault((grid, col, row), []).append((x, y))
        return True


_AROUND = tuple(itertools.product((-1, 0, 1), repeat=3))


class Apart:
    """Places on the sphere: takes those far enough from all taken before."""

    def __init__(self, *, distance_km: float = 0.0, box_m: float = 0.0) -> None:
        """Start with no place.

        Args:
            distance_km: least distance between two places.
            box_m: least difference from west to east, or from south to north, between two places.
        """
        self._chord = chord_of(distance_km)
        self._box = box_m / (EARTH_RADIUS_KM * 1000)  # radians
        # Two boxes that overlap have centres within their diagonal. A cell is that wide, so that all that is near lies
        # in 27 cells.
        self._cell = max(self._chord, math.sqrt(2) * self._box * 1.001, 1e-9)
        self._cells: dict[tuple[int, int, int], list[tuple[float, ...]]] = {}
        self._vectors: list[np.ndarray] = []
        self._num = self._num_in_tree = 0
        self._tree: Any = None

    def take(self, lonlat: LonLat) -> Bool[np.ndarray, " n"]:
        """Take one place after the other if it is far enough from all taken, those of this call included."""
        vectors = unit_vectors(lonlat)
        good = ~self._surely_near(vectors)
        rows = np.concatenate([vectors, np.radians(lonlat)], axis=1)
        cells = np.floor(vectors / self._cell).astype(np.int64)
        for i in np.flatnonzero(good).tolist():
            good[i] = self._take(tuple(cells[i].tolist()), tuple(rows[i].tolist()))
        if good.any():
            self._vectors.append(vectors[good])
            self._num += int(good.sum())
        return good

    def _surely_near(self, vectors: np.ndarray) -> np.ndarray:
        """Tell quickly of many that they are too near; where most places are taken already, that is most of them."""
        if self._num > 1.2 * self._num_in_tree + 1000:
            # Here, for whoever only needs squares should not wait for scikit-learn.
            from sklearn.neighbors import KDTree

            self._tree = KDTree(np.concatenate(self._vectors))
            self._num_in_tree = self._num
        if self._tree is None or len(vectors) == 0:
            return np.zeros(len(vectors), bool)
        # Nearer than the box's width is nearer than that in both directions; a hair less, for rounding.
        radius = max(self._chord, self._box) * (1 - 1e-6)
        distance, _ = self._tree.query(vectors)
        return np.asarray(distance[:, 0] < radius)

    def _take(self, cell: tuple[int, int, int], row: tuple[float, ...]) -> bool:
        i, j, k = cell
        for a, b, c in _AROUND:
            for other in self._cells.get((i + a, j + b, k + c), ()):
                if self._clash(row, other):
                    return False
        self._cells.setdefault(cell, []).append(row)
        return True

    def _clash(self, one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        if math.dist(one[:3], other[:3]) < self._chord:
            return True
        north = abs(one[4] - other[4])
        east = abs((one[3] - other[3] + math.pi) % math.tau - math.pi) * math.cos((one[4] + other[4]) / 2)
        return north < self._box and east < self._box
