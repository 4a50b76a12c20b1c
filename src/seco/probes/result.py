"""What a task gives back: rows of one documented schema (docs/results-schema.md), and a table of single predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from seco.probes.features import FeatureStore
from seco.probes.options import STRICT, EvaluationOptions

SIGNIFICANT_DIGITS = 6
TOLD_BY_ROWS = ("outputs", "normalise", "size", "split_seeds", "probes", "k", "cache", "protocol", "shots")
"""Settings that rows have fields for, or that change no score."""
KNN_ALONE = ("vote", "knn_features")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One number, and everything needed to know what it is worth. None where a field does not apply."""

    encoder: str
    task: str
    probe: str
    metric: str
    value: float
    seed: int
    output: str | None = None
    protocol: str = STRICT
    shots: int | None = None
    num_repeats: int | None = None
    spread: float | None = None
    balanced_accuracy: float | None = None
    majority: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    num_classes: int | None = None
    num_train: int | None = None
    num_test: int | None = None
    num_groups: int | None = None
    num_left_out: int | None = None
    left_out: str | None = None
    transductive: bool | None = None
    normalise: str | None = None
    size: int | None = None
    split: str | None = None
    settings: str | None = None
    k: int | None = None
    reg: float | None = None
    encoder_fingerprint: str | None = None
    data_fingerprint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as a flat mapping, every field there, floats at six significant digits."""
        out = dataclasses.asdict(self)
        return {
            k: float(f"{v:.{SIGNIFICANT_DIGITS}g}") if isinstance(v, float) else v for k, v in out.items()
        }


METRIC_WORDS = {
    "accuracy": "accuracy", "map": "mean average precision", "cmc@1": "right at first", "cmc@5": "right among 5",
    "cmc@10": "right among 10", "auc": "area under the ROC curve", "ap": "average precision", "miou": "mean IoU",
    "f1": "F1", "precision": "precision", "recall": "recall", "iou": "IoU", "map_micro": "micro average precision",
    "map_macro": "macro average precision", "lrap": "label ranking average precision",
}  # fmt: skip
"""The metrics of the schema, in words."""


def metric_words(metric: str) -> str:
    """Return a metric in words, one of a class or city (`iou:water`) with its name; one that is not known as it is."""
    kind, _, of = metric.partition(":")
    return METRIC_WORDS.get(kind, kind) + (f" of {of}" if of else "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Headline:
    """What a page says of a task before all else: its question, and the one number that sums it up.

    Attributes:
        title: the question, a few words.
        probe, metric: of the rows that hold the number.
        words: what the number is, as a sentence's end.
        asks: `skill`, where more is better; `kept`, where the number says what an encoder keeps, which it may be meant to
            forget.
    """

    title: str
    probe: str
    metric: str
    words: str
    asks: Literal["skill", "kept"] = "skill"


PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("encoder", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("probe", pa.string(), nullable=False),
        pa.field("output", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("shots", pa.int64()),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("group", pa.int64(), nullable=False),
        pa.field("truth", pa.string(), nullable=False),
        pa.field("predicted", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskResult:
    """Rows of `Row`'s fields, the predictions behind them (PREDICTION_SCHEMA), and the dataset they are of."""

    rows: list[dict[str, Any]]
    predictions: pa.Table
    dataset: Path | None = None


def gather(
    rows: Sequence[Row],
    predictions: Sequence[pa.Table],
    options: EvaluationOptions,
    *,
    dataset: Path | None = None,
) -> TaskResult:
    """Put rows and predictions together, and note in the rows the protocol and which settings were not the default."""
    protocol = getattr(options, "protocol", STRICT)
    rows = [dataclasses.replace(r, settings=changed_settings(options, r), protocol=protocol) for r in rows]
    table = pa.concat_tables([PREDICTION_SCHEMA.empty_table(), *predictions])
    return TaskResult(rows=[r.to_json() for r in rows], predictions=table, dataset=dataset)


def changed_settings(options: EvaluationOptions, row: Row) -> str | None:
    """Return the settings that differ from their defaults, as `name=value`, but for those that rows tell by themselves.

    Those of other probes do not concern a row: it equals one that was made without them.
    """
    other = [*(KNN_ALONE if row.probe != "knn" else ()), *(("shot_draws",) if row.shots is None else ())]
    changed = [
        f"{f.name}={getattr(options, f.name)}"
        for f in dataclasses.fields(options)
        if f.name not in (*TOLD_BY_ROWS, *other) and getattr(options, f.name) != f.default
    ]
    return " ".join(changed) or None


def prediction_table(
    *,
    encoder: str,
    task: str,
    probe: str,
    output: str,
    seed: int,
    row: np.ndarray,
    group: np.ndarray,
    truth: Sequence[str],
    predicted: Sequence[str],
    score: np.ndarray,
    shots: int | None = None,
) -> pa.Table:
    """Build the predictions of one probe on one output: a line a test sample."""
    num = len(row)
    named = {"encoder": encoder, "task": task, "probe": probe, "output": output}
    columns: dict[str, Any] = {name: pa.array([text] * num, pa.string()) for name, text in named.items()}
    columns["seed"] = np.full(num, seed, np.int64)
    columns["shots"] = pa.array([shots] * num, pa.int64())
    columns |= {
        "row": row,
        "group": group,
        "truth": list(truth),
        "predicted": list(predicted),
        "score": score,
    }
    return pa.table(columns, schema=PREDICTION_SCHEMA)


def origin(store: FeatureStore) -> dict[str, Any]:
    """Return the fields of a row that tell which features it was made from."""
    return {
        "normalise": store.normalise,
        "size": store.size,
        "encoder_fingerprint": store.encoder_fingerprint,
        "data_fingerprint": store.dataset.fingerprint,
    }
