"""What each patch goes through, and that it is what training would have done to it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seco.data.dataset import open_dataset
from seco.errors import ConfigError
from seco.probes import evaluation
from seco.probes.features import FeatureStore
from seco.tasks.augmentation import KINDS, Options, draw_kinds, transform


def test_kinds_are_drawn_evenly_and_by_row_alone() -> None:
    kinds = draw_kinds(9000)
    assert np.array_equal(kinds[:100], draw_kinds(100))
    share = np.bincount(kinds, minlength=len(KINDS)) / len(kinds)
    assert np.abs(share - 1 / len(KINDS)).max() < 0.02


def test_every_kind_does_what_it_says(make_dataset: Callable[..., Path], headed: type) -> None:
    data = open_dataset(make_dataset(num_places=6))
    store = FeatureStore(headed(), data, Options())
    pixels = np.asarray(store.tier.pixels[:1])
    px = pixels[0].astype(np.float64)
    low, high = store.tier.low.copy(), store.tier.high.copy()
    if store.tier.bands[0].units == "display":
        low, high = np.zeros_like(low), np.full_like(high, 255.0)

    def after(kind: str) -> np.ndarray:
        out = transform(
            pixels, np.array([0]), np.array([KINDS.index(kind)]), store=store, strength=(0.3, 0.3)
        )
        return out[0].astype(np.float64)

    def level(values: np.ndarray) -> np.ndarray:
        return (values - low[:, None, None]) / (high - low)[:, None, None]

    np.testing.assert_allclose(after("none"), px, atol=0.01 * px.std() + 1e-3)
    np.testing.assert_allclose(level(after("darker")), 0.7 * level(px), atol=1e-3)
    np.testing.assert_allclose(level(after("brighter")), 1.3 * level(px), atol=1e-3)
    assert after("flatter").std() < 0.8 * px.std() < px.std() < 0.8 * after("harder").std()
    grey = level(after("grey"))
    assert np.abs(grey - grey[:1]).max() < 1e-3
    blurred = after("blur")
    assert np.abs(np.diff(blurred, axis=2)).mean() < np.abs(np.diff(px, axis=2)).mean()
    assert set(KINDS) == {"none", "darker", "brighter", "flatter", "harder", "greyish", "hue", "grey", "blur"}


def test_altered_features_are_kept_apart_from_plain_ones(
    make_dataset: Callable[..., Path], headed: type
) -> None:
    path = make_dataset(num_places=40)
    options = Options(k=3, test_share=0.3, outputs=("features",), probes=("knn",))
    first = evaluation.evaluate([headed()], "augmentation", path, options).rows
    plain = FeatureStore(headed(), open_dataset(path), options)
    plain.get(np.arange(5), ("features",))
    assert evaluation.evaluate([headed()], "augmentation", path, options).rows == first
    with pytest.raises(ConfigError, match="strength"):
        Options(strength=(0.5, 0.2))
