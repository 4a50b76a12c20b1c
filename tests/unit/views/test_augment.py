"""Batched views against plain ones: PIL and torchvision for resampling and colour, loops for the rest."""

import colorsys
import dataclasses
import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from seco.errors import ConfigError
from seco.methods import _contract as methods
from seco.sensors import sentinel2
from seco.sensors.bands import Band
from seco.sensors.rgb import display_bands
from seco.views.augment import (
    LUMA,
    Augment,
    Parameters,
    colour_map,
    colour_space,
    draw_parameters,
    make_view,
)

PX = 24
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def parameters(num=1, **given):
    """Parameters that do nothing, but for those given (one value for all, or one a sample)."""
    values = {
        "top": 0, "left": 0, "height": PX, "width": PX, "flip": False, "sigma": 0.0, "jitter": [1.0, 1.0, 1.0, 0.0],
        "jitter_order": [0, 1, 2, 3], "jittered": "jitter" in given, "grey": False, **given,
    }  # fmt: skip
    rows = {"jitter": 4, "jitter_order": 4}
    return Parameters(
        **{
            k: np.array(np.broadcast_to(v, (num, rows[k]) if k in rows else (num,)))
            for k, v in values.items()
        }
    )


def make_bands(num):
    if num == 1:
        return (Band(name="pan", units="display"),)
    if num == 3:
        return display_bands()
    if num == 4:
        return tuple(sentinel2.band(b) for b in ("B02", "B03", "B04", "B08"))
    return tuple(b for b in sentinel2.BANDS if b.name != "B10")


def make_space(bands, *, low=1000.0, high=5000.0, mean=3000.0, std=700.0):
    n = len(bands)
    if bands[0].units == "display":
        low, high, mean, std = 5.0, 200.0, 110.0, 40.0
    full = {"low": low, "high": high, "mean": mean, "std": std}
    return colour_space(
        bands, **{k: np.full(n, v) + np.arange(n) * (k in ("mean", "std")) for k, v in full.items()}
    )


def picture(num_bands=3, *, batch=1, low=1, high=256, dtype=torch.uint8, px=PX):
    values = np.random.default_rng(0).integers(low, high, (batch, num_bands, px, px))
    return torch.from_numpy(values).to(dtype)


def normalised(x, space):
    return (x.double() - space.mean[:, None, None]) / space.std[:, None, None]


def test_a_flip_mirrors_the_columns_of_those_flipped_alone():
    x = picture(batch=2)
    space = make_space(display_bands())
    settings = {"top": 2, "left": 3, "height": 12, "width": 9}
    plain = make_view(x, parameters(2, **settings), space, out_px=16, order="augment-crop")
    flipped = make_view(
        x, parameters(2, **settings, flip=[True, False]), space, out_px=16, order="augment-crop"
    )
    assert (flipped[0] - plain[0].flip(-1)).abs().max() < 1e-6
    assert (flipped[1] == plain[1]).all()
    assert (flipped[0] - plain[0]).abs().max() > 0.1


# --- blur -------------------------------------------------------------------------------------------------------------


def blur_matrix(sigma, size):
    """A Gaussian cut at three deviations, in loops."""
    radius = math.ceil(3 * sigma)
    out = torch.zeros(size, size)
    for i in range(size):
        for j in range(max(0, i - radius), min(size, i + radius + 1)):
            out[i, j] = math.exp(-((i - j) ** 2) / (2 * sigma**2)) if sigma > 0 else float(i == j)
    return out / out.sum(1, keepdim=True)


@pytest.mark.parametrize("order", ["augment-crop", "crop-augment"])
def test_blur_sees_the_patch_or_the_crop_as_the_order_says(order):
    x = picture(dtype=torch.float32)
    box = {"top": 4, "left": 9, "height": 8, "width": 12}
    space = make_space(display_bands())
    ours = make_view(x, parameters(**box, sigma=1.3), space, out_px=20, order=order)

    def blurred(a):
        line = blur_matrix(1.3, a.shape[-1])
        return line @ a @ line.T

    def crop(a):
        return tv.resized_crop(a, 4, 9, 8, 12, [20, 20], antialias=True)

    plain = crop(blurred(x)) if order == "augment-crop" else blurred(crop(x))
    assert (ours - normalised(plain, space)).abs().max() < 1e-4
    other = blurred(crop(x)) if order == "augment-crop" else crop(blurred(x))
    assert (ours - normalised(other, space)).abs().max() > 0.05


