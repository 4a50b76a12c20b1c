"""Scores of maps against scikit-learn; intervals that hold them."""

import numpy as np
import pytest
from sklearn import metrics

from seco.probes import pixels, ranking


def maps(seed=0, num=4, shape=(30, 40)):
    rng = np.random.default_rng(seed)
    truth = rng.integers(-1, num, shape)
    predicted = np.where(rng.random(shape) < 0.6, np.maximum(truth, 0), rng.integers(num, size=shape))
    return truth, predicted


def test_scores_are_those_of_scikit_learn():
    truth, predicted = maps()
    matrix = pixels.confusion(truth, predicted, 4)
    t, p = truth[truth >= 0], predicted[truth >= 0]
    assert np.array_equal(matrix, metrics.confusion_matrix(t, p, labels=range(4)))
    assert pixels.pixel_accuracy(matrix) == pytest.approx(metrics.accuracy_score(t, p))
    assert pixels.class_iou(matrix) == pytest.approx(metrics.jaccard_score(t, p, average=None))
    assert pixels.mean_iou(matrix) == pytest.approx(metrics.jaccard_score(t, p, average="macro"))
    assert pixels.class_f1(matrix) == pytest.approx(metrics.f1_score(t, p, average=None))
    assert pixels.class_recall(matrix) == pytest.approx(metrics.recall_score(t, p, average=None))
    assert pixels.class_precision(matrix) == pytest.approx(metrics.precision_score(t, p, average=None))
    assert pixels.balanced(matrix) == pytest.approx(metrics.balanced_accuracy_score(t, p))


def test_the_score_of_a_split_is_over_its_pixels_not_a_mean_of_parts():
    one = np.array([[90, 0], [0, 10]])
    two = np.array([[0, 0], [10, 0]])
    together = pixels.value(lambda m: pixels.class_f1(m)[..., 1], np.stack([one, two]))
    assert together == pytest.approx(2 * 10 / (2 * 10 + 10))
    assert together != pytest.approx(np.mean([1.0, 0.0]))


def test_a_class_that_the_truth_lacks_does_not_count_but_costs():
    matrix = np.array([[8, 0, 2], [0, 10, 0], [0, 0, 0]])
    assert pixels.mean_iou(matrix) == pytest.approx((0.8 + 1.0) / 2)


def test_blocks_add_up_to_the_whole():
    truth, predicted = maps(3)
    blocks = pixels.block_confusions(truth, predicted, 4, edge=16)
    assert len(blocks) == 6
    assert np.array_equal(blocks.sum(0), pixels.confusion(truth, predicted, 4))


def test_intervals_hold_the_value_and_draw_units():
    matrices = np.stack([pixels.confusion(*maps(s), 4) for s in range(12)])
    found = pixels.interval(pixels.mean_iou, matrices, num_draws=300, seed=1)
    assert found.low < pixels.value(pixels.mean_iou, matrices) < found.high
    same = np.repeat(matrices[:1], 12, axis=0)
    level = pixels.interval(pixels.mean_iou, same, num_draws=100, seed=1)
    assert level.low == pytest.approx(level.high)
    assert pixels.interval(pixels.mean_iou, matrices[:1], num_draws=100, seed=1) is None


@pytest.mark.parametrize("ties", [0, 1])
def test_rankings_are_those_of_scikit_learn(ties):
    rng = np.random.default_rng(0)
    positive = rng.random(500) < 0.2
    score = rng.random(500) + 0.3 * positive
    score = np.round(score, 1) if ties else score
    assert ranking.auc(score, positive) == pytest.approx(metrics.roc_auc_score(positive, score))
    assert ranking.average_precision(score, positive) == pytest.approx(
        metrics.average_precision_score(positive, score)
    )
    group = np.arange(500) // 25
    for metric, measure in (("auc", ranking.auc), ("ap", ranking.average_precision)):
        found = ranking.ranking_interval(score, positive, group, metric=metric, num_draws=100, seed=0)
        assert found.low < measure(score, positive) < found.high
