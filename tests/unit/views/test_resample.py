"""The maps of one axis: against PIL, torchvision and SciPy, loops where they say nothing, and the two ways to apply them."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torchvision.transforms.v2 import functional as tv

from seco.sensors import sentinel2
from seco.sensors.rgb import display_bands
from seco.views import augment
from seco.views.augment import Augment, colour_space, draw_parameters, make_view
from seco.views.resample import BAND, banded_columns, resampling_taps, weighted_rows

PX = 24
CPU = torch.device("cpu")


def taps(boxes, out_px, size=PX, **settings):
    start, length = np.array(boxes).T
    given = {k: np.array(v) for k, v in settings.items()}
    return resampling_taps(start, length, size=size, out_px=out_px, device=CPU, **given)


def gaussian(sigma, size):
    """A Gaussian cut at three deviations and renormalised at the edges, in loops."""
    radius = math.ceil(3 * sigma)
    out = np.zeros((size, size))
    for i in range(size):
        for j in range(max(0, i - radius), min(size, i + radius + 1)):
            out[i, j] = math.exp(-((i - j) ** 2) / (2 * sigma**2)) if sigma > 0 else float(i == j)
    return torch.from_numpy(out / out.sum(1, keepdims=True)).float()


@pytest.mark.parametrize("out_px", [8, 24, 37])
def test_crop_and_resize_equal_pil_and_torchvision(out_px):
    boxes = [(0, 0, 24, 24), (3, 5, 10, 17), (13, 1, 11, 9), (20, 20, 4, 4), (7, 0, 1, 24)]
    rows = taps([(y, h) for y, _, h, _ in boxes], out_px).dense(PX)
    cols = taps([(x, w) for _, x, _, w in boxes], out_px).dense(PX)
    image = np.random.default_rng(0).normal(size=(PX, PX)).astype(np.float32)
    ours = rows @ torch.from_numpy(image) @ cols.mT
    for i, (y, x, h, w) in enumerate(boxes):
        crop = Image.fromarray(image[y : y + h, x : x + w])
        pil = np.asarray(crop.resize((out_px, out_px), Image.Resampling.BILINEAR))
        assert np.abs(ours[i].numpy() - pil).max() < 2e-5
        theirs = tv.resized_crop(torch.from_numpy(image)[None], y, x, h, w, [out_px, out_px], antialias=True)
        assert (ours[i] - theirs[0]).abs().max() < 2e-5


def test_weights_sum_to_one_and_see_nothing_outside_the_crop():
    matrix = taps([(6, 9)], 16).dense(PX)[0]
    assert (matrix.sum(1) - 1).abs().max() < 1e-6
    assert matrix[:, :6].abs().max() == 0
    assert matrix[:, 15:].abs().max() == 0
    assert (matrix >= 0).all()


def test_a_plain_crop_needs_two_pixels_and_a_smaller_one_more():
    assert taps([(0, 24)], 24).weight.shape[-1] == 2
    assert taps([(0, 12)], 24).weight.shape[-1] == 2
    assert taps([(0, 24)], 8).weight.shape[-1] == 6


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_equals_a_plain_gaussian(sigma):
    signal = np.random.default_rng(0).normal(size=PX).astype(np.float32)
    for settings in ({"blur_before": [sigma]}, {"blur_after": [sigma]}):
        ours = (taps([(0, PX)], PX, **settings).dense(PX)[0] @ torch.from_numpy(signal)).numpy()
        assert np.abs(ours - gaussian(sigma, PX).numpy() @ signal).max() < 1e-6
        radius = math.ceil(3 * sigma)
        theirs = ndimage.gaussian_filter1d(signal, sigma, radius=radius)
        assert np.abs(ours - theirs)[radius : PX - radius].max() < 1e-6


@pytest.mark.parametrize("out_px", [5, 24, 40])
@pytest.mark.parametrize("when", ["blur_before", "blur_after"])
def test_blur_crop_and_flip_are_the_product_of_their_matrices(out_px, when):
    """Crops at both edges and of one pixel, one sample without blur, one with more than its image, half of them flipped."""
    boxes = [(0, 24), (0, 7), (15, 9), (23, 1), (4, 16), (0, 24)]
    sigma = [1.3, 2.0, 0.4, 0.9, 0.0, 6.0]
    for flip in ([False] * 6, [True, False, True, False, True, False]):
        ours = taps(boxes, out_px, flip=flip, **{when: sigma}).dense(PX)
        plain = taps(boxes, out_px).dense(PX)
        for i in range(6):
            blur = gaussian(sigma[i], PX if when == "blur_before" else out_px)
            expected = plain[i] @ blur if when == "blur_before" else blur @ plain[i]
            expected = expected.flip(0) if flip[i] else expected
            assert (ours[i] - expected).abs().max() < 1e-6


def test_no_blur_is_the_crop_alone_whatever_the_others_get():
    alone = taps([(2, 9)], 16).dense(PX)[0]
    for when in ("blur_before", "blur_after"):
        both = taps([(2, 9), (2, 9)], 16, **{when: [0.0, 1.5]}).dense(PX)
        assert (both[0] - alone).abs().max() < 1e-7
        assert (both[1] - alone).abs().max() > 0.01


def test_sums_of_rows_are_products_with_the_matrix():
    map_ = taps([(0, 24), (3, 17), (9, 4)], 11, blur_before=[0.0, 1.0, 2.0])
    x = torch.randn(3, 2, PX, 5, generator=torch.Generator().manual_seed(0))
    expected = map_.dense(PX)[:, None] @ x
    assert (weighted_rows(x, map_) - expected).abs().max() < 1e-5
    # What lies the other way round in memory is another sum, and not to be taken for this one.
    turned = x.mT.contiguous().mT
    assert (weighted_rows(turned, map_) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("out_px", [1, 11, BAND, 2 * BAND + 5])
@pytest.mark.parametrize("part", [slice(0, 3), slice(1, 2), slice(2, 3)])
def test_what_no_output_sees_need_not_be_there(out_px, part):
    """Parts of the samples, each with no more of its input than they span, down and across, flipped or not."""
    map_ = taps([(0, 24), (3, 17), (9, 4)], out_px, blur_before=[0.0, 0.5, 1.0], flip=[False, True, True])
    x = torch.randn(3, 2, PX, PX, generator=torch.Generator().manual_seed(0))[part]
    matrix, some = map_.dense(PX)[part], map_[part]
    first, end = some.span
    assert matrix[:, :, :first].abs().sum() + matrix[:, :, end:].abs().sum() == 0
    rows = weighted_rows(x[:, :, first:end], some, first=first)
    assert (rows - matrix[:, None] @ x).abs().max() < 1e-5
    made = torch.empty(len(x), 2 * PX, out_px)
    banded_columns(x.flatten(1, 2)[..., first:end], some, made, first=first)
    assert (made - x.flatten(1, 2) @ matrix.mT).abs().max() < 1e-5


@pytest.mark.parametrize("num_bands", [3, 12])
@pytest.mark.parametrize("order", ["augment-crop", "crop-augment"])
@pytest.mark.parametrize("chunk", [1, 2000, 10**6])
def test_weighted_sums_and_matrices_make_the_same_views(num_bands, order, chunk, monkeypatch):
    """CPUs take the first way, in pieces of any size, accelerators the second."""
    bands = display_bands() if num_bands == 3 else tuple(b for b in sentinel2.BANDS if b.name != "B10")
    stats = {"low": 10.0, "high": 240.0, "mean": 110.0, "std": 40.0}
    space = colour_space(bands, **{k: np.full(num_bands, v) for k, v in stats.items()})
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, num_bands, PX, PX)).astype(np.uint8))
    assert (x == 0).any()  # nothing measured there, where bands say so
    drawn = draw_parameters(
        Augment(out_px=18), patch_px=PX, augmented=True, seed=3, epoch=0, samples=np.arange(7), view=1
    )
    monkeypatch.setattr(augment, "CHUNK", chunk)
    with monkeypatch.context() as m:
        m.setattr(augment, "_by_matrices", None)
        ours = make_view(x, drawn, space, out_px=18, order=order)
    with monkeypatch.context() as m:
        m.setattr(augment, "_by_bands", None)
        m.setattr(augment, "_in_cache", lambda device: False)
        theirs = make_view(x, drawn, space, out_px=18, order=order)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert theirs.is_contiguous(memory_format=torch.channels_last)
    assert (ours - theirs).abs().max() < 2e-5