# --- colour -----------------------------------------------------------------------------------------------------------


def plain_jitter(x, space, p, i):
    """One image through the steps of sample `i` one by one, in stored numbers -> normalised; loops, float64."""
    low, high = space.low.double()[:, None, None], space.high.double()[:, None, None]
    x = (x.double() - low) / (high - low)
    weights = space.grey.double()

    def grey(a):
        return torch.einsum("bhw,b->hw", a, weights)

    for op in p.jitter_order[i].tolist() if p.jittered[i] else []:
        factor = float(p.jitter[i, op])
        if op == BRIGHTNESS:
            x = x * factor
        elif op == CONTRAST:
            x = factor * x + (1 - factor) * grey(x).mean()
        elif op == SATURATION:
            x = factor * x + (1 - factor) * grey(x)
        elif space.chroma is not None:
            r, g, b = (x[c] for c in space.chroma)
            y = 0.299 * r + 0.587 * g + 0.114 * b
            in_phase, quadrature = 0.5959 * r - 0.2746 * g - 0.3213 * b, 0.2115 * r - 0.5227 * g + 0.3112 * b
            angle = 2 * math.pi * factor
            turned = (
                math.cos(angle) * in_phase - math.sin(angle) * quadrature,
                math.sin(angle) * in_phase + math.cos(angle) * quadrature,
            )
            back = torch.linalg.inv(
                torch.tensor(
                    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]],
                    dtype=x.dtype,
                )
            )
            new = torch.einsum("cy,yhw->chw", back, torch.stack([y, *turned]))
            x = x.clone()
            for channel, values in zip(space.chroma, new, strict=True):
                x[channel] = values
    if p.grey[i]:
        x = grey(x).expand_as(x)
    return normalised(x * (high - low) + low, space)


@pytest.mark.parametrize("num_bands", [1, 3, 4, 12])
def test_colour_equals_the_steps_one_by_one_for_any_band_count(num_bands):
    bands = make_bands(num_bands)
    space = make_space(bands)
    low, high = (30, 220) if bands[0].units == "display" else (1200, 4800)
    x = picture(num_bands, batch=40, low=low, high=high, dtype=torch.float32)
    drawn = draw_parameters(
        Augment(
            out_px=PX, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), blur_p=0.0, flip_p=0.0, jitter=(0.4, 0.4, 0.4, 0.5)
        ),
        patch_px=PX, augmented=True, seed=0, epoch=0, samples=np.arange(40), view=1,
    )  # fmt: skip
    assert drawn.jittered.any()
    assert not drawn.jittered.all()
    assert drawn.grey.any()
    ours = make_view(x, drawn, space, out_px=PX, order="augment-crop")
    for i in range(40):
        assert (ours[i] - plain_jitter(x[i], space, drawn, i)).abs().max() < 2e-4


@pytest.mark.parametrize(
    ("op", "theirs"),
    [(BRIGHTNESS, tv.adjust_brightness), (CONTRAST, tv.adjust_contrast), (SATURATION, tv.adjust_saturation)],
)
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_each_step_equals_torchvision_where_nothing_clips(op, theirs, factor):
    x = 0.4 + 0.2 * torch.rand(1, 3, PX, PX, generator=torch.Generator().manual_seed(0))
    jitter = [1.0, 1.0, 1.0, 0.0]
    jitter[op] = factor
    unit = {"mean": np.zeros(3), "std": np.ones(3)}
    space = colour_space(display_bands(), low=np.zeros(3), high=np.ones(3), **unit)
    ours = make_view(x * 255, parameters(jitter=jitter), space, out_px=PX, order="augment-crop") / 255
    assert (ours - theirs(x, factor)).abs().max() < 1e-4  # torchvision rounds red's weight to 0.2989


