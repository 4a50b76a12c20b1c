"""Runs of a few steps: what they leave behind, and what is refused."""

import importlib.metadata
import json
import math
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import seco
from seco.config import build, read_yaml
from seco.data.dataset import open_dataset
from seco.errors import CheckpointError, ConfigError, DatasetError, SecoError, TrainingError
from seco.runs import read_metrics
from seco.train import checkpoints
from seco.train.loop import pretrain
from seco.train.settings import Pretrain
from seco.views.batch import Viewer

# --- what a run leaves behind -------------------------------------------------------------------------------------------


def test_a_run_folder_holds_what_the_docs_say(tools, straight, small_dataset):
    run, finished = straight.run, straight.finished
    assert sorted(f.name for f in run.iterdir()) == [
        "checkpoints", "config.yaml", "encoder", "environment.json", "metrics.jsonl", "places.parquet", "started.json",
        "tensorboard",
    ]  # fmt: skip
    assert finished.run == run
    assert finished.num_steps == tools.STEPS
    assert math.isfinite(finished.last["loss"])
    config = build(Pretrain, read_yaml(run / "config.yaml"))
    assert (config.steps, config.view_px, config.checkpoint_every) == (tools.STEPS, 16, 5)
    assert None not in config.method_options.values()
    assert json.loads((run / "environment.json").read_text())["versions"][
        "torch"
    ] == importlib.metadata.version("torch")
    parts = pq.read_table(run / "places.parquet").to_pydict()
    assert parts["place"] == open_dataset(small_dataset).place_ids
    assert parts["part"].count("held out") == 5
    assert parts["part"].count("train") == 19
    assert [f.name for f in checkpoints.folders(run)] == ["step-00000005", "step-00000008"]


def test_the_log_has_losses_accuracies_rates_and_a_probe(straight):
    run = straight.run
    rows = read_metrics(run / "metrics.jsonl")
    steps = [(r["step"], "probe" if "probe_place" in r else "loss") for r in rows]
    assert steps == [(1, "loss"), (3, "loss"), (4, "probe"), (6, "loss"), (8, "loss"), (8, "probe")]
    for row in rows:
        if "loss" in row:
            assert {
                "lr",
                "samples_per_s",
                *(f"{k}_z{i}" for k in ("loss", "accuracy", "match") for i in range(3)),
            } <= set(row)
            assert row["loss"] == pytest.approx(sum(row[f"loss_z{i}"] for i in range(3)), rel=1e-6)
        else:
            assert 0 <= row["probe_place"] <= 1
    assert rows[0]["lr"] == pytest.approx(0.5 * 0.000177)


def test_a_plain_vision_transformer_is_trained_saved_and_loaded_at_the_patch_size(
    tools, make_dataset, tmp_path
):
    path = make_dataset(px=32)  # the model was made for 160 px
    config = tools.make(path, encoder="test_vit", steps=2, batch_size=4)
    pretrain(config, tmp_path / "run", say=tools.quiet)
    encoder = seco.load_encoder(tmp_path / "run", device="cpu")
    tier = open_dataset(path).training()
    features = encoder.encode(tier.pixels[:8], bands=tier.bands)["features"]
    assert features.shape == (8, encoder.spec.feature_dim)
    assert features.std(0).min() > 0


def test_what_was_chosen_and_how_it_goes_is_told(straight):
    lines = straight.lines
    assert lines[0].startswith("seco on 19 places (5 held out: blocks of 10 degrees")
    assert "test_resnet for red,green,blue" in lines[0]
    assert next(x for x in lines[1:] if not x.startswith("fp32, because")).startswith(
        "chosen for you: view_px 16, blur_sigma"
    )
    assert any(
        x.startswith("step 3/8  loss ") and "z2" in x and "samples/s" in x and x.endswith("left")
        for x in lines
    )
    assert any(x.startswith("step 4: held-out places: probe_place") for x in lines)


