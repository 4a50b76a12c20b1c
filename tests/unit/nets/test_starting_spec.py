"""Training that starts from an encoder of ours: its bands must be the data's, and what it saw is remembered."""

import dataclasses

import numpy as np
import pytest

from seco.errors import CheckpointError
from seco.nets.backbones import build_backbone
from seco.nets.baselines import untrained
from seco.nets.encoder import starting_spec
from seco.sensors.rgb import display_bands


@pytest.fixture
def saved(tmp_path):
    encoder = untrained("resnet18", init="random")
    encoder.spec = dataclasses.replace(
        encoder.spec, method="seco", trained_boxes=np.array([[0.0, 1.0, 2.0, 3.0]])
    )
    encoder.save(tmp_path / "encoder")
    return tmp_path


def test_random_and_imagenet_have_no_spec():
    assert starting_spec("random", display_bands()) is None
    assert starting_spec("imagenet", display_bands()) is None


def test_a_run_or_a_file_in_it_is_read_with_what_it_saw(saved):
    for init in (saved, saved / "encoder", saved / "encoder" / "encoder.safetensors"):
        spec = starting_spec(str(init), display_bands())
        assert spec is not None
        assert spec.trained_boxes.tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_a_file_of_any_name_is_enough_to_start_from(saved, tmp_path):
    file = tmp_path / "apart" / "mine.safetensors"
    file.parent.mkdir()
    (saved / "encoder" / "encoder.safetensors").rename(file)
    spec = starting_spec(str(file), display_bands())
    assert spec is not None
    assert spec.method == "seco"
    build_backbone(spec.arch, 3, init=str(file))


@pytest.mark.parametrize("change", ["order", "units", "missing"])
def test_other_bands_are_refused(saved, change):
    bands = display_bands()
    other = {
        "order": bands[::-1],
        "units": tuple(dataclasses.replace(b, units="reflectance") for b in bands),
        "missing": bands[:2],
    }[change]
    with pytest.raises(CheckpointError, match=r"red \(display\), green \(display\), blue \(display\)"):
        starting_spec(str(saved), other)
