"""Windows on rasters."""

import pytest

from seco.collect.model import Asset, PixelWindow, Window
from seco.errors import CatalogError

WINDOW = Window(epsg=32631, left_m=600_060, top_m=4_999_980, size_px=264)


def asset(pixel=10.0, transform=None, **values):
    transform = transform or (pixel, 0.0, 600_000.0, 0.0, -pixel, 5_000_040.0)
    size = int(109_800 / pixel)
    usual = {
        "band": "B04", "href": "x", "pixel_m": pixel, "shape": (size, size), "transform": transform, "dtype": "uint16",
        "nodata": 0.0, "scale": 1e-4, "offset": 0.0,
    }  # fmt: skip
    return Asset(**{**usual, **values})


@pytest.mark.parametrize(
    ("pixel", "expected"), [(10.0, (6, 6, 264, 264)), (20.0, (3, 3, 132, 132)), (60.0, (1, 1, 44, 44))]
)
def test_pixels_of_every_resolution(pixel, expected):
    column, row, width, height = expected
    assert WINDOW.pixels(asset(pixel)) == PixelWindow(column=column, row=row, width=width, height=height)
    assert WINDOW.transform(pixel) == (pixel, 0.0, 600_060, 0.0, -pixel, 4_999_980)
    assert WINDOW.bounds_m == (600_060, 4_997_340, 602_700, 4_999_980)


def test_over_the_edge_is_negative():
    window = Window(epsg=32631, left_m=599_940, top_m=5_000_100, size_px=264)
    assert window.pixels(asset()) == PixelWindow(column=-6, row=-6, width=264, height=264)


@pytest.mark.parametrize(
    ("size", "pixel", "transform", "words"),
    [
        (256, 60.0, None, "--size"),
        (264, 10.0, (10.0, 0.0, 600_005.0, 0.0, -10.0, 5_000_040.0), "does not begin"),
        (264, 10.0, (10.0, 1.0, 600_000.0, 1.0, -10.0, 5_000_040.0), "north-up"),
        (264, 10.0, (10.0, 0.0, 600_000.0, 0.0, 10.0, 5_000_040.0), "north-up"),
    ],
)
def test_what_does_not_fit(size, pixel, transform, words):
    window = Window(epsg=32631, left_m=600_060, top_m=4_999_980, size_px=size)
    with pytest.raises(CatalogError, match=words):
        window.pixels(asset(pixel, transform))


def test_assets_as_json():
    import json

    one = asset()
    assert Asset.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert one.bounds_m == (600_000, 4_890_240, 709_800, 5_000_040)


@pytest.mark.parametrize(
    ("href", "media", "expected"),
    [
        ("a.tif", "image/tiff", False),
        ("a.JP2?x=1", "", True),
        ("a", "image/jp2", True),
        ("a.tif?x=.jp2", "", False),
    ],
)
def test_jpeg2000(href, media, expected):
    assert asset(href=href, media_type=media).is_jpeg2000 == expected
