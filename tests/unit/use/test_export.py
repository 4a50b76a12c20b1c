"""What is exported gives the same features in the program it is for."""

import importlib.util
import json
import sys
import types

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

import seco
from seco.cli import main
from seco.errors import CheckpointError, ConfigError, SecoError
from seco.nets.backbones import build_backbone, feature_dim
from seco.nets.baselines import untrained
from seco.nets.encoder import Encoder
from seco.nets.heads import projection_head
from seco.nets.spec import EncoderSpec
from seco.sensors import sentinel2
from seco.use.export import Options, export
from seco.use.hub import card, read_rows

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs onnx, onnxscript and onnxruntime (the extra `export`)",
)
BANDS = tuple(sentinel2.band(b) for b in ("B04", "B03", "B02", "B08"))


def small(arch="test_resnet", *, clip=(0.0, 10_000.0), px=48, heads=("z0",)):
    """Build an encoder of four Sentinel-2 bands with batch-norm statistics of its own."""
    backbone = build_backbone(arch, len(BANDS), seed=3)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
    dim = feature_dim(backbone)
    spec = EncoderSpec(
        arch=arch, bands=BANDS, mean=(1000.0, 1100.0, 900.0, 3000.0), std=(700.0, 600.0, 500.0, 1500.0), patch_px=px,
        feature_dim=dim, heads=tuple(heads), method="seco", num_steps=12, clip=clip,
    )  # fmt: skip
    nets = nn.ModuleDict({h: projection_head(dim, 16, seed=i) for i, h in enumerate(heads)})
    return Encoder(spec=spec, backbone=backbone, heads=nets, name="small", device="cpu")


@pytest.fixture(scope="module")
def encoder():
    return small()


def pixels(num=3, px=48):
    return np.random.default_rng(0).integers(1, 14_000, (num, 4, px, px)).astype(np.uint16)


def same_in_timm(encoder, net, px=48):
    x = torch.randn(2, 4, px, px).contiguous(memory_format=torch.channels_last)
    net = net.eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return torch.equal(net(x), encoder.net["backbone"](x))


def test_safetensors(encoder, tmp_path):
    export(encoder, tmp_path / "out", Options(format="safetensors"))
    again = seco.load_encoder(tmp_path / "out", device="cpu")
    assert again.fingerprint() == encoder.fingerprint()
    assert again.spec == encoder.spec
    wanted = encoder.encode(pixels(), bands=BANDS, outputs=("features", "z0"))
    got = again.encode(pixels(), bands=BANDS, outputs=("features", "z0"))
    assert all(np.array_equal(wanted[o], got[o]) for o in wanted)


def test_timm(encoder, tmp_path):
    said = export(encoder, tmp_path / "w.pth", Options(format="timm"))
    state = torch.load(tmp_path / "w.pth", weights_only=True)
    net = timm.create_model("test_resnet", num_classes=0, in_chans=4)
    assert not any(net.load_state_dict(state, strict=True))
    assert same_in_timm(encoder, net)
    by_path = timm.create_model(
        "test_resnet", num_classes=0, in_chans=4, checkpoint_path=str(tmp_path / "w.pth")
    )
    assert same_in_timm(encoder, by_path)
    spec = EncoderSpec.from_json(json.loads((tmp_path / "w.json").read_text()))
    assert spec == encoder.spec
    assert any("left out: projection heads z0" in line for line in said)


def test_torchgeo(tmp_path):
    encoder = untrained("resnet18", init="random", bands=BANDS, device="cpu")
    said = export(encoder, tmp_path / "w.pth", Options(format="torchgeo"))
    # torchgeo.models.resnet18 is timm.create_model("resnet18") and demands every name but fc.
    net = timm.create_model("resnet18", in_chans=4)
    missing, unexpected = net.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True), strict=False)
    assert set(missing) == {"fc.weight", "fc.bias"}
    assert not unexpected
    installed = importlib.util.find_spec("torchgeo") is not None
    assert ("checked with torchgeo's own model" in said[-1]) == installed
    with pytest.raises(CheckpointError, match=r"torchgeo.models has no test_resnet"):
        export(small(), tmp_path / "x.pth", Options(format="torchgeo"))
    assert not (tmp_path / "x.pth").exists()


