"""Features in two dimensions."""

import numpy as np
import pytest

from seco.data.dataset import open_dataset
from seco.errors import DatasetError, TaskError
from seco.report import embedding
from seco.report.embedding import MAX_CLASSES, choose_points, colourings, embed
from seco.report.ground import HELD_OUT, Ground


def ground_of(path):
    dataset = open_dataset(path)
    num = len(dataset.place_ids)
    return Ground(dataset=dataset, tier=dataset.training(), part=np.full(num, HELD_OUT, object),
                  num_dates=np.bincount(dataset.place, minlength=num))  # fmt: skip


def clusters(num, dim=8):
    rng = np.random.default_rng(0)
    return (
        np.repeat(rng.normal(size=(3, dim)) * 8, num // 3, 0) + rng.normal(size=(num // 3 * 3, dim))
    ).astype(np.float32)


def test_tsne_keeps_clusters_apart_and_is_the_same_every_time():
    features = clusters(150)
    one, two = embed(features, seed=1), embed(features, seed=1)
    assert one.how.startswith("t-SNE")
    assert np.array_equal(one.points, two.points)
    assert (one.points.min(0), one.points.max(0)) == (pytest.approx(0), pytest.approx(1))
    group = np.repeat(np.arange(3), 50)
    near = np.linalg.norm(one.points[:, None] - one.points[None], axis=2) + np.eye(150) * 9
    assert (group[near.argmin(1)] == group).mean() > 0.98


def test_few_points_get_pca_which_is_that_of_a_plain_eigenvector():
    features = clusters(30)
    found = embed(features, seed=0)
    assert found.how.startswith("PCA")
    centred = features - features.mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    assert abs(np.corrcoef(centred @ axis, found.points[:, 0])[0, 1]) > 0.9999


def test_one_dimension_is_enough():
    assert embed(np.arange(8, dtype=np.float32)[:, None], seed=0).points.shape == (8, 2)


def test_what_has_no_picture_says_why():
    with pytest.raises(TaskError, match="at least 3"):
        embed(np.ones((2, 4), np.float32), seed=0)
    with pytest.raises(TaskError, match="collapsed"):
        embed(np.ones((99, 4), np.float32), seed=0)


@pytest.mark.parametrize(
    ("places", "dates", "most"), [(10, 12, 40), (300, 12, 1200), (50, 1, 30), (7, 5, 1000)]
)
def test_points_are_chosen_from_all_places_and_dates(places, dates, most):
    place = np.repeat(np.arange(places), dates)
    chosen = choose_points(place, most=most)
    assert len(chosen) == len(np.unique(chosen)) <= most
    assert len(np.unique(place[chosen])) == min(places, most)
    if dates > 1:
        assert len(np.unique(chosen % dates)) == min(dates, len(chosen))


def test_colours_by_season_month_latitude_and_rasters(small_dataset):
    ground = ground_of(small_dataset)
    rows = np.arange(0, 96, 3)
    found, notes = colourings(ground, rows)
    assert [c["name"] for c in found] == ["land cover", "climate", "season", "month", "latitude"]
    assert notes == []
    for colouring in found:
        assert len(colouring["values"]) == len(rows)
        if colouring["kind"] == "classes":
            assert set(colouring["values"]) == set(range(len(colouring["classes"])))
    season = found[2]
    names = [season["classes"][v]["name"] for v in season["values"]]
    wanted = ["winter", "spring", "summer", "autumn"]
    assert names == [wanted[ground.dataset.index["season"][int(r)].as_py()] for r in rows]
    assert found[4]["low"] <= min(found[4]["values"]) <= max(found[4]["values"]) <= found[4]["high"]


def test_a_raster_that_is_not_installed_is_left_out_and_said(small_dataset, monkeypatch):
    def gone():
        raise DatasetError("the package is not installed")

    monkeypatch.setattr(embedding, "climate", gone)
    found, notes = colourings(ground_of(small_dataset), np.arange(8))
    assert "climate" not in [c["name"] for c in found]
    assert notes == ["No colouring by climate: the package is not installed."]


def test_images_have_labels_alone_and_the_rest_is_said(make_dataset):
    labels = [f"class {min(i, 13)}" for i in range(24)]
    path = make_dataset(num_places=24, num_dates=1, positions=False, labels=labels)
    found, notes = colourings(ground_of(path), np.arange(24))
    assert [c["name"] for c in found] == ["label", "month"]
    assert "no position" in notes[0]
    classes = [c["name"] for c in found[0]["classes"]]
    assert len(classes) == MAX_CLASSES + 1
    assert classes[0] == "class 13"  # the commonest
    assert classes[-1] == "4 other labels"
    assert found[0]["exact"] == labels