def test_more_footprints_than_a_file_holds_are_left_out_and_it_is_said(
    tools, small_dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr("seco.train.loop.MAX_BOXES", 18)
    said = []
    pretrain(tools.make(small_dataset, steps=1), tmp_path / "run", say=said.append)
    assert (
        "footprints of more than 18 places are not kept: the encoder cannot tell what ground it saw" in said
    )
    assert len(seco.load_encoder(tmp_path / "run", device="cpu").spec.trained_boxes) == 0


def test_the_encoder_knows_what_it_was_trained_on(tools, straight, small_dataset):
    run = straight.run
    encoder = seco.load_encoder(run, device="cpu")
    spec, tier = encoder.spec, open_dataset(small_dataset).training()
    assert (spec.method, spec.num_steps, spec.arch, spec.patch_px) == ("seco", tools.STEPS, "test_resnet", 16)
    assert spec.heads == ("z0", "z1", "z2")
    assert spec.mean == pytest.approx(tier.mean)
    assert spec.std == pytest.approx(tier.std)
    assert spec.bands == tier.bands
    assert spec.data_fingerprint == tier.fingerprint
    assert len(spec.trained_boxes) == 19
    out = encoder.encode(tier.pixels[:3], bands=tier.bands, outputs=("features", "z2"))
    assert out["features"].shape == (3, 96)
    # It is the query's network as trained, not a fresh one or the key's.
    state = checkpoints.load_newest(run)[1]
    weights = encoder.net.state_dict()
    assert all(torch.equal(v, state[f"net.query.{k}"]) for k, v in weights.items())
    assert any(not torch.equal(v, state[f"net.key.{k}"]) for k, v in weights.items())


def test_curves_and_tensorboard_are_there(straight, tmp_path):
    from seco.report.curves import draw_curves

    run = straight.run
    assert draw_curves([run], tmp_path / "curves.png").stat().st_size > 5000
    assert any(f.name.startswith("events") for f in (run / "tensorboard").iterdir())


# --- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"batch_size": 5}, "was started with batch_size 4, now it is 5"),
        ({"steps": 9}, "steps 8, now it is 9"),
        ({"seed": 1}, "seed 0, now it is 1"),
        ({"method_options": {"lr": 0.5}}, "lr 0.000177, now it is 0.5"),
        ({"crop_scale": (0.5, 1.0)}, "crop_scale"),
        ({"bands": ("red", "green")}, "bands None"),
    ],
)
def test_resuming_with_other_settings_is_one_clear_error(tools, straight, small_dataset, changed, said):
    before = sorted((f, f.stat().st_mtime_ns) for f in straight.run.rglob("*"))
    with pytest.raises(ConfigError, match=said) as caught:
        pretrain(tools.make(small_dataset, **changed), straight.run, resume=True, say=tools.quiet)
    assert "method_options" not in str(caught.value)
    assert sorted((f, f.stat().st_mtime_ns) for f in straight.run.rglob("*")) == before


def test_resuming_with_other_data_is_one_clear_error_and_a_moved_dataset_is_fine(
    tools, straight, small_dataset, make_dataset, tmp_path
):
    with pytest.raises(ConfigError, match="trained on other data or bands"):
        pretrain(tools.make(make_dataset("other.seco", seed=1)), straight.run, resume=True, say=tools.quiet)
    shutil.copytree(small_dataset, tmp_path / "moved.seco")
    lines = []
    pretrain(tools.make(tmp_path / "moved.seco"), straight.run, resume=True, say=lines.append)
    assert any("finished already" in x for x in lines)


