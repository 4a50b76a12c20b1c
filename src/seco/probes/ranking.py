"""How well a number ranks what is positive above what is not: areas under the ROC and the precision-recall curve."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

from seco.probes.scores import Interval

NUM_BINS = 4096
"""Bins of equal size that scores are put into for the interval; the value itself is exact."""
MAX_DRAWS = 200


def auc(score: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Return the area under the ROC curve: how often a positive's score is above a negative's, ties counting half."""
    return _auc(*_counts(score, positive))


def average_precision(score: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Return the mean precision over the positives, from the highest score down, ties taken together.

    Equal to scikit-learn's `average_precision_score`.
    """
    return _average_precision(*_counts(score, positive))


def ranking_interval(
    score: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    group: Integer[np.ndarray, " n"],
    *,
    metric: str,
    num_draws: int,
    seed: int,
) -> Interval | None:
    """Return the 95% interval of `auc` or `ap` over drawn groups; draws without both kinds do not count."""
    blocks, block = np.unique(group, return_inverse=True)
    if num_draws < 1 or len(blocks) < 2:
        return None
    edges = np.unique(np.quantile(score, np.linspace(0, 1, NUM_BINS + 1)[1:-1]))
    cell = block * (len(edges) + 1) + np.searchsorted(edges, score)
    shape = (len(blocks), len(edges) + 1)
    num = shape[0] * shape[1]
    pos = np.bincount(cell[positive], minlength=num).reshape(shape)
    neg = np.bincount(cell[~positive], minlength=num).reshape(shape)
    rng = np.random.default_rng([seed, 0xB007])
    measure = _auc if metric == "auc" else _average_precision
    drawn = []
    for _ in range(min(num_draws, MAX_DRAWS)):
        weight = np.bincount(rng.integers(len(blocks), size=len(blocks)), minlength=len(blocks))
        one, other = weight @ pos, weight @ neg
        if one.sum() and other.sum():
            drawn.append(measure(one, other))
    if len(drawn) < 2:
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def _counts(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count positives and negatives at each different score, in rising order."""
    values, position = np.unique(score, return_inverse=True)
    pos = np.bincount(position[positive], minlength=len(values))
    return pos, np.bincount(position, minlength=len(values)) - pos


def _auc(pos: Num[np.ndarray, " values"], neg: Num[np.ndarray, " values"]) -> float:
    below = np.cumsum(neg) - neg
    return float((pos * (below + neg / 2)).sum() / (float(pos.sum()) * float(neg.sum())))


def _average_precision(pos: Num[np.ndarray, " values"], neg: Num[np.ndarray, " values"]) -> float:
    hits = np.cumsum(pos[::-1])
    all_above = hits + np.cumsum(neg[::-1])
    precision = np.divide(hits, all_above, out=np.zeros(len(hits)), where=all_above > 0)
    return float((precision * pos[::-1]).sum() / pos.sum())
