import dataclasses
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from seco.errors import TaskError
from seco.nets.baselines import ColourEncoder
from seco.probes import evaluation
from seco.probes.evaluation import compare, evaluate, summarise
from seco.probes.result import PREDICTION_SCHEMA, Row, prediction_table
from seco.tasks import place


def test_an_unknown_task_is_an_error() -> None:
    with pytest.raises(TaskError, match="no task 'flood'; known: augmentation, bigearthnet"):
        evaluation.find("flood")


def test_no_encoder_and_two_of_one_name_are_errors(small_dataset: Path) -> None:
    with pytest.raises(TaskError, match="no encoder"):
        evaluate([], "place", small_dataset)
    with pytest.raises(TaskError, match="several encoders are called colour"):
        evaluate([ColourEncoder(), ColourEncoder()], "place", small_dataset)


def test_encoders_share_the_majority_row(
    make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECO_CACHE", str(tmp_path))
    other = ColourEncoder()
    other.name = "other"
    data = make_dataset(num_places=40)
    options = evaluation.find("season").Options(k=3, num_draws=0, probes=("knn",))
    result = evaluate([ColourEncoder(), other], "season", data, options)
    assert [r["encoder"] for r in result.rows] == ["majority", "colour", "other"]
    assert set(result.predictions["encoder"].to_pylist()) == {"colour", "other"}


def test_summary_is_mean_and_spread_over_the_seeds() -> None:
    rows = [
        {
            "encoder": e,
            "task": "t",
            "probe": "knn",
            "metric": "accuracy",
            "output": "features",
            "seed": s,
            "value": v,
        }
        for e, s, v in (("a", 0, 0.5), ("b", 0, 0.1), ("a", 1, 0.7))
    ]
    a, b = summarise(rows)
    assert a["encoder"] == "a"
    assert a["value"] == pytest.approx(0.6)
    assert a["spread"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert (a["num_seeds"], a["value_min"], a["value_max"]) == (2, 0.5, 0.7)
    assert (b["spread"], b["num_seeds"], b["majority"]) == (None, 1, None)
    (both,) = summarise(rows, by=("task",))
    assert both["num_seeds"] == 3


def _predictions(encoder: str, right: np.ndarray, *, rows: np.ndarray | None = None) -> pa.Table:
    num = len(right)
    return prediction_table(
        encoder=encoder, task="t", probe="knn", output="features", seed=0,
        row=np.arange(num) if rows is None else rows, group=np.arange(num) // 10,
        truth=["x"] * num, predicted=["x" if r else "y" for r in right], score=right.astype(np.float64),
    )  # fmt: skip


def test_comparison_sees_a_difference_that_the_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(40).repeat(10)
    base = rng.random(400) > hard
    better = base | (rng.random(400) < 0.05)
    (gain,) = compare(pa.concat_tables([_predictions("base", base), _predictions("new", better)]), "base")
    assert (gain["encoder"], gain["reference"], gain["seed"]) == ("new", "base", 0)
    assert gain["value"] == pytest.approx(better.mean() - base.mean())
    assert 0 < gain["ci_low"] < gain["value"] < gain["ci_high"] < 0.06


def test_comparison_needs_the_reference_and_the_same_samples() -> None:
    right = np.ones(20, bool)
    with pytest.raises(TaskError, match=r"no predictions of 'base'.*those of new"):
        compare(_predictions("new", right), "base")
    tables = [_predictions("base", right), _predictions("new", right, rows=np.arange(20) + 1)]
    with pytest.raises(TaskError, match="different patches"):
        compare(pa.concat_tables(tables), "base")


def test_outputs_that_the_reference_lacks_are_not_compared(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECO_CACHE", str(tmp_path))
    table = evaluate([ColourEncoder()], "place", small_dataset, place.Options(num_draws=0)).predictions
    assert compare(table, "colour") == []


def test_rows_are_flat_and_rounded() -> None:
    row = Row(
        encoder="e", task="t", probe="knn", metric="accuracy", value=1 / 3, seed=0, reg=1e-7 / 3
    ).to_json()
    assert row["value"] == 0.333333
    assert row["reg"] == 3.33333e-8
    assert not any(isinstance(v, (dict, list)) for v in row.values())


def test_the_documented_schema_lists_every_field_in_order() -> None:
    text = (Path(__file__).parents[3] / "docs" / "results-schema.md").read_text(encoding="utf-8")
    rows, _, predictions = text.partition("## Predictions")
    named = re.findall(r"^\| `(\w+)` \|", rows, flags=re.MULTILINE)
    assert named == [f.name for f in dataclasses.fields(Row)]
    assert re.findall(r"^\| `(\w+)` \|", predictions, flags=re.MULTILINE) == PREDICTION_SCHEMA.names
