"""Read any number of labels off features: cases, probes and scores of tasks with several labels a patch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Integer

from seco.config import setting
from seco.errors import TaskError
from seco.probes import paper
from seco.probes.classify import MAJORITY
from seco.probes.features import FeatureStore
from seco.probes.knn import standardise
from seco.probes.multilabel import Choice, choose_labels, constant_scores, knn_labels, label_words
from seco.probes.options import PAPER, ProbeOptions, chosen_outputs
from seco.probes.overlap import is_transductive
from seco.probes.precision import LabelScores, ranking_precision
from seco.probes.result import Row, TaskResult, gather, origin, prediction_table
from seco.probes.scores import bootstrap

METRICS = ("map_micro", "map_macro", "lrap")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions(ProbeOptions):
    """Probes for any number of labels a patch."""

    reg: Choice = setting(
        "per-label", "whether the linear probe's regularisation is chosen per-label or shared by all labels"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelCase:
    """One split of patches with any number of labels: training, validation (never fitted) and test."""

    seed: int
    split: str
    classes: tuple[str, ...]
    train_rows: Integer[np.ndarray, " train"]
    train_targets: Bool[np.ndarray, "train labels"]
    held_rows: Integer[np.ndarray, " held"]
    held_targets: Bool[np.ndarray, "held labels"]
    test_rows: Integer[np.ndarray, " test"]
    test_targets: Bool[np.ndarray, "test labels"]
    groups: Integer[np.ndarray, " test"]
    test_boxes: Float[np.ndarray, "places 4"] | None
    num_left_out: int = 0
    left_out: str | None = None

    def __post_init__(self) -> None:
        """Check that there is something to learn, to choose on and to test."""
        for part, targets in (
            ("train", self.train_targets),
            ("validation", self.held_targets),
            ("test", self.test_targets),
        ):
            if not targets.any():
                raise TaskError(
                    f"the {len(targets)} patches of the {part} part ({self.split}) hold no label (left out: "
                    f"{self.left_out or 'none'}); use more patches, or a larger --train-share"
                )


def judge_labels(
    task: str, store: FeatureStore, cases: Iterable[LabelCase], options: LabelOptions
) -> TaskResult:
    """Fit and score every probe on every output in every case."""
    outputs = chosen_outputs(options.outputs, store.encoder.outputs, store.encoder.name)
    rows: list[Row] = []
    tables: list[pa.Table] = []
    for case in cases:
        scorer = LabelScorer(task, store, case, options)
        rows += scorer.baseline()
        sizes = np.cumsum([len(case.train_rows), len(case.held_rows)])
        features = store.get(np.concatenate([case.train_rows, case.held_rows, case.test_rows]), outputs)
        for output in outputs:
            train, held, test = np.split(features[output], sizes)
            for probe in options.probes:
                if options.protocol == PAPER and probe != "linear":
                    continue
                found, table = scorer.run(probe, output, train, held, test)
                rows += found
                tables.append(table)
    return gather(rows, tables, options, dataset=store.dataset.path)


class LabelScorer:
    """Everything that the rows of one case share."""

    def __init__(self, task: str, store: FeatureStore, case: LabelCase, options: LabelOptions) -> None:
        """Count what all rows tell."""
        self.task, self.store, self.case, self.options = task, store, case, options
        constant = constant_scores(case.train_targets, len(case.test_rows))
        self.constant = constant
        # Under the paper's protocol nobody wants what a constant gets over single batches.
        self.majority = dict(zip(METRICS, self._values(constant), strict=True))
        self.common: dict[str, Any] = {
            "task": task,
            "seed": case.seed,
            "num_classes": int((case.train_targets.any(0) | case.test_targets.any(0)).sum()),
            "num_train": len(case.train_rows),
            "num_test": len(case.test_rows),
            "num_groups": len(np.unique(case.groups)),
            "num_left_out": case.num_left_out,
            "left_out": case.left_out,
            "split": case.split,
        }

    def _values(self, score: np.ndarray) -> tuple[float, float, float]:
        found = LabelScores(self.case.test_targets, score)
        return found.micro(), found.macro(), float(ranking_precision(self.case.test_targets, score).mean())

    def baseline(self) -> list[Row]:
        """The rows of who gives each label its share in training, whatever the patch: they belong to no encoder."""
        return self._rows(
            self.constant, encoder=MAJORITY, probe=MAJORITY, data_fingerprint=self.store.dataset.fingerprint
        )

    def run(
        self, probe: str, output: str, train: np.ndarray, held: np.ndarray, test: np.ndarray
    ) -> tuple[list[Row], pa.Table]:
        """Fit one probe on one output and score it."""
        case, store, options = self.case, self.store, self.options
        chosen: dict[str, Any] = {}
        if options.protocol == PAPER:
            score = paper.train_head(
                train, case.train_targets, test, num_classes=len(case.classes), loss="multilabel", seed=case.seed,
                device=store.device,
            )  # fmt: skip
            likely = score > 0
        elif probe == "knn":
            if options.knn_features == "standardised":
                train, test = standardise(train, test)
            score = knn_labels(
                train, case.train_targets, test, k=options.k, vote=options.vote, device=store.device
            )
            chosen["k"] = options.k
            likely = score > 0.5
        else:
            model = choose_labels(
                train, case.train_targets, held, case.held_targets, choice=options.reg, device=store.device
            )
            score = model.scores(test)
            likely = score > 0
            chosen["reg"] = float(model.regs[0]) if options.reg == "shared" else None
        return self.told(probe, output, score, likely, **chosen)

    def told(
        self, probe: str, output: str, score: np.ndarray, likely: np.ndarray, **chosen: Any
    ) -> tuple[list[Row], pa.Table]:
        """Score what a probe says of the test part: a score of each label, and whether it is likely."""
        case, store = self.case, self.store
        rows = self._rows(
            score, encoder=store.encoder.name, probe=probe, output=output, **chosen, **origin(store),
            transductive=is_transductive(store.encoder.spec, case.test_boxes),
        )  # fmt: skip
        table = prediction_table(
            encoder=store.encoder.name, task=self.task, probe=probe, output=output, seed=case.seed, row=case.test_rows,
            group=case.groups, truth=label_words(case.test_targets, case.classes),
            predicted=label_words(likely, case.classes), score=ranking_precision(case.test_targets, score),
        )  # fmt: skip
        return rows, table

    def _rows(self, score: np.ndarray, **about: Any) -> list[Row]:
        """Return a row a metric."""
        case, options = self.case, self.options
        if options.protocol == PAPER:
            batch = paper.BIGEARTHNET_BATCH
            value = paper.over_batches(
                lambda t, s: LabelScores(t, s).micro(), case.test_targets, score, batch=batch
            )
            num = len(case.test_targets) // batch * batch
            return [
                Row(
                    metric="map_micro",
                    value=value,
                    **self.common | about | {"num_test": num, "num_groups": num},
                )
            ]
        found = LabelScores(case.test_targets, score)
        micro, macro = found.intervals(case.groups, num_draws=options.num_draws, seed=case.seed)
        each = ranking_precision(case.test_targets, score)
        ranking = bootstrap(each, case.groups, num_draws=options.num_draws, seed=case.seed)
        values = (found.micro(), found.macro(), float(each.mean()))
        return [
            Row(
                metric=metric, value=value, majority=self.majority[metric], ci_low=interval.low if interval else None,
                ci_high=interval.high if interval else None, **self.common, **about,
            )
            for metric, value, interval in zip(METRICS, values, (micro, macro, ranking), strict=True)
        ]  # fmt: skip