def test_the_drawn_order_is_the_order_in_which_steps_are_done():
    x = 0.45 + 0.1 * torch.rand(1, 3, PX, PX, generator=torch.Generator().manual_seed(0))
    space = colour_space(display_bands(), low=np.zeros(3), high=np.ones(3), mean=np.zeros(3), std=np.ones(3))
    jitter, steps = [0.7, 0.6, 1.4, 0.0], (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
    results = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 0, 3, 1]):
        expected = x
        for op in order:
            expected = expected if op == HUE else steps[op](expected, jitter[op])
        p = parameters(jitter=jitter, jitter_order=order)
        results.append(make_view(x * 255, p, space, out_px=PX, order="augment-crop") / 255)
        assert (results[-1] - expected).abs().max() < 1e-4
    # Unclipped, the steps commute on RGB: each blends towards luma or its mean, and hue keeps luma.
    assert (results[0] - results[1]).abs().max() < 1e-4


def test_the_order_matters_where_grey_is_not_the_luma_that_hue_keeps():
    x = picture(4, low=1200, high=4800, dtype=torch.float32)
    space = make_space(make_bands(4))
    results = []
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        p = parameters(jitter=[0.7, 0.6, 1.4, 0.2], jitter_order=order)
        results.append(make_view(x, p, space, out_px=PX, order="augment-crop"))
        assert (results[-1][0] - plain_jitter(x[0], space, p, 0)).abs().max() < 2e-4
    assert (results[0] - results[1]).abs().max() > 0.05


def test_contrast_turns_around_the_mean_of_what_its_order_says():
    x = picture(dtype=torch.float32)
    box = {"top": 0, "left": 0, "height": 6, "width": 6}
    x[..., :6, :6] += 300
    space = make_space(display_bands())
    p = parameters(**box, jitter=[1.0, 0.5, 1.0, 0.0])
    luma = torch.tensor(LUMA)[:, None, None]
    crop = x[0, :, :6, :6]
    for order, seen in (("augment-crop", x[0]), ("crop-augment", crop)):
        expected = 0.5 * crop + 0.5 * (seen * luma).sum(0).mean()
        ours = make_view(x, p, space, out_px=6, order=order)[0]
        assert (ours - normalised(expected, space)).abs().max() < 1e-4


def hue(x, turns):
    """Turn the hue of RGB in 0-1, (n, 3)."""
    space = colour_space(display_bands(), low=np.zeros(3), high=np.ones(3), mean=np.zeros(3), std=np.ones(3))
    p = parameters(jitter=[1.0, 1.0, 1.0, turns])
    found = colour_map(space, p)
    return x @ found.matrix[0].T + found.offset[0] / 255


COLOURS = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))


def test_hue_keeps_luma_and_greys():
    turned = hue(COLOURS, 0.13)
    luma = torch.tensor(LUMA)
    assert (turned @ luma - COLOURS @ luma).abs().max() < 1e-5
    assert (turned - COLOURS).abs().max() > 0.2
    greys = torch.linspace(0, 1, 7)[:, None].expand(-1, 3)
    assert (
        hue(greys, 0.4) - greys
    ).abs().max() < 1e-3  # the published YIQ matrix is rounded to four decimals


def test_hue_is_periodic_and_turns_add_up():
    assert (hue(COLOURS, 1.0) - COLOURS).abs().max() < 1e-5
    assert (hue(hue(COLOURS, 0.2), 0.3) - hue(COLOURS, 0.5)).abs().max() < 1e-5
    assert (hue(hue(COLOURS, 0.2), -0.2) - COLOURS).abs().max() < 1e-5


