"""Our own side of the comparisons: the method at the original's settings, and the data that feed it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from typing import Any

import torch

from seco.bench.family import Settings
from seco.data.dataset import Dataset
from seco.methods import _contract as methods
from seco.nets.backbones import build_backbone, feature_dim
from seco.nets.devices import broken_in_bf16, pick_device, pick_precision
from seco.train.places import Batch, batches, choose_places
from seco.train.settings import Pretrain, make_viewer, resolve
from seco.views.batch import Viewer

FOR_EVER = 10**7
"""Steps: more than any measurement takes."""


def paper_options(settings: Settings) -> dict[str, Any]:
    """Return the method's options with which a step does what the original's does: a pass a key, its queue, its SGD."""
    return {
        "queue_size": settings.queue_size, "negatives": "queue", "momentum": 0.999, "temperature": 0.07,
        "group_size": settings.batch_size, "siblings": "all", "optimiser": "sgd", "lr": 0.03, "weight_decay": 1e-4,
        "schedule": "drops", "warmup_steps": 0,
    }  # fmt: skip


def build_method(
    settings: Settings,
    *,
    px: int,
    options: dict[str, Any],
    num_bands: int = 3,
    say: Callable[[str], None] = print,
) -> methods.Method:
    """Return our method `seco`, ready to step on views of `px` pixels."""
    module = methods.find("seco")
    device, precision = computing(settings, px=px)
    backbone = build_backbone(settings.encoder, num_bands, seed=settings.seed)
    derived = module.derive(
        module.Options(**options), num_places=settings.queue_size, num_steps=FOR_EVER, batch_size=settings.batch_size
    )  # fmt: skip
    method = module.build(
        methods.Setup(
            backbone=backbone, feature_dim=feature_dim(backbone), num_places=settings.queue_size, num_steps=FOR_EVER,
            batch_size=settings.batch_size, seed=settings.seed, precision=precision, say=say,
        ),
        derived,
    )  # fmt: skip
    method.to(device)
    return method


def computing(settings: Settings, *, px: int) -> tuple[torch.device, Any]:
    """Return the device and the precision that `seco pretrain` would choose for this encoder."""
    device = pick_device(settings.device)
    precision = pick_precision("auto", device)
    if device.type == "cpu" and precision == "bf16":
        backbone = build_backbone(settings.encoder, 3, seed=settings.seed)
        if broken_in_bf16(backbone, 3, px=px):
            precision = "fp32"
    return device, precision


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feed:
    """Batches of a dataset as training gets them, and what makes their views."""

    batches: Generator[Batch, None, None]
    viewer: Viewer
    device: torch.device

    def views(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Make the views of a batch."""
        return self.viewer.views(batch.seasons.to(self.device), batch.epoch, batch.places)


def feed(settings: Settings, dataset: Dataset, *, view_px: int) -> Feed:
    """Start reading a dataset for the method `seco`, with the original's augmentation and draws."""
    plan = methods.find("seco").PLAN
    asked = Pretrain(
        data=dataset.path, batch_size=settings.batch_size, steps=FOR_EVER, view_px=view_px, test_share=0.0, seasons="with",
        seed=settings.seed,
    )  # fmt: skip
    places = choose_places(dataset, asked, num_seasons=plan.num_seasons)
    config = resolve(asked, num_places=len(places.train), patch_px=dataset.meta.patch_px)
    device, tier = pick_device(settings.device), dataset.training(None)
    viewer = make_viewer(config, tier, plan).to(device)
    reading = batches(
        tier, places, viewer, batch_size=settings.batch_size, first=0, last=FOR_EVER, seed=settings.seed
    )
    return Feed(batches=reading, viewer=viewer, device=device)
