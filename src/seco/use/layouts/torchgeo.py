"""TorchGeo's weights: timm's names without a classifier. What they were fed is told from the file's name.

TorchGeo's transforms for its port of SeCo differ from SeCo's training (blue's quantiles first, no cut, no division by
255); the spec is that of the training, since the weights are the same.
"""

from __future__ import annotations

import dataclasses

from seco.use.foreign import Foreign
from seco.use.layouts._contract import Parts
from seco.use.layouts._plain import is_plain, read_plain

NAME = "torchgeo"
HELP = "TorchGeo's Sentinel-2 weights, among them its port of SeCo (..._sentinel2_rgb_seco-*.pth)"
METHOD = "torchgeo"
SOURCE = "TorchGeo's weights (https://github.com/torchgeo/torchgeo)"
LICENCE = "see TorchGeo's table of weights; SeCo's port: Apache-2.0"

FED = {
    "sentinel2_rgb_seco": "seco",
    "sentinel2_rgb_moco": "sentinel2",
    "sentinel2_all_moco": "sentinel2",
    "sentinel2_all_dino": "sentinel2",
    "ms_decur": "sentinel2",
}
"""Part of a file's name -> feed. Others (SoftCon, SatlasPretrain, SeCo-Eco) were fed in other ways: say it by flags."""
METHODS = ("seco_eco", "seco", "moco", "dino", "decur", "softcon", "satlas")


def matches(foreign: Foreign) -> bool:
    """Tell by the file's name and plain names of weights."""
    return any(word in foreign.path.name for word in FED) and is_plain(foreign)


def read(foreign: Foreign) -> Parts:
    """Take everything."""
    name = foreign.path.name
    fed = next((f for word, f in FED.items() if word in name), None)
    method = next((m for m in METHODS if f"_{m}" in name), METHOD)
    return dataclasses.replace(read_plain(foreign, feed=fed), about={"method": method})