def test_hue_turns_against_hsv_and_differs_from_it_by_this_much():
    """The original turns the hue of HSV, whose hexagon keeps the greatest and the least channel; ours keeps luma.

    Mean absolute differences, 0-1, of 500 random colours at 0.1 turns: HSV moves them by 0.102 and ours by 0.137; the two
    are 0.101 apart where ours turns by -0.1, and 0.238 by +0.1: ours counts the other way round the circle. Turns are
    drawn as often to one side as to the other, so the sign does not change what is learned.
    """
    for turns in (-0.1, 0.1):
        expected = torch.tensor(
            [
                colorsys.hsv_to_rgb((h + turns) % 1, s, v)
                for h, s, v in (colorsys.rgb_to_hsv(*c) for c in COLOURS.tolist())
            ]
        )
        theirs = tv.adjust_hue(COLOURS.T.reshape(3, 1, -1), turns)[:, 0].T
        assert (theirs - expected).abs().max() < 1e-4  # torchvision agrees with Python's own HSV
        assert (COLOURS - expected).abs().mean().item() == pytest.approx(0.102, abs=0.002)
        assert (COLOURS - hue(COLOURS, turns)).abs().mean().item() == pytest.approx(0.137, abs=0.004)
        assert (hue(COLOURS, -turns) - expected).abs().mean().item() == pytest.approx(0.101, abs=0.003)
        assert (hue(COLOURS, turns) - expected).abs().mean().item() == pytest.approx(0.238, abs=0.003)


# --- colour space -----------------------------------------------------------------------------------------------------


def test_display_bytes_keep_their_range_and_numbers_are_stretched_by_quantiles():
    stats = {
        "low": np.array([5.0, 6.0, 7.0]),
        "high": np.array([90.0] * 3),
        "mean": np.ones(3),
        "std": np.ones(3),
    }
    space = colour_space(display_bands(), **stats)
    assert space.low.tolist() == [0, 0, 0]
    assert space.high.tolist() == [255, 255, 255]
    bands = tuple(sentinel2.band(b) for b in ("B08", "B03", "B12"))
    space = colour_space(bands, **stats)
    assert space.low.tolist() == [5, 6, 7]
    assert space.high.tolist() == [90, 90, 90]


def test_grey_and_hue_follow_the_bands_wherever_they_stand():
    stats = {k: np.full(3, v) for k, v in {"low": 0.0, "high": 1.0, "mean": 0.0, "std": 1.0}.items()}
    space = colour_space(display_bands()[::-1], **stats)
    assert space.chroma == (2, 1, 0)
    assert space.grey.tolist() == pytest.approx([0.114, 0.587, 0.299])
    four = colour_space(make_bands(4), **{k: np.full(4, v[0]) for k, v in stats.items()})
    assert four.chroma == (2, 1, 0)  # B04, B03, B02 by their common names
    assert four.grey.tolist() == [0.25] * 4
    infrared = tuple(sentinel2.band(b) for b in ("B08", "B11", "B12"))
    assert colour_space(infrared, **stats).chroma is None


def test_hue_leaves_other_bands_alone_and_bands_without_colour_too():
    x = picture(4, dtype=torch.float32)
    p = parameters(jitter=[1.0, 1.0, 1.0, 0.25])
    space = make_space(make_bands(4))
    ours = make_view(x, p, space, out_px=PX, order="augment-crop")
    assert (ours - normalised(x, space))[:, 3].abs().max() < 1e-5
    assert (ours - normalised(x, space))[:, :3].abs().max() > 0.01
    infrared = tuple(sentinel2.band(b) for b in ("B08", "B11", "B12"))
    space = make_space(infrared)
    ours = make_view(x[:, :3], p, space, out_px=PX, order="augment-crop")
    assert (ours - normalised(x[:, :3], space)).abs().max() < 1e-4


def test_a_band_whose_quantiles_coincide_is_stretched_by_its_deviation():
    stats = {"low": [7.0, 0.0, 5.0, 9.0], "high": [7.0, 0.0, 90.0, 9.0], "mean": [7.5, 3.0, 50.0, 9.0],
             "std": [2.0, 40.0, 20.0, 0.0]}  # fmt: skip
    space = colour_space(make_bands(4), **{k: np.array(v) for k, v in stats.items()})
    assert space.low.tolist() == [3.5, -77.0, 5.0, 9.0]
    assert space.high.tolist() == [11.5, 83.0, 90.0, 10.0]
    assert space.std.tolist() == [2.0, 40.0, 20.0, 1.0]
    display = tuple(dataclasses.replace(b, units="display") for b in make_bands(4))
    space = colour_space(display, **{k: np.array(v) for k, v in stats.items()})
    assert (space.low.tolist(), space.high.tolist()) == ([0.0] * 4, [255.0] * 4)


