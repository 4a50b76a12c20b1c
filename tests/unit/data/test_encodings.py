"""What stored numbers mean, and one scale for files that differ."""

import dataclasses

import numpy as np
import pytest

from seco.data.encodings import Declared, Encoding, common, convert, decide, empty, make_band, sentinel2_name
from seco.data.grids import Grid, Plane
from seco.errors import DatasetError


def plane(dtype="uint16", **declared):
    grid = Grid(crs=None, transform=None, height=4, width=4)
    return Plane(path="f.tif", name=None, grid=grid, dtype=dtype, **declared)


def dn(dtype="uint16", scale=1e-4, offset=0.0, nodata=0.0):
    return Encoding(dtype=dtype, units="dn", scale=scale, offset=offset, nodata=nodata)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("B2", "B02"),
        ("b02", "B02"),
        ("s2_B8A", "B8A"),
        ("B12", "B12"),
        ("red", None),
        ("B13", None),
        ("B0", None),
        ("SCL", None),
    ],
)
def test_sentinel2_names(name, wanted):
    assert sentinel2_name(name) == wanted


class TestDecide:
    @pytest.mark.parametrize(
        ("source", "declared", "is_s2", "wanted"),
        [
            (plane(), {}, True, dn(offset=-0.1)),
            (plane(nodata=9.0), {}, True, dn(offset=-0.1, nodata=9.0)),
            (plane(scale=2e-5, offset=0.8, nodata=-1.0), {}, True, dn(scale=2e-5, offset=0.8, nodata=-1.0)),
            (
                plane(scale=2e-5), {"scale": 1e-3, "offset": 0.2, "nodata": 7.0}, False,
                dn(scale=1e-3, offset=0.2, nodata=7.0),
            ),
            (plane(), {"offset": 0.0}, True, dn()),
            (plane(), {"scale": 1e-3}, False, dn(scale=1e-3, nodata=None)),
            (plane("float32"), {}, False, Encoding(dtype="float32", units="reflectance")),
            (plane("float32"), {"scale": 1e-4}, False, dn("float32", nodata=None)),
            (plane("uint8"), {}, False, Encoding(dtype="uint8", units="display")),
            (plane("uint8"), {}, True, Encoding(dtype="uint8", units="display")),
            (plane("int16"), {"units": "display"}, False, Encoding(dtype="int16", units="display")),
            (plane("uint16"), {"units": "reflectance"}, False, Encoding(dtype="uint16", units="reflectance")),
        ],
    )  # fmt: skip
    def test_table(self, source, declared, is_s2, wanted):
        got = decide(source, "B02", declared=Declared(**declared), is_sentinel2=is_s2, default_offset=-0.1)
        assert got == wanted

    @pytest.mark.parametrize(
        ("dtype", "declared"), [("uint16", {}), ("int32", {}), ("uint16", {"units": "dn"})]
    )
    def test_numbers_without_a_meaning(self, dtype, declared):
        with pytest.raises(
            DatasetError, match=r"nothing says how .* give --scale and --offset, or --units display"
        ):
            decide(plane(dtype), "x", declared=Declared(**declared), is_sentinel2=False, default_offset=0.0)

    def test_complex_numbers(self):
        with pytest.raises(DatasetError, match="complex64; only integers and floats"):
            decide(plane("complex64"), "x", declared=Declared(), is_sentinel2=False, default_offset=0.0)


class TestCommon:
    def test_same(self):
        assert common([dn(), dn()], "B02") == (dn(), "same")

    def test_baselines_are_shifted_without_loss(self):
        old, new = dn(), dn(offset=-0.1)
        target, how = common([old, new], "B02")
        assert (target, how) == (new, "shift")
        stored = np.array([[0, 1, 500, 12_000]], np.uint16)
        np.testing.assert_array_equal(convert(stored, old, target), [[0, 1001, 1500, 13_000]])
        np.testing.assert_array_equal(convert(stored, new, target), stored)
        # Saturated numbers stay at the top, and never wrap around to nodata.
        assert convert(np.array([[65_535]], np.uint16), old, target).item() == 65_535

    def test_scales_that_differ_lose_at_most_half_a_step(self):
        a = Encoding(dtype="int16", units="dn", scale=2.58e-5, offset=0.845, nodata=-32767.0)
        b = Encoding(dtype="int16", units="dn", scale=1.93e-5, offset=0.632, nodata=-32767.0)
        target, how = common([a, b], "B02")
        assert how == "rescale"
        assert (target.dtype, target.nodata) == ("uint16", 0.0)
        assert target.scale < 2.6e-5
        stored = np.array([[-32768, -32767, -32766, 0, 32767]], np.int16)
        for source in (a, b):
            got = convert(stored, source, target)
            assert got[0, 1] == 0
            assert (np.delete(got, 1) > 0).all()
            reflectance = got * target.scale + target.offset
            wanted = stored * source.scale + source.offset
            np.testing.assert_allclose(
                np.delete(reflectance, 1), np.delete(wanted, 1), atol=target.scale * 0.51
            )

    def test_wide_integers_become_floats(self):
        target, how = common([dn("int32", nodata=-1.0), dn("uint16")], "B02")
        assert (target, how) == (Encoding(dtype="float32", units="reflectance"), "rescale")
        got = convert(np.array([[-1, 5000]], np.int32), dn("int32", nodata=-1.0), target)
        assert np.isnan(got[0, 0])
        assert got[0, 1] == pytest.approx(0.5)

    def test_other_units(self):
        with pytest.raises(
            DatasetError, match=r"stored in different ways \(float32 reflectance, uint16 dn\)"
        ):
            common([dn(), Encoding(dtype="float32", units="reflectance")], "B02")


def test_empty():
    np.testing.assert_array_equal(empty(np.array([0, 5], np.uint8), 5.0), [False, True])
    np.testing.assert_array_equal(empty(np.array([0, np.nan, 5], np.float32), 5.0), [False, True, True])
    np.testing.assert_array_equal(empty(np.array([0], np.uint8), None), [False])


class TestBands:
    def test_sentinel2(self):
        band = make_band("B8A", dn(offset=-0.1), 60.0, is_sentinel2=True)
        assert (band.common_name, band.wavelength_nm, band.gsd_m, band.offset) == ("nir08", 865.0, 60.0, -0.1)

    def test_by_common_name(self):
        band = make_band("Red", Encoding(dtype="uint8", units="display"), None, is_sentinel2=False)
        assert (band.name, band.common_name, band.stretch) == ("Red", "red", "unknown")

    def test_unknown(self):
        band = make_band("vv", dataclasses.replace(dn(), nodata=None), 10.0, is_sentinel2=False)
        assert (band.common_name, band.scale, band.nodata) == (None, 1e-4, None)
