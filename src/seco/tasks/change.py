"""Change: do two dates with changed land between them lie farther apart than the same two dates where nothing changed?

Changed land needs time, and time alone moves an encoder's outputs. So a pair of dates is only ever compared with pairs of
the same dates, to a window of days, in the same hemisphere: what follows from dates alone scores 0.5.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Integer

from seco.config import setting
from seco.data.dataset import Dataset, open_dataset
from seco.data.split import TEST, place_boxes
from seco.errors import ConfigError, TaskError
from seco.nets.encoder import FeatureExtractor
from seco.probes.blocks import splits
from seco.probes.features import FeatureStore
from seco.probes.options import ALL, BlockOptions, chosen_outputs
from seco.probes.overlap import is_transductive
from seco.probes.result import Headline, Row, TaskResult, gather, origin, prediction_table

NAME = "change"
HELP = "tell pairs of dates with changed land from the same dates without, by distance; needs known changes"
EXAMPLE = "seco evaluate runs/seco colour --task change --data planet.seco --json change.json"
HEADLINE = Headline(
    title="Changed land told from a change of season", probe="distance", metric="auc",
    words="chance that changed land lies farther apart than unchanged land of the same dates (area under the ROC curve; "
    "guessing: 50%)",
)  # fmt: skip

PROBE = "distance"
DATES = "dates"
"""Encoder of the row that knows the days between two dates, and nothing else."""
TRUTH = "truth/patches.parquet"
COLUMN = "changed_fraction"
_PAIRS, _BOOT = 0xC4A6, 0xC4A7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(BlockOptions):
    """Settings of the change task."""

    outputs: tuple[str, ...] = setting(
        (ALL,), "outputs to judge: features, z0, z1, ... with commas, or all that there are"
    )
    min_changed: float = setting(
        0.1, "share of a patch that must differ between two dates to count as changed, 0-1"
    )
    window_days: int = setting(10, "dates are the same when they fall into the same window of this many days")
    max_pairs: int = setting(20_000, "most unchanged pairs; more are drawn from")

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if not 0 < self.min_changed <= 1:
            raise ConfigError(f"least changed share {self.min_changed}; above 0, at most 1")
        if self.window_days < 1:
            raise ConfigError(f"window {self.window_days} days; give at least 1")
        if self.max_pairs < 1:
            raise ConfigError(f"pairs {self.max_pairs}; give at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Two rows of one test place each, the earlier first.

    Attributes:
        first, second: the rows.
        changed: whether the land changed in between.
        stratum: number of the windows and the hemisphere that a pair lies in; each holds pairs of both kinds.
        num_alone: changed pairs left out, since no unchanged pair lies in their stratum.
    """

    first: Integer[np.ndarray, " pairs"]
    second: Integer[np.ndarray, " pairs"]
    changed: Bool[np.ndarray, " pairs"]
    stratum: Integer[np.ndarray, " pairs"]
    num_alone: int


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge how well distance in an encoder's outputs tells change from season. Nothing is fitted."""
    dataset = open_dataset(data)
    outputs = chosen_outputs(options.outputs, encoder.outputs, encoder.name)
    share = read_changes(dataset)
    store = FeatureStore(encoder, dataset, options)
    boxes = place_boxes(dataset)
    rows: list[Row] = []
    tables: list[pa.Table] = []
    for split, words in splits(dataset, options):
        pairs = _pairs(dataset, share, split.part == TEST, options, split.seed)
        used, where = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
        features = store.get(used, outputs)
        places = np.unique(dataset.place[used])
        group = split.block[dataset.place[pairs.first]].astype(np.int64)
        common: dict[str, Any] = {
            "task": NAME, "probe": PROBE, "metric": "auc", "seed": split.seed,
            "split": f"{words}; {int(pairs.changed.sum())} of the pairs changed, chance is 0.5",
            "num_classes": 2, "num_test": len(pairs.first), "num_groups": len(np.unique(group)),
            "num_left_out": pairs.num_alone, "left_out": "changed pairs without an unchanged one of the same dates",
        }  # fmt: skip
        judged = {**common, **origin(store), "transductive": is_transductive(encoder.spec, boxes[places])}
        gap = (dataset.dates[pairs.second] - dataset.dates[pairs.first]).astype(np.float64)
        rows.append(
            Row(encoder=DATES, **common, **_measure(gap, pairs, group, options.num_draws, split.seed))
        )
        for output in outputs:
            unit = _unit(features[output])
            half = len(pairs.first)
            far = 1 - (unit[where[:half]] * unit[where[half:]]).sum(1)
            found = _measure(far, pairs, group, options.num_draws, split.seed)
            rows.append(Row(encoder=encoder.name, output=output, **judged, **found))
            names = np.array(["season", "change"])[pairs.changed.astype(int)]
            tables.append(
                prediction_table(
                    encoder=encoder.name,
                    task=NAME,
                    probe=PROBE,
                    output=output,
                    seed=split.seed,
                    row=pairs.first,
                    group=group,
                    truth=names.tolist(),
                    predicted=[str(dataset.dates[r]) for r in pairs.second],
                    score=far.astype(np.float64),
                )
            )
    return gather(rows, tables, options)


