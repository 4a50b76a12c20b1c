"""torchvision's ResNets. Names, shapes and order are timm's, and the features are equal bit for bit."""

from __future__ import annotations

from seco.use.foreign import Foreign
from seco.use.layouts._contract import Parts, names_of
from seco.use.layouts._plain import is_plain, read_plain

NAME = "torchvision"
HELP = "state dictionaries of torchvision's ResNets"
METHOD = "supervised"
SOURCE = "torchvision state dictionary"
LICENCE = "BSD-3-Clause (torchvision); weights may be subject to the terms of their training data"


def matches(foreign: Foreign) -> bool:
    """Tell by ResNet names with a classifier; without one they could be TorchGeo's."""
    named = {"conv1.weight", "fc.weight"} <= set(names_of(foreign))
    return named and is_plain(foreign) and foreign.path.suffix != ".safetensors"


def read(foreign: Foreign) -> Parts:
    """Take everything."""
    return read_plain(foreign, feed="imagenet")
