"""Distances between dates with changed land against distances between the same dates without."""

import datetime
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
from seco.tasks import change
from seco.tasks.change import Options


def _truth(path: Path, changed: np.ndarray) -> None:
    (path / "truth").mkdir(exist_ok=True)
    pq.write_table(pa.table({"changed_fraction": changed}), path / "truth" / "patches.parquet")


def _redate(path: Path, shift: np.ndarray) -> None:
    """Move each patch's date by some days, as each place of a planet has days of its own."""
    index = pq.read_table(path / "index.parquet")
    dates = [d + datetime.timedelta(int(n)) for d, n in zip(index["date"].to_pylist(), shift, strict=True)]
    at = index.column_names.index("date")
    pq.write_table(
        index.set_column(at, index.schema.field("date"), pa.array(dates, pa.date32())), path / "index.parquet"
    )


@pytest.mark.parametrize("seed", range(5))
def test_area_is_the_mean_of_scikit_learns_over_strata(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, stratum, weight = rng.random(300) < 0.2, rng.integers(0, 12, 300) * 7, rng.integers(0, 3, 300)
    positive[stratum == 7] = True  # nothing to compare with: these do not count
    score = np.round(rng.normal(size=300) + positive + stratum, 1)
    total = num = 0.0
    for s in np.unique(stratum):
        of = np.repeat(np.flatnonzero(stratum == s), weight[stratum == s])
        if positive[of].any() and not positive[of].all():
            total += positive[of].sum() * roc_auc_score(positive[of], score[of])
            num += positive[of].sum()
    found = change._Ranks(score, positive, stratum).auc(weight.astype(np.float64))
    assert found == pytest.approx(total / num, abs=1e-12)


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
    # Unchanged pairs have the dates of a changed one: all end with the last.
    assert set(table["predicted"].to_pylist()) == {str(data.dates[last][0])}


def test_dates_alone_score_a_half(
    make_dataset: Callable[..., Path], headed: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_dataset(num_places=400, num_dates=6, px=8)
    rng = np.random.default_rng(0)
    place = open_dataset(path).place
    _redate(path, rng.integers(0, 40, 400)[place] + rng.integers(0, 15, len(place)))
    data = open_dataset(path)
    # Land changes once for good, on some day: the farther two dates are apart, the likelier it lies between them.
    day = data.dates.astype(np.int64)
    when = rng.uniform(day.min(), day.max(), 400)
    when[rng.random(400) < 0.5] = np.inf
    _truth(path, np.where(day > when[data.place], 0.5, 0.0))
    south = data.lonlat[:, 1] < 0

    def get(self: object, rows: np.ndarray, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        days = day[rows] - day.min()
        turn = days / 365 * np.pi  # cosine falls with the days between two dates
        year = 2 * np.pi * days / 365 + np.pi * south[rows]
        season = np.stack([np.cos(year), np.sin(year), np.full(len(rows), 0.5)], axis=1)
        return {"features": np.stack([np.cos(turn), np.sin(turn)], axis=1), "z0": season}

    monkeypatch.setattr("seco.probes.features.FeatureStore.get", get)
    found = evaluation.evaluate([headed()], "change", path, Options(test_share=0.5))
    by_name = {(r["encoder"], r["output"]): r for r in found.rows}
    assert set(by_name) == {("dates", None), ("headed", "features"), ("headed", "z0")}
    for row in by_name.values():
        assert row["value"] == pytest.approx(0.5, abs=0.04)
        assert row["ci_low"] < 0.5 < row["ci_high"]
    # What it would have been: with one window for all dates, days count for much.
    wide = evaluation.evaluate([headed()], "change", path, Options(test_share=0.5, window_days=10_000))
    assert next(r for r in wide.rows if r["encoder"] == "dates")["value"] > 0.6


def test_the_row_of_dates_stands_once(make_dataset: Callable[..., Path], headed: type) -> None:
    path = make_dataset(num_places=40)
    data = open_dataset(path)
    _truth(path, np.where((data.months > 5) & (data.place % 2 == 1), 0.6, 0.0))
    found = evaluation.evaluate([headed("a"), headed("b")], "change", path, Options(test_share=0.5))
    assert [r["encoder"] for r in found.rows].count("dates") == 1


def test_changed_pairs_without_a_counterpart(make_dataset: Callable[..., Path], headed: type) -> None:
    path = make_dataset(num_places=40, num_dates=3)
    data = open_dataset(path)
    _truth(path, np.where(data.months > 3, 0.6, 0.0))
    with pytest.raises(TaskError, match=r"none of the \d+ pairs .* same dates .*--window-days 10"):
        evaluation.evaluate([headed()], "change", path, Options(test_share=0.5))
    # Three in four places change before March, the others before May: January and May differ everywhere.
    _truth(path, np.where((data.months > 1) & ((data.months > 3) | (data.place % 4 > 0)), 0.6, 0.0))
    row = evaluation.evaluate([headed()], "change", path, Options(test_share=0.5)).rows[0]
    assert row["num_test"] == 2 * row["num_left_out"] > 30
    with pytest.raises(ConfigError, match="window 0 days"):
        Options(window_days=0)


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