def read_changes(dataset: Dataset) -> Float[np.ndarray, " patches"]:
    """Read which share of each patch had changed by its date.

    Raises:
        TaskError: nobody knows: the table is missing or does not fit the dataset.
    """
    file = dataset.path / TRUTH
    try:
        share = pq.read_table(file, columns=[COLUMN])[COLUMN].to_numpy().astype(np.float64)
    except (OSError, pa.ArrowException, KeyError) as err:
        raise TaskError(
            f"{dataset.path} does not say what changed ({TRUTH}, column {COLUMN}: {err}); "
            "simulate one with `seco planet build OUT --change-share 0.5`"
        ) from err
    if len(share) != len(dataset) or not np.isfinite(share).all():
        raise TaskError(
            f"{file} has {len(share)} lines, {int(np.isfinite(share).sum())} of them finite; "
            f"{len(dataset)} patches want one each"
        )
    return share


def _pairs(dataset: Dataset, share: np.ndarray, test: np.ndarray, options: Options, seed: int) -> _Pairs:
    """Return the pairs of dates of a test place that changed by enough, and those unchanged of the same dates elsewhere.

    Raises:
        TaskError: there are no pairs of one of the two kinds, or none of the same dates.
    """
    rows = np.flatnonzero(test[dataset.place] & ~np.isnat(dataset.dates))
    rows = rows[np.lexsort((dataset.dates[rows], dataset.place[rows]))]
    place = dataset.place[rows]
    starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    first, second = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for a, b in itertools.pairwise((*starts, len(rows))):
        i, j = np.triu_indices(b - a, 1)
        first.append(rows[a + i])
        second.append(rows[a + j])
    one, two = np.concatenate(first), np.concatenate(second)
    difference = np.abs(share[two] - share[one])
    changed, same = difference >= options.min_changed, difference == 0
    if not changed.any() or not same.any():
        raise TaskError(
            f"{changed.sum()} pairs of dates with at least {options.min_changed:.0%} changed land and {same.sum()} "
            "without any, in the places to test on; both are needed: simulate more places, or a larger --change-share"
        )
    window = dataset.dates.astype(np.int64) // options.window_days
    where = np.stack([window[one], window[two], dataset.lonlat[one, 1] < 0])
    stratum = np.unique(where, axis=1, return_inverse=True)[1].ravel()
    num = int(changed.sum())
    same &= np.isin(stratum, stratum[changed])
    rng = np.random.default_rng([seed, _PAIRS])
    same[rng.permutation(np.flatnonzero(same))[options.max_pairs :]] = False
    changed &= np.isin(stratum, stratum[same])
    if not changed.any():
        raise TaskError(
            f"none of the {num} pairs of dates with changed land has an unchanged pair of the same dates in its hemisphere; "
            f"use more places, or windows wider than --window-days {options.window_days}"
        )
    kept = np.r_[np.flatnonzero(changed), np.flatnonzero(same)]
    return _Pairs(
        first=one[kept], second=two[kept], changed=changed[kept], stratum=stratum[kept], num_alone=num - int(changed.sum())
    )  # fmt: skip


class _Ranks:
    """Scores in order within their strata.

    Their area is how often a positive's score is above a negative's of its own stratum, ties counting half: the mean over
    positives, each against all negatives of its stratum. Positives whose stratum has none do not count.
    """

    def __init__(self, score: np.ndarray, positive: np.ndarray, stratum: np.ndarray) -> None:
        """Order the scores."""
        values, position = np.unique(np.stack([stratum, score]), axis=1, return_inverse=True)
        self._position = position.ravel()
        self._of = np.unique(values[0], return_inverse=True)[1]
        self._start = np.searchsorted(self._of, self._of)
        self._positive = positive

    def auc(self, weight: Float[np.ndarray, " n"]) -> float:
        """Return the area with each sample counting `weight` times; NaN if no positive counts."""
        num = len(self._of)
        pos = np.bincount(self._position, weights=weight * self._positive, minlength=num)
        neg = np.bincount(self._position, weights=weight * ~self._positive, minlength=num)
        before = np.cumsum(neg) - neg
        below = before - before[self._start] + neg / 2
        of_stratum = np.bincount(self._of, weights=neg)[self._of]
        pos = np.where(of_stratum > 0, pos, 0)
        won = pos * below / np.where(of_stratum > 0, of_stratum, 1)
        return float(won.sum() / pos.sum()) if pos.sum() else float("nan")


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _measure(
    score: np.ndarray, pairs: _Pairs, group: np.ndarray, num_draws: int, seed: int
) -> dict[str, Any]:
    """Return the area, and its 95% interval over drawn blocks; draws that leave nothing to compare do not count."""
    ranks = _Ranks(score, pairs.changed, pairs.stratum)
    found = {"value": ranks.auc(np.ones(len(score))), "ci_low": None, "ci_high": None}
    blocks, block = np.unique(group, return_inverse=True)
    rng = np.random.default_rng([seed, _BOOT])
    # A draw is a weight a block: ranks stay as they are, so that each draw is a few sums.
    draws = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=num_draws)
    drawn = np.array([ranks.auc(weight[block].astype(np.float64)) for weight in draws])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) > 1 and len(blocks) > 1:
        low, high = np.percentile(drawn, [2.5, 97.5])
        found |= {"ci_low": float(low), "ci_high": float(high)}
    return found
