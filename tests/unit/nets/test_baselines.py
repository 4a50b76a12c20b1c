"""Encoders that learned nothing from seasons: colour statistics against numpy, random and ImageNet weights by name."""

import dataclasses

import numpy as np
import pytest

import seco
from seco.errors import CheckpointError, ConfigError
from seco.nets.backbones import LITE0, build_backbone, imagenet_statistics
from seco.nets.baselines import ColourEncoder, untrained
from seco.nets.encoder import FeatureExtractor
from seco.sensors import sentinel2
from seco.sensors.rgb import display_bands

RGB = display_bands()
DN = tuple(sentinel2.band(b) for b in ("B02", "B08"))


def images(num=7, num_bands=3, *, high=256, dtype=np.uint8, px=9):
    return np.random.default_rng(0).integers(0, high, (num, num_bands, px, px)).astype(dtype)


def test_colour_of_bytes_is_mean_deviation_and_a_histogram_of_16_bins():
    pixels = images()
    got = ColourEncoder().encode(pixels, bands=RGB)["features"]
    assert got.shape == (7, 3 * 18)
    assert got.dtype == np.float32
    for image, row in zip(pixels, got, strict=True):
        expected = [*(b.mean() for b in image), *(b.std() for b in image)]
        for band in image:
            expected += list(np.histogram(band, bins=16, range=(0, 256))[0] / band.size)
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_colour_of_other_numbers_divides_mean_plus_minus_2_5_deviations():
    pixels = images(num_bands=2, high=9000, dtype=np.uint16)
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    got = ColourEncoder(DN).encode(pixels, bands=DN, stats=(mean, std))["features"]
    for image, row in zip(pixels.astype(float), got, strict=True):
        expected = [*(b.mean() for b in image), *(b.std() for b in image)]
        for band, m, s in zip(image, mean, std, strict=True):
            edges = np.linspace(m - 2.5 * s, m + 2.5 * s, 17)
            expected += list(np.histogram(np.clip(band, edges[0], edges[-1]), bins=edges)[0] / band.size)
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-6)
    own = ColourEncoder(DN).encode(pixels, bands=DN)["features"]
    assert own == pytest.approx(got, rel=1e-5)


@pytest.mark.parametrize(
    ("high", "dtype", "bands"), [(256, np.uint8, RGB), (9000, np.uint16, RGB), (9, np.float32, RGB)]
)
def test_colour_does_not_depend_on_the_batch_size(high, dtype, bands):
    encoder = ColourEncoder(bands)
    pixels = images(high=high, dtype=dtype)
    features = [encoder.encode(pixels, bands=bands, batch_size=b)["features"] for b in (1, 3, 256)]
    assert np.array_equal(features[0], features[2])
    assert np.array_equal(features[1], features[2])


def test_colour_of_one_value_and_of_no_image():
    flat = ColourEncoder().encode(np.full((2, 3, 4, 4), 255, np.uint8), bands=RGB)["features"]
    assert np.isfinite(flat).all()
    assert flat[0, :6].tolist() == [255, 255, 255, 0, 0, 0]
    assert flat[0, 6 + 15] == 1
    constant = ColourEncoder(DN).encode(np.full((2, 2, 4, 4), 700, np.uint16), bands=DN)["features"]
    assert np.isfinite(constant).all()
    assert ColourEncoder().encode(np.zeros((0, 3, 4, 4), np.uint8), bands=RGB)["features"].shape == (0, 54)
    assert ColourEncoder(DN).encode(np.zeros((0, 2, 4, 4), np.uint16), bands=DN)["features"].shape == (0, 36)


