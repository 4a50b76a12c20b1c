"""Scores of maps, from one confusion matrix over all pixels of a split; intervals from those of its images or blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer, Num

from seco.probes.scores import BOOTSTRAP_CHUNK, Interval

Matrix = Num[np.ndarray, "*draws classes classes"]
"""Pixels of each true class (rows) that were given each class (columns)."""


def confusion(
    truth: Integer[np.ndarray, "h w"], predicted: Integer[np.ndarray, "h w"], num_classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """Count pixels by true and predicted class; those without a true class (below 0) do not count."""
    known = truth >= 0
    pairs = truth[known].astype(np.int64) * num_classes + predicted[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def block_confusions(
    truth: Integer[np.ndarray, "h w"], predicted: Integer[np.ndarray, "h w"], num_classes: int, *, edge: int
) -> Int64[np.ndarray, "blocks classes classes"]:
    """Count as `confusion` in each block of `edge` pixels that has a pixel with a true class."""
    height, width = truth.shape
    found = [
        confusion(truth[r : r + edge, c : c + edge], predicted[r : r + edge, c : c + edge], num_classes)
        for r in range(0, height, edge)
        for c in range(0, width, edge)
    ]
    return np.stack([m for m in found if m.sum()] or found[:1])


def _ratio(part: Any, whole: Any) -> Any:
    """Divide; what is not defined is NaN."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def pixel_accuracy(matrix: Matrix) -> Any:
    """Return the share of pixels that were given their class."""
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1).astype(np.float64), matrix.sum((-2, -1)))


def class_recall(matrix: Matrix) -> Any:
    """Return the share of each true class that was found, (..., classes)."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64), matrix.sum(-1))


def class_precision(matrix: Matrix) -> Any:
    """Return the share of what was given each class that is of it, (..., classes)."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64), matrix.sum(-2))


def class_iou(matrix: Matrix) -> Any:
    """Return intersection over union of each class, (..., classes); NaN where a class is neither there nor predicted."""
    hit = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    return _ratio(hit, matrix.sum(-1) + matrix.sum(-2) - hit)


def class_f1(matrix: Matrix) -> Any:
    """Return the F1 of each class, (..., classes)."""
    hit = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    return _ratio(2 * hit, matrix.sum(-1) + matrix.sum(-2))


def mean_iou(matrix: Matrix) -> Any:
    """Return the mean IoU over the classes that the truth holds."""
    there = matrix.sum(-1) > 0
    total = np.where(there, np.nan_to_num(class_iou(matrix)), 0.0).sum(-1)
    return _ratio(total, there.sum(-1).astype(np.float64))


def balanced(matrix: Matrix) -> Any:
    """Return the mean recall over the classes that the truth holds."""
    there = matrix.sum(-1) > 0
    total = np.where(there, np.nan_to_num(class_recall(matrix)), 0.0).sum(-1)
    return _ratio(total, there.sum(-1).astype(np.float64))


def value(score: Callable[[Matrix], Any], matrices: Sequence[np.ndarray] | np.ndarray) -> float:
    """Return a score of the sum of matrices: over all pixels, never a mean of parts. 0 where it is not defined."""
    return float(np.nan_to_num(score(np.asarray(matrices).sum(0))))


def interval(
    score: Callable[[Matrix], Any],
    matrices: Int64[np.ndarray, "units classes classes"],
    *,
    num_draws: int,
    seed: int,
) -> Interval | None:
    """Return the 95% interval of a score, by drawing whole images or blocks with replacement.

    Returns:
        The percentiles 2.5 and 97.5, or None with no draws or fewer than two units.
    """
    num, classes = len(matrices), matrices.shape[-1]
    if num_draws < 1 or num < 2:
        return None
    rng = np.random.default_rng([seed, 0xB007])
    flat = matrices.reshape(num, -1).astype(np.float64)
    step = max(1, BOOTSTRAP_CHUNK // max(num, classes**2))
    found = []
    for start in range(0, num_draws, step):
        drawn = rng.multinomial(num, np.full(num, 1 / num), size=min(step, num_draws - start))
        found.append(score((drawn @ flat).reshape(-1, classes, classes)))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))
