"""Windows cover a raster without gaps, and blending gives back what all windows agree on."""

import numpy as np
import pytest

from seco.errors import ConfigError
from seco.nets.tiling import blended, pad, starts, weight


@pytest.mark.parametrize(
    ("length", "tile", "step"), [(100, 32, 16), (33, 32, 32), (32, 32, 8), (10, 32, 16), (97, 16, 5)]
)
def test_windows_cover_everything_and_stay_inside(length, tile, step):
    found = starts(length, tile, step)
    covered = np.zeros(length, bool)
    for s in found:
        covered[s : s + tile] = True
        assert s >= 0
        assert s + tile <= max(length, tile)
    assert covered.all()
    assert len(set(found)) == len(found)


def test_a_step_wider_than_the_window_is_an_error():
    with pytest.raises(ConfigError, match="windows of 8 px every 9 px"):
        starts(100, 8, 9)


def test_weights_are_highest_in_the_middle_and_never_zero():
    w = weight(9)
    assert w.min() > 0
    assert np.unravel_index(w.argmax(), w.shape) == (4, 4)
    assert np.allclose(w, w.T)
    assert np.allclose(w, w[::-1])


def run(image, *, tile, step, seen=None, batch_size=3):
    height, width = image.shape
    seen = np.ones(image.shape, bool) if seen is None else seen
    read_rows = []

    def read(row, col, high, wide):
        read_rows.append(row)
        window = (slice(row, row + high), slice(col, col + wide))
        return (image[None][(slice(None), *window)],), seen[window]

    def predict(windows):
        stack = np.stack([w[0] for w in windows])
        assert stack.shape[-2:] == (tile, tile)
        assert len(stack) <= batch_size
        return np.concatenate([stack, 1 - stack], axis=1).astype(np.float32)

    strips = list(
        blended(predict, read, height=height, width=width, tile=tile, step=step, batch_size=batch_size)
    )
    rows = [r for r, _, _ in strips]
    assert rows == list(np.cumsum([0, *(s.shape[1] for _, s, _ in strips[:-1])]))
    return strips


@pytest.mark.parametrize(
    ("shape", "tile", "step"), [((70, 50), 16, 8), ((16, 90), 16, 16), ((9, 11), 16, 8), ((65, 33), 32, 7)]
)
def test_windows_that_agree_give_the_image_back(shape, tile, step):
    image = np.random.default_rng(0).random(shape)
    strips = run(image, tile=tile, step=step)
    whole = np.concatenate([s for _, s, _ in strips], axis=1)
    assert np.allclose(whole[0], image, atol=1e-5)
    assert np.allclose(whole[1], 1 - image, atol=1e-5)
    # No strip is higher than a window: the memory held does not grow with the raster.
    assert max(s.shape[1] for _, s, _ in strips) <= tile


def test_windows_without_a_measurement_are_not_predicted():
    image = np.random.default_rng(1).random((64, 64))
    seen = np.zeros((64, 64), bool)
    seen[40:, 40:] = True
    strips = run(image, tile=16, step=16, seen=seen)
    whole = np.concatenate([s[0] for _, s, _ in strips])
    mask = np.concatenate([m for _, _, m in strips])
    assert np.array_equal(mask, seen)
    assert np.isnan(whole[:32, :32]).all()
    assert np.allclose(whole[40:, 40:], image[40:, 40:], atol=1e-5)


def test_nothing_measured_at_all():
    strips = run(np.zeros((20, 20)), tile=8, step=4, seen=np.zeros((20, 20), bool))
    assert all(np.isnan(s).all() for _, s, _ in strips)


def test_padding_repeats_the_edge():
    x = np.arange(6).reshape(1, 2, 3)
    assert pad(x, 4).shape == (1, 4, 4)
    assert (pad(x, 4)[0, 2:, :3] == x[0, 1]).all()
    assert pad(x, 2) is not None
