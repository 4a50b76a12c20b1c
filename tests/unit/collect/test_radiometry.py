"""One scale for all scenes."""

import dataclasses

import numpy as np
import pytest

from seco.collect.faults import PixelFault
from seco.collect.model import Asset
from seco.collect.radiometry import OFFSET, harmonised, shift_dn

ASSET = Asset(
    band="B04", href="x", pixel_m=10.0, shape=(1, 4), transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), dtype="uint16",
    nodata=0.0, scale=1e-4, offset=-0.1,
)  # fmt: skip
PLAIN = dataclasses.replace(ASSET, offset=0.0)
PIXELS = np.array([[0, 1, 5000, 65535]], np.uint16)


def test_numbers_that_carry_the_offset_stay():
    out, over = harmonised(PIXELS, ASSET)
    np.testing.assert_array_equal(out, PIXELS)
    assert over == 0


def test_numbers_that_do_not_get_it_and_nodata_stays_nodata():
    out, over = harmonised(PIXELS, PLAIN)
    assert out.tolist() == [[0, 1001, 6000, 65535]]
    assert out.dtype == np.uint16
    assert over == 1, "what does not fit is counted"


def test_both_mean_the_same_reflectance():
    old, new = np.array([[2500]], np.uint16), np.array([[3500]], np.uint16)
    a, b = harmonised(old, PLAIN)[0], harmonised(new, ASSET)[0]
    assert a == b
    assert a[0, 0] * 1e-4 + OFFSET == pytest.approx(0.25)


def test_another_nodata_becomes_zero():
    out, _ = harmonised(PIXELS, dataclasses.replace(ASSET, nodata=65535.0))
    assert out.tolist() == [[0, 1, 5000, 0]]


@pytest.mark.parametrize(
    "changed", [{"dtype": "int16"}, {"scale": 2.75e-5}, {"offset": -0.2}, {"offset": -0.05001}]
)
def test_what_cannot_be_put_on_it_is_refused(changed):
    with pytest.raises(PixelFault) as caught:
        shift_dn(dataclasses.replace(ASSET, **changed))
    assert caught.value.kind == "mismatch"
