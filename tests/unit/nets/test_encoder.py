"""An encoder takes stored numbers of named bands, converts what can be converted, and refuses the rest."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from seco.errors import CheckpointError, ConfigError, DatasetError, SecoError, TaskError
from seco.nets.backbones import build_backbone, feature_dim
from seco.nets.encoder import (
    SPEC_KEY,
    SPEC_NAME,
    WEIGHTS_NAME,
    Encoder,
    load_folder,
    read_spec,
    starting_spec,
)
from seco.nets.heads import projection_head
from seco.nets.spec import EncoderSpec
from seco.sensors import sentinel2
from seco.sensors.bands import Band
from seco.sensors.rgb import display_bands
from seco.use.load import load_encoder

RGB = display_bands()
DN = tuple(sentinel2.band(b) for b in ("B04", "B03", "B02", "B08"))


class Means(nn.Module):
    """A backbone whose features are the channel means: what it was fed can be read off."""

    def __init__(self, num):
        super().__init__()
        self.num_features = num
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x.mean((2, 3)) * self.weight


def transparent(bands=RGB, *, mean=None, std=None, normalise="spec", heads=()):
    n = len(bands)
    spec = EncoderSpec(
        arch="means", bands=tuple(bands), mean=tuple(mean or [0.0] * n), std=tuple(std or [1.0] * n), patch_px=16,
        feature_dim=n, heads=tuple(heads), normalise=normalise,
    )  # fmt: skip
    nets = nn.ModuleDict({h: projection_head(n, 5, seed=i) for i, h in enumerate(heads)})
    return Encoder(spec=spec, backbone=Means(n), heads=nets, name="transparent", device="cpu")


def real(bands=RGB, *, arch="test_resnet", heads=("z0", "z1"), seed=0, **settings):
    backbone = build_backbone(arch, len(bands), seed=seed)
    dim = feature_dim(backbone)
    spec = EncoderSpec(
        arch=arch, bands=tuple(bands), mean=(100.0,) * len(bands), std=(50.0,) * len(bands), patch_px=32, feature_dim=dim,
        heads=heads, method="seco", num_steps=7, trained_boxes=np.array([[1.5, 2.0, 3.0, 4.25]]), **settings,
    )  # fmt: skip
    nets = nn.ModuleDict({h: projection_head(dim, 6, seed=i) for i, h in enumerate(heads)})
    return Encoder(spec=spec, backbone=backbone, heads=nets, name="real", device="cpu")


def flat(*values, px=8, dtype=np.uint8, num=1):
    """Images whose band i holds values[i] everywhere."""
    return np.broadcast_to(np.array(values, dtype)[None, :, None, None], (num, len(values), px, px)).copy()


def images(num=5, num_bands=3, px=32, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, (num, num_bands, px, px)).astype(dtype)


def fed(encoder, pixels, bands, **settings):
    return encoder.encode(pixels, bands=bands, **settings)["features"][0].tolist()


# --- bands ------------------------------------------------------------------------------------------------------------


def test_bands_are_put_in_order_by_name_and_others_left_out():
    encoder = transparent()
    red, green, blue = RGB
    assert fed(encoder, flat(1, 2, 3), RGB) == [1, 2, 3]
    assert fed(encoder, flat(3, 1, 2), (blue, red, green)) == [1, 2, 3]
    near = Band(name="nir", units="display", common_name="nir")
    assert fed(
        encoder, flat(9, 3, 1, 9, 2), (near, blue, red, dataclasses.replace(near, name="x"), green)
    ) == [1, 2, 3]


def test_a_sensor_s_band_is_matched_by_its_common_name():
    named = tuple(dataclasses.replace(b, units="display", scale=None, offset=None, nodata=None) for b in DN)
    assert fed(transparent(), flat(1, 2, 3, 4), named) == [1, 2, 3]


def test_a_missing_band_is_an_error_that_names_it():
    with pytest.raises(DatasetError, match=r"needs band green, blue; the imagery has red"):
        transparent().encode(flat(1), bands=RGB[:1])


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (8, 8)])
def test_pixels_of_another_shape_are_refused(shape):
    with pytest.raises(TaskError, match=r"give \(images, 3, height, width\)"):
        transparent().encode(np.zeros(shape, np.uint8), bands=RGB)


# --- units ------------------------------------------------------------------------------------------------------------


def reflectance(name="red"):
    return Band(name=name, units="reflectance", common_name=name)


def test_display_bytes_are_no_reflectance_and_the_other_way_round():
    for have, want in ((reflectance(), RGB[0]), (RGB[0], reflectance()), (RGB[0], DN[0]), (DN[0], RGB[0])):
        with pytest.raises(DatasetError, match="no conversion is defined"):
            transparent((want,)).encode(flat(1), bands=(have,))


def test_display_bytes_of_a_known_stretch_can_be_converted():
    stretched = dataclasses.replace(RGB[0], stretch="linear", stretch_range=(0.1, 0.4))
    assert fed(transparent((reflectance(),)), flat(51), (stretched,)) == pytest.approx(
        [0.1 + 0.3 * 51 / 255], abs=1e-6
    )


@pytest.mark.parametrize(
    ("have", "want", "stored", "expected"),
    [
        # the same numbers of reflectance: (stored * scale + offset - offset') / scale'
        ((1e-4, -0.1), (1e-4, 0.0), 3000, 2000),
        ((1e-4, 0.0), (1e-4, -0.1), 2000, 3000),
        ((2.75e-5, -0.2), (1e-4, -0.1), 20000, 4500),
        ((1e-4, 0.0), (1e-4, 0.0), 1234, 1234),
    ],
)
def test_dn_of_another_scale_and_offset_become_those_trained_on(have, want, stored, expected):
    bands = [Band(name="red", units="dn", scale=s, offset=o) for s, o in (have, want)]
    got = fed(transparent(bands[1:]), flat(stored, dtype=np.uint16), bands[:1])
    assert got == pytest.approx([expected], rel=1e-5)


def test_dn_and_reflectance_are_converted_both_ways():
    dn = Band(name="red", units="dn", scale=1e-4, offset=-0.1)
    assert fed(transparent((dn,)), flat(0.2, dtype=np.float32), (reflectance(),)) == pytest.approx(
        [3000], rel=1e-5
    )
    assert fed(transparent((reflectance(),)), flat(3000, dtype=np.uint16), (dn,)) == pytest.approx(
        [0.2], rel=1e-5
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_any_dtype_of_stored_numbers(dtype):
    assert fed(transparent(), flat(10, 20, 250, dtype=dtype), RGB) == [10, 20, 250]


# --- normalisation ----------------------------------------------------------------------------------------------------


def test_normalise_spec_takes_the_encoder_s_statistics_after_conversion():
    encoder = transparent(RGB, mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 5.0])
    assert fed(encoder, flat(12, 12, 12), RGB, normalise="spec") == pytest.approx([1, -2, -3.6])
    dn = [Band(name="red", units="dn", scale=1e-4, offset=o) for o in (0.0, -0.1)]
    encoder = transparent(dn[1:], mean=[2500.0], std=[500.0])
    assert fed(encoder, flat(2000, dtype=np.uint16), dn[:1]) == pytest.approx([1.0], abs=1e-5)


def test_normalise_dataset_takes_the_statistics_given_in_the_order_of_the_imagery():
    encoder = transparent(RGB, mean=[1.0] * 3, std=[9.0] * 3)
    red, green, blue = RGB
    stats = (np.array([30.0, 10.0, 20.0]), np.array([5.0, 2.0, 4.0]))
    got = fed(encoder, flat(12, 12, 12), (blue, red, green), normalise="dataset", stats=stats)
    assert got == pytest.approx([1, -2, -3.6])
    with pytest.raises(TaskError, match="needs the statistics"):
        encoder.encode(flat(1, 2, 3), bands=RGB, normalise="dataset")


def test_statistics_of_a_band_of_one_value_give_no_infinity():
    got = fed(
        transparent(),
        flat(5, 5, 5),
        RGB,
        normalise="dataset",
        stats=(np.full(3, 5.0), np.array([0.0, 1.0, 1.0])),
    )
    assert np.isfinite(got).all()


def test_normalise_paper_divides_bytes_by_255_and_stretches_other_units_by_two_deviations():
    encoder = transparent(RGB, mean=[9.0] * 3, std=[9.0] * 3)
    assert fed(encoder, flat(51, 255, 0), RGB, normalise="paper") == pytest.approx([0.2, 1, 0])
    with pytest.raises(TaskError, match="needs their statistics"):
        transparent(DN).encode(flat(1, 2, 3, 4, dtype=np.uint16), bands=DN, normalise="paper")
    stats = np.full(4, 1000.0), np.full(4, 100.0)
    pixels = flat(800, 1000, 1100, 5000, dtype=np.uint16)
    got = transparent(DN).encode(pixels, bands=DN, normalise="paper", stats=stats)["features"][0]
    assert got == pytest.approx([0, 0.5, 0.75, 1], abs=1e-6)


def test_the_spec_s_own_default_is_taken_where_none_is_said():
    stats = (np.zeros(3), np.full(3, 2.0))
    assert fed(transparent(normalise="dataset"), flat(4, 6, 8), RGB, stats=stats) == [2, 3, 4]
    assert fed(transparent(), flat(4, 6, 8), RGB, stats=stats) == [4, 6, 8]


# --- nodata ---------------------------------------------------------------------------------------------------------


class Corners(Means):
    """A backbone whose features are the upper left pixel."""

    def forward(self, x):
        return x[:, :, 0, 0] * self.weight


@pytest.mark.parametrize(
    ("dtype", "nodata", "empty"),
    [("uint16", 0.0, 0), ("int16", -9999.0, -9999), ("uint8", 7.0, 7), ("float32", -3.4e38, -3.4e38),
     ("float32", None, np.nan), ("float64", 5.0, np.inf)],
)  # fmt: skip
def test_a_pixel_of_nothing_is_0_after_normalisation_whatever_its_neighbours_are(dtype, nodata, empty):
    have = tuple(
        dataclasses.replace(b, units="dn", scale=1e-4, offset=-0.1, nodata=n)
        for b, n in zip(RGB, (None, nodata, None), strict=True)
    )
    want = tuple(dataclasses.replace(b, offset=0.0) for b in have)
    encoder = transparent(want, mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 5.0])
    encoder.net["backbone"] = Corners(3)
    pixels = flat(40, 40, 40, dtype=dtype)
    expected = [(-960 - m) / s for m, s in ((10, 2), (20, 4), (30, 5))]
    assert fed(encoder, pixels, have) == pytest.approx(expected, rel=1e-5)
    pixels[0, 1, 0, 0] = empty
    assert fed(encoder, pixels, have) == pytest.approx([expected[0], 0, expected[2]], rel=1e-5)
    # The bands of the imagery say it, in whatever order they come.
    assert fed(encoder, pixels[:, ::-1], have[::-1]) == pytest.approx([expected[0], 0, expected[2]], rel=1e-5)
    stats = (np.array([4.0, 5.0, 6.0]), np.array([2.0, 3.0, 4.0]))
    got = fed(encoder, pixels, have, normalise="dataset", stats=stats)
    assert got == pytest.approx([18, 0, 8.5], rel=1e-5)
    if nodata is not None:
        none = tuple(dataclasses.replace(b, nodata=None) for b in have)
        values = fed(encoder, flat(40, nodata, 40, dtype=dtype), none)
        assert values[1] == pytest.approx((nodata - 1000 - 20) / 4, rel=1e-5)  # a number as any other


def test_an_image_of_nothing_is_finite():
    dn = (dataclasses.replace(RGB[0], nodata=0.0),)
    assert fed(transparent(dn, mean=[9.0]), flat(0, dtype=np.uint16), dn) == [0]
    assert fed(transparent(dn, mean=[9.0]), flat(np.nan, dtype=np.float32), dn) == [0]


def test_a_call_takes_nodata_for_a_number_of_the_stored_units_alone():
    encoder = transparent(DN, mean=[1000.0] * 4)  # Sentinel-2: stored 0 is nodata
    names = ["red", "green", "blue", "B08"]
    black = encoder(flat(0, 0, 0, 0, dtype=np.uint16), bands=names, units="dn")
    assert black.tolist() == [[0, 0, 0, 0]]
    dark = encoder(flat(0, 0, 0, 0, dtype=np.float32), bands=names, units="reflectance")[0].tolist()
    assert dark == pytest.approx([-1000 - (b.offset or 0) / (b.scale or 1) for b in DN])


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_features_and_heads_are_those_of_the_networks_and_heads_have_unit_length():
    encoder = real()
    pixels = images()
    out = encoder.encode(pixels, bands=RGB, outputs=("z1", "features", "z0"))
    assert list(out) == ["z1", "features", "z0"]
    assert {k: v.dtype.name for k, v in out.items()} == dict.fromkeys(out, "float32")
    x = (torch.from_numpy(pixels).float() - 100) / 50
    with torch.no_grad():
        features = encoder.net["backbone"](x)
        heads = {h: functional.normalize(encoder.net["heads"][h](features), dim=1) for h in ("z0", "z1")}
    assert np.abs(out["features"] - features.numpy()).max() < 1e-5
    for head in ("z0", "z1"):
        assert np.abs(out[head] - heads[head].numpy()).max() < 1e-5
        assert np.linalg.norm(out[head], axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert np.abs(out["z0"] - out["z1"]).max() > 0.01


def test_an_output_that_is_not_there_is_refused():
    with pytest.raises(TaskError, match="no output z7; it has features, z0, z1"):
        real().encode(images(), bands=RGB, outputs=("features", "z7"))


def test_no_images_give_empty_features():
    assert real().encode(images(num=0), bands=RGB)["features"].shape == (0, 96)


def test_the_batch_size_does_not_matter():
    encoder = real()
    features = [encoder.encode(images(), bands=RGB, batch_size=b)["features"] for b in (1, 2, 5, 100)]
    for other in features[1:]:
        assert np.abs(features[0] - other).max() < 1e-5
    order = [3, 1, 0, 4, 2]
    assert np.abs(encoder.encode(images()[order], bands=RGB)["features"] - features[0][order]).max() < 1e-5


def test_an_encoder_is_in_eval_mode_and_frozen():
    encoder = real()
    assert not any(m.training for m in encoder.net.modules())
    assert not any(p.requires_grad for p in encoder.net.parameters())
    before = {k: v.clone() for k, v in encoder.net.state_dict().items()}
    encoder.encode(images(), bands=RGB)
    assert all(torch.equal(v, before[k]) for k, v in encoder.net.state_dict().items())


@pytest.mark.parametrize("size", [16, 32, 47])
def test_images_are_resized_bilinearly_with_antialiasing(size):
    encoder = real()
    pixels = images()
    got = encoder.encode(pixels, bands=RGB, size=size)["features"]
    x = (torch.from_numpy(pixels).float() - 100) / 50
    x = x if size == 32 else functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = encoder.net["backbone"](x).numpy()
    assert np.abs(got - expected).max() < 1e-4


# --- calling ----------------------------------------------------------------------------------------------------------


def test_a_call_takes_one_image_or_many_as_in_the_readme():
    encoder = real()
    pixels = images(num=2)
    both = encoder(pixels, bands=["red", "green", "blue"], units="display")
    assert isinstance(both, torch.Tensor)
    assert both.shape == (2, 96)
    one = encoder(pixels[1], bands=["red", "green", "blue"], units="display")
    assert one.shape == (1, 96)
    assert (one[0] - both[1]).abs().max() < 1e-5
    assert np.abs(both.numpy() - encoder.encode(pixels, bands=RGB)["features"]).max() < 1e-6
    assert torch.equal(
        encoder(torch.from_numpy(pixels), bands=["red", "green", "blue"], units="display"), both
    )
    assert torch.equal(encoder(pixels, bands=RGB), both)


def test_a_call_reorders_bands_and_leaves_out_what_it_does_not_know():
    encoder = transparent()
    assert encoder(flat(9, 3, 1, 2)[0], bands=["nir", "Blue", "RED", "green"], units="display").tolist() == [
        [1, 2, 3]
    ]


def test_a_call_converts_units():
    encoder = transparent(DN)
    names = ["red", "green", "blue", "B08"]
    assert encoder(flat(1000, 2, 3, 4, dtype=np.uint16), bands=names, units="dn").tolist()[0] == [
        1000,
        2,
        3,
        4,
    ]
    got = encoder(flat(0.1, 0.2, 0.3, 0.4, dtype=np.float32), bands=names, units="reflectance")[0].tolist()
    assert got == pytest.approx([1000, 2000, 3000, 4000], rel=1e-5)


@pytest.mark.parametrize(
    ("array", "bands", "units", "error", "said"),
    [
        (flat(1, 2, 3), ["red", "green", "blue"], None, ConfigError, "units must be said"),
        (flat(1, 2, 3), ["red", "green", "blue"], "reflectance", DatasetError, "no conversion is defined"),
        (flat(1, 2, 3), ["red", "green", "blue"], "dn", DatasetError, "scale and an offset"),
        (flat(1, 2), ["red", "green"], "display", DatasetError, "needs band blue"),
        (flat(1, 2, 3), ["a", "b", "c"], "display", DatasetError, "needs band red"),
        (
            flat(1, 2, 3),
            ["red", "green", "blue", "nir"],
            "display",
            DatasetError,
            r"give \(4, height, width\)",
        ),
        (
            flat(1, 2, 3)[0, 0],
            ["red", "green", "blue"],
            "display",
            DatasetError,
            r"give \(3, height, width\)",
        ),
    ],
)
def test_a_call_with_wrong_bands_or_units_is_one_clear_error(array, bands, units, error, said):
    with pytest.raises(error, match=said):
        transparent()(array, bands=bands, units=units)


# --- saving -----------------------------------------------------------------------------------------------------------


def test_a_saved_encoder_gives_the_same_features_exactly(tmp_path):
    encoder = real()
    for module in encoder.net.modules():  # running statistics that a fresh network does not have
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    outputs = ("features", "z0", "z1")
    before = encoder.encode(images(), bands=RGB, outputs=outputs)
    encoder.save(tmp_path / "deep" / "encoder")
    again = load_folder(tmp_path / "deep" / "encoder", name="real", device="cpu")
    after = again.encode(images(), bands=RGB, outputs=outputs)
    assert all(np.array_equal(before[k], after[k]) for k in outputs)
    assert again.spec == encoder.spec
    assert again.outputs == encoder.outputs
    assert again.fingerprint() == encoder.fingerprint()
    assert sorted(f.name for f in (tmp_path / "deep" / "encoder").iterdir()) == [WEIGHTS_NAME, SPEC_NAME]


def test_the_fingerprint_tells_weights_and_spec_apart():
    prints = {e.fingerprint() for e in (real(), real(seed=1), real(init="imagenet"), real(heads=("z0",)))}
    assert len(prints) == 4
    assert real().fingerprint() in prints


def test_saving_again_replaces_and_a_full_disk_keeps_the_old_one(tmp_path, monkeypatch):
    from seco.nets import encoder as module

    first = real()
    first.save(tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", full)
        with pytest.raises(CheckpointError, match="No space left"):
            real(seed=1).save(tmp_path)
    assert load_folder(tmp_path, name="x", device="cpu").fingerprint() == first.fingerprint()
    assert sorted(f.name for f in tmp_path.iterdir()) == [WEIGHTS_NAME, SPEC_NAME]
    real(seed=1).save(tmp_path)
    assert load_folder(tmp_path, name="x", device="cpu").fingerprint() == real(seed=1).fingerprint()


def test_footprints_come_back_exactly_from_the_file_and_from_a_list_of_numbers(tmp_path):
    boxes = np.random.default_rng(0).uniform(-180, 180, (1000, 4))
    encoder = real()
    encoder.spec = dataclasses.replace(encoder.spec, trained_boxes=boxes)
    encoder.save(tmp_path)
    kept = read_spec(tmp_path / WEIGHTS_NAME).trained_boxes
    assert np.array_equal(kept, boxes)
    assert np.array_equal(load_encoder(tmp_path, device="cpu").spec.trained_boxes, boxes)
    text = json.dumps(encoder.spec.to_json())
    assert len(text) < 1000 + 43 * len(boxes), "a header of safetensors holds 100 MB"
    former = encoder.spec.to_json() | {"trained_boxes": boxes.tolist()}
    assert np.array_equal(EncoderSpec.from_json(former).trained_boxes, boxes)


def test_the_spec_that_counts_is_in_the_weights_file(tmp_path):
    """A crash between the two files leaves an old copy beside new weights; people may lose or edit the copy."""
    real(seed=1, init="imagenet").save(tmp_path)
    copy = tmp_path / SPEC_NAME
    wanted = read_spec(tmp_path / WEIGHTS_NAME)
    assert EncoderSpec.from_json(json.loads(copy.read_text())) == wanted
    real(heads=("z0",)).save(tmp_path / "old")
    for text in ((tmp_path / "old" / SPEC_NAME).read_text(), "{", None):
        copy.unlink() if text is None else copy.write_text(text)
        assert load_folder(tmp_path, name="x", device="cpu").spec == wanted
        assert load_encoder(tmp_path, device="cpu").spec == wanted


def test_a_crash_between_the_two_files_leaves_weights_with_their_own_spec(tmp_path, monkeypatch):
    real().save(tmp_path)

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("seco.runs.write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        real(seed=1, heads=("z0",)).save(tmp_path)
    found = load_folder(tmp_path, name="x", device="cpu")
    assert found.fingerprint() == real(seed=1, heads=("z0",)).fingerprint()


def rewrite(tmp_path, text):
    """Save an encoder whose weights file says `text` as its spec, beside an untouched spec.json."""
    real().save(tmp_path)
    file = tmp_path / WEIGHTS_NAME
    save_file(load_file(file), file, metadata=None if text is None else {SPEC_KEY: text})


def change(tmp_path, **values):
    spec = {**real().spec.to_json(), **values}
    rewrite(tmp_path, json.dumps({k: v for k, v in spec.items() if v is not ...}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"version": 2}, r"version 2; this seco reads up to 1: upgrade"),
        ({"version": None}, "version None"),
        ({"format": "other"}, "not an encoder spec"),
        ({"mean": ...}, "damaged: 'mean'"),
        ({"bands": ...}, "damaged"),
        ({"surprise": 1}, "damaged.*surprise"),
        ({"bands": [{"name": "red", "units": "dn"}]}, "damaged.*scale and an offset"),
        ({"bands": [{"name": "red", "colour": "red"}]}, "damaged.*colour"),
        ({"bands": ["red"]}, "damaged"),
        ({"bands": [{"name": 3, "units": "display"}]}, "damaged.*name 3 is no text"),
        (
            {"bands": [{"name": "red", "units": "dn", "scale": "x", "offset": 0}]},
            "damaged.*scale 'x' is no number",
        ),
        ({"arch": ["resnet18"]}, "damaged.*arch .* is no text"),
        ({"num_steps": "3"}, "damaged.*num_steps '3' is no whole number"),
        ({"num_steps": 10**400}, "damaged.*num_steps 1000"),
        ({"feature_dim": 0}, "damaged.*feature_dim 0"),
        ({"heads": [1]}, "damaged.*heads"),
        ({"mean": [0.0, float("nan"), 0.0]}, "damaged.*mean .* no finite numbers"),
        ({"trained_boxes": [[1.0, 2.0]]}, "damaged.*trained_boxes"),
        ({"trained_boxes": [["a", 0, 0, 0]]}, "damaged.*trained_boxes"),
        ({"trained_boxes": [[10**400, 0, 0, 0]]}, "damaged.*trained_boxes"),
        ({"trained_boxes": "no base64"}, "damaged.*trained_boxes"),
        ({"trained_boxes": "AAAA"}, "damaged.*trained_boxes"),
        ({"trained_boxes": "////////" * 16}, "damaged.*trained_boxes are not all finite"),
        ({"trained_boxes": 3}, "damaged.*trained_boxes"),
        ({"std": [1.0, 0.0, 1.0]}, "must be above 0"),
        ({"mean": [1.0]}, "3 bands, 1 means"),
        ({"heads": ["z0"]}, "does not fit its spec"),
        ({"feature_dim": 7}, "does not fit its spec"),
        ({"arch": "test_convnext"}, "does not fit its spec"),
    ],
)
def test_a_damaged_or_newer_spec_is_one_clear_error(tmp_path, values, said):
    change(tmp_path, **values)
    with pytest.raises(SecoError, match=said) as caught:
        load_folder(tmp_path, name="x", device="cpu")
    assert isinstance(caught.value, CheckpointError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "\xff\x00", "[" * 100_000])
def test_a_spec_that_is_no_json_object_is_one_clear_error(tmp_path, text):
    rewrite(tmp_path, text)
    with pytest.raises(CheckpointError, match=r"encoder spec in .*encoder\.safetensors"):
        load_folder(tmp_path, name="x", device="cpu")


@pytest.mark.parametrize(
    "read", [lambda p: load_folder(p, name="x"), load_encoder, lambda p: starting_spec(str(p), RGB)]
)
def test_weights_without_a_spec_are_one_clear_error(tmp_path, read):
    rewrite(tmp_path, None)
    with pytest.raises(
        CheckpointError, match=r"encoder\.safetensors says nothing of the encoder .*export it again"
    ):
        read(tmp_path)


def test_truncated_or_missing_weights_are_one_clear_error(tmp_path):
    real().save(tmp_path)
    file = tmp_path / WEIGHTS_NAME
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cut short"):
        load_folder(tmp_path, name="x", device="cpu")
    file.unlink()
    with pytest.raises(CheckpointError, match="cannot read"):
        load_folder(tmp_path, name="x", device="cpu")


def test_a_spec_survives_json(tmp_path):
    spec = real(DN).spec
    again = EncoderSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert hash(again.bands) == hash(spec.bands)


@pytest.mark.parametrize(
    ("bands", "said"),
    [
        (
            RGB[::-1],
            r"takes red \(display\), green .*the data are blue \(display\), green .*--bands, in its order",
        ),
        (RGB[:2], "the data are red"),
        (
            tuple(dataclasses.replace(b, units="reflectance") for b in RGB),
            r"the data are red \(reflectance\)",
        ),
    ],
)
def test_training_starts_only_from_an_encoder_of_the_same_bands_in_their_order(tmp_path, bands, said):
    encoder = real()
    encoder.save(tmp_path / "run" / "encoder")
    for path in (tmp_path / "run", tmp_path / "run" / "encoder"):
        assert starting_spec(str(path), RGB) == encoder.spec
        with pytest.raises(CheckpointError, match=said):
            starting_spec(str(path), bands)
    assert starting_spec("random", bands) is None
    assert starting_spec("imagenet", bands) is None


def test_images_of_a_size_that_the_network_cannot_take_are_one_clear_error():
    encoder = load_encoder("random:test_vit", device="cpu")
    assert (
        encoder(np.zeros((3, 32, 32), np.uint8), bands=["red", "green", "blue"], units="display").shape[0]
        == 1
    )
    with pytest.raises(ConfigError, match="cannot take images of 33 px") as caught:
        encoder(np.zeros((3, 33, 33), np.uint8), bands=["red", "green", "blue"], units="display")
    assert "\n" not in str(caught.value)


def test_dn_of_an_unusual_scale_and_reflectance_that_is_none_are_no_guess():
    odd = tuple(dataclasses.replace(b, scale=2.58e-5) for b in DN)
    names = ["red", "green", "blue", "B08"]
    stored = flat(1000, 2, 3, 4, dtype=np.uint16)
    with pytest.raises(DatasetError, match=r"trained on a scale of 2.58e-05.*pass Band objects"):
        transparent(odd)(stored, bands=names, units="dn")
    assert transparent(odd)(stored, bands=odd).tolist()[0] == [1000, 2, 3, 4]
    with pytest.raises(DatasetError, match="reflectance of 1000; it lies between 0 and little above 1"):
        transparent(DN)(stored, bands=names, units="reflectance")


def test_numbers_are_limited_to_what_the_encoder_was_fed():
    encoder = transparent(DN, mean=[1000.0] * 4, std=[500.0] * 4)
    limited = Encoder(
        spec=dataclasses.replace(encoder.spec, clip=(0.0, 10_000.0)), backbone=Means(4), heads=nn.ModuleDict(),
        name="limited", device="cpu",
    )  # fmt: skip
    pixels = np.full((1, 4, 16, 16), 15_000, np.uint16)
    pixels[:, 1] = 4000
    assert encoder.encode(pixels, bands=DN)["features"][0] == pytest.approx([28, 6, 28, 28])
    assert limited.encode(pixels, bands=DN)["features"][0] == pytest.approx([18, 6, 18, 18])
    # Other normalisations are of the data, not of the encoder's own feed.
    stats = (np.full(4, 1000.0), np.full(4, 500.0))
    dataset = limited.encode(pixels, bands=DN, normalise="dataset", stats=stats)["features"]
    assert dataset[0] == pytest.approx([28, 6, 28, 28])
    # What was not measured stays 0, which no limit may move.
    pixels[:, 0] = 0
    assert limited.encode(pixels, bands=DN)["features"][0, 0] == 0


def test_a_spec_without_later_fields_is_written_as_before():
    plain = transparent().spec
    assert not {"clip", "source", "licence"} & set(plain.to_json())
    full = dataclasses.replace(plain, clip=(0.0, 255.0), source="theirs", licence="cc0-1.0")
    assert EncoderSpec.from_json(json.loads(json.dumps(full.to_json()))) == full
    with pytest.raises(CheckpointError, match=r"clip .*; the first must be below the second"):
        dataclasses.replace(plain, clip=(1.0, 1.0))
    for damaged in ([1], "ab", [1, 2, 3]):
        with pytest.raises(CheckpointError, match="encoder spec is damaged"):
            EncoderSpec.from_json(full.to_json() | {"clip": damaged})


def test_bytes_of_two_known_stretches_are_converted():
    """SeCo's files hold reflectance 0 to 1, its encoder was fed a part of that range."""
    wide = [dataclasses.replace(b, stretch_range=(0.0, 1.0)) for b in RGB]
    narrow = [dataclasses.replace(b, stretch_range=(0.2, 0.6)) for b in RGB]
    pixels = np.full((1, 3, 16, 16), 102, np.uint8)  # reflectance 0.4: the middle of the narrow range
    assert transparent(narrow).encode(pixels, bands=wide)["features"][0] == pytest.approx(127.5, abs=1e-3)
    for bands in (narrow, RGB):
        assert transparent(narrow).encode(pixels, bands=bands)["features"][0] == pytest.approx(102)
