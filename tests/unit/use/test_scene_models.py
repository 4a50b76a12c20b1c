"""Fine-tune on every kind of label, then map a scene: same CRS, extent and nodata; bad input is one error each."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dense_data import CRS, ground, write_geojson, write_oscd, write_pairs, write_tif

from seco.cli import main
from seco.data.vectors import read_shapes
from seco.errors import CheckpointError, ConfigError, DatasetError, TaskError, TrainingError
from seco.nets.baselines import untrained
from seco.train import supervised
from seco.train.stopping import InterruptedRunError
from seco.use import predict as predicting
from seco.use.finetune import Options, finetune
from seco.use.model import HEAD_NAME, load_model
from seco.use.predict import predict

QUICK = {"steps": 12, "val_every": 4, "batch_size": 8, "tile": 32, "lr": 2e-3, "num": 0}


def quick(**more):
    return Options(**{k: v for k, v in (QUICK | more).items() if k != "num"})


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def encoder():
    return untrained("test_resnet", init="random", device="cpu")


def train(encoder, data, out, *, labels=None, start="new", **more):
    lines = []
    done = finetune(encoder, [data], out, quick(**more), labels=labels, start=start, say=lines.append)
    return done, lines


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory, encoder):
    root = tmp_path_factory.mktemp("segment")
    data = write_pairs(root / "data", num=8)
    (data / "classes.txt").write_text("1 forest #00ff00\n4 wheat #ffff00\n7 water #0000ff\n")
    train(encoder, data, root / "model", steps=50, val_every=25, tuning="tuned", lr=5e-3, encoder_lr=5e-3)
    return root / "model"


def scene(path, height=150, width=110, seed=99, **more):
    classes, pixels = ground(height, width, seed)
    return classes, write_tif(path, pixels, names=("red", "green", "blue"), **more)


def test_a_map_has_the_scenes_crs_extent_and_classes(tmp_path, segmenter):
    model = load_model(segmenter, device="cpu")
    assert [c.name for c in model.classes] == ["forest", "wheat", "water"]
    truth, file = scene(tmp_path / "scene.tif")
    done = predict(model, file, tmp_path / "out.tif")
    with rasterio.open(file) as given, rasterio.open(tmp_path / "out.tif") as found:
        assert found.crs == given.crs == rasterio.CRS.from_string(CRS)
        assert (found.transform, found.bounds, found.shape) == (given.transform, given.bounds, given.shape)
        assert found.profile["tiled"]
        assert found.compression.name == "deflate"
        assert found.nodata == 255
        assert found.colormap(1)[0] == (0, 255, 0, 255)
        assert found.tags(1)["CLASS_2"] == "water"
        assert [c["name"] for c in json.loads(found.tags()["CLASSES"])] == ["forest", "wheat", "water"]
        classes = found.read(1)
    # Three plain colours are told apart.
    assert (classes == truth).mean() > 0.9
    assert sum(done.shares.values()) == pytest.approx(1)
    assert not list(tmp_path.glob(".*partial*"))


def test_probabilities_and_windows_of_other_sizes_agree(tmp_path, segmenter):
    model = load_model(segmenter, device="cpu")
    _, file = scene(tmp_path / "scene.tif")
    chances = predicting.Options(write="probabilities")
    predict(model, file, tmp_path / "p.tif", chances)
    predict(model, file, tmp_path / "c.tif")
    with rasterio.open(tmp_path / "p.tif") as p, rasterio.open(tmp_path / "c.tif") as c:
        assert p.descriptions == ("forest", "wheat", "water")
        found = p.read()
        assert np.allclose(found.sum(0), 1, atol=1e-5)
        assert np.array_equal(found.argmax(0), c.read(1))
    predict(model, file, tmp_path / "d.tif", predicting.Options(tile=48, overlap=0.25, batch_size=3))
    with rasterio.open(tmp_path / "d.tif") as d, rasterio.open(tmp_path / "c.tif") as c:
        assert (d.read(1) == c.read(1)).mean() > 0.9


def test_nodata_stays_nodata(tmp_path, segmenter):
    _, pixels = ground(300, 70, 5)
    pixels = np.maximum(pixels, 1)
    pixels[:, 100:180, 10:50] = 0
    file = write_tif(tmp_path / "scene.tif", pixels, names=("red", "green", "blue"), nodata=0)
    predict(load_model(segmenter, device="cpu"), file, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as found:
        assert np.array_equal(found.read(1) == 255, (pixels == 0).any(0))
    write_tif(file, np.zeros((3, 70, 70), np.uint8), names=("red", "green", "blue"), nodata=0)
    with pytest.raises(DatasetError, match="nothing was measured"):
        predict(load_model(segmenter, device="cpu"), file, tmp_path / "none.tif")
    assert not (tmp_path / "none.tif").exists()


def test_a_file_a_band_on_two_resolutions(tmp_path, segmenter):
    truth, pixels = ground(96, 64, 7)
    for name, band in zip(("red", "green"), pixels, strict=False):
        write_tif(tmp_path / "scene" / f"s_{name}.tif", band)
    write_tif(tmp_path / "scene" / "s_blue.tif", pixels[2, ::2, ::2], gsd=20.0)
    predict(load_model(segmenter, device="cpu"), tmp_path / "scene", tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as found:
        assert found.shape == (96, 64)
        assert found.transform.a == 10
        assert (found.read(1) == truth).mean() > 0.8


def test_memory_does_not_grow_with_height(tmp_path, segmenter, monkeypatch):
    read = []
    original = predicting.RasterScene.read

    def watched(self, reader, row, col, height, width, **more):
        read.append(height)
        return original(self, reader, row, col, height, width, **more)

    monkeypatch.setattr(predicting.RasterScene, "read", watched)
    written = []

    class Watched(rasterio.io.DatasetWriter):
        def write(self, pixels, *args, **more):
            written.append(pixels.shape[-2])
            super().write(pixels, *args, **more)

    _, file = scene(tmp_path / "scene.tif", height=900, width=40)
    predict(load_model(segmenter, device="cpu"), file, tmp_path / "out.tif")
    assert max(read) == 32
    with rasterio.open(tmp_path / "out.tif") as found:
        assert found.shape == (900, 40)


def test_change_between_two_scenes(tmp_path, encoder):
    data = write_oscd(tmp_path / "oscd")
    # Three bands by name, so that an encoder of RGB can be fed.
    done, lines = train(encoder, data, tmp_path / "model", steps=40, val_every=20, normalise="dataset")
    assert lines[0].startswith("change: 2 classes (no change, change)")
    assert done.best_score > 0.5
    model = load_model(tmp_path / "model", device="cpu")
    city = "Onera Satellite Change Detection dataset - Images/dubai"
    bands = {
        d: [rasterio.open(data / city / f"imgs_{d}_rect" / f"{b}.tif").read(1) for b in ("B04", "B03", "B02")]
        for d in (1, 2)
    }
    files = [
        write_tif(tmp_path / f"{d}.tif", np.stack(b), names=("B04", "B03", "B02")) for d, b in bands.items()
    ]
    predict(model, files[0], tmp_path / "out.tif", after=files[1])
    with rasterio.open(tmp_path / "out.tif") as found:
        classes = found.read(1)
        assert found.tags(1)["CLASS_1"] == "change"
    truth = np.zeros((64, 64), bool)
    truth[8:28, 14:40] = truth[44:56, 40:60] = True
    inside = (classes == 1)[truth].mean()
    assert inside > 0.6
    assert (classes == 1)[~truth].mean() < 0.3
    with pytest.raises(ConfigError, match="takes two scenes: give the later one with --after"):
        predict(model, files[0], tmp_path / "x.tif")


def test_points_over_a_scene_classify_images(tmp_path, encoder):
    rng = np.random.default_rng(0)
    classes, pixels = ground(256, 256, 3, square=64)
    file = write_tif(tmp_path / "scene.tif", pixels, names=("red", "green", "blue"))
    spots = [(int(r), int(c)) for r, c in rng.integers(2, 254, (60, 2))]
    points = [
        (
            {"type": "Point", "coordinates": [500_000 + 10 * c + 5, 5_000_000 - 10 * r - 5]},
            {"crop": f"k{classes[r, c]}"},
        )
        for r, c in spots
    ]
    labels = write_geojson(
        tmp_path / "points.geojson", [*points, ({"type": "Point", "coordinates": [0, 0]}, {"crop": "k1"})]
    )
    done, lines = train(
        encoder, file, tmp_path / "model", labels=labels, label_field="crop", tile=16, steps=60, val_every=20,
        tuning="tuned", encoder_lr=2e-3,
    )  # fmt: skip
    assert lines[0].startswith("classify: 3 classes (k0, k1, k2)")
    assert done.best_score > 0.5
    predict(load_model(tmp_path / "model", device="cpu"), file, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as found:
        assert (found.read(1) == classes).mean() > 0.5


def test_polygons_over_a_scene_label_pixels(tmp_path, encoder):
    classes, pixels = ground(192, 192, 3, square=32)
    file = write_tif(tmp_path / "scene.tif", pixels, names=("red", "green", "blue"))
    shapes = []
    for r in range(0, 192, 32):
        for c in range(0, 192, 32):
            x, y = 500_000 + 10 * c, 5_000_000 - 10 * r
            ring = [
                [x + 20, y - 20],
                [x + 300, y - 20],
                [x + 300, y - 300],
                [x + 20, y - 300],
                [x + 20, y - 20],
            ]
            shapes.append(({"type": "Polygon", "coordinates": [ring]}, {"class": int(classes[r, c])}))
    labels = write_geojson(tmp_path / "p.geojson", shapes)
    done, lines = train(
        encoder,
        file,
        tmp_path / "model",
        labels=labels,
        steps=60,
        val_every=20,
        tuning="tuned",
        encoder_lr=2e-3,
    )
    assert lines[0].startswith("segment: 3 classes (0, 1, 2)")
    # One class everywhere scores 0.15 at most.
    assert done.best_score > 0.4
    metadata = json.loads((tmp_path / "model" / "model.json").read_text())
    assert metadata["about"]["labels"] == "p.geojson"


def test_a_class_that_only_one_part_has_is_named(tmp_path, encoder):
    _, pixels = ground(192, 192, 3)
    file = write_tif(tmp_path / "scene.tif", pixels, names=("red", "green", "blue"))
    shapes = []
    for r, c in ((0, 0), (0, 64), (64, 0), (64, 64)):
        x, y = 500_000 + 10 * c, 5_000_000 - 10 * r
        ring = [[x + 20, y - 20], [x + 300, y - 20], [x + 300, y - 300], [x + 20, y - 300], [x + 20, y - 20]]
        shapes.append(({"type": "Polygon", "coordinates": [ring]}, {"class": "dry" if r + c else "wet"}))
    labels = write_geojson(tmp_path / "p.geojson", shapes)
    for seed in range(3):
        _, lines = train(encoder, file, tmp_path / f"m{seed}", labels=labels, steps=1, seed=seed)
        # One of four areas is to stop on: either the only wet one, or one of three dry ones.
        wet, dry = (
            f"; {found}; try another --seed" in lines[0]
            for found in ("no dry to stop on, no wet to train on", "no wet to stop on")
        )
        assert wet != dry


def test_labels_in_degrees_are_laid_over_metres(tmp_path):
    found = read_shapes(
        write_geojson(
            tmp_path / "a.geojson",
            [({"type": "Point", "coordinates": [-9.0, 45.15]}, {"class": "x"})],
            crs=None,
        ),
        "class",
    )
    x, y = found.on(CRS)[0].coords[0]
    assert abs(x - 500_000) < 1
    assert abs(y - 4_999_700) < 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no GeoJSON FeatureCollection"),
        ('{"features": []}', "no geometry"),
        ('{"features": [{"geometry": {"type": "Point", "coordinates": [0, 0]}, "properties": {"kind": "a"}}]}',
         "1 of 1 features have no 'class'; fields: kind"),
        ('{"features": [{"geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, "properties": {"class": 1}}]}',
         "holds LineString; labels are points or polygons"),
        ('{"features": [{"geometry": null, "properties": {"class": 1}}]}', "is no GeoJSON"),
        (('{"crs": {"properties": {"name": "EPSG:0"}}, "features": [{"geometry": {"type": "Point", "coordinates": [0, 0]}, '
         '"properties": {"class": 1}}]}'), "CRS 'EPSG:0' is not known"),
    ],
)  # fmt: skip
def test_vector_files_that_do_not_fit(tmp_path, text, words):
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_shapes(tmp_path / "a.geojson", "class")


def test_labels_that_lie_elsewhere_and_lone_classes(tmp_path, encoder):
    _, file = scene(tmp_path / "scene.tif")
    away = [({"type": "Point", "coordinates": [0, 0]}, {"class": c}) for c in "ab"]
    labels = write_geojson(tmp_path / "p.geojson", away)
    with pytest.raises(TaskError, match=r"no point of p.geojson lies on measured ground of scene.tif"):
        train(encoder, file, tmp_path / "m", labels=labels)
    near = [({"type": "Point", "coordinates": [500_500, 4_999_500]}, {"class": c}) for c in "aab"]
    with pytest.raises(TaskError, match="class b has one image"):
        train(encoder, file, tmp_path / "m", labels=write_geojson(labels, near))
    with pytest.raises(ConfigError, match="kind change with"):
        train(encoder, file, tmp_path / "m", labels=labels, kind="change")
    plain = write_tif(tmp_path / "plain.tif", ground(64, 64, 0)[1], crs=None, names=("red", "green", "blue"))
    with pytest.raises(DatasetError, match=r"plain.tif has no CRS"):
        train(encoder, plain, tmp_path / "m", labels=labels)


def test_frozen_stays_frozen_and_tuned_moves_by_layer(tmp_path, encoder):
    data = write_pairs(tmp_path / "data")
    before = {k: v.clone() for k, v in encoder.net["backbone"].state_dict().items()}
    for tuning in ("frozen", "tuned"):
        train(encoder, data, tmp_path / tuning, tuning=tuning, steps=4, encoder_lr=1e-3)
        after = load_model(tmp_path / tuning, device="cpu").net.parts[0].state_dict()
        moved = {k for k in before if not torch.equal(before[k], after[k])}
        assert bool(moved) == (tuning == "tuned")
        assert not [k for k in moved if "running" in k]
    # The encoder handed over is as it was.
    assert all(torch.equal(v, before[k]) for k, v in encoder.net["backbone"].state_dict().items())
    net = supervised.Predictor(encoder.net["backbone"], kind="segment", num_classes=3, tuning="tuned")
    groups = supervised.layer_groups(net, quick(tuning="tuned"))
    peaks = sorted({g["peak"] for g in groups})
    assert len(peaks) > 4
    assert peaks[-1] == pytest.approx(2e-3)
    assert peaks[-2] == pytest.approx(1e-4)
    assert peaks[-3] == pytest.approx(0.75e-4)
    assert sum(len(g["params"]) for g in groups) == len(list(net.parameters()))
    assert all(p.ndim > 1 for g in groups if g["weight_decay"] for p in g["params"])


def test_statistics_that_moved_are_those_that_predict(tmp_path, encoder, monkeypatch):
    data = write_pairs(tmp_path / "data")
    kept = []
    build = supervised.Predictor.train

    def watched(self, mode=True):
        kept[:] = [self]
        return build(self, mode)

    monkeypatch.setattr(supervised.Predictor, "train", watched)
    train(encoder, data, tmp_path / "model", tuning="tuned", norm="batch", steps=4)
    trained = kept[0].state_dict()
    found = load_model(tmp_path / "model", device="cpu").net
    assert all(torch.equal(v, trained[k]) for k, v in found.state_dict().items())
    before = encoder.net["backbone"].state_dict()
    moved = {k for k, v in found.parts[0].state_dict().items() if not torch.equal(v, before[k])}
    assert {k for k in before if "running" in k} <= moved
    assert not any(m.training for m in found.modules())


def test_settings_that_are_refused_do_not_take_the_folder(tmp_path):
    data = write_pairs(tmp_path / "data")
    encoder = untrained("test_vit", init="random", device="cpu")
    with pytest.raises(ConfigError, match="has no batch norm"):
        train(encoder, data, tmp_path / "model", tuning="tuned", norm="batch", steps=2)
    train(encoder, data, tmp_path / "model", tuning="tuned", steps=2)
    assert load_model(tmp_path / "model", device="cpu").kind == "segment"


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, encoder, monkeypatch):
    data = write_pairs(tmp_path / "data")
    settings = {"tuning": "tuned", "steps": 8, "val_every": 2}
    whole, _ = train(encoder, data, tmp_path / "whole", **settings)

    class Asked:
        calls = 0

        def is_set(self):
            Asked.calls += 1
            return Asked.calls > 6

    import contextlib

    with monkeypatch.context() as patched:
        patched.setattr(supervised, "stop_flag", lambda: contextlib.nullcontext(Asked()))
        with pytest.raises(InterruptedRunError, match="saved; go on with --resume"):
            train(encoder, data, tmp_path / "parts", **settings)
    with pytest.raises(ConfigError, match="holds a model already"):
        train(encoder, data, tmp_path / "parts", **settings)
    with pytest.raises(ConfigError, match="was started with steps 8, not 9"):
        train(encoder, data, tmp_path / "parts", start="resume", **(settings | {"steps": 9}))
    again, _ = train(encoder, data, tmp_path / "parts", start="resume", **settings)
    assert again.history == whole.history
    one, two = (load_model(tmp_path / n, device="cpu").net.state_dict() for n in ("whole", "parts"))
    assert all(torch.equal(v, two[k]) for k, v in one.items())


def test_training_ends_early_with_the_best_weights(encoder):
    net = supervised.Predictor(encoder.net["backbone"], kind="classify", num_classes=2)
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.6, 0.5])
    kept = []

    def validate(net):
        kept.append(net.head.weight.detach().clone())
        return next(scores)

    def draw(step):
        rng = torch.Generator().manual_seed(step)
        return supervised.Batch(
            inputs=(torch.randn(2, 3, 32, 32, generator=rng),), target=torch.tensor([0, 1])
        )

    settings = supervised.Training(steps=100, val_every=1, patience=2)
    done = supervised.fit(net, settings, draw=draw, validate=validate, seed=0)
    assert (done.num_steps, done.best_step, done.best_score) == (4, 2, 0.9)
    assert torch.equal(net.head.weight, kept[1])
    broken = dataclasses.replace(draw(0), inputs=(torch.full((2, 3, 32, 32), float("nan")),))
    with pytest.raises(
        TrainingError, match="the loss is nan at step 0; the encoder's weights or the images hold"
    ):
        supervised.fit(net, settings, draw=lambda step: broken, validate=validate, seed=0)


def test_limits_that_no_model_keeps_are_refused(tmp_path, encoder):
    with pytest.raises(ConfigError, match=r"normalise paper of band .* use --normalise dataset"):
        train(encoder, write_oscd(tmp_path / "oscd"), tmp_path / "model", normalise="paper")
    assert not (tmp_path / "model").exists()


def test_models_that_cannot_be_loaded(tmp_path, segmenter, encoder):
    with pytest.raises(CheckpointError, match="holds no model"):
        load_model(tmp_path)
    encoder.save(tmp_path / "e" / "encoder")
    with pytest.raises(CheckpointError, match="an encoder without a head"):
        load_model(tmp_path / "e")
    (tmp_path / "e" / HEAD_NAME).write_bytes((segmenter / HEAD_NAME).read_bytes()[:500])
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(tmp_path / "e")
    untrained("test_convnext", init="random", device="cpu").save(tmp_path / "f" / "encoder")
    (tmp_path / "f" / HEAD_NAME).write_bytes((segmenter / HEAD_NAME).read_bytes())
    with pytest.raises(CheckpointError, match="does not fit its encoder"):
        load_model(tmp_path / "f", device="cpu")


def test_scenes_that_do_not_fit(tmp_path, segmenter):
    model = load_model(segmenter, device="cpu")
    two = write_tif(tmp_path / "two.tif", np.ones((2, 40, 40), np.uint8), names=("red", "green"))
    with pytest.raises(DatasetError, match="needs band blue"):
        predict(model, two, tmp_path / "o.tif")
    with pytest.raises(DatasetError, match="does not exist"):
        predict(model, tmp_path / "no.tif", tmp_path / "o.tif")
    _, file = scene(tmp_path / "scene.tif")
    with pytest.raises(ConfigError, match="is the scene itself"):
        predict(model, file, file)
    with pytest.raises(ConfigError, match="takes one scene"):
        predict(model, file, tmp_path / "o.tif", after=file)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"scene.tif"):
        predict(model, file, tmp_path / "o.tif")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no raster file"):
        predict(model, tmp_path / "empty", tmp_path / "o.tif")
    assert not (tmp_path / "o.tif").exists()


def test_from_the_command_line(tmp_path, segmenter, capsys):
    _, file = scene(tmp_path / "scene.tif", height=40, width=40)
    assert main(["predict", str(segmenter), str(file), str(tmp_path / "out.tif"), "--device", "cpu"]) == 0
    assert "forest" in capsys.readouterr().out
    data = write_pairs(tmp_path / "data")
    words = [
        "finetune",
        "random:test_resnet",
        str(tmp_path / "m"),
        "--data",
        str(data),
        "--device",
        "cpu",
        "--tile",
        "32",
    ]
    assert main([*words, "--steps", "2", "--val-every", "1"]) == 0
    assert "validation" in capsys.readouterr().out
    assert main(["finetune", "colour", str(tmp_path / "n"), "--data", str(data)]) == 2
    assert "has no weights to start from" in capsys.readouterr().err
    assert main(["predict", str(segmenter), str(file), str(tmp_path / "o.tif"), "--overlap", "1.5"]) == 2
    assert "overlap 1.5" in capsys.readouterr().err
