"""timm's own state dictionaries, of any of its models."""

from __future__ import annotations

from seco.use.foreign import Foreign
from seco.use.layouts import torchgeo
from seco.use.layouts._contract import Parts
from seco.use.layouts._plain import is_plain, read_plain

NAME = "timm"
HELP = "state dictionaries of timm's models, .pth or .safetensors (--arch for others than ResNets and ViTs)"
METHOD = "supervised"
SOURCE = "timm state dictionary"
LICENCE = "not stated; timm's model card tells"


def matches(foreign: Foreign) -> bool:
    """Tell by the kind of file: under the same names, torchvision and TorchGeo publish .pth only."""
    return is_plain(foreign) and foreign.path.suffix == ".safetensors" and not torchgeo.matches(foreign)


def read(foreign: Foreign) -> Parts:
    """Take everything; it was fed with the statistics that timm publishes for the architecture."""
    return read_plain(foreign, feed="imagenet")
