"""Every published layout gives the same features, bit for bit; every name is used, listed as left out, or an error."""

import json
import re

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

import seco
from seco.cli import main
from seco.errors import CheckpointError, ConfigError, SecoError
from seco.nets.baselines import untrained
from seco.sensors import sentinel2
from seco.use import convert as converting
from seco.use.convert import convert, to_seco
from seco.use.feeding import Options
from seco.use.foreign import read_foreign
from seco.use.layouts._arch import RESNETS, VITS, detect
from seco.use.layouts._contract import Layout


def features(encoder, x):
    """Return what the encoder's own backbone makes of normalised input."""
    with torch.inference_mode():
        return encoder.net["backbone"](x.contiguous(memory_format=torch.channels_last))


def plain(net, x):
    """Return a plain network's features in the same memory order: sums in another order differ in the last bit."""
    net = net.to(memory_format=torch.channels_last).eval()
    with torch.inference_mode():
        return net(x.contiguous(memory_format=torch.channels_last))


def images(bands=3, px=64, num=3):
    return torch.randn((num, bands, px, px), generator=torch.Generator().manual_seed(1))


def save(content, path):
    torch.save(content, path)
    return path


def bare(net):
    """Return the network with features for output."""
    net.fc = nn.Identity()
    return net


@pytest.mark.parametrize("name", converting.names())
def test_every_layout_keeps_the_contract(name):
    layout = converting.find(name)
    assert isinstance(layout, Layout)
    assert name == layout.NAME


def test_torchvision_and_timm_resnets_have_the_same_entries():
    for arch in RESNETS.values():
        with torch.device("meta"):
            theirs = getattr(torchvision.models, arch)().state_dict()
            ours = timm.create_model(arch).state_dict()
        assert [(k, v.shape) for k, v in theirs.items()] == [(k, v.shape) for k, v in ours.items()]
        assert detect(theirs) == arch


def test_vision_transformers_are_told_apart():
    for (width, _, _), arch in VITS.items():
        with torch.device("meta"):
            net = timm.create_model(arch)
        assert detect(net.state_dict()) == arch
        # Shapes do not show the number of heads: the table may hold only models with 64 channels a head.
        assert net.blocks[0].attn.num_heads * 64 == width


def test_seco_features_and_heads_are_equal(seco18, converted):
    _, theirs, heads = seco18
    ours = seco.load_encoder(converted, device="cpu")
    x = images()
    own = features(ours, x)
    assert torch.equal(own, plain(theirs, x))
    assert ours.outputs == ("features", "z0", "z1", "z2")
    named = ours.forward(x.contiguous(memory_format=torch.channels_last), ("z0", "z1", "z2"))
    with torch.inference_mode():
        for i in range(3):
            assert torch.equal(named[f"z{i}"], functional.normalize(heads[i](own), dim=1))


