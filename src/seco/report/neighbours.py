"""Nearest neighbours across seasons: for each query the most similar patches of other dates, right where it is its place."""

from __future__ import annotations

import dataclasses

import numpy as np

from seco.data.overlap import overlapping
from seco.data.split import place_boxes
from seco.errors import DatasetError, TaskError
from seco.report.held import Held

NUM_NEAREST = 7
NUM_SHOWN = 4
"""Queries of each kind, right and wrong."""
CHUNK = 512
_DRAW = 0x0EA5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """One query and its answers.

    Attributes:
        row: the query's patch.
        nearest: patches by falling similarity.
        similarity: cosine, -1 to 1.
        right: whether each shows the query's place.
    """

    row: int
    nearest: np.ndarray
    similarity: np.ndarray
    right: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbours:
    """All queries in numbers, some in full.

    Attributes:
        num_queries: patches that were asked.
        num_first: queries whose first answer is right.
        num_any: queries with a right answer among the first NUM_NEAREST.
        chance: expected share of right first answers of who answers at random, 0-1.
        right, wrong: some queries whose first answer is right, and wrong.
    """

    num_queries: int
    num_first: int
    num_any: int
    num_places: int
    chance: float
    right: list[Query]
    wrong: list[Query]

    @property
    def first(self) -> float:
        """Share of queries whose first answer is right, 0-1."""
        return self.num_first / self.num_queries


def find_neighbours(held: Held, *, seed: int) -> Neighbours:
    """Ask every patch whose place was seen on another day for its nearest patches of other days.

    Places that overlap the query's are neither right nor wrong, and are left out.

    Raises:
        TaskError: fewer than two places have two dates.
    """
    dataset = held.ground.dataset
    dated = np.flatnonzero(~np.isnat(dataset.dates[held.rows]))
    days = dataset.dates[held.rows].astype(np.int64)
    pairs = np.unique(np.stack([held.place[dated].astype(np.int64), days[dated]]), axis=1)
    places, num_days = np.unique(pairs[0], return_counts=True)
    places = places[num_days >= 2]
    if len(places) < 2:
        raise TaskError(
            f"{len(places)} of the places shown have two dates; neighbours across seasons need two such places"
        )
    at = dated[np.isin(held.place[dated], places)]
    place = np.searchsorted(places, held.place[at])
    near = _Search(features=held.features[at], place=place, day=days[at], alike=_alike(held, places))
    order, similarity, chance = near.answer()
    right = place[order] == place[:, None]
    # What is not allowed sorts last; a query may have fewer answers than asked for.
    there = similarity > -2
    right &= there
    queries = [
        Query(
            row=int(held.rows[at[i]]), nearest=held.rows[at[order[i][there[i]]]],
            similarity=similarity[i][there[i]], right=right[i][there[i]],
        )
        for i in _shown(right[:, 0], place, seed)
    ]  # fmt: skip
    return Neighbours(
        num_queries=len(at), num_first=int(right[:, 0].sum()), num_any=int(right.any(1).sum()), num_places=len(places),
        chance=chance, right=[q for q in queries if q.right[0]], wrong=[q for q in queries if not q.right[0]],
    )  # fmt: skip


def _alike(held: Held, places: np.ndarray) -> np.ndarray:
    """Tell which two places share ground, (places, places); nobody knows of places without positions."""
    alike = np.zeros((len(places), len(places)), bool)
    try:
        boxes = place_boxes(held.ground.dataset)[places]
    except DatasetError:
        return alike
    alike[tuple(overlapping(boxes, boxes).T)] = True
    return alike


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Search:
    features: np.ndarray
    place: np.ndarray
    day: np.ndarray
    alike: np.ndarray

    def answer(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return for each patch the positions and similarities of its nearest, and what chance would find."""
        unit = self.features / np.maximum(np.linalg.norm(self.features, axis=1, keepdims=True), 1e-12)
        num = min(NUM_NEAREST, len(unit) - 1)
        orders, similarities, chances = [], [], []
        for start in range(0, len(unit), CHUNK):
            part = slice(start, start + CHUNK)
            same = self.place[part, None] == self.place[None]
            allowed = self.day[part, None] != self.day[None]
            allowed &= same | ~self.alike[self.place[part]][:, self.place]
            similarity = np.where(allowed, unit[part] @ unit.T, -2.0)
            order = np.argsort(-similarity, axis=1, kind="stable")[:, :num]
            orders.append(order)
            similarities.append(np.take_along_axis(similarity, order, 1))
            chances.append((same & allowed).sum(1) / np.maximum(allowed.sum(1), 1))
        return np.concatenate(orders), np.concatenate(similarities), float(np.concatenate(chances).mean())


def _shown(is_right: np.ndarray, place: np.ndarray, seed: int) -> list[int]:
    """Draw some queries of both kinds, each of another place while there are enough."""
    order = np.random.default_rng([seed, _DRAW]).permutation(len(place))
    out: list[int] = []
    for kind in (True, False):
        of_kind = [int(i) for i in order if is_right[i] == kind]
        first = list({int(place[i]): i for i in reversed(of_kind)}.values())[::-1]
        rest = [i for i in of_kind if i not in set(first)]
        out += (first + rest)[:NUM_SHOWN]
    return out
