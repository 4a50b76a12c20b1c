import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from seco.errors import TaskError
from seco.probes import retrieval
from seco.probes.retrieval import rank


def _gallery(
    num_places: int = 12, num_dates: int = 4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    place = np.repeat(np.arange(num_places), num_dates)
    date = np.tile(np.arange(num_dates), num_places)
    features = rng.normal(size=(num_places, 6))[place] + rng.normal(size=(len(place), 6))
    return features.astype(np.float32), place, date


def _similarity(features: np.ndarray) -> np.ndarray:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit @ unit.T


def test_average_precision_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    features, place, date = _gallery()
    similarity = _similarity(features)
    queries = np.arange(len(place))
    for chunk in (retrieval.SIMILARITY_CHUNK, 200):
        monkeypatch.setattr(retrieval, "SIMILARITY_CHUNK", chunk)
        found = rank(features, queries, place, date)
        for q in queries:
            counts = (place != place[q]) | (date != date[q])
            right = place == place[q]
            oracle = average_precision_score(right[counts], similarity[q, counts])
            assert found.precision[q] == pytest.approx(oracle, abs=1e-6)
            order = np.flatnonzero(counts)[np.argsort(-similarity[q, counts])]
            assert found.first[q] == 1 + np.flatnonzero(right[order])[0]
            assert found.nearest[q] == order[0]


def test_the_same_place_at_the_same_date_is_dropped_and_other_places_are_not() -> None:
    # Query, its copy (same place and date), another place at the same date, the place at another date.
    features = np.array([[1, 0], [1, 0], [0.9, 0.1], [0.5, 0.5]], np.float32)
    found = rank(features, np.array([0]), np.array([0, 0, 1, 0]), np.array([0, 0, 0, 1]))
    assert found.first.tolist() == [2]
    assert found.precision.tolist() == [0.5]
    assert found.nearest.tolist() == [2]


def test_places_to_ignore_count_neither_way() -> None:
    features = np.array([[1, 0], [0.9, 0.1], [0.5, 0.5]], np.float32)
    place, date = np.array([0, 1, 0]), np.array([0, 0, 1])
    ignore = np.array([[True, True]])  # a place overlaps itself, too: that must not drop the right answers
    found = rank(features, np.array([0]), place, date, ignore=ignore)
    assert found.first.tolist() == [1]
    assert found.nearest.tolist() == [2]


def test_an_encoder_that_tells_nothing_scores_last() -> None:
    _, place, date = _gallery()
    found = rank(np.ones((len(place), 3), np.float32), np.arange(len(place)), place, date)
    assert found.first.min() == 1 + 11 * 4
    assert found.precision.max() < 0.1


def test_cmc_is_the_share_found_by_a_rank() -> None:
    features, place, date = _gallery()
    found = rank(features, np.arange(len(place)), place, date)
    shares = [found.found_within(r).mean() for r in (1, 5, 10, 48)]
    assert shares == sorted(shares)
    assert shares[0] == (found.first == 1).mean()
    assert shares[-1] == 1


def test_a_query_without_another_date_is_an_error() -> None:
    features, place, date = _gallery(num_dates=1)
    with pytest.raises(TaskError, match="two dates"):
        rank(features, np.array([0]), place, date)
