"""Retrieval: how early a query's other pictures come in a gallery, by cosine similarity."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer

from seco.errors import TaskError
from seco.probes.knn import SIMILARITY_CHUNK, unit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
    """What came back for each query.

    Attributes:
        precision: average precision, 0-1.
        first: rank of the first right answer, 1 and up.
        nearest: position in the gallery of the first answer.
    """

    precision: Float[np.ndarray, " queries"]
    first: Integer[np.ndarray, " queries"]
    nearest: Integer[np.ndarray, " queries"]

    def found_within(self, rank: int) -> Bool[np.ndarray, " queries"]:
        """Tell for each query whether a right answer is among the first `rank` (CMC@rank is its mean)."""
        return self.first <= rank


def rank(
    gallery: Float[np.ndarray, "n dim"],
    queries: Integer[np.ndarray, " queries"],
    place: Integer[np.ndarray, " n"],
    date: Integer[np.ndarray, " n"],
    *,
    ignore: Bool[np.ndarray, "queries places"] | None = None,
    device: torch.device | str = "cpu",
) -> Ranking:
    """Rank the gallery for each query.

    A right answer shows the query's place at another date. What shows it at the same date (the query itself, first of all)
    is dropped, as are the places to ignore (those that overlap the query's): neither right nor wrong. Wrong answers as
    similar as a right one count as before it, so that an encoder which gives everything the same feature scores last,
    not first.

    Args:
        gallery: features.
        queries: positions in the gallery.
        place, date: of each gallery entry; places number from 0.
        ignore: for each query, the places whose pictures do not count either way, by place number.
        device: where to compute.

    Raises:
        TaskError: a query has no right answer.

    Source: the person re-identification protocol (Zheng et al. 2015, Market-1501) with place for identity and date for
    camera; average precision as the mean over right answers of the precision at each.
    """
    bank = unit(gallery, device)
    places = torch.from_numpy(place.astype(np.int64)).to(device)
    dates = torch.from_numpy(date.astype(np.int64)).to(device)
    step = max(1, SIMILARITY_CHUNK // len(gallery))
    precision, first, nearest = [], [], []
    with torch.inference_mode():
        for start in range(0, len(queries), step):
            asked = torch.from_numpy(queries[start : start + step].astype(np.int64)).to(device)
            similarity = bank[asked] @ bank.T
            same_place = places[asked][:, None] == places
            right = same_place & (dates[asked][:, None] != dates)
            dropped = same_place & ~right
            if ignore is not None:
                dropped |= torch.from_numpy(ignore[start : start + step]).to(device)[:, places] & ~same_place
            if not bool(right.any(1).all()):
                raise TaskError(
                    "a query has no picture of its place at another date; places need two dates at least"
                )
            ap, at = _average_precision(similarity, right, dropped)
            precision.append(ap.cpu().numpy())
            first.append(at.cpu().numpy())
            nearest.append(similarity.masked_fill(dropped, -2).argmax(1).cpu().numpy())
    return Ranking(
        precision=np.concatenate(precision), first=np.concatenate(first), nearest=np.concatenate(nearest)
    )


def _average_precision(
    similarity: torch.Tensor, right: torch.Tensor, dropped: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return average precision and rank of the first right answer, by counting the wrong ones before each right one."""
    num_right = right.sum(1)
    most = int(num_right.max())
    # -2 is below every cosine: what is not right sorts behind, and what is not wrong is never counted.
    hits = similarity.masked_fill(~right, -2).topk(most, dim=1).values
    wrong = similarity.masked_fill(right | dropped, -2)
    total = torch.zeros(len(similarity), dtype=torch.float64, device=similarity.device)
    first = torch.zeros(len(similarity), dtype=torch.int64, device=similarity.device)
    for j in range(most):
        before = (wrong >= hits[:, j : j + 1]).sum(1)
        there = j < num_right
        total += torch.where(there, (j + 1) / (j + 1 + before).double(), 0.0)
        if j == 0:
            first = before + 1
    return total / num_right, first
