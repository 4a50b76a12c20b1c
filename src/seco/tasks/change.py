"""Change: do two dates between which the land changed lie farther apart than two that differ in season alone?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Integer

from seco.config import setting
from seco.data.dataset import Dataset, open_dataset
from seco.data.split import TEST, place_boxes
from seco.errors import ConfigError, TaskError
from seco.nets.encoder import FeatureExtractor
from seco.probes.blocks import splits
from seco.probes.features import FeatureStore
from seco.probes.options import ALL, BlockOptions, chosen_outputs
from seco.probes.overlap import is_transductive
from seco.probes.ranking import auc
from seco.probes.result import Headline, Row, TaskResult, gather, origin, prediction_table

NAME = "change"
HELP = "tell pairs of dates with changed land from pairs that differ in season alone, by distance; needs known changes"
EXAMPLE = "seco evaluate runs/seco colour --task change --data planet.seco --json change.json"
HEADLINE = Headline(
    title="Changed land told from a change of season", probe="distance", metric="auc",
    words="chance that changed land lies farther apart than another season (area under the ROC curve; guessing: 50%)",
)  # fmt: skip

PROBE = "distance"
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
    max_pairs: int = setting(20_000, "most unchanged pairs; more are drawn from")

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if not 0 < self.min_changed <= 1:
            raise ConfigError(f"least changed share {self.min_changed}; above 0, at most 1")
        if self.max_pairs < 1:
            raise ConfigError(f"pairs {self.max_pairs}; give at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Two rows of one test place each, and whether the land changed in between."""

    first: Integer[np.ndarray, " pairs"]
    second: Integer[np.ndarray, " pairs"]
    changed: np.ndarray


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
            "encoder": encoder.name, "task": NAME, "probe": PROBE, "metric": "auc", "seed": split.seed,
            "split": f"{words}; {int(pairs.changed.sum())} of the pairs changed, chance is 0.5",
            "num_classes": 2, "num_test": len(pairs.first), "num_groups": len(np.unique(group)),
            "transductive": is_transductive(encoder.spec, boxes[places]), **origin(store),
        }  # fmt: skip
        for output in outputs:
            unit = _unit(features[output])
            half = len(pairs.first)
            far = 1 - (unit[where[:half]] * unit[where[half:]]).sum(1)
            low, high = _interval(far, pairs.changed, group, options.num_draws, split.seed)
            rows.append(Row(output=output, value=auc(far, pairs.changed), ci_low=low, ci_high=high, **common))
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
    """Return every pair of dates of a test place: changed by enough, or not at all; those between are left out.

    Raises:
        TaskError: there are no pairs of one of the two kinds.
    """
    rows = np.flatnonzero(test[dataset.place])
    place = dataset.place[rows]
    starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    first, second = [], []
    for a, b in zip(starts, np.r_[starts[1:], len(rows)], strict=True):
        i, j = np.triu_indices(b - a, 1)
        first.append(rows[a + i])
        second.append(rows[a + j])
    one = np.concatenate(first) if first else np.empty(0, np.int64)
    two = np.concatenate(second) if second else np.empty(0, np.int64)
    difference = np.abs(share[two] - share[one])
    changed, same = np.flatnonzero(difference >= options.min_changed), np.flatnonzero(difference == 0)
    if not len(changed) or not len(same):
        raise TaskError(
            f"{len(changed)} pairs of dates with at least {options.min_changed:.0%} changed land and {len(same)} "
            "without any, in the places to test on; both are needed: simulate more places, or a larger --change-share"
        )
    rng = np.random.default_rng([seed, _PAIRS])
    same = np.sort(rng.permutation(same)[: options.max_pairs])
    kept = np.concatenate([changed, same])
    return _Pairs(first=one[kept], second=two[kept], changed=np.arange(len(kept)) < len(changed))


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _interval(
    score: np.ndarray, positive: np.ndarray, group: np.ndarray, num_draws: int, seed: int
) -> tuple[float | None, float | None]:
    """Return the 95% interval of the AUC over drawn blocks; draws without both kinds of pairs do not count."""
    blocks, block = np.unique(group, return_inverse=True)
    if num_draws < 1 or len(blocks) < 2:
        return None, None
    rng = np.random.default_rng([seed, _BOOT])
    values, position = np.unique(score, return_inverse=True)
    drawn = []
    # A draw is a weight a block: ranks stay as they are, so that each draw is two sums.
    for _ in range(min(num_draws, 200)):
        weight = np.bincount(rng.integers(len(blocks), size=len(blocks)), minlength=len(blocks))[block]
        pos = np.bincount(position, weights=weight * positive, minlength=len(values))
        neg = np.bincount(position, weights=weight * ~positive, minlength=len(values))
        if pos.sum() and neg.sum():
            below = np.cumsum(neg) - neg
            drawn.append((pos * (below + neg / 2)).sum() / (pos.sum() * neg.sum()))
    if len(drawn) < 2:
        return None, None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
