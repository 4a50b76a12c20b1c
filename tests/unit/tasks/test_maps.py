"""Segmentation and OSCD: rows over all pixels in the schema, every encoder by the same decoder, errors in one line."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dense_data import write_oscd, write_pairs

from seco.data.areas import Area
from seco.data.oscd import read_oscd
from seco.errors import ConfigError, DatasetError, SecoError, TaskError
from seco.nets.baselines import ColourEncoder, untrained
from seco.probes import evaluation
from seco.probes.result import PREDICTION_SCHEMA, Row
from seco.tasks.oscd import map_distances
from seco.train.dense import class_weights, fed, strips

QUICK = {"tile": 32, "batch_size": 8, "lr": 5e-3, "num_draws": 40}


def options(task, **more):
    return evaluation.find(task).Options(**(QUICK | more))


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("fields"), num=8)


@pytest.fixture(scope="module")
def cities(tmp_path_factory):
    return write_oscd(tmp_path_factory.mktemp("oscd"))


def by_metric(result, probe):
    return {r["metric"]: r for r in result.rows if r["probe"] == probe}


def test_segmentation_rows(fields):
    encoders = [ColourEncoder(), untrained("test_resnet", init="random", device="cpu")]
    result = evaluation.evaluate(
        encoders, "segmentation", fields, options("segmentation", steps=30, val_every=15)
    )
    assert json.loads(json.dumps(result.rows)) == result.rows
    assert all(list(r) == [f.name for f in dataclasses.fields(Row)] for r in result.rows)
    majority = by_metric(result, "majority")
    assert list(majority) == ["miou"]
    colour = {r["metric"]: r for r in result.rows if r["encoder"] == "colour"}
    assert set(colour) == {"miou", "accuracy", "iou:1", "iou:4", "iou:7"}
    # Three plain colours: the decoder on the raw bands tells them apart.
    assert colour["accuracy"]["value"] > 0.9 > majority["miou"]["value"]
    assert colour["miou"]["value"] == pytest.approx(
        np.mean([colour[f"iou:{n}"]["value"] for n in (1, 4, 7)]), rel=1e-4
    )
    for row in colour.values():
        assert row["probe"] == "unet-frozen"
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        assert (row["num_train"], row["num_test"], row["num_classes"]) == (4, 2, 3)
        assert row["normalise"] == "dataset"
        assert row["transductive"] is False
    assert len({r["data_fingerprint"] for r in result.rows if r["probe"] != "majority"}) == 1
    table = result.predictions
    assert table.schema.equals(PREDICTION_SCHEMA)
    assert pc.sum(pc.equal(table["encoder"], "colour")).as_py() == 2


def test_a_second_run_gives_the_same(fields):
    encoder = untrained("test_resnet", init="random", device="cpu")
    settings = options("segmentation", steps=3, val_every=3, tuning="tuned")
    one, two = (evaluation.evaluate([encoder], "segmentation", fields, settings) for _ in range(2))
    assert one.rows == two.rows
    assert {r["probe"] for r in one.rows} == {"majority", "unet-tuned"}


def test_oscd_rows(cities):
    result = evaluation.evaluate(
        [ColourEncoder()], "oscd", cities, options("oscd", steps=60, val_every=20, window=16)
    )
    learned, distance = by_metric(result, "unet-frozen"), [r for r in result.rows if r["probe"] == "distance"]
    names = ["f1", "precision", "recall", "iou"]
    assert list(learned) == [*names, *(f"{n}:dubai" for n in names)]
    f1, precision, recall = (learned[n]["value"] for n in names[:3])
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall), rel=1e-4)
    assert f1 > 0.8
    assert learned["f1:dubai"]["value"] == f1
    assert learned["iou"]["value"] == pytest.approx(f1 / (2 - f1), rel=1e-4)
    assert all("test dubai" in r["split"] and r["num_train"] == 2 for r in learned.values())
    assert {(r["output"], r["metric"]) for r in distance} == {
        (o, m) for o in ("features", "maps") for m in ("auc", "ap")
    }
    maps = next(r for r in distance if (r["output"], r["metric"]) == ("maps", "auc"))
    # What changed is 3,000 brighter: the plain difference of the bands finds it, without any training.
    assert maps["value"] > 0.99
    assert all(0 <= r["value"] <= 1 for r in result.rows)


def test_cities_may_be_chosen_and_heads_are_scored(cities):
    import torch

    from seco.nets.encoder import Encoder
    from seco.nets.heads import projection_head

    plain = untrained("test_resnet", init="random", device="cpu")
    heads = torch.nn.ModuleDict({"z0": projection_head(plain.spec.feature_dim, 16)})
    spec = dataclasses.replace(plain.spec, heads=("z0",))
    encoder = Encoder(spec=spec, backbone=plain.net["backbone"], heads=heads, name="headed", device="cpu")
    settings = options("oscd", probes=("distance",), test_cities=("paris",), window=16)
    result = evaluation.evaluate([encoder], "oscd", cities, settings)
    assert [r["output"] for r in result.rows] == ["features", "features", "z0", "z0", "maps", "maps"]
    assert all("test paris" in r["split"] and r["normalise"] == "dataset" for r in result.rows)


def test_distances_of_maps_see_the_imagery_at_the_size_asked_for(cities):
    labelled = read_oscd(cities)
    area = labelled.areas[0]
    source = fed(
        untrained("test_resnet", init="random", device="cpu"), labelled.bands, labelled.areas, "dataset"
    )
    plain = map_distances(source, area, 32)
    np.testing.assert_array_equal(plain, map_distances(source, area, 32, size=32))
    twice = map_distances(source, area, 32, size=64)
    assert twice.shape == plain.shape
    assert not np.allclose(twice, plain, atol=1e-3)


def test_a_strip_has_change_to_validate_on():
    mask = np.zeros((60, 40), np.int16)
    mask[2:6, 5:20] = 1
    image = np.arange(2400).reshape(1, 60, 40)
    one, two = strips(Area(name="a", images=(image, image), mask=mask, source=0), 0.2)
    assert 0 < two.mask.mean() < 0.2
    assert one.mask.size + two.mask.size == 2400
    # No pixel is on both sides.
    assert not np.intersect1d(one.images[0], two.images[0]).size


def test_weights_of_classes():
    area = Area(name="a", images=(), mask=np.array([[0] * 90 + [1] * 10]), source=0)
    assert class_weights([area], 3, "none") is None
    balanced = class_weights([area], 3, "balanced").numpy()
    assert balanced[1] / balanced[0] == pytest.approx(9)
    assert balanced[2] == 0
    assert 0.9 * balanced[0] + 0.1 * balanced[1] == pytest.approx(1)
    root = class_weights([area], 3, "sqrt").numpy()
    assert root[1] / root[0] == pytest.approx(3)


@pytest.mark.parametrize(
    ("task", "more", "error", "words"),
    [
        ("oscd", {"test_cities": ("rome",)}, TaskError, "no city rome with labels"),
        (
            "oscd",
            {"test_cities": ("aguas", "paris", "dubai")},
            TaskError,
            "0 cities to train on and 3 to test on",
        ),
        ("oscd", {"outputs": ("z7",)}, TaskError, "has no output z7"),
        ("segmentation", {"test_share": 0.01, "val_share": 0.01}, None, ""),
    ],
)
def test_what_cannot_be_asked(task, more, error, words, fields, cities):
    data = cities if task == "oscd" else fields
    settings = options(task, steps=1, val_every=1, **more)
    if error is None:
        assert evaluation.evaluate([ColourEncoder()], task, data, settings).rows
        return
    with pytest.raises(error, match=words):
        evaluation.evaluate([ColourEncoder()], task, data, settings)


@pytest.mark.parametrize(
    ("task", "more", "words"),
    [
        ("oscd", {"probes": ("knn",)}, "probe knn; known: unet, distance"),
        ("oscd", {"stride": 64}, "window 32 px every 64 px"),
        ("segmentation", {"tile": 4}, "tile 4 px"),
        ("segmentation", {"block_px": 16}, "blocks of 16 px are smaller than tiles"),
        ("segmentation", {"layer_decay": 0.0}, "layer decay 0.0"),
        ("segmentation", {"steps": 0}, "steps 0"),
    ],
)
def test_settings_out_of_range(task, more, words):
    with pytest.raises(ConfigError, match=words):
        options(task, **more)


def test_other_data_and_other_encoders(tmp_path, fields):
    with pytest.raises(DatasetError, match="0 cities with images"):
        evaluation.evaluate([ColourEncoder()], "oscd", fields, options("oscd"))
    with pytest.raises(SecoError, match="does not exist"):
        evaluation.evaluate([ColourEncoder()], "segmentation", tmp_path / "no", options("segmentation"))
    with pytest.raises(TaskError, match="other has no feature maps"):
        evaluation.evaluate([_Other()], "segmentation", fields, options("segmentation"))


class _Other:
    name = "other"
    outputs = ("features",)
    spec = ColourEncoder().spec

    def fingerprint(self):
        return "0"

    def encode(self, pixels, **settings):
        return {"features": np.zeros((len(pixels), 1), np.float32)}