def test_jitter_of_such_a_band_stays_within_its_numbers():
    """A tenth of a band's pixels, or none, differ from the rest: no view may leave the range that its jitter allows."""
    x = torch.full((1, 4, PX, PX), 7.0)
    x[:, 1, :2] = 4000.0
    x[:, 2:] = picture(2, low=1000, high=5000, dtype=torch.float32)
    mean, std = x.mean((0, 2, 3)).double().numpy(), x.double().std((0, 2, 3), correction=0).numpy()
    low, high = np.array([7.0, 7.0, 1080.0, 1080.0]), np.array([7.0, 7.0, 4920.0, 4920.0])
    space = colour_space(make_bands(4), low=low, high=high, mean=mean, std=std)
    for order in ([0, 1, 2, 3], [2, 1, 0, 3]):
        p = parameters(jitter=[1.3, 0.7, 0.7, 0.1], jitter_order=order)
        assert make_view(x, p, space, out_px=PX, order="augment-crop").abs().max() < 10


@pytest.mark.parametrize("value", [0.0, 7.0, 12345.678])
def test_a_band_of_one_value_is_0_and_stays_finite(value):
    for bands in (make_bands(3), make_bands(4)):
        num = len(bands)
        # The deviation as sums of floats leave it: not quite 0.
        stats = {"low": value, "high": value, "mean": value, "std": 3e-8 * max(1.0, value)}
        space = colour_space(bands, **{k: np.full(num, v) for k, v in stats.items()})
        x = torch.full((2, num, PX, PX), value)
        plain = make_view(x, parameters(2), space, out_px=PX, order="augment-crop")
        assert plain.abs().max() < 1e-2
        p = parameters(2, jitter=[1.3, 0.7, 1.2, 0.1], grey=[True, False])
        view = make_view(x, p, space, out_px=PX, order="augment-crop")
        assert torch.isfinite(view).all()
        if bands[0].units != "display":
            assert view.abs().max() < 2


# --- whole views ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.float32])
@pytest.mark.parametrize("num_bands", [1, 3, 4, 12])
@pytest.mark.parametrize("order", ["augment-crop", "crop-augment"])
def test_an_unaugmented_view_is_the_exact_normalised_crop(dtype, num_bands, order):
    x = picture(num_bands, batch=3, dtype=dtype)
    space = make_space(make_bands(num_bands))
    whole = make_view(x, parameters(3), space, out_px=PX, order=order)
    assert whole.shape == (3, num_bands, PX, PX)
    assert whole.dtype == torch.float32
    assert whole.is_contiguous(memory_format=torch.channels_last)
    assert (whole - normalised(x.to(torch.int64), space)).abs().max() < 1e-4
    cut = make_view(
        x, parameters(3, top=[0, 5, 8], left=[8, 0, 3], height=16, width=16), space, out_px=16, order=order
    )
    for i, (top, left) in enumerate([(0, 8), (5, 0), (8, 3)]):
        crop = x.to(torch.int64)[i, :, top : top + 16, left : left + 16]
        assert (cut[i] - normalised(crop, space)).abs().max() < 1e-4


def test_everything_at_once_equals_the_steps_of_the_original_in_its_order():
    """SeCo: jitter, grey, blur and flip of the whole patch, then the crop; MoCo v2: the crop, then the rest."""
    x = picture(batch=12, low=60, high=200, dtype=torch.float32)
    space = make_space(display_bands())
    augment = Augment(out_px=18, blur_p=1.0, jitter_p=1.0, grey_p=0.3, blur_sigma=(0.5, 1.5))
    p = draw_parameters(augment, patch_px=PX, augmented=True, seed=0, epoch=0, samples=np.arange(12), view=1)
    ours = make_view(x, p, space, out_px=18, order="augment-crop")
    for i in range(12):
        line = blur_matrix(p.sigma[i], PX).double()
        done = line @ plain_jitter(x[i], space, p, i) @ line.T
        done = done.flip(-1) if p.flip[i] else done
        left = PX - p.left[i] - p.width[i] if p.flip[i] else p.left[i]
        box = [int(v) for v in (p.top[i], left, p.height[i], p.width[i])]
        assert (ours[i] - tv.resized_crop(done, *box, [18, 18], antialias=True)).abs().max() < 1e-3


