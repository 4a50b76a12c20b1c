"""Read classes off features: every output of an encoder, every probe, every split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int8, Integer

from seco.errors import TaskError
from seco.probes import paper
from seco.probes.features import FeatureStore
from seco.probes.fewshot import few_shot
from seco.probes.knn import predict_knn, standardise
from seco.probes.linear import FIT, VALIDATE, choose_linear
from seco.probes.options import PAPER, ClassOptions, chosen_outputs
from seco.probes.overlap import is_transductive
from seco.probes.result import Row, TaskResult, gather, origin, prediction_table
from seco.probes.scores import accuracy, balanced_accuracy, bootstrap, bootstrap_draws, majority_class

MAJORITY = "majority"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One split of labelled patches.

    Attributes:
        seed: of the split and all draws.
        split: the split in words.
        classes: names, by label.
        train_rows, train_labels: patches that probes are fitted on.
        parts: what each does while the regularisation is chosen (`linear.FIT`, ...).
        test_rows, test_labels: patches that are scored.
        groups: block (or image) of each test patch: what the bootstrap draws.
        test_boxes: (west, south, east, north) degrees of the places tested on; None where they have no position.
        num_left_out, left_out: places (or images) that take no part, and why, in words.
    """

    seed: int
    split: str
    classes: tuple[str, ...]
    train_rows: Integer[np.ndarray, " train"]
    train_labels: Integer[np.ndarray, " train"]
    parts: Int8[np.ndarray, " train"]
    test_rows: Integer[np.ndarray, " test"]
    test_labels: Integer[np.ndarray, " test"]
    groups: Integer[np.ndarray, " test"]
    test_boxes: Float[np.ndarray, "places 4"] | None
    num_left_out: int = 0
    left_out: str | None = None

    def __post_init__(self) -> None:
        """Check that there is something to learn and something to test."""
        num_classes = len(np.unique(self.train_labels))
        if num_classes < 2:
            found = self.classes[int(self.train_labels[0])] if len(self.train_labels) else "none"
            raise TaskError(
                f"the {len(self.train_labels)} training patches ({self.split}) hold {num_classes} class ({found}); "
                "at least two are needed: use more places, or other data"
            )
        if not len(self.test_rows):
            raise TaskError(
                f"no test patch is left ({self.split}; left out: {self.left_out or 'none'}); use more places"
            )


def classify(task: str, store: FeatureStore, cases: Iterable[Case], options: ClassOptions) -> TaskResult:
    """Fit and score every probe on every output in every case.

    Raises:
        TaskError: an output is not there, a feature is not finite, or there is too little to train on.
    """
    outputs = chosen_outputs(options.outputs, store.encoder.outputs, store.encoder.name)
    rows: list[Row] = []
    tables: list[pa.Table] = []
    for case in cases:
        if options.protocol == PAPER:
            for row, table in _as_the_paper(task, store, _paper_case(case), outputs):
                rows.append(row)
                tables.append(table)
            continue
        scorer = Scorer(task, store, case, options)
        rows.append(scorer.majority_row())
        num_train = len(case.train_rows)
        features = store.get(np.concatenate([case.train_rows, case.test_rows]), outputs)
        for output in outputs:
            train, test = features[output][:num_train], features[output][num_train:]
            for probe in options.probes:
                row, table = scorer.run(probe, output, train, test)
                rows.append(row)
                tables.append(table)
                for shots in options.shots:
                    row, table = scorer.few(probe, output, train, test, shots)
                    rows.append(row)
                    tables.append(table)
    return gather(rows, tables, options, dataset=store.dataset.path)


def _paper_case(case: Case) -> Case:
    """Return the case as the original saw it: the validation part is what is scored, and nothing of it is fitted.

    Raises:
        TaskError: there is no validation part.
    """
    fit, held = case.parts == FIT, case.parts == VALIDATE
    if not fit.any() or not held.any():
        raise TaskError(
            f"{int(fit.sum())} training and {int(held.sum())} validation patches ({case.split}); protocol paper scores "
            "the validation part: use more data, or --protocol strict"
        )
    rows = case.train_rows[held]
    return dataclasses.replace(
        case, split=f"{case.split}; scored on its validation part", train_rows=case.train_rows[fit],
        train_labels=case.train_labels[fit], parts=case.parts[fit], test_rows=rows, test_labels=case.train_labels[held],
        groups=rows.astype(np.int64), test_boxes=None,
    )  # fmt: skip


def _as_the_paper(
    task: str, store: FeatureStore, case: Case, outputs: tuple[str, ...]
) -> Iterator[tuple[Row, pa.Table]]:
    """Score the linear probe as the original's EuroSAT evaluation did (probes/paper.py)."""
    features, kept, moved = paper.drift(store, case.train_rows, outputs, seed=case.seed)
    num = len(case.test_rows) // paper.EUROSAT_BATCH * paper.EUROSAT_BATCH
    test = paper.encode(moved, store, case.test_rows, outputs)
    for output in outputs:
        logits = paper.train_head(
            features[output], case.train_labels[kept], test[output], num_classes=len(case.classes), loss="softmax",
            seed=case.seed, device=store.device,
        )  # fmt: skip
        predicted = logits.argmax(1).astype(np.int64)
        value = paper.over_batches(accuracy, case.test_labels, predicted, batch=paper.EUROSAT_BATCH)
        truth, predicted = case.test_labels[:num], predicted[:num]
        constant = majority_class(case.train_labels)
        yield (
            Row(
                encoder=store.encoder.name, task=task, probe="linear", metric="accuracy", output=output, value=value,
                seed=case.seed, balanced_accuracy=balanced_accuracy(truth, predicted),
                majority=accuracy(truth, np.full_like(truth, constant)),
                num_classes=len(np.union1d(case.train_labels, truth)), num_train=len(kept), num_test=num,
                num_groups=num, num_left_out=case.num_left_out, left_out=case.left_out, split=case.split,
                transductive=is_transductive(store.encoder.spec, case.test_boxes), **origin(store),
            ),
            prediction_table(
                encoder=store.encoder.name, task=task, probe="linear", output=output, seed=case.seed,
                row=case.test_rows[:num], group=case.groups[:num], truth=[case.classes[i] for i in truth],
                predicted=[case.classes[i] for i in predicted], score=(predicted == truth).astype(np.float64),
            ),
        )  # fmt: skip


