"""What several programs here need: a method with random weights on its data, ready to step."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import torch

from seco.data.dataset import open_dataset
from seco.methods import _contract as methods
from seco.nets.backbones import build_backbone, feature_dim
from seco.nets.devices import broken_in_bf16, keep_freed_memory, pick_device, pick_precision
from seco.train.places import Batch, Places, batches, choose_places
from seco.train.settings import Pretrain, make_viewer, resolve
from seco.views.batch import Viewer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ready:
    """A method, its settings in full, and its data."""

    config: Pretrain
    method: methods.Method
    places: Places
    viewer: Viewer
    device: torch.device

    def batches(self) -> Generator[Batch, None, None]:
        """Yield the batches of every step."""
        config = self.config
        assert config.steps is not None
        tier = open_dataset(config.data).training(config.bands)
        return batches(
            tier, self.places, self.viewer, batch_size=config.batch_size, first=0, last=config.steps, seed=config.seed
        )  # fmt: skip

    def views(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Make the views of a batch."""
        return self.viewer.views(batch.seasons.to(self.device), batch.epoch, batch.places)


def ready(asked: Pretrain) -> Ready:
    """Build everything from settings."""
    keep_freed_memory()
    dataset = open_dataset(asked.data)
    module = methods.find(asked.method)
    places = choose_places(dataset, asked, num_seasons=module.PLAN.num_seasons)
    config = resolve(asked, num_places=len(places.train), patch_px=dataset.meta.patch_px)
    assert config.steps is not None
    tier, device = dataset.training(config.bands), pick_device(config.device)
    viewer = make_viewer(config, tier, module.PLAN).to(device)
    backbone = build_backbone(config.encoder, len(tier.bands), seed=config.seed)
    precision = pick_precision(config.precision, device)
    if device.type == "cpu" and broken_in_bf16(backbone, len(tier.bands), px=viewer.augment.out_px):
        precision = "fp32"
    setup = methods.Setup(
        backbone=backbone, feature_dim=feature_dim(backbone), num_places=len(places.train), num_steps=config.steps,
        batch_size=config.batch_size, seed=config.seed, precision=precision,
    )  # fmt: skip
    method = module.build(setup, config.options())
    method.to(device)
    return Ready(config=config, method=method, places=places, viewer=viewer, device=device)
