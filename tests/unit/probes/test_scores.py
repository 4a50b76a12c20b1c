import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from seco.probes.scores import accuracy, balanced_accuracy, bootstrap, majority_class


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_balanced_accuracy_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(5, 300, p=[0.6, 0.2, 0.1, 0.05, 0.05])
    predicted = np.where(rng.random(300) < 0.5, truth, rng.integers(0, 7, 300))
    assert balanced_accuracy(truth, predicted) == pytest.approx(
        balanced_accuracy_score(truth, predicted, adjusted=False)
    )


def test_scores_are_over_the_whole_split_not_over_batches() -> None:
    truth = np.array([0, 0, 0, 0, 1])
    predicted = np.array([0, 0, 0, 0, 0])
    # Batches of four would give (1 + 0) / 2.
    assert accuracy(truth, predicted) == pytest.approx(0.8)
    assert balanced_accuracy(truth, predicted) == pytest.approx(0.5)


def test_majority_is_of_the_training_labels() -> None:
    assert majority_class(np.array([2, 2, 1, 0, 2])) == 2
    assert majority_class(np.array([3, 1, 1, 3])) == 1


def test_bootstrap_over_single_samples_is_the_textbook_interval() -> None:
    values = (np.random.default_rng(1).random(2000) < 0.3).astype(float)
    interval = bootstrap(values, np.arange(2000), num_draws=2000, seed=0)
    assert interval is not None
    error = 1.96 * np.sqrt(values.mean() * (1 - values.mean()) / 2000)
    assert interval.low == pytest.approx(values.mean() - error, abs=0.003)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.003)


def test_bootstrap_knows_that_a_block_is_one_piece_of_evidence() -> None:
    # 20 blocks of 100 patches that are all right or all wrong: as uncertain as 20 patches.
    right = np.repeat(np.arange(20) % 2, 100).astype(float)
    blocks = np.repeat(np.arange(20), 100)
    wide = bootstrap(right, blocks, num_draws=2000, seed=0)
    narrow = bootstrap(right, np.arange(2000), num_draws=2000, seed=0)
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > 8 * (narrow.high - narrow.low)


def test_bootstrap_weighs_blocks_by_their_size() -> None:
    # One large block and one small: a draw of the small one twice gives 0, of the large one twice 1.
    values = np.array([1.0] * 99 + [0.0])
    interval = bootstrap(values, np.array([0] * 99 + [1]), num_draws=500, seed=0)
    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_bootstrap_is_the_same_for_the_same_seed_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(50)
    groups = np.arange(50) % 10
    whole = bootstrap(values, groups, num_draws=100, seed=3)
    assert whole == bootstrap(values, groups, num_draws=100, seed=3)
    assert whole != bootstrap(values, groups, num_draws=100, seed=4)
    monkeypatch.setattr("seco.probes.scores.BOOTSTRAP_CHUNK", 30)
    assert whole == bootstrap(values, groups, num_draws=100, seed=3)


@pytest.mark.parametrize(("num_draws", "groups"), [(0, [0, 1]), (100, [5, 5])])
def test_no_interval_without_draws_or_with_one_block(num_draws: int, groups: list[int]) -> None:
    assert bootstrap(np.array([0.0, 1.0]), np.array(groups), num_draws=num_draws, seed=0) is None
