"""Images around points: what is held out shares no ground with what is trained on, whichever scene it is cut from."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dense_data import ground, write_geojson, write_tif

from seco.data.areas import make_classes, statistics
from seco.data.raster_scene import open_scene
from seco.data.vectors import read_shapes
from seco.errors import DatasetError
from seco.sensors.rgb import display_bands
from seco.use import examples

NAMES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def spots():
    return np.random.default_rng(0).integers(2, 254, (80, 2))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory, spots):
    classes, _ = ground(256, 256, 3, square=64)
    points = [
        (
            {"type": "Point", "coordinates": [500_000 + 10 * int(c) + 5, 5_000_000 - 10 * int(r) - 5]},
            {"class": f"k{classes[r, c]}"},
        )
        for r, c in spots
    ]
    return read_shapes(write_geojson(tmp_path_factory.mktemp("points") / "p.geojson", points), "class")


def numbered(path, date, **more):
    """A scene whose pixels tell where they lie: row, column and date."""
    rows, cols = np.mgrid[:256, :256]
    return open_scene(
        write_tif(
            path, np.stack([rows, cols, np.full_like(rows, date)]).astype(np.uint8), names=NAMES, **more
        )
    )


@pytest.mark.parametrize("seed", range(3))
def test_two_dates_of_one_place_are_held_out_together(tmp_path, shapes, seed):
    scenes = [numbered(tmp_path / "a.tif", 1), numbered(tmp_path / "b.tif", 2)]
    found = examples.of_points(scenes, shapes, tile=16, val_share=0.3, seed=seed)
    corner = np.array([found.pixels[r][:2, 0, 0] for r in found.rows]).astype(int)
    dates = np.array([found.pixels[r][2, 0, 0] for r in found.rows])
    assert set(dates[found.held]) == set(dates[~found.held]) == {1, 2}
    apart = np.abs(corner[found.held][:, None] - corner[~found.held][None]).max(2)
    assert apart.min() >= 16
    # Most of what is not held out is still there to learn from.
    assert (~found.held).sum() > 0.5 * found.held.size


def test_scenes_of_other_bands_are_an_error(tmp_path, shapes):
    scenes = [numbered(tmp_path / "a.tif", 1)]
    _, pixels = ground(256, 256, 1)
    scenes.append(open_scene(write_tif(tmp_path / "b.tif", pixels, names=("blue", "green", "red"))))
    with pytest.raises(DatasetError, match=r"has bands .* give scenes of one kind"):
        examples.of_points(scenes, shapes, tile=16, val_share=0.3, seed=0)


def test_statistics_see_every_class_of_a_sorted_folder(monkeypatch):
    monkeypatch.setattr(examples, "MOST_FOR_STATISTICS", 10)
    labels = np.repeat([0, 1], 50)
    pixels = np.where(labels == 0, 10, 200).astype(np.uint8)[:, None, None, None] * np.ones(
        (1, 3, 4, 4), np.uint8
    )
    found = examples.Examples(
        pixels=pixels, rows=np.arange(100), labels=labels, held=np.arange(100) % 5 == 0, bands=tuple(display_bands()),
        classes=make_classes(["a", "b"]), words="",
    )  # fmt: skip
    assert len(found.areas) == 10
    mean, _ = statistics(found.areas, found.bands)
    np.testing.assert_allclose(mean, 105)