class Scorer:
    """Everything that the rows of one case share."""

    def __init__(self, task: str, store: FeatureStore, case: Case, options: ClassOptions) -> None:
        """Count what all rows tell."""
        self.task = task
        self.store = store
        self.case = case
        self.options = options
        self.constant = majority_class(case.train_labels)
        self.majority = accuracy(case.test_labels, np.full_like(case.test_labels, self.constant))
        self.common: dict[str, Any] = {
            "task": task,
            "seed": case.seed,
            "majority": self.majority,
            "num_classes": len(np.union1d(case.train_labels, case.test_labels)),
            "num_train": len(case.train_rows),
            "num_test": len(case.test_rows),
            "num_groups": len(np.unique(case.groups)),
            "num_left_out": case.num_left_out,
            "left_out": case.left_out,
            "split": case.split,
        }

    def majority_row(self) -> Row:
        """The row of who always says the commonest training class: it belongs to no encoder."""
        predicted = np.full_like(self.case.test_labels, self.constant)
        return Row(
            encoder=MAJORITY,
            probe=MAJORITY,
            data_fingerprint=self.store.dataset.fingerprint,
            **self._score(predicted),
        )

    def run(
        self,
        probe: str,
        output: str,
        train: Float[np.ndarray, "train dim"],
        test: Float[np.ndarray, "test dim"],
    ) -> tuple[Row, pa.Table]:
        """Fit one probe on one output and score it."""
        case, store = self.case, self.store
        if probe == "knn":
            chosen: dict[str, Any] = {"k": self.options.k}
            if self.options.knn_features == "standardised":
                train, test = standardise(train, test)
            predicted = predict_knn(
                train, case.train_labels, test, k=self.options.k, vote=self.options.vote, device=store.device
            )
        else:
            model, _ = choose_linear(train, case.train_labels, case.parts, device=store.device)
            chosen = {"reg": model.reg}
            predicted = model.predict(test)
        return self.told(probe, output, predicted, **chosen)

    def told(
        self, probe: str, output: str, predicted: Integer[np.ndarray, " test"], **chosen: Any
    ) -> tuple[Row, pa.Table]:
        """Score what a probe says of the test part; `chosen` are fields of the row that tell of the probe."""
        case, store = self.case, self.store
        row = Row(
            encoder=store.encoder.name, probe=probe, output=output, **self._score(predicted), **chosen, **origin(store),
            transductive=is_transductive(store.encoder.spec, case.test_boxes),
        )  # fmt: skip
        table = prediction_table(
            encoder=store.encoder.name, task=self.task, probe=probe, output=output, seed=case.seed, row=case.test_rows,
            group=case.groups, truth=[case.classes[i] for i in case.test_labels],
            predicted=[case.classes[i] for i in predicted], score=(predicted == case.test_labels).astype(np.float64),
        )  # fmt: skip
        return row, table

    def few(
        self,
        probe: str,
        output: str,
        train: Float[np.ndarray, "train dim"],
        test: Float[np.ndarray, "test dim"],
        shots: int,
    ) -> tuple[Row, pa.Table]:
        """Fit one probe on few labels of one output, several times, and score the mean."""
        case, store, options = self.case, self.store, self.options
        found = few_shot(
            probe, train, case.train_labels, store.dataset.place[case.train_rows], test, shots=shots, seed=case.seed,
            options=options, device=store.device,
        )  # fmt: skip
        right = (found.predicted == case.test_labels).astype(np.float64)
        interval = bootstrap_draws(right, case.groups, num_draws=options.num_draws, seed=case.seed)
        each = right.mean(1)
        row = Row(
            **self.common | {"num_train": found.num_train},
            encoder=store.encoder.name, probe=probe, output=output, metric="accuracy", value=float(each.mean()),
            shots=shots, num_repeats=len(each), spread=float(each.std(ddof=1)) if len(each) > 1 else None,
            balanced_accuracy=float(np.mean([balanced_accuracy(case.test_labels, p) for p in found.predicted])),
            ci_low=interval.low if interval else None, ci_high=interval.high if interval else None,
            transductive=is_transductive(store.encoder.spec, case.test_boxes), **found.chosen, **origin(store),
        )  # fmt: skip
        commonest = [np.bincount(p).argmax() for p in found.predicted.T]
        table = prediction_table(
            encoder=store.encoder.name, task=self.task, probe=probe, output=output, seed=case.seed, shots=shots,
            row=case.test_rows, group=case.groups, truth=[case.classes[i] for i in case.test_labels],
            predicted=[case.classes[i] for i in commonest], score=right.mean(0),
        )  # fmt: skip
        return row, table

    def _score(self, predicted: Integer[np.ndarray, " test"]) -> dict[str, Any]:
        truth = self.case.test_labels
        right = (predicted == truth).astype(np.float64)
        interval = bootstrap(right, self.case.groups, num_draws=self.options.num_draws, seed=self.case.seed)
        return self.common | {
            "metric": "accuracy",
            "value": accuracy(truth, predicted),
            "balanced_accuracy": balanced_accuracy(truth, predicted),
            "ci_low": interval.low if interval else None,
            "ci_high": interval.high if interval else None,
        }
