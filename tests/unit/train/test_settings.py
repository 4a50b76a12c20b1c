"""Settings of a run: what is refused, what is derived."""

from pathlib import Path

import pytest

from seco.config import build, to_plain
from seco.errors import ConfigError
from seco.train.settings import Pretrain, augmentation, derived, resolve


def test_what_is_left_open_is_derived_from_places_and_patch():
    full = resolve(Pretrain(), num_places=1900, patch_px=64)
    assert (full.steps, full.epochs, full.view_px) == (600, None, 64)
    assert full.blur_sigma == (0.1, 0.485)  # 2 px on 264 px patches, scaled to 64
    assert (full.log_every, full.probe_every, full.checkpoint_every) == (15, 60, 60)
    assert full.method_options["negatives"] == "batch"
    assert full.method_options["momentum"] == 0.9833
    assert [k for k, v in full.method_options.items() if v is None] == ["queue_size"]


@pytest.mark.parametrize(
    ("given", "places", "steps"),
    [
        ({"steps": 7}, 100, 7),
        ({"epochs": 2}, 100, 2 * (100 // 64)),
        ({"epochs": 0.01}, 100, 1),
        ({"epochs": 2.5, "batch_size": 10}, 100, 25),
        ({"epochs": 200, "batch_size": 256}, 200_000, 200 * 781),
        ({}, 100, 600),
    ],
)
def test_steps_or_epochs(given, places, steps):
    assert resolve(Pretrain(**given), num_places=places, patch_px=16).steps == steps


@pytest.mark.parametrize(
    ("steps", "every"), [(1, (1, 5)), (6, (1, 5)), (40, (1, 5)), (240, (6, 24)), (10_000, (100, 1000))]
)
def test_short_runs_log_about_forty_lines_and_probe_less_often(steps, every):
    full = resolve(Pretrain(steps=steps), num_places=100, patch_px=16)
    assert (full.log_every, full.probe_every) == every


def test_what_is_given_is_kept():
    given = Pretrain(
        steps=50, view_px=32, blur_sigma=(0.2, 0.3), probe_every=0, checkpoint_every=7,
        method_options={"queue_size": 10, "momentum": 0.5, "lr": 0.5, "warmup_steps": 0},
    )  # fmt: skip
    full = resolve(given, num_places=200, patch_px=16)
    assert (full.view_px, full.blur_sigma, full.probe_every, full.checkpoint_every) == (32, (0.2, 0.3), 0, 7)
    assert {k: full.method_options[k] for k in given.method_options} == given.method_options


def test_resolving_twice_changes_nothing_and_a_resolved_config_survives_yaml_values():
    full = resolve(Pretrain(epochs=3, batch_size=8), num_places=100, patch_px=24)
    assert resolve(full, num_places=100, patch_px=24) == full
    assert build(Pretrain, to_plain(full)) == full


@pytest.mark.parametrize("patch_px", [8, 12])
def test_tiny_patches_have_a_blur_that_is_allowed(patch_px):
    full = resolve(Pretrain(), num_places=100, patch_px=patch_px)
    assert augmentation(full).blur_sigma == (0.1, 0.1)


def test_the_augmentation_is_the_one_asked_for():
    config = Pretrain(crop_scale=(0.5, 0.9), jitter=(0.1, 0.2, 0.3, 0.05), jitter_p=0.1, grey_p=0.2, blur_p=0.3, flip_p=0.4,
                      blur_sigma=(0.5, 0.6), view_px=40)  # fmt: skip
    a = augmentation(resolve(config, num_places=100, patch_px=64))
    assert (a.out_px, a.crop_scale, a.jitter, a.blur_sigma) == (
        40,
        (0.5, 0.9),
        (0.1, 0.2, 0.3, 0.05),
        (0.5, 0.6),
    )
    assert (a.jitter_p, a.grey_p, a.blur_p, a.flip_p) == (0.1, 0.2, 0.3, 0.4)


def test_what_was_chosen_is_told_and_nothing_else():
    asked = Pretrain(steps=100, method_options={"momentum": 0.9})
    full = resolve(asked, num_places=100, patch_px=64)
    assert derived(asked, full) == {
        "batch_size": 64, "view_px": 64,
        "blur_sigma": [0.1, 0.485], "log_every": 2, "probe_every": 10, "checkpoint_every": 10, "negatives": "batch",
        "group_size": 32, "query_groups": 1, "lr": 0.000707, "weight_decay": 0.05, "warmup_steps": 5,
    }  # fmt: skip
    assert derived(full, full) == {}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 5, "epochs": 1.0}, "both steps 5 and epochs 1.0 given; give one"),
        ({"steps": 0}, "steps 0; it must be above 0"),
        ({"epochs": -1.0}, "epochs -1.0"),
        ({"batch_size": 1}, "batch size 1"),
        ({"batch_size": -1}, r"batch size -1; .*--batch-size"),
        ({"log_every": 0}, "log every 0"),
        ({"probe_every": -1}, "probe every -1"),
        ({"checkpoint_every": -5}, "checkpoint every -5"),
        ({"seed": -1}, "seed -1"),
        ({"split_seed": -2}, "seed -2"),
        ({"seed": 2**64}, r"below 2\*\*63"),
        ({"test_share": 1.0}, "test share 1.0"),
        ({"test_share": -0.1}, "test share"),
        ({"view_px": 4}, "views of 4 px"),
        ({"view_px": 1_000_000}, "views of 1000000 px; 8 to 4096"),
    ],
)
def test_values_out_of_range_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Pretrain(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stepz": 5}, "unknown setting stepz; known: data, method"),
        ({"steps": "many"}, "setting steps: 'many' is not a valid int"),
        ({"seasons": "sometimes"}, "'sometimes' is not one of without, with"),
        ({"crop_scale": [0.1]}, "has 1 values, not 2"),
        ({"crop_scale": 0.5}, "crop_scale"),
        ({"seed": True}, "seed: True"),
        ({"steps": float("inf")}, "steps: inf"),
        ({"method_options": 3}, "method_options"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        build(Pretrain, wrong)


def test_options_of_the_method_are_checked_too():
    with pytest.raises(ConfigError, match="unknown setting queue; known: queue_size"):
        Pretrain(method_options={"queue": 3}).options()
    with pytest.raises(ConfigError, match="no method 'nothing'"):
        Pretrain(method="nothing").options()
    with pytest.raises(ConfigError, match="no statistics to keep: give --init imagenet or an encoder"):
        Pretrain(method_options={"freeze_norm": True}).options()
    assert Pretrain(init="imagenet", method_options={"freeze_norm": True}).options().freeze_norm


def test_a_batch_larger_than_the_places_is_refused():
    with pytest.raises(
        ConfigError, match=r"batch size 64 is above the 63 places to train on; lower --batch-size"
    ):
        resolve(Pretrain(batch_size=64), num_places=63, patch_px=16)
    assert resolve(Pretrain(batch_size=64), num_places=64, patch_px=16).batch_size == 64


def test_a_batch_that_nobody_asked_for_fits_the_places():
    assert resolve(Pretrain(), num_places=63, patch_px=16).batch_size == 63
    assert resolve(Pretrain(), num_places=500, patch_px=16).batch_size == 64
    with pytest.raises(ConfigError, match="batch size 2 is above the 1 places"):
        resolve(Pretrain(), num_places=1, patch_px=16)


def test_paths_are_paths():
    assert build(Pretrain, {"data": "a/b"}).data == Path("a/b")