def test_a_run_that_is_there_is_not_overwritten_and_one_that_is_not_cannot_be_resumed(
    tools, straight, small_dataset, tmp_path
):
    before = sorted((f, f.stat().st_mtime_ns) for f in straight.run.rglob("*"))
    with pytest.raises(ConfigError, match="holds a run already; go on with --resume"):
        pretrain(tools.make(small_dataset), straight.run, say=tools.quiet)
    assert sorted((f, f.stat().st_mtime_ns) for f in straight.run.rglob("*")) == before
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        pretrain(tools.make(small_dataset), tmp_path / "nothing", resume=True, say=tools.quiet)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"data": Path("/nowhere")}, DatasetError, "not a dataset"),
        ({"encoder": "resnet19"}, ConfigError, "no model"),
        ({"encoder": "test_vit_relpos"}, ConfigError, "cannot take images of 16 px"),
        ({"method": "nothing"}, ConfigError, "no method"),
        ({"bands": ("B99",)}, DatasetError, "B99"),
        ({"batch_size": 64}, ConfigError, "above the 19 places"),
        ({"init": "/nowhere"}, CheckpointError, "no weights"),
        ({"device": "cuda:9"}, ConfigError, "cannot be used"),
        ({"crop_scale": (0.0, 1.0)}, ConfigError, "crop scale"),
        ({"method_options": {"queue_size": 0}}, ConfigError, "queue of 0"),
    ],
)
def test_what_cannot_be_started_leaves_no_run_behind(tools, small_dataset, tmp_path, changed, error, said):
    with pytest.raises(error, match=said):
        pretrain(tools.make(changed.pop("data", small_dataset), **changed), tmp_path / "run", say=tools.quiet)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["config.yaml", "started.json", "checkpoints/step-00000008/state.json"])
def test_a_damaged_run_is_one_clear_error(tools, straight, small_dataset, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(straight.run, run)
    (run / name).write_text("{")
    with pytest.raises(SecoError, match=Path(name).name.replace(".", r"\.")) as caught:
        pretrain(tools.make(small_dataset), run, resume=True, say=tools.quiet)
    assert "\n" not in str(caught.value)


# --- losses that are not finite -----------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    tools, small_dataset, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    original = Viewer.views

    def spoiled(self, seasons, epoch, places):
        views = original(self, seasons, epoch, places)
        if (run / "checkpoints" / "step-00000005").is_dir():
            views["q"][0, 0, 0, 0] = math.nan
        return views

    monkeypatch.setattr(Viewer, "views", spoiled)
    with pytest.raises(
        TrainingError,
        match=r"loss is nan at step 5; the checkpoint step-00000005 is kept: lower the learning rate",
    ):
        pretrain(tools.make(small_dataset), run, say=tools.quiet)
    assert not [t for t in threading.enumerate() if t.name == "seco-reader"]
    step, state, _ = checkpoints.load_newest(run)
    assert step == 5
    assert all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point())
    assert seco.load_encoder(run, device="cpu").spec.num_steps == 5


@pytest.mark.parametrize("checkpoint_every", [1, 50])
def test_a_learning_rate_that_is_far_too_high_stops_with_a_training_error(
    tools, small_dataset, tmp_path, checkpoint_every
):
    config = tools.make(
        small_dataset, steps=40, checkpoint_every=checkpoint_every, probe_every=0,
        method_options={"lr": 999.0, "warmup_steps": 0, "weight_decay": 0.99},
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"not finite|loss is (nan|inf).*lower the learning rate"):
        pretrain(config, tmp_path / "run", say=tools.quiet)
    newest = checkpoints.load_newest(tmp_path / "run")
    if newest is not None:
        assert all(torch.isfinite(v).all() for v in newest[1].values() if v.is_floating_point())


# --- other methods, bands, starts ---------------------------------------------------------------------------------------


def test_any_bands_and_one_date_a_place_with_moco(tools, make_dataset, tmp_path):
    from seco.sensors import sentinel2

    bands = [sentinel2.band(b) for b in ("B02", "B03", "B04", "B08", "B12")]
    data = make_dataset(num_places=10, num_dates=1, bands=bands, dtype="uint16", labels=["a", "b"] * 5)
    config = tools.make(
        data, method="moco", steps=2, batch_size=3, bands=("B12", "B04", "B08", "B02"), seasons="with"
    )
    pretrain(config, tmp_path / "run", say=tools.quiet)
    encoder = seco.load_encoder(tmp_path / "run", device="cpu")
    assert [b.name for b in encoder.spec.bands] == ["B12", "B04", "B08", "B02"]
    assert encoder.spec.heads == ("z0",)
    assert 0 <= tools.logged(tmp_path / "run")[-1]["probe_label"] <= 1
    with pytest.raises(DatasetError, match="--method moco"):
        pretrain(tools.make(data, batch_size=3), tmp_path / "seco", say=tools.quiet)


