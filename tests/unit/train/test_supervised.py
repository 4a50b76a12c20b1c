"""Training with labels: batch norm that follows the batches, bf16, going on from a checkpoint with either."""

import contextlib
import dataclasses

import pytest
import torch

from seco.errors import ConfigError
from seco.nets.baselines import untrained
from seco.nets.predictor import Predictor
from seco.train import supervised
from seco.train.stopping import InterruptedRunError
from seco.train.supervised import Batch, Training, fit

PX, CLASSES = 64, 2


@pytest.fixture(scope="module")
def backbone():
    return untrained("test_resnet", init="random", device="cpu").net["backbone"]


def draw(step, px=PX):
    """Images of two classes, one brighter than the other."""
    rng = torch.Generator().manual_seed(step)
    target = torch.arange(16) % CLASSES
    return Batch(
        inputs=(torch.randn(16, 3, px, px, generator=rng) + 2 * target.view(-1, 1, 1, 1),), target=target
    )


def accuracy(net):
    batch = draw(10**6)
    return float((net(*batch.inputs).argmax(1) == batch.target).float().mean())


def made(backbone, settings):
    return Predictor(
        backbone, kind="classify", num_classes=CLASSES, tuning=settings.tuning, norm=settings.norm
    )


def trained(backbone, **settings):
    settings = Training(**({"tuning": "tuned", "steps": 8, "batch_size": 16, "val_every": 2} | settings))
    net = made(backbone, settings)
    return net, fit(net, settings, draw=draw, validate=accuracy, seed=0)


def moved(backbone, net):
    before, after = backbone.state_dict(), net.backbone.state_dict()
    return {k.rpartition(".")[2] for k in before if not torch.equal(before[k], after[k])}


def test_batch_norm_keeps_its_statistics_or_follows_the_batches(backbone):
    kept, _ = trained(backbone)
    assert moved(backbone, kept) == {"weight", "bias"}
    followed, _ = trained(backbone, norm="batch")
    assert moved(backbone, followed) == {
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert not any(m.training for m in followed.modules())


def test_only_batch_norm_is_switched(backbone):
    net = made(backbone, Training(tuning="tuned", norm="batch")).train()
    training = {type(m).__name__ for m in net.backbone.modules() if m.training}
    assert len(training) == 1
    assert "Norm" in training.pop()
    assert not any(m.training for m in net.eval().modules())


def test_the_best_statistics_are_those_of_the_best_look(backbone):
    """The net ends as it was at its best look, running means included."""
    seen = []

    def validate(net):
        seen.append({k: v.clone() for k, v in net.state_dict().items()})
        return [0.5, 0.9, 0.4, 0.3][len(seen) - 1]

    settings = Training(tuning="tuned", norm="batch", steps=4, batch_size=16, val_every=1)
    net = made(backbone, settings)
    assert fit(net, settings, draw=draw, validate=validate, seed=0).best_step == 2
    assert all(torch.equal(v, seen[1][k]) for k, v in net.state_dict().items())
    assert not torch.equal(seen[1]["backbone.bn1.running_mean"], seen[3]["backbone.bn1.running_mean"])


@pytest.mark.parametrize("settings", [{"norm": "batch"}, {"precision": "bf16"}])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, backbone, monkeypatch, settings):
    settings = Training(tuning="tuned", steps=6, batch_size=16, val_every=2, **settings)
    whole = made(backbone, settings)
    fit(whole, settings, draw=draw, validate=accuracy, seed=0)

    class Asked:
        calls = 0

        def is_set(self):
            Asked.calls += 1
            return Asked.calls > 4

    parts = made(backbone, settings)
    with monkeypatch.context() as patched:
        patched.setattr(supervised, "stop_flag", lambda: contextlib.nullcontext(Asked()))
        with pytest.raises(InterruptedRunError, match="stopped at step"):
            fit(parts, settings, draw=draw, validate=accuracy, seed=0, run=tmp_path)
    again = made(backbone, settings)
    fit(again, settings, draw=draw, validate=accuracy, seed=0, run=tmp_path, start="resume")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())
    other = dataclasses.replace(settings, lr=1e-4)
    with pytest.raises(ConfigError, match=r"was started with lr 0\.001, not 0\.0001"):
        fit(made(backbone, other), other, draw=draw, validate=accuracy, seed=0, run=tmp_path, start="resume")


