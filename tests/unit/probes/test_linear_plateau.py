"""Regularisation is not chosen on the plateau where every strong one predicts the commonest class."""

import numpy as np

from seco.probes.linear import FIT, VALIDATE, choose_linear


def test_a_skewed_class_does_not_stop_the_search_at_the_constant_predictor():
    generator = np.random.default_rng(0)
    labels = (np.arange(2000) % 20 == 0).astype(np.int64)
    features = generator.normal(size=(2000, 8))
    features[:, 0] += 4 * labels
    parts = np.where(np.arange(2000) < 1400, FIT, VALIDATE).astype(np.int8)
    model, tried = choose_linear(features, labels, parts)
    predicted = model.predict(features)
    assert (predicted[labels == 1] == 1).mean() > 0.7
    assert max(tried.values()) > 0.96