def test_torchgeo_itself(tmp_path):
    models = pytest.importorskip("torchgeo.models", reason="needs torchgeo")
    encoder = untrained("resnet18", init="random", bands=BANDS, device="cpu")
    export(encoder, tmp_path / "w.pth", Options(format="torchgeo"))
    net = models.resnet18(in_chans=4, num_classes=0)
    net.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True))
    assert same_in_timm(encoder, net)


@needs_onnx
@pytest.mark.parametrize("preprocess", ["inside", "outside"])
def test_onnx(encoder, tmp_path, preprocess):
    import onnx
    import onnxruntime

    out = tmp_path / "e.onnx"
    said = export(encoder, out, Options(format="onnx", preprocess=preprocess))
    assert [p.name for p in tmp_path.iterdir()] == ["e.onnx"]
    onnx.checker.check_model(str(out), full_check=True)
    model = onnx.load(str(out))
    assert model.opset_import[0].version == 20
    metadata = {p.key: p.value for p in model.metadata_props}
    assert EncoderSpec.from_json(json.loads(metadata["spec"])) == encoder.spec
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [4, 48, 48]
    for num in (1, 2, 7):
        stored = pixels(num)
        wanted = encoder.encode(stored, bands=BANDS, outputs=("features", "z0"))
        fed = stored.astype(np.float32)
        if preprocess == "outside":
            mean, std = (
                np.array(v, np.float32)[:, None, None] for v in (encoder.spec.mean, encoder.spec.std)
            )
            fed = (np.clip(fed, 0, 10_000) - mean) / std
        got = dict(zip(("features", "z0"), session.run(["features", "z0"], {"image": fed}), strict=True))
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, atol=1e-4)
    assert any(line.startswith("largest difference to onnxruntime") for line in said)


@needs_onnx
def test_onnx_that_differs_is_refused(encoder, tmp_path, monkeypatch):
    import onnxruntime

    run = onnxruntime.InferenceSession.run
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "run", lambda *a, **k: [v * 1.1 + 0.1 for v in run(*a, **k)]
    )
    with pytest.raises(CheckpointError, match="onnxruntime gives other features"):
        export(encoder, tmp_path / "e.onnx", Options(format="onnx"))
    assert not list(tmp_path.iterdir())


def test_onnx_without_its_packages(encoder, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ConfigError, match=r"onnxruntime is not installed; pip install 'seasonal-contrast.export.'"
    ):
        export(encoder, tmp_path / "e.onnx", Options(format="onnx"))


def test_hub(encoder, tmp_path):
    scores = tmp_path / "scores.json"
    row = {
        "encoder": "small",
        "task": "images",
        "probe": "knn",
        "metric": "accuracy",
        "value": 0.912345,
        "seed": 0,
    }
    scores.write_text(json.dumps({"rows": [row, {**row, "encoder": "a|b <script>", "value": None}]}))
    options = Options(
        format="hub", scores=scores, data="Blue Marble, monthly", licence="cc-by-4.0", title="Small one"
    )
    out = tmp_path / "hub"
    export(encoder, out, options)
    assert {p.name for p in out.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "encoder.safetensors", "spec.json",
    }  # fmt: skip
    net = timm.create_model(f"local-dir:{out}", pretrained=True)
    assert same_in_timm(encoder, net)
    assert net.pretrained_cfg["input_size"] == (4, 48, 48)
    assert set(load_file(out / "model.safetensors")) == set(net.state_dict())
    assert seco.load_encoder(out, device="cpu").fingerprint() == encoder.fingerprint()
    text = (out / "README.md").read_text()
    for part in (
        "license: cc-by-4.0", "# Small one", "Blue Marble, monthly", "| B08 (nir) | dn | 842 | 3000 | 1500 |", "0.9123",
        r"a\|b &lt;script>", "limited to 0 to 10000", "## Limits", "## Intended use", "## Citation", "| steps | 12 |",
    ):  # fmt: skip
        assert part in text, part


def test_hub_configuration_of_bytes_is_timms(tmp_path):
    """timm normalises images of 0-1."""
    encoder = untrained("resnet18", init="random", device="cpu")
    export(encoder, tmp_path / "hub", Options(format="hub"))
    config = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).pretrained_cfg
    assert config["mean"] == pytest.approx((0.485, 0.456, 0.406))
    assert config["std"] == pytest.approx((0.229, 0.224, 0.225))