def test_a_view_of_a_sample_does_not_depend_on_its_batch():
    x = picture(batch=8)
    space = make_space(display_bands())
    augment = Augment(out_px=PX)
    kinds = {"augmented": True, "seed": 0, "epoch": 2, "view": 1, "patch_px": PX}
    together = make_view(
        x, draw_parameters(augment, samples=np.arange(8), **kinds), space, out_px=PX, order="augment-crop"
    )
    for i in range(8):
        p = draw_parameters(augment, samples=np.array([i]), **kinds)
        alone = make_view(x[i : i + 1], p, space, out_px=PX, order="augment-crop")
        assert (alone[0] - together[i]).abs().max() < 1e-5


# --- draws ------------------------------------------------------------------------------------------------------------


def draw(augment=None, *, augmented=True, num=20_000, view=1, patch_px=64):
    return draw_parameters(
        augment or Augment(out_px=64),
        patch_px=patch_px,
        augmented=augmented,
        seed=0,
        epoch=0,
        samples=np.arange(num),
        view=view,
    )


def test_probabilities_and_strengths_are_those_asked():
    p = draw()
    assert p.jittered.mean() == pytest.approx(0.8, abs=0.012)
    assert p.grey.mean() == pytest.approx(0.2, abs=0.012)
    assert (p.sigma > 0).mean() == pytest.approx(0.5, abs=0.015)
    assert p.flip.mean() == pytest.approx(0.5, abs=0.015)
    got = p.jitter[p.jittered]
    for i, (low, high) in enumerate([(0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1)]):
        assert low <= got[:, i].min() < low + 0.01
        assert high - 0.01 < got[:, i].max() <= high
        assert got[:, i].mean() == pytest.approx((low + high) / 2, abs=0.01)
    assert (p.jitter[~p.jittered] == [1, 1, 1, 0]).all()
    sigma = p.sigma[p.sigma > 0]
    assert sigma.min() >= 0.1
    assert sigma.max() <= 2.0
    assert sigma.mean() == pytest.approx(1.05, abs=0.02)
    orders, counts = np.unique(p.jitter_order, axis=0, return_counts=True)
    assert len(orders) == 24
    assert counts.min() > 20_000 / 24 * 0.8
    happens = np.stack([p.jittered, p.grey, p.sigma > 0, p.flip]).astype(float)
    assert np.abs(np.corrcoef(happens) - np.eye(4)).max() < 0.03


@pytest.mark.parametrize("never", ["jitter_p", "grey_p", "blur_p", "flip_p"])
def test_a_probability_of_0_is_never_and_of_1_is_always(never):
    field = {"jitter_p": "jittered", "grey_p": "grey", "blur_p": "sigma", "flip_p": "flip"}[never]
    base = Augment(out_px=64)
    assert not getattr(draw(dataclasses.replace(base, **{never: 0.0}), num=500), field).any()
    assert getattr(draw(dataclasses.replace(base, **{never: 1.0}), num=500), field).all()


def test_crops_fit_and_cover_the_area_and_ratio_asked():
    p = draw(num=20_000)
    assert (p.top >= 0).all()
    assert (p.left >= 0).all()
    assert (p.top + p.height <= 64).all()
    assert (p.left + p.width <= 64).all()
    share = p.height * p.width / 64**2
    ratio = p.width / p.height
    assert 0.18 < share.min() < 0.23
    assert share.max() == 1
    assert 0.7 < ratio.min() < 0.78
    assert 1.3 < ratio.max() < 1.4
    assert np.abs(np.log(ratio).mean()) < 0.01
    # Boxes above 3/4 of the area only fit with a ratio near 1, so large crops are rarer than small ones.
    assert 0.5 < share.mean() < 0.6
    slack = (64 - p.height) > 20
    assert (p.top[slack] / (64 - p.height[slack])).mean() == pytest.approx(0.5, abs=0.02)
    assert (p.top[slack] == 0).any()
    assert (p.top[slack] == 64 - p.height[slack]).any()


