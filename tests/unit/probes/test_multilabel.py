"""Average precision and multi-label probes against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from seco.errors import TaskError
from seco.probes.multilabel import choose_labels, constant_scores, fit_labels, knn_labels, label_words
from seco.probes.precision import LabelScores, label_average_precision, ranking_precision


def _scored(num: int = 200, labels: int = 6, seed: int = 0, digits: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random((num, labels)) < np.linspace(0.05, 0.6, labels)
    # Rounded, so that there are ties.
    return truth, np.round(rng.normal(size=truth.shape) + truth, digits)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("digits", [0, 1, 8])
def test_scores_are_scikit_learns(seed: int, digits: int) -> None:
    truth, score = _scored(seed=seed, digits=digits)
    found = LabelScores(truth, score)
    assert found.micro() == pytest.approx(average_precision_score(truth, score, average="micro"), abs=1e-12)
    assert found.macro() == pytest.approx(average_precision_score(truth, score, average="macro"), abs=1e-12)
    each = average_precision_score(truth, score, average=None)
    np.testing.assert_allclose(label_average_precision(truth, score), each, atol=1e-12)
    ranking = label_ranking_average_precision_score(truth, score)
    assert ranking_precision(truth, score).mean() == pytest.approx(ranking, abs=1e-12)


def test_weights_are_scikit_learns_sample_weights() -> None:
    truth, score = _scored()
    weight = np.random.default_rng(1).integers(0, 4, len(truth)).astype(np.float64)
    found = LabelScores(truth, score)
    assert found.macro(weight) == pytest.approx(
        average_precision_score(truth, score, average="macro", sample_weight=weight), abs=1e-12
    )
    assert found.micro(weight) == pytest.approx(
        average_precision_score(truth, score, average="micro", sample_weight=weight), abs=1e-12
    )


def test_a_label_that_no_test_patch_has_is_not_part_of_the_macro_mean() -> None:
    truth, score = _scored()
    more = np.concatenate([truth, np.zeros((len(truth), 1), bool)], axis=1)
    scored = np.concatenate([score, score[:, :1]], axis=1)
    assert LabelScores(more, scored).macro() == LabelScores(truth, score).macro()
    assert np.isnan(label_average_precision(more, scored)[-1])


def test_the_interval_draws_groups() -> None:
    truth, score = _scored(num=400)
    found = LabelScores(truth, score)
    single, _ = found.intervals(np.arange(400), num_draws=100, seed=0)
    # The same sample ten times over is no more evidence.
    ten = LabelScores(truth[:40].repeat(10, 0), score[:40].repeat(10, 0))
    whole, _ = ten.intervals(np.arange(40).repeat(10), num_draws=100, seed=0)
    assert single is not None
    assert whole is not None
    assert single.low < found.micro() < single.high
    assert whole.high - whole.low > 2 * (single.high - single.low)
    assert found.intervals(np.zeros(400, int), num_draws=100, seed=0) == (None, None)


def _features(num: int = 300, dim: int = 10, labels: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, dim))
    targets = x @ rng.normal(size=(dim, labels)) + 2 * rng.normal(size=(num, labels)) > 0.7
    return (x @ rng.normal(size=(dim, dim)) + 2).astype(np.float32), targets


def test_the_fit_is_scikit_learns_for_each_label() -> None:
    features, targets = _features()
    regs = np.array([1.0, 1e-1, 1e-2, 1e-3])
    model = fit_labels(features, targets, regs)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    for i, reg in enumerate(regs):
        oracle = LogisticRegression(C=1 / (reg * len(features)), tol=1e-10, max_iter=10_000).fit(
            scaled, targets[:, i]
        )
        np.testing.assert_allclose(model.scores(features)[:, i], oracle.decision_function(scaled), atol=0.02)


@pytest.mark.parametrize("choice", ["per-label", "shared"])
def test_regularisation_is_chosen_on_the_held_part(choice: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(160, 60)).astype(np.float32)
    # The first label is a clean function of one feature, the second mostly noise: they want different regularisations.
    targets = np.stack([x[:, 0] > 0.3, x[:, 1] + 3 * rng.normal(size=160) > 0], axis=1)
    parts = x[:80], targets[:80], x[80:], targets[80:]
    model = choose_labels(*parts, choice=choice)  # type: ignore[arg-type]
    assert (len(set(model.regs)) == 1) == (choice == "shared")
    fitted = fit_labels(x[:80], targets[:80], model.regs)
    np.testing.assert_allclose(model.scores(x), fitted.scores(x), atol=0.05)
    values = [
        label_average_precision(targets[80:], fit_labels(x[:80], targets[:80], np.full(2, r)).scores(x[80:]))
        for r in (10.0, 1.0, 0.1, 0.01)
    ]
    if choice == "per-label":
        mine = label_average_precision(targets[80:], model.scores(x[80:]))
        assert (mine >= np.max(values, axis=0) - 0.01).all()


def test_neighbours_are_scikit_learns() -> None:
    features, targets = _features()
    train, test = features[:200], features[200:]
    oracle = KNeighborsClassifier(5, metric="cosine").fit(train, targets[:200].astype(int))
    share = np.stack([p[:, 1] for p in oracle.predict_proba(test)], axis=1)
    np.testing.assert_allclose(knn_labels(train, targets[:200], test, k=5), share, atol=0.06)


def test_errors_and_words() -> None:
    features, targets = _features()
    with pytest.raises(TaskError, match="kNN with k = 400 and 300"):
        knn_labels(features, targets, features, k=400)
    with pytest.raises(TaskError, match="300 training and 0 validation patches"):
        choose_labels(features, targets, features[:0], targets[:0])
    assert constant_scores(np.array([[True, False], [True, True]]), 3).tolist() == [[1.0, 0.5]] * 3
    assert label_words(np.array([[True, True], [False, False]]), ("Pastures", "Beaches, dunes, sands")) == [
        "Pastures; Beaches, dunes, sands",
        "",
    ]
