"""What holds for every task that is found, those still to be written included."""

import dataclasses
import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seco import config
from seco.data.dataset import open_dataset
from seco.probes import evaluation
from seco.probes.options import EvaluationOptions
from seco.probes.result import METRIC_WORDS, PREDICTION_SCHEMA, Row

NAMES = evaluation.names()
MAPS = ("oscd", "segmentation")
"""Tasks on maps take other data and train a decoder: tests/unit/tasks/test_maps.py holds them to the schema."""
PATCHES = [n for n in NAMES if n not in MAPS]
# What small data need; tasks without these settings are given those that they have.
SMALL = {"k": 3, "min_places": 1, "num_draws": 50, "test_share": 0.3}


def _options(task: str, **settings: object) -> EvaluationOptions:
    cls = evaluation.find(task).Options
    known = {f.name for f in dataclasses.fields(cls)}
    return config.build(cls, {k: v for k, v in (SMALL | settings).items() if k in known})


@pytest.fixture
def data(make_dataset: Callable[..., Path]) -> Path:
    several = (("Pastures",), ("Inland waters", "Arable land"), ("Pastures", "Urban fabric"))
    path = make_dataset(
        num_places=40,
        labels=[("crops", "lake", "town")[i % 3] for i in range(40)],
        label_sets=[several[i % 3] for i in range(40)],
    )
    # Every second place changes before its last date.
    rows = open_dataset(path)
    last = np.r_[rows.place[1:] != rows.place[:-1], True]
    changed = np.where(last & (rows.place % 2 == 1), 0.5, 0.0)
    (path / "truth").mkdir()
    pq.write_table(pa.table({"changed_fraction": changed}), path / "truth" / "patches.parquet")
    return path


def test_the_tasks_of_the_issue_are_found() -> None:
    assert {"images", "eurosat", "ucmerced", "bigearthnet", "landcover", "climate", "season", "place"} <= set(
        NAMES
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_task_declares_itself(name: str) -> None:
    task = evaluation.find(name)
    assert isinstance(task, evaluation.Task)
    assert name == task.NAME
    assert task.HELP
    assert "\n" not in task.HELP
    assert task.EXAMPLE.startswith("seco evaluate ")
    assert task.HEADLINE.title
    assert task.HEADLINE.metric in METRIC_WORDS
    assert f"--task {name} " in task.EXAMPLE + " "
    default = task.Options()
    assert isinstance(default, EvaluationOptions)
    assert config.build(task.Options, config.to_plain(default)) == default
    for field in dataclasses.fields(task.Options):
        assert field.metadata.get("help"), f"{name}.{field.name} has no help"


@pytest.mark.parametrize("name", NAMES)
def test_a_task_imports_no_other(name: str) -> None:
    source = Path(importlib.import_module(f"seco.tasks.{name}").__file__ or "").read_text(encoding="utf-8")
    assert not re.search(r"seco\.tasks|from seco import tasks", source)


@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize("name", PATCHES)
def test_rows_follow_the_schema(name: str, data: Path, headed: type) -> None:
    result = evaluation.evaluate([headed()], name, data, _options(name, outputs="all", split_seeds="0,3"))
    fields = [f.name for f in dataclasses.fields(Row)]
    assert json.loads(json.dumps(result.rows)) == result.rows
    for row in result.rows:
        assert list(row) == fields
        assert row["task"] == name
        assert 0 <= row["value"] <= 1
        assert row["seed"] in (0, 3)
        assert row["num_test"] > 0
        assert row["split"]
        assert row["protocol"] == "strict"
        assert "test_share=0.3" in row["settings"]
        assert "split_seeds" not in row["settings"]
        if row["metric"] == "accuracy":
            assert None not in (
                row["balanced_accuracy"],
                row["majority"],
                row["num_classes"],
                row["num_train"],
            )
        if row["ci_low"] is not None:
            assert row["ci_low"] <= row["value"] <= row["ci_high"]
        if row["probe"] != "majority" and row["encoder"] != "dates":
            assert row["encoder"] == "headed"
            assert row["transductive"] is False
            assert row["normalise"] == "dataset"
            assert row["encoder_fingerprint"]
    judged = [r for r in result.rows if r["probe"] != "majority" and r["encoder"] != "dates"]
    assert {r["output"] for r in judged} == {"features", "z0"}
    assert {r["seed"] for r in result.rows} == {0, 3}


@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize("name", PATCHES)
def test_predictions_add_up_to_the_rows(name: str, data: Path, headed: type) -> None:
    result = evaluation.evaluate([headed()], name, data, _options(name, outputs="all"))
    table = result.predictions
    assert table.schema.equals(PREDICTION_SCHEMA)
    means = table.group_by(["encoder", "probe", "output", "seed"]).aggregate(
        [("score", "mean"), ("score", "count")]
    )
    found = {(m["encoder"], m["probe"], m["output"], m["seed"]): m for m in means.to_pylist()}
    told = ("accuracy", "map", "auc", "lrap")
    rows = [r for r in result.rows if r["metric"] in told and r["probe"] != "majority"]
    rows = [r for r in rows if r["encoder"] != "dates"]  # who knows dates alone predicts nothing of a patch
    assert len(rows) == len(found) > 0
    for row in rows:
        mean = found[row["encoder"], row["probe"], row["output"], row["seed"]]
        assert mean["score_count"] == row["num_test"]
        # The area under a curve is no mean of single scores; tests/unit/tasks/test_change.py checks it.
        if row["metric"] != "auc":
            assert mean["score_mean"] == pytest.approx(row["value"], rel=1e-5)


@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize("name", PATCHES)
def test_a_second_run_gives_the_same(name: str, data: Path, headed: type) -> None:
    first = evaluation.evaluate([headed()], name, data, _options(name))
    again = evaluation.evaluate([headed()], name, data, _options(name, cache="none"))
    assert first.rows == again.rows
    assert first.predictions.equals(again.predictions)
