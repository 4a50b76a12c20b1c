"""Few labels a class: which are drawn, how often, and what the row says of it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seco.errors import ConfigError, TaskError
from seco.nets.baselines import ColourEncoder
from seco.probes.evaluation import compare, evaluate, summarise
from seco.probes.fewshot import choosing_parts, draw_shots, few_shot, fixed_reg
from seco.probes.linear import VALIDATE, fit_linear, moments_of
from seco.probes.options import ClassOptions
from seco.probes.scores import bootstrap_draws
from seco.tasks import images

LABELS = np.repeat([0, 1, 2], [40, 20, 6])


def test_draws_are_balanced_seeded_nested_and_without_repeats() -> None:
    places = np.arange(66)
    five = draw_shots(LABELS, places, 5, seed=0, draw=0)
    assert np.bincount(LABELS[five]).tolist() == [5, 5, 5]
    assert len(set(five.tolist())) == 15
    np.testing.assert_array_equal(five, draw_shots(LABELS, places, 5, seed=0, draw=0))
    ten = draw_shots(LABELS, places, 10, seed=0, draw=0)
    assert set(five) <= set(ten)
    # The smallest class gives all that it has.
    assert np.bincount(LABELS[ten]).tolist() == [10, 10, 6]
    assert set(draw_shots(LABELS, places, 5, seed=0, draw=1)) != set(five)
    assert set(draw_shots(LABELS, places, 5, seed=1, draw=0)) != set(five)
    with pytest.raises(TaskError, match="41 labels a class asked for; the largest class has 40"):
        draw_shots(LABELS, places, 41, seed=0, draw=0)


def test_two_dates_of_a_place_are_not_two_labels() -> None:
    places = np.arange(66) // 2
    drawn = draw_shots(LABELS, places, 3, seed=0, draw=0)
    assert len(set(places[drawn].tolist())) == len(drawn) == 9


def test_a_quarter_of_each_class_chooses() -> None:
    parts = choosing_parts(np.repeat([0, 1], [8, 4]), seed=0, draw=0)
    assert [(parts[:8] == VALIDATE).sum(), (parts[8:] == VALIDATE).sum()] == [2, 1]


def _blobs(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 3
    return (np.eye(3)[labels].repeat(4, axis=1) + 0.9 * rng.normal(size=(num, 12))).astype(np.float32), labels


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_more_labels_tell_more_and_the_draws_differ(probe: str) -> None:
    train, labels = _blobs(300, 0)
    test, truth = _blobs(200, 1)
    options = ClassOptions(shot_draws=4)
    scores = {}
    for shots in (1, 20):
        found = few_shot(probe, train, labels, np.arange(300), test, shots=shots, seed=0, options=options)
        assert found.predicted.shape == (4, 200)
        assert found.num_train == 3 * shots
        scores[shots] = (found.predicted == truth).mean(1)
        if probe == "knn":
            assert found.chosen == {"k": min(shots, 20)}
        elif shots == 1:
            assert found.chosen == {"reg": 1 / 3}
    assert scores[20].mean() > scores[1].mean() + 0.1
    assert scores[1].std() > 0


def test_features_are_standardised_by_the_whole_training_part() -> None:
    train, labels = _blobs(300, 0)
    test, truth = _blobs(200, 1)
    # One feature is off by a factor that a draw of three samples cannot tell from its noise.
    train[:, 0] *= 100
    test[:, 0] *= 100
    at = draw_shots(labels, np.arange(300), 1, seed=0, draw=0)
    found = few_shot(
        "linear", train, labels, np.arange(300), test, shots=1, seed=0, options=ClassOptions(shot_draws=1)
    )
    whole = fit_linear(train[at], labels[at], reg=fixed_reg(3), moments=moments_of(train)).predict(test)
    own = fit_linear(train[at], labels[at], reg=fixed_reg(3)).predict(test)
    np.testing.assert_array_equal(found.predicted[0], whole)
    assert (whole != own).any()
    assert (whole == truth).mean() > 0.5


def test_without_validation_the_probe_is_scikit_learns_default() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    train, labels = _blobs(300, 0)
    test, _ = _blobs(200, 1)
    at = draw_shots(labels, np.arange(300), 2, seed=0, draw=0)
    found = few_shot(
        "linear", train, labels, np.arange(300), test, shots=2, seed=0, options=ClassOptions(shot_draws=1)
    )
    mean, std = train.mean(0), train.std(0)
    oracle = linear_model.LogisticRegression(max_iter=1000, tol=1e-6).fit(
        (train[at] - mean) / std, labels[at]
    )
    assert found.chosen == {"reg": pytest.approx(1 / 6)}
    assert (oracle.predict((test - mean) / std) == found.predicted[0]).mean() > 0.99


def test_the_interval_covers_draws_as_well_as_patches() -> None:
    rng = np.random.default_rng(0)
    level = np.array([0.3, 0.5, 0.7, 0.9])[:, None]
    right = (rng.random((4, 2000)) < level).astype(np.float64)
    both = bootstrap_draws(right, np.arange(2000), num_draws=400, seed=0)
    patches = bootstrap_draws(right.mean(0)[None], np.arange(2000), num_draws=400, seed=0)
    assert both is not None
    assert patches is not None
    assert both.low < right.mean() < both.high
    assert both.high - both.low > 5 * (patches.high - patches.low)
    assert bootstrap_draws(right, np.zeros(2000, int), num_draws=400, seed=0) is None


@pytest.fixture
def rows(make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))
    labels = [("crops", "lake", "town")[i % 3] for i in range(90)]
    data = make_dataset(num_places=90, num_dates=1, labels=labels, positions=False, px=8)
    other = ColourEncoder()
    other.name = "other"
    options = images.Options(k=5, shots=(1, 8), shot_draws=3, num_draws=50)
    return evaluate([ColourEncoder(), other], "images", data, options)


def test_settings_of_knn_alone_stand_in_its_rows_alone(make_dataset: Callable[..., Path]) -> None:
    data = make_dataset(num_places=60, num_dates=1, px=8, labels=[f"c{i % 3}" for i in range(60)])
    options = images.Options(k=5, knn_features="standardised", vote="weighted", test_share=0.3)
    found = {r["probe"]: r["settings"] for r in evaluate([ColourEncoder()], "images", data, options).rows}
    assert found["linear"] == "test_share=0.3"
    assert set(found["knn"].split()) == {"test_share=0.3", "vote=weighted", "knn_features=standardised"}


def test_rows_of_few_shots_stand_beside_those_of_all_labels(rows) -> None:
    mine = [r for r in rows.rows if r["encoder"] == "colour"]
    assert [(r["probe"], r["shots"]) for r in mine] == [
        (p, s) for p in ("knn", "linear") for s in (None, 1, 8)
    ]
    for row in mine:
        few = row["shots"] is not None
        assert row["num_train"] == (3 * row["shots"] if few else 72)
        assert (row["num_repeats"], row["spread"] is not None) == ((3, True) if few else (None, False))
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        # A row of all labels stands in one column with those of a command without --shots.
        assert row["settings"].split() == ["num_draws=50", *(["shot_draws=3"] if few else [])]
    means = (
        rows.predictions.group_by(["encoder", "probe", "shots"]).aggregate([("score", "mean")]).to_pylist()
    )
    found = {(m["encoder"], m["probe"], m["shots"]): m["score_mean"] for m in means}
    for row in mine:
        assert found["colour", row["probe"], row["shots"]] == pytest.approx(row["value"], rel=1e-5)


def test_summaries_and_differences_keep_the_shots_apart(rows) -> None:
    assert len(summarise(rows.rows)) == len(rows.rows)
    gains = compare(rows.predictions, "colour")
    assert [(g["probe"], g["shots"], g["value"]) for g in gains] == [
        (p, s, 0.0) for p in ("knn", "linear") for s in (None, 1, 8)
    ]


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="shots"):
        ClassOptions(shots=(0,))
    with pytest.raises(ConfigError, match="shots"):
        ClassOptions(shots=(5, 5))
    with pytest.raises(ConfigError, match="shot draws 0"):
        ClassOptions(shot_draws=0)
    with pytest.raises(ConfigError, match="no few-shot part"):
        ClassOptions(shots=(1,), protocol="paper")
    with pytest.raises(ConfigError, match="linear probe alone"):
        ClassOptions(probes=("knn",), protocol="paper")
    assert dataclasses.replace(ClassOptions(), shots=(1,)).protocol == "strict"
