"""Average precision of many labels a patch, once over a whole split, and how far it can be trusted."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Integer

from seco.probes.scores import Interval

MAX_DRAWS = 200
"""Most bootstrap draws: each goes over every score of the split again."""
CHUNK = 2**22
_BOOT = 0xB009


@dataclasses.dataclass(frozen=True)
class _Curve:
    """One precision-recall curve, sorted once: positions of samples in falling order of score, and where a tie ends."""

    sample: Integer[np.ndarray, " m"]
    positive: Float[np.ndarray, " m"]
    ends: Integer[np.ndarray, " thresholds"]

    def value(self, weight: Float[np.ndarray, " n"] | None = None) -> float:
        """Return the sum of precision times the recall gained, each sample counted as often as `weight` says."""
        weights = np.ones(len(self.sample)) if weight is None else weight[self.sample]
        hits = np.cumsum(weights * self.positive)[self.ends]
        if not len(hits) or hits[-1] == 0:
            return float("nan")
        seen = np.cumsum(weights)[self.ends]
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])


def _curve(truth: np.ndarray, score: np.ndarray, sample: np.ndarray) -> _Curve:
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    return _Curve(
        sample=sample[order], positive=truth[order].astype(np.float64),
        ends=np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True]),
    )  # fmt: skip


class LabelScores:
    """Micro and macro average precision of scores (n, labels), as scikit-learn's `average_precision_score`.

    Macro is the mean over the labels that some test sample has: of the others there is nothing to be found.
    """

    def __init__(self, truth: Bool[np.ndarray, "n labels"], score: Float[np.ndarray, "n labels"]) -> None:
        """Sort the scores, once."""
        num, labels = truth.shape
        everyone = np.arange(num)
        self._micro = _curve(truth.ravel(), score.ravel(), np.repeat(everyone, labels))
        self._each = [_curve(truth[:, i], score[:, i], everyone) for i in range(labels) if truth[:, i].any()]
        self._num = num

    def micro(self, weight: Float[np.ndarray, " n"] | None = None) -> float:
        """Return the average precision of all decisions of all labels together."""
        return self._micro.value(weight)

    def macro(self, weight: Float[np.ndarray, " n"] | None = None) -> float:
        """Return the mean of the labels' average precisions."""
        values = [c.value(weight) for c in self._each]
        there = [v for v in values if not np.isnan(v)]
        return float(np.mean(there)) if there else float("nan")

    def intervals(
        self, groups: Integer[np.ndarray, " n"], *, num_draws: int, seed: int
    ) -> tuple[Interval | None, Interval | None]:
        """Return the 95% intervals of micro and macro over drawn groups (at most 200 draws)."""
        found, group = np.unique(groups, return_inverse=True)
        if num_draws < 1 or len(found) < 2:
            return None, None
        rng = np.random.default_rng([seed, _BOOT])
        drawn = []
        for _ in range(min(num_draws, MAX_DRAWS)):
            times = np.bincount(rng.integers(len(found), size=len(found)), minlength=len(found))
            weight = times[group].astype(np.float64)
            drawn.append((self.micro(weight), self.macro(weight)))
        low, high = np.nanpercentile(np.array(drawn), [2.5, 97.5], axis=0)
        micro, macro = (Interval(low=float(a), high=float(b)) for a, b in zip(low, high, strict=True))
        return micro, macro


def label_average_precision(
    truth: Bool[np.ndarray, "n labels"], score: Float[np.ndarray, "n labels"]
) -> Float[np.ndarray, " labels"]:
    """Return the average precision of each label, NaN for those that no sample has."""
    everyone = np.arange(len(truth))
    return np.array([_curve(truth[:, i], score[:, i], everyone).value() for i in range(truth.shape[1])])


def ranking_precision(
    truth: Bool[np.ndarray, "n labels"], score: Float[np.ndarray, "n labels"]
) -> Float[np.ndarray, " n"]:
    """Return each sample's label ranking average precision: how early its labels come among all, ties counting against.

    Its mean is scikit-learn's `label_ranking_average_precision_score`; a sample without labels scores 1.
    """
    num, labels = truth.shape
    out = np.ones(num)
    step = max(1, CHUNK // (labels * labels))
    for start in range(0, num, step):
        true, given = truth[start : start + step], score[start : start + step]
        above = given[:, None, :] >= given[:, :, None]
        rank = above.sum(2)
        right = (above & true[:, None, :]).sum(2)
        many = true.sum(1)
        total = np.where(true, right / rank, 0.0).sum(1)
        out[start : start + step] = np.where(many > 0, total / np.maximum(many, 1), 1.0)
    return out
