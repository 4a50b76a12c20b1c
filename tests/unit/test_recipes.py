"""Every recipe is a config that builds, and resolves on the data it is meant for."""

from pathlib import Path

import pytest

from seco import config as configs
from seco.methods import _contract as methods
from seco.train.settings import Pretrain, augmentation, resolve

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda f: f.stem)
def test_recipe_builds_and_says_its_command(file):
    config = configs.build(Pretrain, configs.read_yaml(file))
    resolved = resolve(config, num_places=200_000, patch_px=264)
    assert augmentation(resolved).out_px == (config.view_px or 264)
    assert methods.find(config.method).PLAN.views
    assert f"--config recipes/{file.name}" in file.read_text(encoding="utf-8")


def test_the_paper_recipe_holds_the_papers_values():
    config = configs.build(Pretrain, configs.read_yaml(FOLDER / "seco-paper.yaml"))
    options = config.options()
    assert (options.queue_size, options.momentum, options.temperature) == (16384, 0.999, 0.07)
    assert (options.negatives, options.siblings, options.key_groups) == ("queue", "all", "kind")
    assert (options.optimiser, options.sgd_momentum, options.weight_decay) == ("sgd", 0.9, 1e-4)
    assert (options.lr, options.schedule, options.warmup_steps) == (0.03, "drops", 0)
    assert (config.batch_size, config.epochs, config.view_px, config.seasons) == (256, 200, 224, "with")


def test_the_small_recipe_is_what_the_defaults_come_to():
    written = configs.build(Pretrain, configs.read_yaml(FOLDER / "bluemarble-small.yaml"))
    derived = resolve(Pretrain(batch_size=64), num_places=1900, patch_px=64)
    full = resolve(written, num_places=1900, patch_px=64)
    assert configs.to_plain(full) == configs.to_plain(derived)


def test_the_recipe_of_adapted_weights_keeps_their_statistics():
    config = configs.build(Pretrain, configs.read_yaml(FOLDER / "adapt-imagenet.yaml"))
    assert config.init == "imagenet"
    assert config.options().freeze_norm
