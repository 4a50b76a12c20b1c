import importlib.util
import sys

import numpy as np
import pytest

from seco.errors import DatasetError
from seco.places import land
from seco.places.land import LandMask, land_fraction, land_mask

ROWS, COLUMNS = 18, 36  # cells of ten degrees


@pytest.fixture
def mask():
    return LandMask.from_percent(np.random.default_rng(0).integers(0, 101, (ROWS, COLUMNS)).astype(np.uint8))


def plain_fraction(mask, lon, lat, width, height):
    """The mean over cells of one degree, with boxes on whole degrees; rows beyond a pole are left out."""
    fine = np.kron(mask.percent, np.ones((10, 10)))
    rows = np.arange(round(90 - lat - height / 2), round(90 - lat + height / 2))
    columns = np.arange(round(lon - width / 2 + 180), round(lon + width / 2 + 180))
    rows = rows[(rows >= 0) & (rows < 180)]
    return fine[np.ix_(rows, columns % 360)].mean() / 100


@pytest.mark.parametrize(
    ("lon", "lat", "width", "height"),
    [
        (0, 0, 20, 20),  # on cell edges
        (3, -7, 26, 14),  # across them
        (41, 11, 2, 2),  # within a cell
        (179, 20, 30, 10),  # over the antimeridian, from the west
        (-178, -33, 24, 6),  # and from the east
        (540, 5, 22, 4),  # another turn
        (17, 88, 12, 10),  # cut at the north pole
        (-60, -90, 4, 6),  # at the south pole
        (33, 0, 360, 180),  # the globe
        (0, 0, 358, 2),  # nearly all around
    ],
)
def test_fraction_equals_plain_mean(mask, lon, lat, width, height):
    found = mask.fraction(lon, lat, width_deg=width, height_deg=height)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(plain_fraction(mask, lon, lat, width, height), abs=1e-9)


def test_one_extent_a_box(mask):
    lon, lat, width, height = np.array([[0, 5, 20, 2], [100, -25, 8, 30]], dtype=float).T
    found = mask.fraction(lon, lat, width_deg=width, height_deg=height)
    alone = [
        mask.fraction(*one[:2], width_deg=one[2], height_deg=one[3])[0]
        for one in zip(lon, lat, width, height, strict=True)
    ]
    assert found.tolist() == alone
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((np.nan, 0, 1, 1), "wrong longitude, the first nan"),
        ((0, 90.5, 1, 1), "wrong latitude, the first 90.5: it must be -90 to 90"),
        ((0, 0, 0, 1), "wrong width, the first 0: it must be above 0 to 360"),
        ((0, 0, 361, 1), "wrong width, the first 361"),
        ((0, 0, 1, -2), "wrong height, the first -2: it must be above 0 to 180"),
    ],
)
def test_bad_boxes(mask, box, message):
    with pytest.raises(DatasetError, match=message):
        mask.fraction(box[0], box[1], width_deg=box[2], height_deg=box[3])


def test_the_real_mask():
    percent = land_mask().percent
    assert percent.shape == (3600, 7200)
    weight = np.cos(np.radians(90 - (np.arange(3600) + 0.5) * 0.05))
    share = (percent.mean(axis=1) * weight).sum() / weight.sum() / 100
    assert share == pytest.approx(0.29, abs=0.005)  # 29% of the Earth is land
    lon = [2.35, -30.0, 0.0, 0.0, 135.0]
    lat = [48.86, 40.0, -89.0, 89.0, -25.0]  # Paris, the Atlantic, Antarctica, the Arctic sea, Australia
    assert land_fraction(lon, lat, width_deg=1, height_deg=1).tolist() == pytest.approx([1, 0, 1, 0, 1])
    coast = land_fraction(-9.5, 38.7, width_deg=1, height_deg=1)[0]  # Lisbon's coast
    assert 0.1 < coast < 0.9
    assert "global_land_mask" not in sys.modules  # importing it costs seconds and 0.8 GB


@pytest.fixture
def small_source(tmp_path, monkeypatch):
    """A mask of 12 x 24 cells in the package's form, coarsened to 2 x 4."""
    sea = np.random.default_rng(1).random((12, 24)) < 0.5
    path = tmp_path / "mask.npz"
    np.savez_compressed(path, mask=sea)
    monkeypatch.setattr(land, "ROWS", 2)
    monkeypatch.setattr(land, "COLUMNS", 4)
    monkeypatch.setattr(land, "package_file", lambda *_, **__: path)
    return path, sea


def test_coarsening_counts_land(small_source, tmp_path):
    _, sea = small_source
    percent = land._cached_percent(tmp_path / "cache")
    for row in range(2):
        for column in range(4):
            block = sea[6 * row : 6 * row + 6, 6 * column : 6 * column + 6]
            assert percent[row, column] == round(100 * (36 - block.sum()) / 36)


def test_the_cache_is_used_and_mended(small_source, tmp_path):
    source, _ = small_source
    folder = tmp_path / "cache"
    first = land._cached_percent(folder)
    (path,) = folder.iterdir()  # no temporary file is left

    np.save(path, 100 - first)
    assert (land._cached_percent(folder) == 100 - first).all()  # read, not made again

    for damaged in (path.read_bytes()[:-3], b"", b"not an array"):
        path.write_bytes(damaged)
        assert (land._cached_percent(folder) == first).all()
    np.save(path, first[:1])
    assert (land._cached_percent(folder) == first).all()

    path.unlink()
    whole = source.read_bytes()
    for damaged in (whole[:40], whole[:60] + bytes(20) + whole[80:]):
        source.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"damaged .*`pip install --force-reinstall global-land-mask`"):
            land._cached_percent(folder)
    assert not list(folder.iterdir())


def test_a_mask_of_another_shape(small_source, tmp_path):
    source, _ = small_source
    np.savez_compressed(source, mask=np.zeros((6, 6), bool))
    with pytest.raises(DatasetError, match=r"\(6, 6\) bool, expected \(12, 24\) bool"):
        land._cached_percent(tmp_path / "cache")


def test_a_cache_that_cannot_be_written(small_source, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(DatasetError, match="set SECO_CACHE to a folder that can be written"):
        land._cached_percent(tmp_path / "taken")


def test_missing_package(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        DatasetError, match=r"global_land_mask is not installed.*`pip install global-land-mask`"
    ):
        land._cached_percent(tmp_path)
