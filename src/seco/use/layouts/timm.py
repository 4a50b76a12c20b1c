"""timm's own state dictionaries, of any of its models."""

from __future__ import annotations

from seco.errors import CheckpointError
from seco.use.foreign import Foreign
from seco.use.layouts._contract import Parts
from seco.use.layouts._plain import read_plain

NAME = "timm"
HELP = "state dictionaries of timm's models, .pth or .safetensors (--arch for others than ResNets and ViTs)"
METHOD = "supervised"
SOURCE = "timm state dictionary"
LICENCE = "not stated; timm's model card tells"


def matches(foreign: Foreign) -> bool:
    """Never: their names are torchvision's or TorchGeo's too, or need the architecture said."""
    return False


def read(foreign: Foreign, arch: str | None) -> Parts:
    """Take everything but the classifier, whose name timm tells."""
    import timm

    classifier: str | tuple[str, ...] = ("fc", "head")
    if arch is not None:
        if not timm.is_model(arch):
            raise CheckpointError(f"timm has no model {arch!r}; `timm.list_models()` lists them")
        config = timm.get_pretrained_cfg(arch)
        classifier = ("fc", "head", "classifier") if config is None else config.classifier or ()
    return read_plain(foreign, (classifier,) if isinstance(classifier, str) else tuple(classifier))


def feed(foreign: Foreign, arch: str, num_bands: int) -> str:
    """Return the statistics that timm publishes for the architecture."""
    return "imagenet"
