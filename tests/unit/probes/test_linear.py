import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from seco.errors import TaskError
from seco.probes import linear
from seco.probes.linear import FIT, SET_ASIDE, VALIDATE, choose_linear, fit_linear


def _data(num: int = 300, dim: int = 12, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated, badly scaled features, as networks give them."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(num, dim))
    weight = rng.normal(size=(dim, classes))
    labels = (hidden @ weight + 2 * rng.gumbel(size=(num, classes))).argmax(1)
    mix = rng.normal(size=(dim, dim)) * np.logspace(0, -2, dim)[:, None] * np.logspace(2, -2, dim)
    return (hidden @ mix + 3).astype(np.float32), labels


@pytest.mark.parametrize("reg", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize(("num", "dim"), [(300, 12), (60, 100)])
def test_the_fit_is_scikit_learns(reg: float, num: int, dim: int) -> None:
    features, labels = _data(num, dim)
    scaler = StandardScaler().fit(features.astype(np.float64))
    scaled = scaler.transform(features)
    oracle = LogisticRegression(C=1 / (reg * num), max_iter=20_000, tol=1e-10).fit(scaled, labels)
    model = fit_linear(features, labels, reg=reg)
    weight = model.weight - model.weight.mean(0)  # the classes' common part does not matter
    logits = (features - model.mean) / model.std @ model.weight.T + model.bias
    ours = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(ours / ours.sum(1, keepdims=True), oracle.predict_proba(scaled), atol=6e-3)
    np.testing.assert_allclose(
        weight, oracle.coef_ - oracle.coef_.mean(0), atol=0.03 * np.abs(oracle.coef_).max()
    )
    assert (model.predict(features) == oracle.predict(scaled)).mean() > 0.99


def test_principal_axes_change_the_speed_and_not_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = _data()
    turned = fit_linear(features, labels, reg=1e-2)
    monkeypatch.setattr(linear, "MAX_AXES", 0)
    plain = fit_linear(features, labels, reg=1e-2)
    np.testing.assert_allclose(turned.weight, plain.weight, atol=2e-3)


def test_labels_may_be_any_numbers_and_constant_features_do_no_harm() -> None:
    features, labels = _data(classes=3)
    features = np.concatenate([features, np.full((len(features), 1), 7, np.float32)], axis=1)
    names = np.array([4, 9, 16])
    model = fit_linear(features, names[labels], reg=1e-2)
    assert set(model.predict(features)) <= {4, 9, 16}
    assert np.isfinite(model.weight).all()
    np.testing.assert_array_equal(
        model.predict(features),
        names[fit_linear(features[:, :-1], labels, reg=1e-2).predict(features[:, :-1])],
    )


def test_regularisation_is_chosen_on_the_validation_part_and_all_is_fitted() -> None:
    features, labels = _data(600, dim=60)
    parts = np.where(np.arange(600) % 3 == 0, VALIDATE, FIT).astype(np.int8)
    model, tried = choose_linear(features, labels, parts)
    assert next(iter(tried)) == 10
    assert tried[model.reg] == max(tried.values())
    held = parts == VALIDATE
    for reg, value in tried.items():
        part = fit_linear(features[~held], labels[~held], reg=reg)
        assert (part.predict(features[held]) == labels[held]).mean() == pytest.approx(value, abs=0.03)
    whole = fit_linear(features, labels, reg=model.reg)
    np.testing.assert_allclose(model.weight, whole.weight, atol=1e-3)


def test_samples_set_aside_choose_nothing_but_are_fitted() -> None:
    features, labels = _data(300)
    parts = np.where(np.arange(300) % 3 == 0, VALIDATE, FIT).astype(np.int8)
    wrong = np.concatenate([labels, (labels + 1) % 4])
    twice = np.concatenate([features, features])
    aside = np.concatenate([parts, np.full(300, SET_ASIDE, np.int8)])
    _, tried = choose_linear(features, labels, parts)
    model, tried_too = choose_linear(twice, wrong, aside)
    assert tried == tried_too
    np.testing.assert_allclose(model.weight, fit_linear(twice, wrong, reg=model.reg).weight, atol=1e-3)


def test_the_search_ends_when_it_gets_worse() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 80)).astype(np.float32)
    labels = (features[:, 0] + 2 * rng.normal(size=120) > 0).astype(np.int64)
    parts = np.where(np.arange(120) % 2 == 0, VALIDATE, FIT).astype(np.int8)
    _, tried = choose_linear(features, labels, parts)
    best = max(tried, key=lambda r: (tried[r], r))
    assert list(tried).index(best) == len(tried) - 1 - linear.PATIENCE or len(tried) == len(
        linear.REGULARISATIONS
    )


@pytest.mark.parametrize(
    ("curve", "best"),
    [
        # Climate zones from colour statistics, as measured: a dip of two steps, then the true optimum.
        ((341, 424, 415, 417, 447, 470, 480, 486, 493, 494, 492, 485, 480, 478, 470), 9),
        ((500, 600, 590, 580, 570, 560, 550, 900), 1),
    ],
)
def test_the_search_outlasts_a_dip_but_not_a_long_one(monkeypatch, curve, best) -> None:
    """`curve` is the validation accuracy along the path, in thousandths."""
    labels = np.concatenate([np.zeros(1000, np.int64), np.ones(1000, np.int64)])
    parts = np.where(np.arange(2000) < 1000, VALIDATE, FIT).astype(np.int8)

    class Solved(linear.LinearModel):
        def predict(self, features: np.ndarray) -> np.ndarray:
            right = curve[linear.REGULARISATIONS.index(self.reg)]
            return (np.arange(len(features)) >= right).astype(np.int64)

    class Problem:
        def __init__(self, *_: object) -> None:
            pass

        def solve(self, reg: float, tolerance: float = 0.0) -> Solved:
            two = np.zeros(2, np.float32)
            weight = np.zeros((2, 2), np.float32)
            return Solved(classes=np.arange(2), weight=weight, bias=two, mean=two, std=two, reg=reg)

    monkeypatch.setattr(linear, "_Problem", Problem)
    model, tried = choose_linear(np.zeros((2000, 2), np.float32), labels, parts)
    assert model.reg == linear.REGULARISATIONS[best]
    assert len(tried) == best + 1 + linear.PATIENCE


def test_a_class_unseen_while_choosing_is_no_trouble() -> None:
    features, labels = _data(300, classes=3)
    parts = np.where(labels == 2, VALIDATE, FIT).astype(np.int8)
    parts[:20] = VALIDATE
    model, _ = choose_linear(features, labels, parts)
    assert model.classes.tolist() == [0, 1, 2]


def test_one_class_is_an_error() -> None:
    features, _ = _data()
    with pytest.raises(TaskError, match="two classes"):
        fit_linear(features, np.zeros(len(features), np.int64), reg=1.0)


def test_nothing_to_validate_on_is_an_error() -> None:
    features, labels = _data()
    with pytest.raises(TaskError, match="choose the regularisation"):
        choose_linear(features, labels, np.full(len(features), FIT, np.int8))
