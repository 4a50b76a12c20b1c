import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from seco.errors import TaskError
from seco.probes import knn
from seco.probes.knn import predict_knn, standardise


def _clusters(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, 8))
    labels = rng.integers(0, 4, 200)
    features = (centres[labels] + rng.normal(size=(200, 8))).astype(np.float32)
    tests = rng.normal(size=(60, 8)).astype(np.float32)
    return features, labels, tests


@pytest.mark.parametrize("vote", ["majority", "weighted"])
@pytest.mark.parametrize("k", [1, 7])
def test_predictions_are_scikit_learns(k: int, vote: str) -> None:
    features, labels, tests = _clusters()
    weights = "uniform" if vote == "majority" else lambda d: np.exp(-d / knn.TEMPERATURE)
    oracle = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights).fit(
        features, labels
    )
    ours = predict_knn(features, labels, tests, k=k, vote=vote)
    votes = oracle.predict_proba(tests)
    sure = np.sort(votes, axis=1)[:, -1] > np.sort(votes, axis=1)[:, -2] + 1e-6  # ties are broken differently
    assert sure.sum() > 40
    np.testing.assert_array_equal(ours[sure], oracle.predict(tests)[sure])


def test_a_tie_goes_to_the_nearer_neighbours() -> None:
    train = np.array([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0], [0.5, 0.5]], np.float32)
    labels = np.array([1, 1, 0, 0])
    assert predict_knn(train, labels, np.array([[1.0, 0.05]], np.float32), k=4).tolist() == [1]
    assert predict_knn(train, labels, np.array([[0.05, 1.0]], np.float32), k=4).tolist() == [0]


def test_more_votes_beat_nearer_votes() -> None:
    train = np.array([[1.0, 0.0], [0.2, 1.0], [0.1, 1.0]], np.float32)
    assert predict_knn(train, np.array([0, 1, 1]), np.array([[1.0, 0.0]], np.float32), k=3).tolist() == [1]


def test_length_does_not_matter_and_chunks_do_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, tests = _clusters()
    whole = predict_knn(features, labels, tests, k=5)
    np.testing.assert_array_equal(whole, predict_knn(features * 100, labels, tests / 7, k=5))
    monkeypatch.setattr(knn, "SIMILARITY_CHUNK", 500)
    np.testing.assert_array_equal(whole, predict_knn(features, labels, tests, k=5))


@pytest.mark.parametrize("k", [0, 201])
def test_k_must_fit_the_training_part(k: int) -> None:
    features, labels, tests = _clusters()
    with pytest.raises(TaskError, match=rf"k = {k} and 200 training samples"):
        predict_knn(features, labels, tests, k=k)


def test_standardise_uses_the_training_part_and_spares_constants() -> None:
    train = np.array([[1.0, 5.0], [3.0, 5.0]], np.float32)
    ours, others = standardise(train, np.array([[5.0, 6.0]], np.float32))
    np.testing.assert_allclose(ours, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(others, [[3, 1]])