def test_bf16_learns_what_fp32_does(backbone):
    _, told = trained(backbone, steps=40, encoder_lr=1e-3)
    half, told_too = trained(backbone, steps=40, encoder_lr=1e-3, precision="bf16")
    assert told.best_score == told_too.best_score == 1
    first, second = (t.history[0]["loss"] for t in (told, told_too))
    assert first != second
    assert first == pytest.approx(second, rel=0.02)
    assert all(p.dtype == torch.float32 for p in half.parameters())


def test_bf16_that_would_be_wrong_is_not_used(backbone, monkeypatch):
    """A map of one pixel under a kernel of three: CPUs leave that gradient undefined in bf16."""
    used = []
    plain = supervised.autocast
    monkeypatch.setattr(supervised, "autocast", lambda p, d: used.append(p) or plain(p, d))
    monkeypatch.setattr(supervised, "pick_precision", lambda asked, device: "bf16")
    settings = Training(tuning="tuned", steps=1, batch_size=16, precision="auto")

    def small(step):
        return draw(step, px=8)

    fit(made(backbone, settings), settings, draw=small, validate=lambda net: 0.0, seed=0)
    assert used == ["fp32"]
    asked = dataclasses.replace(settings, precision="bf16")
    with pytest.raises(ConfigError, match=r"precision bf16 with images of 8 px: the gradient of .* use fp32"):
        fit(made(backbone, asked), asked, draw=small, validate=lambda net: 0.0, seed=0)
    frozen = dataclasses.replace(asked, tuning="frozen")
    fit(made(backbone, frozen), frozen, draw=small, validate=lambda net: 0.0, seed=0)
    assert used == ["fp32", "bf16"]


@pytest.mark.parametrize("kind", ["segment", "change"])
@pytest.mark.parametrize(
    ("tuning", "px", "broken"),
    [("frozen", 16, True), ("frozen", 32, False), ("tuned", 32, True), ("tuned", 33, False)],
)
def test_bf16_of_maps_is_right_or_not_used(backbone, monkeypatch, kind, tuning, px, broken):
    """The decoder's own 3 x 3 meet maps of one pixel too, where tiles are small."""
    used = []
    plain = supervised.autocast
    monkeypatch.setattr(supervised, "autocast", lambda p, d: used.append(p) or plain(p, d))
    monkeypatch.setattr(supervised, "pick_precision", lambda asked, device: "bf16")
    settings = Training(tuning=tuning, steps=1, batch_size=2, precision="auto")
    net = Predictor(backbone, kind=kind, num_classes=2, tuning=tuning)
    images = torch.randn(2, 3, px, px, generator=torch.Generator().manual_seed(0))
    batch = Batch(inputs=(images, images.flip(0))[: 1 + (kind == "change")], target=(images[:, 0] > 0).long())
    fit(net, settings, draw=lambda step: batch, validate=lambda net: 0.0, seed=0)
    assert used == ["fp32" if broken else "bf16"]


def test_batch_norm_that_is_not_there_cannot_follow():
    backbone = untrained("test_vit", init="random", device="cpu").net["backbone"]
    settings = Training(tuning="tuned", norm="batch", steps=1, batch_size=2)
    with pytest.raises(ConfigError, match="norm batch: VisionTransformer has no batch norm"):
        fit(made(backbone, settings), settings, draw=draw, validate=accuracy, seed=0)


def test_a_checkpoint_from_before_a_setting_goes_on_with_its_default(tmp_path, backbone, monkeypatch):
    settings = Training(tuning="tuned", steps=2, batch_size=16, val_every=1)
    whole = made(backbone, settings)
    with monkeypatch.context() as patched:
        to_plain = supervised.configs.to_plain
        later = ("norm", "precision")
        patched.setattr(
            supervised.configs, "to_plain", lambda s: {k: v for k, v in to_plain(s).items() if k not in later}
        )
        fit(whole, settings, draw=draw, validate=accuracy, seed=0, run=tmp_path)
    again = made(backbone, settings)
    fit(again, settings, draw=draw, validate=accuracy, seed=0, run=tmp_path, start="resume")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())
    other = dataclasses.replace(settings, norm="batch")
    with pytest.raises(ConfigError, match="was started with norm kept, not batch"):
        fit(made(backbone, other), other, draw=draw, validate=accuracy, seed=0, run=tmp_path, start="resume")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"norm": "batch"}, "norm batch with tuning frozen; a frozen encoder keeps its statistics"),
        ({"norm": "batch", "tuning": "tuned", "batch_size": 1}, "statistics need at least 2 images"),
    ],
)
def test_settings_that_do_not_fit(settings, words):
    with pytest.raises(ConfigError, match=words):
        Training(**settings)
