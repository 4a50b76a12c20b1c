"""The probe `finetune`: the encoder learns, validation stops it, the test part chooses nothing, rows say what was done."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from seco import config
from seco.data.dataset import open_dataset
from seco.errors import ConfigError, TaskError
from seco.nets.baselines import ColourEncoder
from seco.probes.evaluation import evaluate
from seco.probes.options import ClassOptions
from seco.tasks import bigearthnet, images
from seco.train import tuned
from seco.use.load import load_encoder

SHORT = {"steps": 12, "batch_size": 8, "val_every": 4, "num_draws": 50, "normalise": "dataset"}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))


def _options(**settings: object) -> images.Options:
    return config.build(images.Options, SHORT | {"probes": "finetune"} | settings)


@pytest.fixture
def data(make_dataset: Callable[..., Path]) -> Path:
    labels = [("crops", "lake", "town")[i % 3] for i in range(60)]
    return make_dataset(num_places=60, num_dates=1, labels=labels, positions=False, px=32)


def _bands(data: Path):
    return open_dataset(data).meta.bands


@pytest.fixture
def encoder(data: Path):
    return load_encoder("random:test_resnet", bands=_bands(data), device="cpu")


def test_its_row_has_what_every_row_has(data: Path, encoder) -> None:
    before = encoder.fingerprint()
    result = evaluate([encoder], "images", data, _options(probes="linear,finetune"))
    rows = {r["probe"]: r for r in result.rows}
    assert set(rows) == {"majority", "linear", "finetune"}
    mine = rows["finetune"]
    assert mine["ci_low"] <= mine["value"] <= mine["ci_high"]
    assert (mine["num_train"], mine["num_test"], mine["majority"]) == (48, 12, rows["majority"]["value"])
    # The linear probe has no steps: it stands in the column of other linear probes.
    assert "steps=12" in mine["settings"]
    assert "steps" not in rows["linear"]["settings"]
    assert encoder.fingerprint() == before
    table = result.predictions.filter(np.array(result.predictions["probe"]) == "finetune")
    assert np.mean(table["score"].to_numpy()) == pytest.approx(mine["value"], rel=1e-5)
    again = evaluate([encoder], "images", data, _options(probes="linear,finetune"))
    assert again.rows == result.rows


def test_it_learns_what_images_show_and_beats_its_own_start(make_dataset: Callable[..., Path]) -> None:
    labels = [("dark", "light")[i % 2] for i in range(80)]
    path = make_dataset(num_places=80, num_dates=1, labels=labels, positions=False, px=32)
    dataset = open_dataset(path)
    tier = dataset.training()
    pixels = np.array(tier.pixels)
    pixels[::2] = pixels[::2] // 3
    net = load_encoder("random:test_resnet", bands=dataset.meta.bands, device="cpu")
    options = _options(steps=60, val_every=20)
    case = tuned.labelled.image_case(dataset, 0, options)
    store = tuned.FeatureStore(net, dataset, options)
    object.__setattr__(store.tier, "pixels", pixels)
    result = tuned._classes("images", store, [case], options)
    assert [r["value"] for r in result.rows if r["probe"] == "finetune"] == [1.0]


def test_the_test_part_has_no_part_in_what_is_chosen(data: Path, encoder, monkeypatch) -> None:
    seen: list[np.ndarray] = []
    plain = tuned.image_logits

    def spy(net, feed, pixels, rows):
        seen.append(rows)
        return plain(net, feed, pixels, rows)

    monkeypatch.setattr(tuned, "image_logits", spy)
    case = tuned.labelled.image_case(open_dataset(data), 0, _options())
    fitted: list[np.ndarray] = []
    drawn = tuned.image_draw

    def draw(pixels, rows, *rest, **more):
        fitted.append(rows)
        return drawn(pixels, rows, *rest, **more)

    monkeypatch.setattr(tuned, "image_draw", draw)
    evaluate([encoder], "images", data, _options())
    test = set(case.test_rows.tolist())
    held = set(case.train_rows[case.parts == tuned.VALIDATE].tolist())
    # Looked at while training: the validation part alone; the test part once, last; fitted: neither.
    assert all(set(rows.tolist()) == held for rows in seen[:-1])
    assert len(seen) == 4
    assert set(seen[-1].tolist()) == test
    assert not set(fitted[0].tolist()) & (test | held)


def test_a_looked_at_part_that_never_gains_stops_it(data: Path, encoder, monkeypatch) -> None:
    looks = []
    monkeypatch.setattr(tuned, "accuracy", lambda *_: looks.append(1) or 0.5)
    evaluate([encoder], "images", data, _options(steps=400, val_every=1, patience=3))
    assert len(looks) == 4


def test_layers_move_and_the_backbone_stays_in_evaluation_mode(data: Path, encoder, monkeypatch) -> None:
    nets = []
    plain = tuned.fit

    def spy(net, *rest, **more):
        nets.append(({k: v.clone() for k, v in net.backbone.state_dict().items()}, net))
        return plain(net, *rest, **more)

    monkeypatch.setattr(tuned, "fit", spy)
    evaluate([encoder], "images", data, _options())
    before, net = nets[0]
    after = net.backbone.state_dict()
    moved = [k for k in before if not torch.equal(before[k], after[k])]
    assert any("conv" in k for k in moved)
    assert not [k for k in moved if "running" in k]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_any_number_of_labels(make_dataset: Callable[..., Path], share: float) -> None:
    several = (("Pastures",), ("Inland waters", "Arable land"), ("Pastures", "Urban fabric"))
    path = make_dataset(num_places=60, num_dates=1, label_sets=[several[i % 3] for i in range(60)], px=32)
    encoder = load_encoder("random:test_resnet", bands=_bands(path), device="cpu")
    options = config.build(
        bigearthnet.Options, SHORT | {"probes": "linear,finetune", "train_share": share, "test_share": 0.3}
    )
    seen = []
    plain = tuned.LabelScorer.told

    def spy(self, probe, output, score, likely, **chosen):
        seen.append((probe, self.case.test_targets, score))
        return plain(self, probe, output, score, likely, **chosen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuned.LabelScorer, "told", spy)
        result = evaluate([encoder], "bigearthnet", path, options)
    rows = {r["metric"]: r for r in result.rows if r["probe"] == "finetune"}
    assert set(rows) == {"map_micro", "map_macro", "lrap"}
    truth, score = next((t, s) for p, t, s in seen if p == "finetune")
    assert rows["map_micro"]["value"] == pytest.approx(
        average_precision_score(truth, score, average="micro"), rel=1e-5
    )


def test_what_cannot_be_tuned_is_one_clear_error(data: Path, encoder) -> None:
    with pytest.raises(TaskError, match="colour has no weights to fine-tune; judge it by --probe knn,linear"):
        evaluate([ColourEncoder(bands=_bands(data))], "images", data, _options())
    with pytest.raises(ConfigError, match="a frozen encoder is what --probe linear judges"):
        _options(tuning="frozen")
    with pytest.raises(ConfigError, match="class weights sqrt with probe finetune"):
        _options(class_weights="sqrt")
    with pytest.raises(ConfigError, match="linear probe alone"):
        _options(probes="linear,finetune", protocol="paper")
    with pytest.raises(TaskError, match="no probe finetune; known: knn, linear"):
        ClassOptions(probes=("finetune",))


def test_several_sizes_are_told_apart(data: Path, encoder) -> None:
    result = evaluate([encoder], "images", data, _options(probes="knn", size="32,48", k=5))
    mine = [r for r in result.rows if r["probe"] == "knn"]
    assert [(r["encoder"], r["size"]) for r in mine] == [(encoder.name, 32), (encoder.name, 48)]
    assert len([r for r in result.rows if r["probe"] == "majority"]) == 1
    names = list(dict.fromkeys(result.predictions["encoder"].to_pylist()))
    assert names == [f"{encoder.name} at 32 px", f"{encoder.name} at 48 px"]
    alone = evaluate([encoder], "images", data, _options(probes="knn", size="48", k=5))
    assert [r["value"] for r in alone.rows if r["probe"] == "knn"] == [mine[1]["value"]]
    with pytest.raises(ConfigError, match="size 32,32 px"):
        _options(size="32,32")
    with pytest.raises(TaskError, match="several sizes"):
        _ = _options(size="32,48").size_px
