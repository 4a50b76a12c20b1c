"""Scores over a whole split, and how far they can be trusted."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Integer

BOOTSTRAP_CHUNK = 2**22
"""Most numbers held at a time while resampling: 32 MB."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95% confidence interval."""

    low: float
    high: float


def accuracy(truth: Integer[np.ndarray, " n"], predicted: Integer[np.ndarray, " n"]) -> float:
    """Return the share of right answers, 0-1."""
    return float((truth == predicted).mean())


def balanced_accuracy(truth: Integer[np.ndarray, " n"], predicted: Integer[np.ndarray, " n"]) -> float:
    """Return the mean over the classes in `truth` of the share of each that is found, 0-1.

    Source: Brodersen et al. 2010; the same as scikit-learn's `balanced_accuracy_score`.
    """
    _, position = np.unique(truth, return_inverse=True)
    right = np.bincount(position, weights=truth == predicted)
    return float((right / np.bincount(position)).mean())


def majority_class(train: Integer[np.ndarray, " n"]) -> int:
    """Return the commonest class of the training labels; of several, the lowest."""
    return int(np.bincount(train).argmax())


def bootstrap(
    values: Float[np.ndarray, " n"], groups: Integer[np.ndarray, " n"], *, num_draws: int, seed: int
) -> Interval | None:
    """Return the 95% interval of a mean, by drawing whole groups with replacement.

    Patches of one block are alike, and so are the dates of one place: drawing patches would call the same evidence new and
    make the interval several times too narrow.

    Args:
        values: what is averaged, one number a test sample (right or wrong, average precision).
        groups: the group that each sample belongs to (its spatial block).
        num_draws: bootstrap samples; 0 gives no interval.
        seed: of the draws.

    Returns:
        The percentiles 2.5 and 97.5, or None with no draws or fewer than two groups.
    """
    _, group = np.unique(groups, return_inverse=True)
    size = np.bincount(group).astype(np.float64)
    return bootstrap_sums(np.bincount(group, weights=values), size, num_draws=num_draws, seed=seed)


def bootstrap_sums(
    total: Float[np.ndarray, " groups"], size: Float[np.ndarray, " groups"], *, num_draws: int, seed: int
) -> Interval | None:
    """Return the interval of `bootstrap` from what it needs of each group: the sum of its values, and how many they are."""
    num_groups = len(size)
    if num_draws < 1 or num_groups < 2:
        return None
    rng = np.random.default_rng([seed, 0xB007])
    means = []
    step = max(1, BOOTSTRAP_CHUNK // num_groups)
    for start in range(0, num_draws, step):
        num = min(step, num_draws - start)
        drawn = rng.integers(num_groups, size=(num, num_groups))
        means.append(total[drawn].sum(1) / size[drawn].sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def bootstrap_draws(
    values: Float[np.ndarray, "repeats n"], groups: Integer[np.ndarray, " n"], *, num_draws: int, seed: int
) -> Interval | None:
    """Return the 95% interval of a mean over test samples and over repeats: both are drawn with replacement.

    It covers which ground was tested on and which labels were drawn. With few repeats it is a little too narrow, as every
    bootstrap of a handful of numbers.

    Args:
        values: of each repeat, one number a test sample.
        groups, num_draws, seed: as for `bootstrap`.
    """
    _, group = np.unique(groups, return_inverse=True)
    size = np.bincount(group).astype(np.float64)
    total = np.stack([np.bincount(group, weights=v) for v in values])
    num_repeats, num_groups = total.shape
    if num_repeats == 1:
        return bootstrap_sums(total[0], size, num_draws=num_draws, seed=seed)
    if num_draws < 1 or num_groups < 2:
        return None
    rng = np.random.default_rng([seed, 0xB008])
    means = np.empty(num_draws)
    for i in range(num_draws):
        drawn = rng.integers(num_groups, size=num_groups)
        repeats = rng.integers(num_repeats, size=num_repeats)
        means[i] = total[repeats].mean(0)[drawn].sum() / size[drawn].sum()
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))
