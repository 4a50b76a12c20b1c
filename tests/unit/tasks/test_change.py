"""Distances between dates with changed land against distances between seasons."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from seco.data.dataset import open_dataset
from seco.errors import ConfigError, TaskError
from seco.probes import evaluation
from seco.tasks.change import Options, auc


def _truth(path: Path, changed: np.ndarray) -> None:
    (path / "truth").mkdir(exist_ok=True)
    pq.write_table(pa.table({"changed_fraction": changed}), path / "truth" / "patches.parquet")


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_scikit_learns_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(300) < 0.2
    score = np.round(rng.normal(size=300) + positive, 1)
    assert auc(score, positive) == pytest.approx(roc_auc_score(positive, score), abs=1e-12)


def test_an_output_that_knows_the_change_is_perfect_and_noise_is_not(
    make_dataset: Callable[..., Path], headed: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_dataset(num_places=40)
    data = open_dataset(path)
    last = np.r_[data.place[1:] != data.place[:-1], True]
    changed = np.where(last & (data.place % 2 == 1), 0.6, 0.0)
    _truth(path, changed)
    rows_of = {"now": np.empty(0, int)}

    def get(self: object, rows: np.ndarray, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        rows_of["now"] = rows
        known = np.stack([np.ones(len(rows)), changed[rows]], axis=1).astype(np.float32)
        noise = np.random.default_rng(0).normal(size=(len(rows), 8)).astype(np.float32)
        return {"features": known, "z0": noise}

    monkeypatch.setattr("seco.probes.features.FeatureStore.get", get)
    found = evaluation.evaluate([headed()], "change", path, Options(test_share=0.5))
    by_output = {r["output"]: r for r in found.rows}
    assert by_output["features"]["value"] == 1.0
    assert by_output["features"]["ci_low"] == 1.0
    assert 0.3 < by_output["z0"]["value"] < 0.7
    # Changed pairs are those with the last date of a changed place in them, and no pair is of two places.
    table = found.predictions.filter(pa.compute.equal(found.predictions["output"], "features"))
    truth = np.array(table["truth"].to_pylist())
    assert set(truth) == {"change", "season"}
    place = data.place[table["row"].to_numpy()]
    assert (place[truth == "change"] % 2 == 1).all()
    assert len(rows_of["now"]) == len(np.unique(rows_of["now"]))


def test_a_dataset_that_does_not_know_its_changes(make_dataset: Callable[..., Path], headed: type) -> None:
    path = make_dataset(num_places=20)
    with pytest.raises(TaskError, match=r"does not say what changed .*--change-share"):
        evaluation.evaluate([headed()], "change", path, Options())
    _truth(path, np.zeros(3))
    with pytest.raises(TaskError, match=r"3 lines, 3 of them finite; \d+ patches"):
        evaluation.evaluate([headed()], "change", path, Options())
    _truth(path, np.zeros(len(open_dataset(path))))
    with pytest.raises(TaskError, match="0 pairs of dates with at least 10% changed land"):
        evaluation.evaluate([headed()], "change", path, Options(test_share=0.5))
    with pytest.raises(ConfigError, match="least changed share 0"):
        Options(min_changed=0.0)
