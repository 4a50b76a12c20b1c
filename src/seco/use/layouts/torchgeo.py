"""TorchGeo's weights: timm's names without a classifier. What they were fed is told from the file's name and bands."""

from __future__ import annotations

import dataclasses

from seco.errors import CheckpointError
from seco.use.foreign import Foreign
from seco.use.layouts._contract import Parts, names_of
from seco.use.layouts._plain import is_plain, read_plain

NAME = "torchgeo"
HELP = "TorchGeo's Sentinel-2 weights, among them its port of SeCo (..._sentinel2_rgb_seco-*.pth)"
METHOD = "torchgeo"
SOURCE = "TorchGeo's weights (https://github.com/torchgeo/torchgeo)"
LICENCE = "see TorchGeo's table of weights; SeCo's port: Apache-2.0"

FED = {"sentinel2_rgb_seco": "seco", "sentinel2_rgb_moco": "sentinel2", "sentinel2_all_": "sentinel2"}


def matches(foreign: Foreign) -> bool:
    """Tell by the file's name; or by plain names, no classifier and Sentinel-2's 13 bands."""
    if not is_plain(foreign):
        return False
    names = set(names_of(foreign))
    if any(word in foreign.path.name for word in FED):
        return True
    return not {"fc.weight", "head.weight"} & names and _num_bands(foreign) == 13


def _num_bands(foreign: Foreign) -> int:
    parts = read_plain(foreign, ())
    first = parts.backbone.get("conv1.weight", parts.backbone.get("patch_embed.proj.weight"))
    return 0 if first is None or first.ndim != 4 else int(first.shape[1])


def read(foreign: Foreign, arch: str | None) -> Parts:
    """Take everything but a classifier."""
    parts = read_plain(foreign, ("fc", "head"))
    method = next((m for m in ("seco", "moco", "dino", "decur") if f"_{m}" in foreign.path.name), METHOD)
    return dataclasses.replace(parts, about={"method": method})


def feed(foreign: Foreign, arch: str, num_bands: int) -> str:
    """Return what the weights were trained on; TorchGeo's own transforms of SeCo differ from its training."""
    for word, name in FED.items():
        if word in foreign.path.name:
            return name
    if num_bands == 13:
        return "sentinel2"
    raise CheckpointError(
        f"{foreign.path.name} does not say what its weights were fed; TorchGeo's files do (such as "
        "resnet18_sentinel2_rgb_seco-cefca942.pth): say it with --input seco, sentinel2 or imagenet"
    )