def test_a_run_can_start_from_another_run_s_encoder(tools, straight, small_dataset, tmp_path):
    config = tools.make(
        small_dataset,
        init=str(straight.run),
        steps=1,
        split_seed=1,
        method_options={"lr": 1e-12, "weight_decay": 0.0},
    )
    pretrain(config, tmp_path / "run", say=tools.quiet)
    # What the starting weights were trained on is remembered: no place is new to both runs' encoder.
    encoders = (seco.load_encoder(r, device="cpu") for r in (straight.run, tmp_path / "run"))
    first, second = ({tuple(b) for b in e.spec.trained_boxes.tolist()} for e in encoders)
    assert first < second
    ours, theirs = (tools.final(r)[2] for r in (tmp_path / "run", straight.run))
    key = "backbone.conv1.0.weight"
    assert torch.allclose(ours[key], theirs[key], atol=1e-9)
    with pytest.raises(CheckpointError, match="the data are red"):
        pretrain(
            tools.make(small_dataset, init=str(straight.run), bands=("red",)),
            tmp_path / "other",
            say=tools.quiet,
        )


def test_a_constant_band_trains(tools, make_dataset, tmp_path):
    path = make_dataset(num_places=8, num_dates=3, px=16)
    dataset = open_dataset(path)
    dataset.training()
    (file,) = path.rglob("pixels.npy")
    pixels = np.load(file)
    pixels[:, 1] = 7
    np.save(file, pixels)
    stats = json.loads((file.parent / "tier.json").read_text())
    for key, value in (("mean", 7.0), ("std", 0.0), ("low", 7.0), ("high", 7.0)):
        stats[key][1] = value
    (file.parent / "tier.json").write_text(json.dumps(stats))
    finished = pretrain(tools.make(path, steps=2, batch_size=3), tmp_path / "run", say=tools.quiet)
    assert math.isfinite(finished.last["loss"])
    # The encoder divides by what training divided by: one step up in that band is one step up, not a million.
    assert seco.load_encoder(tmp_path / "run", device="cpu").spec.std[1] == 1


def test_what_a_run_computed_on_and_in_is_kept_and_a_change_is_said(tools, straight, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(straight.run, run)
    started = json.loads((run / "started.json").read_text())
    assert (started["device"], started["precision"]) == ("cpu", "fp32")
    (run / "started.json").write_text(json.dumps(started | {"device": "cuda", "precision": "bf16"}))
    lines = []
    pretrain(build(Pretrain, read_yaml(run / "config.yaml")), run, resume=True, say=lines.append)
    assert any(x.startswith("so far on cuda in bf16, from here on cpu in fp32: not what") for x in lines)


# --- precision ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def fast_bf16(monkeypatch):
    """A machine that has bf16 arithmetic, as far as `auto` can tell."""
    monkeypatch.setattr("seco.nets.devices.has_fast_bf16", lambda device: True)


def test_auto_takes_fp32_where_bf16_gradients_of_the_cpu_are_wrong(fast_bf16, tools, small_dataset, tmp_path):
    said = []
    finished = pretrain(tools.make(small_dataset, steps=2), tmp_path / "run", say=said.append)
    assert "fp32, because bf16 gradients of layer4.0.conv1 would be wrong on a CPU at 16 px" in said
    assert any(", cpu fp32, " in line for line in said)
    assert math.isfinite(finished.last["loss"])


def test_auto_keeps_bf16_where_they_are_right(fast_bf16, tools, small_dataset, tmp_path):
    said = []
    pretrain(tools.make(small_dataset, steps=1, view_px=64), tmp_path / "run", say=said.append)
    assert any(", cpu bf16, " in line for line in said)


def test_bf16_asked_for_is_an_error_there(tools, small_dataset, tmp_path):
    with pytest.raises(
        ConfigError, match=r"precision bf16 with views of 16 px.*layer4.0.conv1.*--precision fp32"
    ):
        pretrain(tools.make(small_dataset, precision="bf16"), tmp_path / "run", say=tools.quiet)
    assert not (tmp_path / "run").exists()
