"""TorchGeo's weights: timm's names without a classifier. What they were fed is told from the file's name and bands.

TorchGeo's transforms for its port of SeCo differ from SeCo's training (blue's quantiles first, no cut, no division by
255); the spec is that of the training, since the weights are the same.
"""

from __future__ import annotations

import dataclasses

from seco.use.foreign import Foreign
from seco.use.layouts._contract import Parts, names_of
from seco.use.layouts._plain import is_plain, read_plain

NAME = "torchgeo"
HELP = "TorchGeo's Sentinel-2 weights, among them its port of SeCo (..._sentinel2_rgb_seco-*.pth)"
METHOD = "torchgeo"
SOURCE = "TorchGeo's weights (https://github.com/torchgeo/torchgeo)"
LICENCE = "see TorchGeo's table of weights; SeCo's port: Apache-2.0"

FED = {"sentinel2_rgb_seco": "seco", "sentinel2_rgb_moco": "sentinel2", "sentinel2_all_": "sentinel2"}
METHODS = ("seco", "moco", "dino", "decur")


def matches(foreign: Foreign) -> bool:
    """Tell by the file's name; or by plain names, no classifier and Sentinel-2's 13 bands."""
    if not is_plain(foreign):
        return False
    if any(word in foreign.path.name for word in FED):
        return True
    return not {"fc.weight", "head.weight"} & set(names_of(foreign)) and _num_bands(foreign) == 13


def _num_bands(foreign: Foreign) -> int:
    parts = read_plain(foreign, feed=None)
    first = parts.backbone.get("conv1.weight", parts.backbone.get("patch_embed.proj.weight"))
    return 0 if first is None or first.ndim != 4 else int(first.shape[1])


def read(foreign: Foreign) -> Parts:
    """Take everything."""
    name = foreign.path.name
    fed = next((f for word, f in FED.items() if word in name), None)
    if fed is None and _num_bands(foreign) == 13:
        fed = "sentinel2"
    method = next((m for m in METHODS if f"_{m}" in name), METHOD)
    return dataclasses.replace(read_plain(foreign, feed=fed), about={"method": method})