@pytest.mark.parametrize(
    ("dtype", "nodata", "empty"),
    [(np.uint8, 200.0, 200), (np.uint16, 0.0, 0), (np.int16, -9999.0, -9999), (np.float32, None, np.nan)],
)
def test_colour_leaves_out_what_was_not_measured(dtype, nodata, empty):
    bands = (dataclasses.replace(DN[0], nodata=nodata), dataclasses.replace(DN[1], nodata=None))
    pixels = images(num_bands=2, high=190, dtype=dtype) + np.array(1, dtype)
    holes = np.random.default_rng(1).random(pixels.shape) < 0.3
    holes[:, 1] = False
    holes[2, 0] = True  # nothing of this image
    pixels[holes] = empty
    columns = [pixels[:, i][~holes[:, i]].astype(np.float64) for i in range(2)]
    mean, std = (np.array([f(c) for c in columns]) for f in (np.mean, np.std))
    whole = (0.0, 256.0) if dtype == np.uint8 else None
    given = ColourEncoder(DN).encode(pixels, bands=bands, stats=(mean, std))["features"]
    for i, row in enumerate(given):
        expected = [], [], []
        for band in range(2):
            left = pixels[i, band][~holes[i, band]].astype(np.float64)
            left = left if left.size else mean[band : band + 1]
            low, high = whole or (mean[band] - 2.5 * std[band], mean[band] + 2.5 * std[band])
            bins = np.histogram(np.clip(left, low, high), bins=16, range=(low, high))[0] / left.size
            for values, value in zip(expected, ([left.mean()], [left.std()], bins), strict=True):
                values.extend(value)
        assert row == pytest.approx(np.concatenate(expected), rel=1e-4, abs=1e-5)
    own = ColourEncoder(DN).encode(pixels, bands=bands, batch_size=3)["features"]
    assert own == pytest.approx(given, rel=1e-5, abs=1e-6)


def test_baselines_offer_what_tasks_need():
    for encoder in (ColourEncoder(), untrained("test_resnet", init="random")):
        assert isinstance(encoder, FeatureExtractor)
        assert encoder.outputs == ("features",)
    dims = ColourEncoder(), ColourEncoder(DN)
    assert [e.spec.feature_dim for e in dims] == [54, 36]
    assert dims[0].fingerprint() != dims[1].fingerprint()


def test_random_by_name_is_the_seeded_network_standardised_by_the_data():
    encoder = seco.load_encoder("random:test_resnet@3", device="cpu")
    assert encoder.name == "random:test_resnet@3"
    assert encoder.spec.normalise == "dataset"
    expected = build_backbone("test_resnet", 3, seed=3).state_dict()
    ours = encoder.net["backbone"].state_dict()
    assert all((ours[k] == v).all() for k, v in expected.items())
    plain = seco.load_encoder("random:test_resnet", device="cpu")
    assert plain.name == "random:test_resnet"
    assert plain.fingerprint() != encoder.fingerprint()
    assert len(seco.load_encoder("random:test_resnet", bands=DN, device="cpu").spec.bands) == 2


def test_imagenet_by_name_wants_rgb_scaled_as_in_its_training():
    encoder = seco.load_encoder(f"imagenet:{LITE0}", device="cpu")
    assert encoder.spec.normalise == "spec"
    # TensorFlow's weights: (byte - 127.5) / 127.5, and not ImageNet's mean and deviation.
    assert encoder.spec.mean == encoder.spec.std == (127.5, 127.5, 127.5)
    assert [b.name for b in encoder.spec.bands] == ["red", "green", "blue"]
    # The weights' own batch norm remembers what they were fed: through the filters that pass grey most, photographs had a
    # deviation of about a half, as theirs of 0.23 (of 0 to 1) divided by 0.5 has; by ImageNet's it would be 1.
    state = encoder.net["backbone"].state_dict()
    grey = state["conv_stem.weight"].sum((1, 2, 3)).abs()
    most = grey.topk(4).indices
    seen = state["bn1.running_var"][most].sqrt() / grey[most]
    assert 0.4 < seen.min() < seen.max() < 0.6


@pytest.mark.parametrize(
    ("arch", "mean", "std"),
    [
        ("resnet18", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("vit_small_patch16_224", (127.5,) * 3, (127.5,) * 3),
        ("lenet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    ],
)
def test_statistics_of_imagenet_weights_are_those_that_timm_publishes(arch, mean, std):
    found = imagenet_statistics(arch)
    assert found[0] == pytest.approx(mean)
    assert found[1] == pytest.approx(std)


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("random:nothing", ConfigError, "no model 'nothing'"),
        ("random:resnet18@x", CheckpointError, "seed after @"),
        ("nowhere/at/all", CheckpointError, "no encoder 'nowhere/at/all'"),
        ("random:", CheckpointError, "no encoder 'random:'"),
    ],
)
def test_names_that_mean_nothing_are_one_clear_error(source, error, said):
    with pytest.raises(error, match=said):
        seco.load_encoder(source, device="cpu")


def test_a_folder_without_an_encoder_says_so(tmp_path):
    (tmp_path / "spec.json").write_text("{}")  # a copy for people, which is not what is looked for
    with pytest.raises(CheckpointError, match=r"holds no encoder .*safetensors.*is its run finished"):
        seco.load_encoder(tmp_path)
