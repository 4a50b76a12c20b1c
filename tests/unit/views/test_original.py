"""How far views are from the original's, which PIL makes one step at a time in bytes: measured, so that the docs can say it.

The numbers in the table are those of docs/method.md. They are mean absolute differences in grey levels (0-255) over views of
made-up pictures with the spread of imagery (mean 100, deviation 45), each step alone and all together.
"""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy import ndimage
from torchvision.transforms import functional as pil

from seco.sensors.rgb import display_bands
from seco.views.augment import JITTER_OPS, Augment, colour_space, draw_parameters, make_view

PX, OUT, NUM = 264, 224, 24
STILL = Augment(out_px=OUT, jitter_p=0.0, grey_p=0.0, blur_p=0.0, flip_p=0.0)
KINDS = {
    "crop and resize": STILL,
    "brightness, contrast, saturation": dataclasses.replace(STILL, jitter_p=1.0, jitter=(0.4, 0.4, 0.4, 0.0)),
    "hue": dataclasses.replace(STILL, jitter_p=1.0, jitter=(0.0, 0.0, 0.0, 0.1)),
    "greyscale": dataclasses.replace(STILL, grey_p=1.0),
    "blur": dataclasses.replace(STILL, blur_p=1.0),
    "everything, as drawn in training": Augment(out_px=OUT),
}


@pytest.fixture(scope="module")
def pictures():
    """Noise smoothed at two scales, its channels alike as those of imagery are."""
    random = np.random.default_rng(0)
    fine, coarse = random.normal(size=(2, NUM, 3, PX, PX))
    fine = ndimage.gaussian_filter(fine + fine.mean(1, keepdims=True), (0, 0, 1, 1))
    coarse = ndimage.gaussian_filter(coarse + 2 * coarse.mean(1, keepdims=True), (0, 0, 20, 20))
    both = fine / fine.std() + 2 * coarse / coarse.std()
    return np.clip(100 + 45 * both / both.std(), 0, 255).round().astype(np.uint8)


def original(picture, p, i):
    """SeCo's own order: jitter, grey, blur and flip of the whole patch in bytes, then crop and resize (released code)."""
    image = Image.fromarray(picture.transpose(1, 2, 0))
    steps = (pil.adjust_brightness, pil.adjust_contrast, pil.adjust_saturation, pil.adjust_hue)
    for op in p.jitter_order[i] if p.jittered[i] else []:
        # Ours turns hue the other way round; the draw is symmetric.
        sign = -1 if JITTER_OPS[op] == "hue" else 1
        image = steps[op](image, sign * float(p.jitter[i, op]))
    if p.grey[i]:
        image = pil.rgb_to_grayscale(image, num_output_channels=3)
    if p.sigma[i] > 0:
        image = image.filter(ImageFilter.GaussianBlur(float(p.sigma[i])))
    left = int(p.left[i])
    if p.flip[i]:
        image = pil.hflip(image)
        left = PX - left - int(p.width[i])
    view = pil.resized_crop(image, int(p.top[i]), left, int(p.height[i]), int(p.width[i]), [OUT, OUT])
    return np.asarray(view).transpose(2, 0, 1).astype(np.float64)


@pytest.mark.parametrize(
    ("kind", "differs", "changes"),
    [
        ("crop and resize", 0.3, 0.0),
        ("brightness, contrast, saturation", 1.68, 23.1),
        ("hue", 3.68, 3.65),
        ("greyscale", 0.34, 16.3),
        ("blur", 0.41, 4.86),
        ("everything, as drawn in training", 2.29, 19.1),
    ],
)
def test_how_far_a_view_is_from_the_original(pictures, kind, differs, changes):
    """`differs`: ours from the original's; `changes`: the original's from the same crop with nothing else done to it."""
    unit = {"mean": np.zeros(3), "std": np.ones(3)}
    space = colour_space(display_bands(), low=np.zeros(3), high=np.ones(3), **unit)
    draw = {"patch_px": PX, "seed": 0, "epoch": 0, "samples": np.arange(NUM), "view": 1}
    drawn = draw_parameters(KINDS[kind], augmented=True, **draw)
    still = draw_parameters(STILL, augmented=True, **draw)
    ours = (
        make_view(torch.from_numpy(pictures), drawn, space, out_px=OUT, order="augment-crop").double().numpy()
    )
    theirs = np.stack([original(each, drawn, i) for i, each in enumerate(pictures)])
    plain = np.stack(
        [original(each, dataclasses.replace(still, flip=drawn.flip), i) for i, each in enumerate(pictures)]
    )
    assert np.abs(ours - theirs).mean() == pytest.approx(differs, rel=0.05, abs=0.01)
    assert np.abs(theirs - plain).mean() == pytest.approx(changes, rel=0.05)
