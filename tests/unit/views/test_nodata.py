"""Where nothing was measured a view shows the band's mean; data that have no such pixels give the views they gave."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from seco.methods import _contract as methods
from seco.sensors import sentinel2
from seco.sensors.bands import Band
from seco.views.augment import Augment, colour_space, make_view
from seco.views.batch import Viewer
from seco.views.nodata import filled, nodata_numbers, unmeasured

PX = 16
NAMES = ("B04", "B03", "B02", "B08")
MEAN, STD = np.array([300.0, 500.0, 700.0, 900.0]), np.array([10.0, 20.0, 40.0, 50.0])


def bands(*nodata):
    found = [sentinel2.band(n) for n in NAMES[: len(nodata)]]
    return tuple(dataclasses.replace(b, nodata=n) for b, n in zip(found, nodata, strict=True))


def make_viewer(bands, **settings):
    n = len(bands)
    space = colour_space(bands, low=MEAN[:n] / 2, high=MEAN[:n] * 2, mean=MEAN[:n], std=STD[:n])
    return Viewer(
        plan=methods.find("moco-tp").PLAN, augment=Augment(out_px=PX, **settings), space=space, seed=0
    )


def stored(num_bands, dtype):
    values = np.random.default_rng(0).integers(100, 250, (2, 3, num_bands, PX, PX))
    return torch.from_numpy(values.astype(dtype))


PLACES = np.array([4, 0, 9])


def test_numbers_of_bands():
    assert nodata_numbers(bands(None, None)) is None
    found = nodata_numbers(bands(0.0, None, -9999.0)).tolist()
    assert (found[0], found[2]) == (0.0, -9999.0)
    assert math.isnan(found[1])


def test_unmeasured_is_the_band_s_own_number_and_what_is_not_finite():
    x = torch.tensor([[[0.0, 1.0]], [[0.0, math.nan]], [[-math.inf, 7.0]]])
    numbers = torch.tensor([0.0, math.nan, 7.0])
    assert unmeasured(x, numbers).tolist() == [[[True, False]], [[False, True]], [[True, True]]]
    assert unmeasured(x, None).tolist() == [[[False, False]], [[False, True]], [[True, False]]]
    assert (unmeasured(x[None, None], numbers)[0, 0] == unmeasured(x, numbers)).all()


@pytest.mark.parametrize(
    ("dtype", "nodata", "empty"),
    [("uint16", 0.0, 0), ("int16", -9999.0, -9999), ("uint8", 255.0, 255), ("float32", -3.4e38, -3.4e38),
     ("float32", None, math.nan), ("float32", 0.0, math.nan), ("float64", None, math.inf)],
)  # fmt: skip
def test_a_pixel_of_nothing_is_the_mean(dtype, nodata, empty):
    """A band that is its mean elsewhere is seen as 0 by the query, which is only cropped, and alike by every view."""
    mean, std = np.array([200.0, 100.0]), np.array([7.0, 4.0])
    space = colour_space(bands(nodata, None), low=mean - 50, high=mean + 50, mean=mean, std=std)
    viewer = Viewer(plan=methods.find("seco").PLAN, augment=Augment(out_px=PX), space=space, seed=0)
    pixels = torch.tensor([200.0, 120.0])[:, None, None].repeat(3, 3, 1, PX, PX).to(getattr(torch, dtype))
    whole = viewer.views(pixels, 0, PLACES)
    hole = pixels.to(torch.float64)
    hole[:, :, 0, 3:9, 5:11] = empty
    seen = viewer.views(hole.to(pixels.dtype), 0, PLACES)
    assert seen["q"][:, 0].abs().max() < 1e-4
    assert (seen["q"][:, 1] - 5).abs().max() < 1e-4
    assert all(torch.equal(seen[name], whole[name]) for name in whole)


def test_the_number_of_another_band_is_a_number_as_any_other():
    viewer = dataclasses.replace(make_viewer(bands(0.0, None)), plan=methods.find("seco").PLAN)
    pixels = torch.zeros((3, 3, 2, PX, PX), dtype=torch.uint16)
    query = viewer.views(pixels, 0, PLACES)["q"]
    assert query[:, 0].abs().max() < 1e-4
    assert (query[:, 1] + 500 / 20).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_data_without_such_pixels_give_the_same_views_bit_by_bit(dtype):
    pixels = stored(4, dtype)
    for each in (bands(None, None, None, None), bands(0.0, None, -9999.0, 5000.0)):
        viewer = make_viewer(each)
        drawn = viewer.parameters(3, PLACES, patch_px=PX)
        for view in viewer.plan.views:
            plain = make_view(
                pixels[view.season], drawn[view.name], viewer.space, out_px=PX, order=viewer.plan.order
            )
            assert torch.equal(viewer.views(pixels, 3, PLACES)[view.name], plain)


def test_data_without_such_pixels_are_not_even_copied():
    mean, floats = torch.zeros(2), stored(2, "float32")
    assert filled(floats, nodata_numbers(bands(None, -9999.0)), mean) is floats
    holed = floats.clone()
    holed[0, 0, 1, 2, 3] = -9999.0
    assert filled(holed, nodata_numbers(bands(None, None)), mean) is holed
    assert (filled(holed, nodata_numbers(bands(None, -9999.0)), mean)[0, 0, 1, 2, 3] == 0).all()


def test_the_numbers_go_along_to_the_device():
    device = torch.device("meta")
    assert make_viewer(bands(0.0, None)).space.to(device).nodata.device == device
    pan = (Band(name="pan", units="display"),)
    assert make_viewer(pan).space.to(device).nodata is None