def test_a_crop_of_all_is_the_whole_patch():
    p = draw(Augment(out_px=8, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0)), num=50)
    assert (p.height == 64).all()
    assert (p.width == 64).all()
    p = draw(Augment(out_px=8, crop_scale=(0.9, 1.0), crop_ratio=(3.0, 4.0)), num=50)
    assert (p.height == 64).all()  # no box of that shape fits


def test_views_of_a_place_are_drawn_apart():
    a, b = draw(view=0, num=200), draw(view=1, num=200)
    assert (a.top != b.top).mean() > 0.5
    assert (a.jitter != b.jitter).any(1).mean() > 0.8
    again = draw(view=0, num=200)
    assert all((getattr(a, f.name) == getattr(again, f.name)).all() for f in dataclasses.fields(a))


def test_in_seco_the_query_is_only_cropped_and_k0_carries_everything():
    """The review's first question: does head 0 really see every augmentation?"""
    plan = methods.find("seco").PLAN
    drawn = {v.name: draw(augmented=v.augment, view=i, num=4000) for i, v in enumerate(plan.views)}
    for name in ("q", "k1"):
        p = drawn[name]
        assert not (p.jittered.any())
        assert not (p.grey.any())
        assert not (p.flip.any())
        assert not (p.sigma.any())
        assert (p.height * p.width < 64 * 64).mean() > 0.9
        assert all(set(p.describe(i)) == {"crop"} for i in range(50))
    for name in ("k0", "k2"):
        p = drawn[name]
        assert p.jittered.mean() == pytest.approx(0.8, abs=0.03)
        assert p.grey.mean() == pytest.approx(0.2, abs=0.03)
        assert (p.sigma > 0).mean() == pytest.approx(0.5, abs=0.03)
        assert p.flip.mean() == pytest.approx(0.5, abs=0.03)


def test_describe_says_what_a_sample_got_and_nothing_else():
    p = parameters(2, top=3, left=4, height=9, width=8, jitter=[[0.7, 1.2, 1.3, -0.05]] * 2, jitter_order=[3, 0, 2, 1],
                   jittered=[True, False], grey=[False, True], sigma=[1.25, 0.0], flip=[True, False])  # fmt: skip
    first = p.describe(0)
    assert first == {"crop": (3, 4, 9, 8), "hue": -0.05, "brightness": 0.7, "saturation": 1.3, "contrast": 1.2,
                     "blur": 1.25, "flip": True}  # fmt: skip
    assert list(first) == ["crop", "hue", "brightness", "saturation", "contrast", "blur", "flip"]
    assert p.describe(1) == {"crop": (3, 4, 9, 8), "grey": True}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"crop_scale": (0.0, 1.0)}, "crop scale 0.0"),
        ({"crop_scale": (0.6, 0.5)}, "low <= high"),
        ({"crop_scale": (0.2, 1.1)}, "1.1"),
        ({"jitter_p": 1.2}, "jitter_p 1.2"),
        ({"grey_p": -0.1}, "grey_p"),
        ({"blur_p": 2.0}, "blur_p"),
        ({"flip_p": math.nan}, "flip_p nan"),
        ({"jitter": (1.0, 0.4, 0.4, 0.1)}, "jitter"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "hue"),
        ({"jitter": (-0.1, 0.4, 0.4, 0.1)}, "jitter"),
        ({"blur_sigma": (0.0, 1.0)}, "blur sigma"),
        ({"blur_sigma": (2.0, 1.0)}, "blur sigma"),
        ({"blur_sigma": (2.0, 1e8)}, "high <= 1000"),
        ({"out_px": 0}, "0 px"),
        ({"crop_ratio": (0.0, 1.0)}, "crop ratio"),
        ({"crop_ratio": (2.0, 1.0)}, "crop ratio"),
    ],
)
def test_values_out_of_range_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Augment(**{"out_px": 16, **wrong})