def test_seco_is_fed_as_its_authors_did(converted):
    """The release: (byte - q2) / (q98 - q2) * 255, cut to 0-255, ImageNet's statistics; bytes are reflectance * 255."""
    encoder = seco.load_encoder(converted, device="cpu")
    numbers = np.array([0, 300, 1500, 9000], np.uint16).reshape(1, 1, 2, 2).repeat(3, 1)
    seen = []
    encoder.net["backbone"].register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    bands = [sentinel2.band(b) for b in ("B04", "B03", "B02")]
    big = np.kron(numbers, np.ones((1, 1, 32, 32), np.uint16))
    big[big == 0] = 1  # 0 is nodata
    encoder.encode(big, bands=bands)
    low, high = np.array([0, 2, 3.0]), np.array([129, 103, 88.0])
    byte = big[0].transpose(1, 2, 0) / 10_000 * 255
    stretched = np.clip((byte - low) / (high - low) * 255, 0, 255)
    wanted = (stretched / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(seen[-1][0].permute(1, 2, 0).numpy(), wanted, atol=2e-5)


def test_seco_names_what_it_leaves_out(seco18, tmp_path, capsys):
    assert main(["convert", str(seco18[0]), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for part in (
        "encoder_k.* (momentum encoder): 120",
        "heads_k.*",
        "queue*",
        "optimizer_states",
        "argparse.Namespace",
    ):
        assert part in said
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert report["layout"] == "seco"
    assert sum(report["dropped"].values()) == 120 + 12 + 2 + 8
    assert seco.load_encoder(tmp_path / "out").spec.num_steps == 781200


def test_back_to_seco_holds_the_same_weights(seco18, converted, tmp_path):
    back = tmp_path / "back.ckpt"
    assert main(["convert", str(converted), str(back), "--to", "seco"]) == 0
    theirs = dict(read_foreign(seco18[0]).content)["state_dict"]
    loaded = torch.load(back, weights_only=True)
    ours = loaded["state_dict"]
    assert set(ours) == set(theirs)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    query = [k for k in theirs if "_q." in k]
    assert all(torch.equal(ours[k], theirs[k]) for k in query)
    assert all(torch.equal(ours[k.replace("_q.", "_k.")], theirs[k]) for k in query)
    assert loaded["hyper_parameters"]["emb_spaces"] == 3
    torch.testing.assert_close(ours["queue"].norm(dim=1), torch.ones(3, 16384))
    again = convert(back, tmp_path / "again").encoder
    assert again.fingerprint() == seco.load_encoder(converted, device="cpu").fingerprint()


def test_seco_resnet50(tmp_path, published):
    checkpoint, theirs, _ = published.seco("resnet50")
    ours = convert(save(checkpoint, tmp_path / "r50.ckpt"), tmp_path / "out").encoder
    assert ours.spec.arch == "resnet50"
    assert torch.equal(features(ours, images()), plain(theirs, images()))


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_moco_v2(tmp_path, prefix, published):
    net = published.resnet(fc=published.head(512, 0))
    state = {f"{prefix}encoder_q.{k}": v for k, v in net.state_dict().items()}
    state |= {f"{prefix}encoder_k.{k}": v + 1 for k, v in net.state_dict().items()}
    state |= {f"{prefix}queue": torch.zeros(128, 64), f"{prefix}queue_ptr": torch.zeros(1, dtype=torch.long)}
    file = save(
        {"epoch": 200, "arch": "resnet18", "state_dict": state, "optimizer": {}}, tmp_path / "moco.pth.tar"
    )
    done = convert(file, tmp_path / "out")
    assert done.layout == "moco"
    assert done.encoder.spec.heads == ("z0",)
    assert done.encoder.spec.mean == pytest.approx((123.675, 116.28, 103.53))
    assert sum(done.dropped.values()) == 124 + 2 + 3
    assert torch.equal(done.encoder.net["heads"]["z0"][2].weight, net.fc[2].weight)
    assert torch.equal(features(done.encoder, images()), plain(bare(net), images()))


def test_moco_v1_head_is_listed(tmp_path, published):
    net = published.resnet(fc=nn.Linear(512, 128))
    file = save(
        {"state_dict": {f"module.encoder_q.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "m.pth"
    )
    done = convert(file, tmp_path / "out")
    assert done.encoder.spec.heads == ()
    assert done.dropped == {"module.encoder_q.fc.* (MoCo v1's projection)": 2}


def test_ssl4eo_moco_v2_on_13_bands(tmp_path, published):
    net = published.resnet(bands=13, fc=published.head(512, 0))
    state = {f"module.encoder_q.{k}": v for k, v in net.state_dict().items()}
    done = convert(save({"epoch": 99, "state_dict": state}, tmp_path / "B13_rn18_moco.pth"), tmp_path / "out")
    assert done.layout == "ssl4eo"
    spec = done.encoder.spec
    assert [b.name for b in spec.bands] == [b.name for b in sentinel2.BANDS]
    assert (spec.std[0], spec.clip, spec.method) == (10_000, (0, 10_000), "moco")
    assert torch.equal(features(done.encoder, images(13)), plain(bare(net), images(13)))


@pytest.mark.parametrize("wrapped", ["", "module."])
def test_ssl4eo_dino_resnet(tmp_path, wrapped, published):
    net = published.resnet(bands=13)
    teacher = {f"{wrapped}backbone.{k}": v for k, v in published.without_fc(net).items()}
    teacher[f"{wrapped}head.mlp.0.weight"] = torch.zeros(2, 2)
    student = {f"module.{k}": v + 1 for k, v in teacher.items()}
    content = {"student": student, "teacher": teacher, "optimizer": {}, "epoch": 99}
    done = convert(save(content, tmp_path / "B13_rn18_dino_full.pth"), tmp_path / "out")
    assert (done.layout, done.encoder.spec.method) == ("ssl4eo", "dino")
    assert done.dropped["teacher's head.* (DINO's prototypes)"] == 1
    assert torch.equal(features(done.encoder, images(13)), plain(bare(net), images(13)))


@pytest.mark.parametrize("kind", ["dino", "moco_v3"])
def test_ssl4eo_vit(tmp_path, vit, kind):
    own = vit.state_dict()
    if kind == "dino":
        content = {"teacher": {f"backbone.{k}": v for k, v in own.items()}, "student": {}}
    else:
        state = {f"module.base_encoder.{k}": v for k, v in own.items()}
        state |= {
            "module.base_encoder.head.0.weight": torch.zeros(2),
            "module.predictor.0.weight": torch.zeros(2),
        }
        content = {"arch": "vit_small", "state_dict": state}
    done = convert(save(content, tmp_path / "vit.pth"), tmp_path / "out")
    assert done.layout == "ssl4eo"
    assert (done.encoder.spec.arch, done.encoder.spec.method) == ("vit_tiny_patch16_224", kind)
    x = images(13, px=224, num=2)
    assert torch.equal(features(done.encoder, x), plain(vit, x))


def test_moco_v3_of_photographs_has_other_heads(tmp_path):
    state = timm.create_model("vit_small_patch16_224", num_classes=0).state_dict()
    file = save(
        {"state_dict": {f"module.base_encoder.{k}": v for k, v in state.items()}}, tmp_path / "v.pth.tar"
    )
    with pytest.raises(CheckpointError, match="12 attention heads"):
        convert(file, tmp_path / "out")


def test_torchvision_with_its_classifier(tmp_path, published):
    net = published.resnet("resnet18")
    done = convert(save(net.state_dict(), tmp_path / "resnet18-f37072fd.pth"), tmp_path / "out")
    assert done.layout == "torchvision"
    assert done.dropped == {"fc.weight, fc.bias (classifier)": 2}
    assert torch.equal(features(done.encoder, images()), plain(bare(net), images()))


def test_files_from_before_the_counter(tmp_path, published):
    """torchvision's oldest files have no num_batches_tracked at all. Lacking only some is damage."""
    state = published.resnet().state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    done = convert(save(old, tmp_path / "old.pth"), tmp_path / "out")
    assert len(done.filled) == 20
    some = {k: v for k, v in state.items() if k != "bn1.num_batches_tracked"}
    with pytest.raises(CheckpointError, match=r"1 missing name: bn1.num_batches_tracked"):
        convert(save(some, tmp_path / "some.pth"), tmp_path / "out2")


def test_torchgeo_port_of_seco(tmp_path, seco18):
    """The port renames the release's weights to timm's; what it was fed is told from the file's name."""
    names = list(timm.create_model("resnet18", num_classes=0).state_dict())
    state = dict(zip(names, seco18[1].state_dict().values(), strict=True))
    file = save(state, tmp_path / "resnet18_sentinel2_rgb_seco-cefca942.pth")
    done = convert(file, tmp_path / "out")
    assert (done.layout, done.encoder.spec.method) == ("torchgeo", "seco")
    assert done.encoder.spec.clip == (0, 255)
    assert torch.equal(features(done.encoder, images()), plain(seco18[1], images()))
    other = save(state, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="say which with --layout"):
        convert(other, tmp_path / "x")
    with pytest.raises(CheckpointError, match="--input seco, sentinel2 or imagenet"):
        convert(other, tmp_path / "x", Options(layout="torchgeo"))
    again = convert(other, tmp_path / "x", Options(layout="torchgeo", input="seco")).encoder
    assert [b.stretch_range for b in again.spec.bands] == [b.stretch_range for b in done.encoder.spec.bands]


def test_torchgeo_on_13_bands(tmp_path, published):
    state = published.without_fc(published.resnet(bands=13))
    done = convert(save(state, tmp_path / "resnet18_sentinel2_all_moco-59bfdff9.pth"), tmp_path / "out")
    assert (done.layout, done.encoder.spec.method, len(done.encoder.spec.bands)) == ("torchgeo", "moco", 13)
    assert done.encoder.spec.clip == (0, 10_000)


def test_what_softcon_was_fed_is_not_guessed(tmp_path, published):
    """It has the same names, shapes and bands as SSL4EO-S12's weights, and other statistics."""
    file = save(published.without_fc(published.resnet(bands=13)), tmp_path / "B13_rn18_softcon.pth")
    with pytest.raises(CheckpointError, match="say which with --layout"):
        convert(file, tmp_path / "out")
    with pytest.raises(CheckpointError, match="say which with --layout"):
        convert(file, tmp_path / "out", Options(arch="resnet18"))
    with pytest.raises(CheckpointError, match="does not say what its weights were fed"):
        convert(file, tmp_path / "out", Options(layout="torchgeo"))
    options = Options(layout="torchgeo", input="sentinel2", mean=(1.0,) * 13, std=(2.0,) * 13)
    spec = convert(file, tmp_path / "out", options).encoder.spec
    assert (spec.method, spec.mean[0], spec.clip) == ("softcon", 1.0, None)


def test_timm_of_any_model(tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("test_efficientnet", num_classes=10).eval()
    file = save(net.state_dict(), tmp_path / "t.pth")
    with pytest.raises(CheckpointError, match=r"no layout that can be told .* or with --arch which other"):
        convert(file, tmp_path / "out", Options())
    done = convert(file, tmp_path / "out", Options(arch="test_efficientnet"))
    assert done.layout == "timm"
    assert done.dropped == {"classifier.weight, classifier.bias (classifier)": 2}
    net.reset_classifier(0)
    assert torch.equal(features(done.encoder, images()), plain(net, images()))
    with pytest.raises(ConfigError, match="no model 'resnet1'"):
        convert(file, tmp_path / "x", Options(layout="torchgeo", arch="resnet1"))


def test_safetensors_files_are_read(tmp_path, published):
    from safetensors.torch import save_file

    net = published.resnet()
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    done = convert(tmp_path / "model.safetensors", tmp_path / "out", Options(layout="timm"))
    assert torch.equal(features(done.encoder, images()), plain(bare(net), images()))


def test_what_is_said_overrides_the_layout(tmp_path, published):
    file = save(published.resnet().state_dict(), tmp_path / "r.pth")
    options = Options(
        bands=("B08", "B04", "B03"), units="reflectance", mean=(0.1, 0.2, 0.3), std=(1, 2, 3), patch_px=96,
        licence="cc0-1.0", origin="mine",
    )  # fmt: skip
    spec = convert(file, tmp_path / "out", options).encoder.spec
    assert [(b.name, b.units) for b in spec.bands] == [(n, "reflectance") for n in ("B08", "B04", "B03")]
    assert (spec.mean, spec.std, spec.patch_px) == ((0.1, 0.2, 0.3), (1, 2, 3), 96)
    assert (spec.licence, spec.source, spec.clip) == ("cc0-1.0", "mine", None)
    swapped = convert(file, tmp_path / "bgr", Options(bands=("blue", "green", "red"))).encoder.spec
    assert [b.name for b in swapped.bands] == ["blue", "green", "red"]
    assert swapped.mean == pytest.approx((103.53, 116.28, 123.675))
    assert convert(file, tmp_path / "dn", Options(input="sentinel2")).encoder.spec.bands[0].units == "dn"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bands": ("B04", "B03")}, "takes 3 bands, --bands names 2"),
        ({"bands": ("B08", "B04", "B03")}, "need --mean and --std"),
        ({"units": "dn"}, "need --mean and --std"),
        ({"mean": (1.0,)}, "--mean has 1 number for 3 bands"),
        ({"std": (0.0, 1.0, 1.0)}, "each must be above 0"),
        ({"bands": ("B04", "B03", "B77")}, "'B77' is no Sentinel-2 band"),
        ({"arch": "resnet34"}, "does not fit resnet34"),
        ({"arch": "resnet99"}, "no model 'resnet99'"),
        ({"layout": "seco"}, "unknown to the layout seco"),
        ({"layout": "moco"}, "no encoder_q.conv1.weight"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, seco18, options, words, published):
    file = save(published.resnet().state_dict(), tmp_path / "r.pth")
    with pytest.raises(SecoError, match=words):
        convert(file, tmp_path / "out", Options(**options))
    assert [p.name for p in tmp_path.iterdir()] == ["r.pth"]


def test_12_bands_where_3_are_said(tmp_path, published):
    file = save(published.without_fc(published.resnet(bands=12)), tmp_path / "r.pth")
    with pytest.raises(CheckpointError, match="takes 12 bands, --bands names 3"):
        convert(file, tmp_path / "out", Options(layout="torchgeo", bands=("B04", "B03", "B02")))
    with pytest.raises(CheckpointError, match=r"takes? 12 bands, the input 'seco' has 3"):
        convert(file, tmp_path / "out", Options(layout="torchgeo", input="seco"))
    spec = convert(file, tmp_path / "out", Options(layout="torchgeo", input="sentinel2")).encoder.spec
    assert "B10" not in [b.name for b in spec.bands]


def without(*prefixes):
    return lambda state: {k: v for k, v in state.items() if not k.startswith(prefixes)}


def with_(**entries):
    return lambda state: state | {k.replace("__", "."): v for k, v in entries.items()}


def halved(state):
    return {k: v.half() if "_q." in k and v.is_floating_point() else v for k, v in state.items()}


DAMAGE = {
    "does not fit resnet18: 2 missing names: bn1.bias, layer1.0.conv1.weight": without(
        "encoder_q.4.0.conv1.weight", "encoder_q.1.bias"
    ),
    "no first convolution of a resnet18 (conv1.weight): 119 names": without("encoder_q.0.weight"),
    "does not fit resnet18: 12 missing names: layer4.1.conv1.weight, layer4.1.bn1.weight, layer4.1.bn1.bias, ...": without(
        "encoder_q.7.1."
    ),
    "1 unknown name: layer1.0.conv9.weight": with_(encoder_q__4__0__conv9__weight=torch.zeros(1)),
    "1 name unknown to the layout seco: encoder_q.9.weight": with_(encoder_q__9__weight=torch.zeros(1)),
    "1 name unknown to the layout seco: online.weight": with_(online__weight=torch.zeros(1)),
    "1 misshapen weight: layer4.1.conv2.weight is (512, 512, 1, 1), not (512, 512, 3, 3)": with_(
        encoder_q__7__1__conv2__weight=torch.zeros(512, 512, 1, 1)
    ),
    "head 1 is no Linear, ReLU, Linear: missing 1 name (heads_q.1.2.weight)": without("heads_q.1.2.weight"),
    "head 1 is missing: the checkpoint has heads_q 0, 2": without("heads_q.1."),
    "layer4.1.bn2.running_var has 512 numbers that are not finite": with_(
        encoder_q__7__1__bn2__running_var=torch.full((512,), float("nan"))
    ),
    "head z2: 0.bias has 512 numbers": with_(heads_q__2__0__bias=torch.full((512,), float("inf"))),
    "conv1.weight has type float16, not float32; take it with --half widen": halved,
    "conv1.weight has type float64, not float32; save it as float32": with_(
        encoder_q__0__weight=torch.zeros(64, 3, 7, 7, dtype=torch.float64)
    ),
    "1 entries are no tensors (encoder_q.0.weight)": with_(encoder_q__0__weight=[1.0]),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_damaged_checkpoints(seco18, tmp_path, words):
    content = dict(read_foreign(seco18[0]).content)
    content["state_dict"] = DAMAGE[words](content["state_dict"])
    file = save(content, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match=re.escape(words)):
        convert(file, tmp_path / "out", Options(layout="seco"))
    assert [p.name for p in tmp_path.iterdir()] == ["bad.ckpt"]


def test_half_is_widened_when_asked(tmp_path, published):
    net = published.resnet().half()
    done = convert(save(net.state_dict(), tmp_path / "h.pth"), tmp_path / "out", Options(half="widen"))
    assert torch.equal(features(done.encoder, images()), plain(bare(net.float()), images()))


def test_a_checkpoint_that_says_another_architecture(seco18, tmp_path):
    content = dict(read_foreign(seco18[0]).content)
    content["hyper_parameters"]["base_encoder"] = "resnet34"
    file = save(content, tmp_path / "odd.ckpt")
    with pytest.raises(CheckpointError, match="says it is a resnet34, its weights are those of a resnet18"):
        convert(file, tmp_path / "out")


def test_out_is_never_overwritten(seco18, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main(["convert", str(seco18[0]), str(tmp_path / "out")]) == 2
    assert "exists; choose another name" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_what_seco_cannot_hold(converted, tmp_path):
    with pytest.raises(CheckpointError, match="no projection heads"):
        to_seco(untrained("resnet18", init="random", device="cpu"), tmp_path / "o.ckpt")
    with pytest.raises(CheckpointError, match="holds ResNets of 3 bands only"):
        to_seco(untrained("test_vit", init="random", device="cpu"), tmp_path / "o.ckpt")
    assert (
        main(["convert", str(converted), str(tmp_path / "o.ckpt"), "--to", "seco", "--arch", "resnet18"]) == 2
    )
    assert main(["convert", "colour", str(tmp_path / "o.ckpt"), "--to", "seco"]) == 2
    assert not list(tmp_path.iterdir())


def test_foreign_files_given_as_encoders_name_the_command(seco18, converted):
    with pytest.raises(CheckpointError, match=f"seco convert {seco18[0]} OUT"):
        seco.load_encoder(seco18[0])
    file = converted / "encoder.safetensors"
    assert seco.load_encoder(file, device="cpu").spec == seco.load_encoder(converted, device="cpu").spec


def test_converted_encoders_are_judged(converted, tmp_path, capsys):
    from PIL import Image

    rng = np.random.default_rng(0)
    for label, level in (("dark", 40), ("light", 200)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(rng.normal(level, 15, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{i}.png")
    argv = [
        "evaluate",
        str(converted),
        "--task",
        "images",
        "--data",
        str(tmp_path / "images"),
        "--probe",
        "knn",
    ]
    assert main([*argv, "--k", "3", "--cache", "none", "--json", str(tmp_path / "s.json")]) == 0
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert [r["value"] for r in rows if r["encoder"] == "seco-r18"] == [1.0]