def test_hub_takes_a_transformer_of_a_fixed_size(tmp_path):
    encoder = untrained("test_vit", init="random", bands=BANDS, device="cpu")
    export(encoder, tmp_path / "hub", Options(format="hub"))
    net = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True)
    assert same_in_timm(encoder, net, px=160)


def test_the_card_shows_no_licence_that_it_does_not_know(encoder):
    text = card(encoder.spec, [], Options(), name="x")
    assert "license: other" in text
    assert "| licence | not stated |" in text
    assert "None were given" in text


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"rows": 3}', '{"rows": []}', '{"rows": [1]}', '{"rows": ', "[" * 10_000]
)
def test_scores_that_are_none(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError, match=r"scores .*s.json"):
        read_rows(tmp_path / "s.json")


def test_scores_that_are_not_there(encoder, tmp_path):
    with pytest.raises(ConfigError, match="cannot read scores"):
        export(encoder, tmp_path / "hub", Options(format="hub", scores=tmp_path / "none.json"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["safetensors", "timm", "onnx", "hub"])
def test_out_is_never_overwritten(encoder, tmp_path, format):
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(CheckpointError, match="exists"):
        export(encoder, out, Options(format=format))
    assert out.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_spec_beside_timm_weights_is_never_overwritten(encoder, tmp_path):
    (tmp_path / "w.json").write_text("mine")
    with pytest.raises(CheckpointError, match=r"w.json exists"):
        export(encoder, tmp_path / "w.pth", Options(format="timm"))
    assert (tmp_path / "w.json").read_text() == "mine"


def test_other_features_are_never_exported(encoder, tmp_path, monkeypatch):
    from seco.use import export as exporting

    state = {k: v + 1 if v.ndim == 4 else v for k, v in exporting.backbone_state(encoder).items()}
    monkeypatch.setattr(exporting, "backbone_state", lambda _: state)
    for name, kind in (("w.pth", "timm"), ("hub", "hub")):
        with pytest.raises(CheckpointError, match="gives other features"):
            export(encoder, tmp_path / name, Options(format=kind))
    assert not list(tmp_path.iterdir())


def test_command(encoder, tmp_path, capsys):
    encoder.save(tmp_path / "e")
    assert main(["export", str(tmp_path / "e"), str(tmp_path / "w.pth"), "--format", "timm"]) == 0
    assert "features equal bit for bit" in capsys.readouterr().out
    assert main(["export", "colour", str(tmp_path / "c")]) == 2
    assert main(["export", str(tmp_path / "none"), str(tmp_path / "c")]) == 2
    assert main(["export", str(tmp_path / "w.pth"), str(tmp_path / "c")]) == 2
    assert "seco convert" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "e"), str(tmp_path / "c"), "--size", "0"]) == 2


def test_a_folder_that_cannot_be_made(encoder, tmp_path):
    (tmp_path / "file").write_text("")
    for kind in ("safetensors", "timm", "hub"):
        with pytest.raises(SecoError, match="cannot write"):
            export(encoder, tmp_path / "file" / "out.pth", Options(format=kind))


def test_what_torchgeo_reads_otherwise_is_not_left_behind(tmp_path, monkeypatch):
    class Other(nn.Module):
        def load_state_dict(self, state):
            assert "conv1.weight" in state

        def forward(self, x):
            return x.mean((2, 3))

    models = types.ModuleType("torchgeo.models")
    models.resnet18 = lambda **_: Other()
    monkeypatch.setitem(sys.modules, "torchgeo", types.ModuleType("torchgeo"))
    monkeypatch.setitem(sys.modules, "torchgeo.models", models)
    with pytest.raises(CheckpointError, match="gives other features than the encoder"):
        export(small("resnet18"), tmp_path / "w.pth", Options(format="torchgeo"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["safetensors", "timm", "onnx", "hub"])
def test_weights_that_are_not_finite_are_not_passed_on(tmp_path, kind):
    encoder = untrained("test_resnet", init="random", device="cpu")
    name, weight = next(iter(encoder.net.state_dict().items()))
    weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(
        CheckpointError, match=rf"has weights that are not finite \({name}\); nothing is written"
    ):
        export(encoder, tmp_path / "out", Options(format=kind))
    assert not list(tmp_path.iterdir())
