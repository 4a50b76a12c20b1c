"""Pixel grids: how they lie on each other and how they are cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seco.data.grids import BLOCK_PX, Grid, factors, native_size, same_grid, span, tiles
from seco.errors import ConfigError


def grid(pixel=10.0, size=60, west=500_000.0, north=5_400_000.0, crs="EPSG:32631", width=None):
    return Grid(crs=crs, transform=(pixel, 0.0, west, 0.0, -pixel, north), height=size, width=width or size)


class TestFactors:
    @pytest.mark.parametrize(
        ("pixel", "factor"), [(10.0, 1.0), (20.0, 2.0), (60.0, 6.0), (25.0, 2.5), (5.0, 0.5)]
    )
    def test_of_grids_that_line_up(self, pixel, factor):
        assert factors(grid(), grid(pixel, int(600 / pixel))) == (factor, factor)

    @pytest.mark.parametrize(
        "other",
        [
            grid(west=500_005.0), grid(north=5_400_001.0), grid(crs="EPSG:32632"),
            Grid(crs=None, transform=None, height=60, width=60),
            Grid(crs="EPSG:32631", transform=(10.0, 0.1, 5e5, 0.0, -10.0, 5.4e6), height=60, width=60),
        ],
    )  # fmt: skip
    def test_of_grids_that_do_not(self, other):
        assert factors(grid(), other) is None
        assert not same_grid(grid(), other)

    def test_rounding_of_the_transform_is_no_misalignment(self):
        assert same_grid(grid(), grid(10.0 + 1e-9, west=500_000.001))

    def test_without_crs_by_size(self):
        plain = [Grid(crs=None, transform=None, height=h, width=h) for h in (60, 30, 60)]
        assert factors(plain[0], plain[1]) == (2.0, 2.0)
        assert same_grid(plain[0], plain[2])

    def test_other_size_is_another_grid(self):
        assert not same_grid(grid(), grid(size=61))
        assert not same_grid(grid(), grid(10.01))


class TestTiles:
    def test_no_pixel_twice_and_all_that_fit(self):
        found = tiles(grid(size=100, width=70), patch_px=32, stride_px=32)
        seen = np.zeros((100, 70), int)
        for tile in found:
            seen[tile.row : tile.row + 32, tile.col : tile.col + 32] += 1
        assert len(found) == 6
        assert (seen[:96, :64] == 1).all()
        assert seen.sum() == 6 * 32 * 32

    def test_stride(self):
        found = tiles(grid(size=96), patch_px=32, stride_px=16)
        assert {(t.row, t.number_row) for t in found} == {(16 * i, i) for i in range(5)}

    def test_block_by_block(self):
        found = tiles(grid(size=3 * BLOCK_PX), patch_px=256, stride_px=256)
        blocks = [(t.row // BLOCK_PX, t.col // BLOCK_PX) for t in found]
        assert sorted(set(blocks), key=blocks.index) == sorted(set(blocks))
        assert blocks == sorted(blocks)

    def test_smaller_than_a_patch(self):
        assert tiles(grid(size=31), patch_px=32, stride_px=32) == []

    @pytest.mark.parametrize("wrong", [{"patch_px": 0, "stride_px": 1}, {"patch_px": 1, "stride_px": 0}])
    def test_values_out_of_range(self, wrong):
        with pytest.raises(ConfigError):
            tiles(grid(), **wrong)


class TestSpan:
    @given(
        start=st.integers(0, 300), size=st.integers(1, 64), factor=st.sampled_from([1.0, 2.0, 2.5, 6.0, 0.5]),
        pad=st.integers(0, 3),
    )  # fmt: skip
    def test_takes_the_coarse_pixel_under_each_fine_one(self, start, size, factor, pad):
        length = int(np.ceil((start + size) / factor)) + pad
        got = span(start, size, factor, length)
        assert got.start >= 0
        assert got.start + got.size <= length
        for i in range(size):
            assert got.start + got.take[i] == int((start + i + 0.5) // factor)


@pytest.mark.parametrize(
    ("factor", "patch", "stride", "wanted"),
    [
        (1, 64, 64, 64),
        (2, 64, 64, 32),
        (6, 64, 64, None),
        (6, 96, 96, 16),
        (2, 64, 31, None),
        (2.5, 60, 60, None),
    ],
)
def test_native_size(factor, patch, stride, wanted):
    assert native_size((float(factor), float(factor)), patch_px=patch, stride_px=stride) == wanted


def test_native_size_of_oblong_pixels():
    assert native_size((2.0, 1.0), patch_px=64, stride_px=64) is None


class TestDescription:
    def test_metres(self):
        assert grid(20.0).gsd_m == 20.0
        assert grid(0.0001, crs="EPSG:4326", west=5.0, north=50.0).gsd_m == 11.1
        assert Grid(crs=None, transform=None, height=2, width=2).gsd_m is None

    def test_window(self):
        assert grid().window(3, 5) == (10.0, 0.0, 500_050.0, 0.0, -10.0, 5_399_970.0)

    def test_in_words(self):
        assert grid().describe() == "60 x 60 px of 10 in EPSG:32631 from (500000, 5.4e+06)"
